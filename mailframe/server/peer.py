"""Who is at the other end of a transport, in the form in which policies see it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any


def peer_address(transport: Any) -> tuple[str, int]:
    """IP address and port of the other side.

    :param transport: any `ITransport`; a socket that has no IP address, such as a UNIX socket, is
        on this machine and counts as loopback
    :returns: the address in its shortest form, a v4-mapped one as IPv4; and the port
    """
    return address_of(transport.getPeer())


def address_of(peer: Any) -> tuple[str, int]:
    """The same of what `ITransport.getPeer` gives."""
    host = getattr(peer, "host", None)
    if host is None:
        return "127.0.0.1", 0
    return _shown(host), peer.port


@lru_cache(maxsize=1024)
def _shown(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def tls_description(transport: Any) -> str:
    """Protocol and cipher of a transport whose TLS is active: ``TLSv1.3 TLS_AES_256_GCM_SHA384``.

    Just ``TLS`` when the transport can't tell.
    """
    try:
        connection = transport.getHandle()
        return f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
    except AttributeError:
        return "TLS"
