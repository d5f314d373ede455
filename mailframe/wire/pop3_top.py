"""The beginning of a message for TOP: its header section, the blank line, and some lines more."""

from __future__ import annotations


class Top:
    """Cuts a message off, chunk by chunk. Lines end in LF or CRLF.

    :ivar done: the rest of the message is not needed
    """

    __slots__ = ("_begun", "_left", "_lines", "done")

    def __init__(self, lines: int) -> None:
        """:param lines: of the body, RFC 1939 §7"""
        self.done = False
        self._lines = lines
        self._left: int | None = None  # lines of the body still to give; None in the header section
        self._begun = b""  # the current header line, as much as tells whether it is blank

    def take(self, octets: bytes) -> bytes:
        """The part of a chunk that belongs to the beginning."""
        start = 0
        while self._left != 0:
            end = octets.find(b"\n", start)
            if self._left is None:
                stop = min(start + 2, end if end >= 0 else len(octets))
                self._begun = (self._begun + octets[start:stop])[:2]
            if end < 0:
                return octets
            start = end + 1
            if self._left is not None:
                self._left -= 1
            elif self._begun in (b"", b"\r"):
                self._left = self._lines
            self._begun = b""
        self.done = True
        return octets[:start]
