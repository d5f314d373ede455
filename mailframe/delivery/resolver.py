"""The DNS resolver that the server asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from twisted.names.client import Resolver

_RESOLV_CONF = "/etc/resolv.conf"
_TIMEOUTS = (1, 3, 5, 9)  # seconds that each round of questions waits for an answer over UDP
_PORT = 53


def make_resolver(servers: Sequence[str], reactor: Any) -> Resolver:
    """A stub resolver: it asks recursive name servers, and over TCP when UDP is too small.

    No ``hosts`` file is read: mail goes where DNS says.

    :param servers: ``"192.0.2.1:53"``, ``"192.0.2.1"``, ``"[2001:db8::1]:53"`` or
        ``"2001:db8::1"``; when empty, those of ``/etc/resolv.conf``, which is looked at again every
        minute
    :param reactor: provides IReactorUDP, IReactorTCP and IReactorTime
    :raises ValueError: a server is not an IP address and a port; the message says which
    """
    return Resolver(  # type: ignore[no-untyped-call]  # Twisted leaves it without annotations
        resolv=None if servers else _RESOLV_CONF,
        servers=[parse_server(server) for server in servers],
        timeout=_TIMEOUTS,
        reactor=reactor,
    )


def parse_server(server: str) -> tuple[str, int]:
    """The IP address and the port of a name server as users write it.

    :raises ValueError: it is not an IP address with or without a port
    """
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):  # no port: IPv4, or bare IPv6
        host, port = server, str(_PORT)
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdecimal() else 0
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ValueError(f"{server!r} is not an IP address and a port such as '192.0.2.1:53'")
    return str(address), number
