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


def is_one_place(listen: str, other: str) -> bool:
    """Whether of two endpoint strings only one can be listened on, however they are written."""
    mine, its = listening_place(listen), listening_place(other)
    if listen == other:
        return True
    if mine is None or its is None:
        file = socket_file(listen)
        return file is not None and file == socket_file(other)
    if mine.port != its.port or not mine.port:
        return False  # the system finds a port of its own for each port 0
    one, two = mine.interface, its.interface
    # The socket for all addresses takes the port of each; IPv4 and IPv6 are apart.
    every = "::" if ":" in one else "0.0.0.0"  # noqa: S104  # not bound to: compared with
    return one == two or (every in (one, two) and (":" in one) == (":" in two))


def _read(listen: str) -> tuple[str, str, dict[str, str]]:
    """The kind of an endpoint, its first argument without a name, and those with one."""
    # The syntax of twisted.internet.endpoints: a backslash keeps a colon from dividing.
    text = listen.removeprefix(PROXIED).replace("\\:", "\0")
    kind, *words = [part.replace("\0", ":") for part in text.split(":")]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    return kind, next((word for word in words if "=" not in word), ""), named
