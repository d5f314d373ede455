"""The header by which a proxy says who the client is: the PROXY protocol, versions 1 and 2.

It is read strictly and within a limit, in whatever pieces it arrives. Only a proxy that is trusted
may send it; see `mailframe.server.proxied`.
"""

from __future__ import annotations

import ipaddress
import re
import struct

import attrs

MAX_V1 = 107  # octets of a header of version 1 with its CRLF
MAX_V2 = 4096  # octets of a header of version 2 with all it may say beside the addresses
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
_BEGINNING = b"PROXY "
_V1 = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]{1,5}) ([0-9]{1,5})")
_FIXED = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31  # family and transport
_ADDRESSES = {_TCP4: struct.Struct("!4s4sHH"), _TCP6: struct.Struct("!16s16sHH")}


class ProxyHeaderError(ValueError):
    """What came is no such header; ``str(error)`` says why, in printable ASCII."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """One end of the client's connection.

    :ivar host: an IP address in its shortest form
    """

    host: str
    port: int


@attrs.frozen(kw_only=True)
class Proxied:
    """What a proxy says of a connection.

    :ivar source: the client, or ``None`` when the proxy speaks for itself or does not know
    :ivar destination: where the client connected to, or ``None``
    :ivar rest: the octets that came after the header
    """

    source: Endpoint | None
    destination: Endpoint | None
    rest: bytes


class ProxyHeader:
    """Collects one header."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, octets: bytes) -> Proxied | None:
        """Take what arrived.

        :returns: what the header says, once it is whole
        :raises ProxyHeaderError: it can't become one any more
        """
        self._buffer += octets
        buffer = self._buffer
        if buffer.startswith(SIGNATURE[: len(buffer)]):
            return _version_2(buffer)
        if buffer.startswith(_BEGINNING[: len(buffer)]):
            return _version_1(buffer)
        raise ProxyHeaderError("there is no PROXY header")


def _version_1(buffer: bytes) -> Proxied | None:
    end = buffer.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(buffer) >= MAX_V1:
            raise ProxyHeaderError("the header is too long")
        return None
    line, rest = buffer[:end], buffer[end + 2 :]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Proxied(source=None, destination=None, rest=rest)
    match = _V1.fullmatch(line)
    if not match:
        raise ProxyHeaderError("the header is malformed")
    family, *ends, source_port, destination_port = (part.decode("ascii") for part in match.groups())
    read = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        source, destination = (str(read(text)) for text in ends)
    except ValueError:
        raise ProxyHeaderError("the header holds no IP addresses of its family") from None
    ports = int(source_port), int(destination_port)
    if max(ports) > 65535:
        raise ProxyHeaderError("the header holds a port beyond 65535")
    return Proxied(
        source=Endpoint(host=source, port=ports[0]),
        destination=Endpoint(host=destination, port=ports[1]),
        rest=rest,
    )


def _version_2(buffer: bytes) -> Proxied | None:
    if len(buffer) < _FIXED.size:
        return None
    _, command, family, size = _FIXED.unpack_from(buffer)
    end = _FIXED.size + size
    if end > MAX_V2:
        raise ProxyHeaderError("the header is too long")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("the header has an unknown version or command")
    if len(buffer) < end:
        return None
    rest = buffer[end:]
    # What a proxy connects by itself, to see whether we live, and what has no IP address.
    if command == _LOCAL or family in (_UNSPECIFIED, _UNIX):
        return Proxied(source=None, destination=None, rest=rest)
    addresses = _ADDRESSES.get(family)
    if addresses is None:
        raise ProxyHeaderError("the header is for no stream over IP")
    if size < addresses.size:
        raise ProxyHeaderError("the header is too short for its addresses")
    source, destination, *ports = addresses.unpack_from(buffer, _FIXED.size)
    return Proxied(
        source=Endpoint(host=str(ipaddress.ip_address(source)), port=ports[0]),
        destination=Endpoint(host=str(ipaddress.ip_address(destination)), port=ports[1]),
        rest=rest,
    )
