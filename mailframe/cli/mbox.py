"""Messages one after the other in a file: mbox, in the form that can be undone (mboxrd).

Each begins with a line ``From SENDER DATE``; lines of the message that look like it, with whatever
number of ``>`` before, get one more ``>``. Line ends are LF.
"""

from __future__ import annotations

import re
import time

from mailframe.address import Address

_CHUNK = 65_536  # octets of a line that are waited for
_LIKE_FROM = re.compile(rb"^(>*From )", re.MULTILINE)


def from_line(sender: Address | None, arrived: float) -> bytes:
    """The line that begins a message.

    :param arrived: POSIX seconds UTC
    """
    # A quoted local part may hold a space, which would end the address.
    who = "MAILER-DAEMON" if sender is None else str(sender).replace(" ", "_")
    return f"From {who} {time.asctime(time.gmtime(arrived))}\n".encode()


class Quoted:
    """Rewrites a message as it comes in, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""  # of a line that is not finished
        self._inside = False  # the beginning of that line is written already

    def feed(self, piece: bytes) -> bytes:
        """What can be written now."""
        data = self._rest + piece
        cut = data.rfind(b"\n") + 1
        if not cut:
            if len(data) < _CHUNK:
                self._rest = data
                return b""
            cut = len(data) - data.endswith(b"\r")
        self._rest = data[cut:]
        return self._quote(data[:cut])

    def end(self) -> bytes:
        """What is left, and the empty line that follows a message."""
        rest = self._quote(self._rest)
        return rest + (b"\n" if rest or self._inside else b"") + b"\n"

    def _quote(self, data: bytes) -> bytes:
        if not data:
            return b""
        begun = b""
        if self._inside:
            line, end, data = data.partition(b"\n")
            begun = line + end
        self._inside = not (data or begun).endswith(b"\n")
        return (begun + _LIKE_FROM.sub(rb">\1", data)).replace(b"\r\n", b"\n")
