"""Where a Twisted server endpoint string listens, as far as it is a TCP port or a socket file."""

from __future__ import annotations

import attrs

from mailframe.listening import PROXIED


@attrs.frozen
class Place:
    """A TCP port.

    :ivar interface: an IP address or a name
    """

    interface: str
    port: int


def listening_place(listen: str) -> Place | None:
    """Read ``tcp:25:interface=127.0.0.1``, ``tcp6:25`` and ``ssl:…``, for proxies or not.

    :returns: ``None`` for endpoints of another kind, such as ``unix:`` and ``systemd:``
    """
    kind, unnamed, named = _read(listen)
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    port = named.get("port") or unnamed
    if not (port.isascii() and port.isdigit()):
        return None
    return Place(named.get("interface") or ("::" if kind == "tcp6" else "0.0.0.0"), int(port))  # noqa: S104  # what Twisted takes when the string names none


def socket_file(listen: str) -> str | None:
    """The path in ``unix:/run/mailframe/lmtp:mode=660``, for proxies or not.

    :returns: ``None`` for endpoints of another kind
    """
    kind, unnamed, named = _read(listen)
    return (named.get("address") or unnamed) if kind == "unix" else None


def _read(listen: str) -> tuple[str, str, dict[str, str]]:
    """The kind of an endpoint, its first argument without a name, and those with one."""
    # The syntax of twisted.internet.endpoints: a backslash keeps a colon from dividing.
    text = listen.removeprefix(PROXIED).replace("\\:", "\0")
    kind, *words = [part.replace("\0", ":") for part in text.split(":")]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    return kind, next((word for word in words if "=" not in word), ""), named
