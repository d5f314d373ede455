"""Quoted-printable and base64 (RFC 2045 §6.7, §6.8) of octets that come piece by piece."""

from __future__ import annotations

import binascii
import re
from typing import Protocol

_WIDTH = 76  # characters of a line, RFC 2045 §6.7 (5) and §6.8
_LINE = 57  # octets that make a line of base64
_TO_QUOTE = re.compile(rb"[^\t\x20-\x3c\x3e-\x7e]|[\t ]\Z")
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
    """A line without its CRLF, in as many as it takes. (`binascii.b2a_qp` may write 77 octets.)"""
    quoted = _TO_QUOTE.sub(lambda match: b"=%02X" % match[0][0], line)
    if len(quoted) <= _WIDTH:
        return quoted
    lines = []
    start = 0
    while len(quoted) - start > _WIDTH:
        end = start + _WIDTH - 1
        sign = quoted.find(b"=", end - 2, end)
        if sign >= 0:  # what it begins is not to be torn
            end = sign
        lines.append(quoted[start:end] + b"=\r\n")
        start = end
    return b"".join(lines) + quoted[start:]


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
