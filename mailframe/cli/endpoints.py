"""Where a Twisted server endpoint string listens, as far as it is a TCP port."""

from __future__ import annotations

import attrs


@attrs.frozen
class Place:
    """A TCP port.

    :ivar interface: an IP address or a name
    """

    interface: str
    port: int


def listening_place(listen: str) -> Place | None:
    """Read ``tcp:25:interface=127.0.0.1``, ``tcp6:25`` and ``ssl:…``.

    :returns: ``None`` for endpoints of another kind, such as ``unix:`` and ``systemd:``
    """
    # The syntax of twisted.internet.endpoints: a backslash keeps a colon from dividing.
    parts = [part.replace("\0", ":") for part in listen.replace("\\:", "\0").split(":")]
    kind = parts[0]
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    named = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
    port = named.get("port") or next((part for part in parts[1:] if "=" not in part), "")
    if not (port.isascii() and port.isdigit()):
        return None
    return Place(named.get("interface") or ("::" if kind == "tcp6" else "0.0.0.0"), int(port))  # noqa: S104  # what Twisted takes when the string names none
