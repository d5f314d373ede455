"""The form a message has in a Maildir: our headers before it, and lines that end in LF.

Readers of Maildirs expect LF. Queued content has CRLF only, so that turning each LF into CRLF when
the message is fetched gives back the very octets.
"""

from __future__ import annotations

import re

from mailframe.address import Address
from mailframe.wire.line_ends import count_lf

HEAD = 65536  # octets of a message's beginning that are searched for a loop


def headers(sender: Address | None, recipient: Address) -> bytes:
    """What the final delivery puts first: Return-Path (RFC 5321 §4.4) and Delivered-To."""
    return f"Return-Path: <{sender or ''}>\nDelivered-To: {recipient}\n".encode()


def was_delivered_to(beginning: bytes, recipient: Address) -> bool:
    """Whether a message was in this recipient's hands before, and has come round in a loop.

    :param beginning: of the content, with CRLF line ends; `HEAD` octets of it are searched
    """
    end = beginning.find(b"\r\n\r\n", 0, HEAD)
    section = (b"\r\n" + beginning[: end if end >= 0 else HEAD]).lower()
    if b"\r\ndelivered-to:" not in section:
        return False
    address = re.escape(str(recipient).lower().encode())
    return bool(re.search(rb"\r\ndelivered-to:[ \t]*" + address + rb"[ \t]*(?:\r|\Z)", section))


class Unix:
    """Turns CRLF into LF, chunk by chunk, and ends the last line.

    :ivar size: octets given so far
    :ivar lines: LFs given so far
    """

    __slots__ = ("_at_line_start", "_held_cr", "lines", "size")

    def __init__(self) -> None:
        self.size = 0
        self.lines = 0
        self._held_cr = False  # the last chunk ended in CR, which an LF may follow
        self._at_line_start = True

    def convert(self, octets: bytes) -> bytes:
        """The next piece."""
        if self._held_cr:
            octets = b"\r" + octets
        self._held_cr = octets.endswith(b"\r")
        if self._held_cr:
            octets = octets[:-1]
        if not octets:
            return b""
        return self._counted(octets.replace(b"\r\n", b"\n"))

    def finish(self) -> bytes:
        """What is left, with the last line's end."""
        rest = b"\r\n" if self._held_cr else b"" if self._at_line_start else b"\n"
        return self._counted(rest) if rest else b""

    def _counted(self, octets: bytes) -> bytes:
        self.size += len(octets)
        self.lines += count_lf(octets)
        self._at_line_start = octets.endswith(b"\n")
        return octets
