"""Quoted-printable and base64 (RFC 2045 §6.7, §6.8) of octets that come piece by piece."""

from __future__ import annotations

import binascii
from typing import Protocol

_LINE = 57  # octets that make a line of 76 characters
_LONGEST = 8_192  # octets of a line of text that are kept; longer ones get a soft line break there


class BodyEncoder(Protocol):
    """Encodes one body."""

    def encode(self, octets: bytes) -> bytes:
        """Take the next octets; returns what is done."""

    def finish(self) -> bytes:
        """The rest. It does not end with a line end unless the body did, as text does."""


class QuotedPrintable:
    """Text: its line ends (CRLF) stay line ends."""

    def __init__(self) -> None:
        self._held = b""

    def encode(self, octets: bytes) -> bytes:
        """See `BodyEncoder.encode`."""
        lines = (self._held + octets).split(b"\r\n")
        held = lines.pop()
        done = [_quoted(line) + b"\r\n" for line in lines]
        while len(held) > _LONGEST:
            done.append(_quoted(held[:_LONGEST]) + b"=\r\n")
            held = held[_LONGEST:]
        self._held = held
        return b"".join(done)

    def finish(self) -> bytes:
        """See `BodyEncoder.finish`."""
        held, self._held = self._held, b""
        return _quoted(held)


def _quoted(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=False).replace(b"\n", b"\r\n")


class Base64:
    """Anything."""

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def encode(self, octets: bytes) -> bytes:
        """See `BodyEncoder.encode`."""
        octets = self._held + octets
        whole = len(octets) // _LINE * _LINE
        self._held = octets[whole:]
        return self._lines(octets[:whole])

    def finish(self) -> bytes:
        """See `BodyEncoder.finish`."""
        held, self._held = self._held, b""
        return self._lines(held)

    def _lines(self, octets: bytes) -> bytes:
        if not octets:
            return b""
        lines = [
            binascii.b2a_base64(octets[start : start + _LINE], newline=False)
            for start in range(0, len(octets), _LINE)
        ]
        if self._begun:
            lines.insert(0, b"")
        self._begun = True
        return b"\r\n".join(lines)
