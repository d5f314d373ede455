"""Content that comes in chunks (RFC 3030): each is so many octets, with no end to look for.

Nothing in a chunk means anything to the dialogue: dots are not stuffed and CRLF.CRLF ends nothing.
Text is held to the same rules as after DATA all the same, because it may go on to servers that are
given it with DATA.
"""

from __future__ import annotations

from mailframe.wire import line_ends
from mailframe.wire.data import DataFault, measure


class ChunkDecoder:
    """Takes the octets of one chunk after the other and gives the content.

    The first fault found stands in ``fault``; from then on no content is given, and the octets of
    the chunk are swallowed.

    :ivar fault: what is wrong with the content, or ``None``
    :ivar finished: whether the chunk is over
    :ivar rest: the octets that came after the chunk
    :ivar total: octets of all chunks begun so far
    """

    __slots__ = (
        "_at_line_start",
        "_held",
        "_left",
        "_limit",
        "_line",
        "_text",
        "fault",
        "finished",
        "rest",
        "total",
    )

    def __init__(self, *, text: bool, line_limit: int = 0) -> None:
        """
        :param text: lines that end in CRLF; ``False`` for BINARYMIME, which is taken as it is
        :param line_limit: octets of a line with its CRLF, or 0 for no limit
        """
        self.fault: DataFault | None = None
        self.finished = True
        self.rest = b""
        self.total = 0
        self._text = text
        self._limit = line_limit
        self._line = 0  # octets given of the line that is not finished yet
        self._left = 0  # octets of the chunk that are still to come
        self._held = b""  # a CR, until it shows what follows it
        self._at_line_start = True

    def begin(self, size: int) -> None:
        """Begin the next chunk, of so many octets."""
        self.total += size
        self._left = size
        self.finished = size == 0
        self.rest = b""

    def decode(self, octets: bytes) -> bytes:
        """Take the next octets.

        :returns: content, maybe empty
        """
        left = self._left
        if len(octets) >= left:
            self.finished = True
            self.rest = octets[left:]
            octets = octets[:left]
        self._left = left - len(octets)
        return self._check(octets) if self._text else octets

    def finish(self) -> None:
        """There are no more chunks: a CR at the end of the last one is alone."""
        if self._held and self.fault is None:
            self.fault = "bare line end"

    def _check(self, octets: bytes) -> bytes:
        if self.fault is not None:
            return b""
        octets = self._held + octets
        self._held = b""
        if octets.endswith(b"\r"):
            self._held = b"\r"
            octets = octets[:-1]
        if not octets:
            return b""
        if line_ends.has_bare(octets):
            self.fault = "bare line end"
        elif b"\0" in octets and self._has_null(octets):
            self.fault = "null"
        elif self._limit:
            line = measure(octets, self._line, self._limit)
            if line is None:
                self.fault = "line too long"
            else:
                self._line = line
        self._at_line_start = octets.endswith(b"\n")
        return b"" if self.fault else octets

    def _has_null(self, octets: bytes) -> bool:
        """Whether a line begins with NUL."""
        return b"\r\n\0" in octets or (self._at_line_start and octets.startswith(b"\0"))
