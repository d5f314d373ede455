"""What a test wants to know of an IP packet."""

from __future__ import annotations

import socket
from typing import NamedTuple

_TCP = 6
_SYN, _ACK = 0x02, 0x10


class Packet(NamedTuple):
    """An IP packet, of which TCP's parts are read, if it has any.

    :ivar source: the IP address in textual form
    :ivar target: likewise
    :ivar port: of the target, or 0
    :ivar is_opening: it asks for a connection
    :ivar payload: what the program sent
    """

    source: str
    target: str
    port: int = 0
    is_opening: bool = False
    payload: bytes = b""


def parse(octets: bytes) -> Packet | None:
    """Read a packet; ``None`` for what is neither IPv4 nor IPv6."""
    version = octets[0] >> 4 if octets else 0
    if version == 4:
        source, target = (socket.inet_ntop(socket.AF_INET, octets[n : n + 4]) for n in (12, 16))
        protocol, inner = octets[9], octets[(octets[0] & 15) * 4 :]
    elif version == 6:  # extension headers are none of TCP's
        source, target = (socket.inet_ntop(socket.AF_INET6, octets[n : n + 16]) for n in (8, 24))
        protocol, inner = octets[6], octets[40:]
    else:
        return None
    if protocol != _TCP:
        return Packet(source, target)
    return Packet(
        source,
        target,
        int.from_bytes(inner[2:4], "big"),
        inner[13] & (_SYN | _ACK) == _SYN,
        inner[(inner[12] >> 4) * 4 :],
    )
