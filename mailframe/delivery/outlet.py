"""Writes to a server past the transport's buffer, as long as nothing ever waited in it.

Twisted's `write` asks the reactor to be told when the socket takes octets: for the few of a command
or a small message, which a socket takes at once, that is most of the cost. Once the transport holds
something it sees to the order for the rest of the connection: that a server answers does not show
that it has read what it answers to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection


class Outlet:
    """The way out of one connection.

    :param transport: where to write; nothing was written to it yet
    :param encrypted: it has TLS, so that its socket must not be written to
    """

    __slots__ = ("_send", "_transport")

    def __init__(self, transport: Any, *, encrypted: bool) -> None:
        self._transport = transport
        # Not by a look for the method: wrappers lend that of what they wrap.
        direct = isinstance(transport, Connection) and not encrypted
        self._send: Callable[[bytes], Any] | None = transport.writeSomeData if direct else None

    def use_buffer(self) -> None:
        """Leave the order to the transport from now on."""
        self._send = None

    def write(self, octets: bytes) -> None:
        """Write, in order."""
        if self._send is not None:
            sent = self._send(octets)
            if sent == len(octets):
                return
            self._send = None  # the socket is full or dead
            if isinstance(sent, int) and sent > 0:
                octets = octets[sent:]
        self._transport.write(octets)
