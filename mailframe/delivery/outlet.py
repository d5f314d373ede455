"""Writes to a server past the transport's buffer, where nothing waits in it.

Twisted's `write` asks the reactor to be told when the socket takes octets: for the few of a command
or a small message, which a socket takes at once, that is most of the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection


class Outlet:
    """The way out of one connection.

    :param transport: where to write
    :param encrypted: it has TLS, so that its socket must not be written to
    """

    __slots__ = ("_direct", "_send", "_transport")

    def __init__(self, transport: Any, *, encrypted: bool) -> None:
        self._transport = transport
        # Not by a look for the method: wrappers lend that of what they wrap.
        self._direct = isinstance(transport, Connection) and not encrypted
        self._send: Callable[[bytes], Any] | None = None

    def all_taken(self) -> None:
        """Nothing waits: the other side has answered to all that was written."""
        if self._direct:
            self._send = self._transport.writeSomeData

    def use_buffer(self, *, for_good: bool = False) -> None:
        """Leave the order to the transport, until `all_taken` or for good."""
        self._send = None
        if for_good:
            self._direct = False

    def write(self, octets: bytes) -> None:
        """Write, in order."""
        if self._send is not None:
            sent = self._send(octets)
            if sent == len(octets):
                return
            self._send = None  # the socket is full or dead: the rest is the transport's work
            if isinstance(sent, int) and sent > 0:
                octets = octets[sent:]
        self._transport.write(octets)
