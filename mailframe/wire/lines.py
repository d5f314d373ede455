"""Cuts a stream of octets into command lines, strictly by CRLF and within a limit.

A bare CR or a bare LF never ends a line (RFC 5321 §2.3.8): a server that takes either for a line
end can be made to see commands where the sender's own server saw text.
"""

from __future__ import annotations

_BEGINNING = 4  # octets that tell which command a line was


class LineTooLong(ValueError):
    """The line is longer than the limit. It has been, or will be, discarded up to its CRLF."""


class BareLineEnd(ValueError):
    """The line held a CR or LF that is not part of a CRLF. The line was discarded."""


class LineBuffer:
    """Octets that arrived and were not yet taken as lines.

    Holds at most what one `feed` brought beyond one line of ``limit`` octets, as long as the caller
    takes all lines before it feeds more.

    :ivar limit: octets of a line with its CRLF; may be changed between lines
    :ivar unreadable: the first octets of the last line that an error was raised for
    """

    __slots__ = ("_buffer", "_discarding", "_searched", "_start", "limit", "unreadable")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unreadable = b""
        self._buffer = b""
        self._start = 0  # where the next line begins in the buffer
        self._searched = 0  # no CRLF begins between the start and here
        self._discarding = False  # the line that begins at the start is being thrown away

    def __len__(self) -> int:
        """How many octets wait, those of an unfinished line included."""
        return len(self._buffer) - self._start

    def feed(self, octets: bytes) -> None:
        """Add octets that arrived."""
        start = self._start
        if start == len(self._buffer):
            self._buffer = octets
            self._searched = 0
        else:
            self._buffer = self._buffer[start:] + octets
            self._searched -= start
        self._start = 0

    def next_line(self) -> bytes | None:
        """Take one line.

        :returns: the line without its CRLF, or ``None`` when no whole line has arrived
        :raises LineTooLong: once for every line that exceeds the limit
        :raises BareLineEnd: for a line with a bare CR or LF
        """
        while True:
            start = self._start
            buffer = self._buffer
            if start == len(buffer):
                return None
            end = buffer.find(b"\r\n", self._searched)
            if end < 0:
                self._unfinished()
                return None
            self._start = self._searched = end + 2
            if self._discarding:
                self._discarding = False
                continue
            if end + 2 - start > self.limit:
                self.unreadable = buffer[start : start + _BEGINNING]
                raise LineTooLong(f"a line of more than {self.limit} octets")
            line = buffer[start:end]
            if b"\r" in line or b"\n" in line:
                self.unreadable = line[:_BEGINNING]
                raise BareLineEnd("a line with a bare CR or LF")
            return line

    def _unfinished(self) -> None:
        """No CRLF is there: remember how far the search went, and give up on a line too long."""
        size = len(self._buffer)
        ends_in_cr = self._buffer.endswith(b"\r", self._start)
        self._searched = size - 1 if ends_in_cr else size
        if self._discarding:
            self._start = self._searched
        elif size - self._start >= self.limit:
            self.unreadable = self._buffer[self._start : self._start + _BEGINNING]
            self._start = self._searched
            self._discarding = True
            raise LineTooLong(f"a line of more than {self.limit} octets")

    def drop(self, size: int) -> int:
        """Throw octets away that are no lines.

        :param size: how many at most
        :returns: how many there were
        """
        dropped = min(size, len(self))
        self._start += dropped
        self._searched = max(self._searched, self._start)
        return dropped

    def take_all(self) -> bytes:
        """Empty the buffer.

        :returns: what was there, lines and unfinished line alike
        """
        octets = self._buffer[self._start :]
        self._buffer = b""
        self._start = self._searched = 0
        self._discarding = False
        return octets
