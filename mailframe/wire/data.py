"""The transparent form of message content on the wire: dots stuffed, ended by a line with one dot.

RFC 5321 §4.5.2. SMTP uses it in DATA, POP3 in multi-line responses (RFC 1939 §3).

Only the five octets CRLF ``.`` CRLF end the content, the first CRLF being that of the line before.
Everything here works on whole chunks with searches and replacements in C. What makes that simple
is one habit of `DataDecoder`: octets at the end of a chunk that may yet turn out to be part of the
terminator are kept back and put before the next chunk, so that a CRLF and what follows it are
always seen together.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from mailframe.wire import line_ends

MAX_LINE = 1000  # octets of a line of content with its CRLF, RFC 5321 §4.5.3.1.6
END = b"\r\n.\r\n"
_BEGINNINGS = tuple(END[:size] for size in range(len(END) - 1, 0, -1))  # the longest first

DataFault: TypeAlias = Literal["bare line end", "null", "line too long"]


class DataDecoder:
    """Takes the octets after DATA and gives the content, until the true end.

    A bare CR or LF, a line that begins with NUL, and one that begins with a dot and NUL are what
    other servers have taken for the end of the data. We never do, and such content is not passed on
    to a server that may. The first fault found stands in ``fault``; from then on no content is
    given, and the octets up to the true end are swallowed.

    :ivar fault: what is wrong with the content, or ``None``
    :ivar finished: whether the end was seen
    :ivar rest: the octets that came after the end
    """

    __slots__ = ("_held", "_limit", "_line", "_skip", "fault", "finished", "rest")

    def __init__(self, line_limit: int = 0) -> None:
        """:param line_limit: octets of a line with its CRLF, or 0 for no limit"""
        self.fault: DataFault | None = None
        self.finished = False
        self.rest = b""
        self._limit = line_limit
        self._line = 0  # octets given of the line that is not finished yet
        # The CRLF of the DATA command stands before the content: the terminator may come at once.
        self._held = b"\r\n"
        self._skip = 2  # octets of that CRLF, not part of the content

    def decode(self, octets: bytes) -> bytes:
        """Take the next octets.

        :returns: content without the stuffed dots, maybe empty
        """
        buffer = self._held + octets
        end = buffer.find(END)
        if end >= 0:
            self.finished = True
            self.rest = buffer[end + len(END) :]
            buffer = buffer[: end + 2]
        else:
            self._held = b""
            for beginning in _BEGINNINGS:
                if buffer.endswith(beginning):
                    self._held = beginning
                    buffer = buffer[: -len(beginning)]
                    break
        if not buffer or self.fault in ("bare line end", "null"):
            return b""
        return self._content(buffer)

    def _content(self, buffer: bytes) -> bytes:
        if line_ends.has_bare(buffer):
            self.fault = "bare line end"
            return b""
        if b"\0" in buffer and (b"\r\n\0" in buffer or b"\r\n.\0" in buffer):
            self.fault = "null"
            return b""
        content = buffer.replace(b"\r\n.", b"\r\n")
        if self._skip:
            content = content[2:]
            self._skip = 0
        if self._limit and not self.fault:
            line = measure(content, self._line, self._limit)
            if line is None:
                self.fault = "line too long"
            else:
                self._line = line
        return b"" if self.fault else content


def measure(content: bytes, line: int, limit: int) -> int | None:
    """Look for a line beyond a limit; one search for each stretch of the limit's length.

    :param line: octets before this content of the line that it goes on with
    :param limit: octets of a line with its CRLF
    :returns: octets of the line that is not finished at its end; ``None``: one is too long
    """
    size = len(content)
    start = -line  # where the current line begins, seen from here
    while size - start > limit:
        newline = content.rfind(b"\n", max(start, 0), start + limit)
        if newline < 0:
            return None
        start = newline + 1
    newline = content.rfind(b"\n", max(start, 0))
    return size - (newline + 1 if newline >= 0 else start)


class DataEncoder:
    """Gives content the form it has on the wire, chunk by chunk.

    A bare CR or LF becomes CRLF, so that no receiver can see a line end where we saw none.
    """

    __slots__ = ("_at_line_start", "_held_cr")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held_cr = False  # the last chunk ended in CR, which an LF may follow

    def encode(self, octets: bytes) -> bytes:
        """The next piece of content, dots stuffed and line ends made whole."""
        if self._held_cr:
            octets = b"\r" + octets
        self._held_cr = octets.endswith(b"\r")
        if self._held_cr:
            octets = octets[:-1]
        if not octets:
            return b""
        octets = line_ends.whole(octets)
        stuffed = octets.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and octets.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = octets.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """What ends the content: the last line's CRLF where it is missing, and the terminator."""
        if self._held_cr or not self._at_line_start:
            return b"\r\n.\r\n"
        return b".\r\n"
