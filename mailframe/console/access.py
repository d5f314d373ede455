"""Who may look at the console: it has no login, so only programs on this machine.

A web page from elsewhere can have a browser on this machine ask loopback addresses, and by
rebinding its own name to 127.0.0.1 it could read the answers. Such a request carries the foreign
name in its ``Host`` header (RFC 9110 §7.2), which is why that is examined too.
"""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?")


def refusal(peer: str | None, host: str | None, hostname: str) -> str | None:
    """Why a request is not answered.

    :param peer: the client's IP address, or ``None`` when it came over a UNIX socket
    :param host: the ``Host`` header, or ``None`` when there is none
    :param hostname: the server's own name
    :returns: a sentence for the client, or ``None`` when it may look
    """
    if peer is not None and not _is_loopback(peer):
        return (
            "This console has no login, so it answers only clients on the machine it runs on. "
            "Look at it there, or through an SSH tunnel to its loopback address."
        )
    if host is None or not _is_ours(host, hostname):
        return (
            "This console answers only to localhost, to a loopback address and to the server's "
            "own hostname; the Host header of this request names something else."
        )
    return None


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _is_ours(host: str, hostname: str) -> bool:
    match = _HOST.fullmatch(host)
    if not match:
        return False
    name = match[1].lower().removesuffix(".")
    if name in ("localhost", hostname.lower()) or name.endswith(".localhost"):
        return True
    return _is_loopback(name.strip("[]"))
