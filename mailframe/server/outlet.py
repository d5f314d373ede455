"""Writes replies to a transport, without a turn of the reactor where that is possible.

Twisted's `write` puts octets aside and asks the reactor to be told when the socket takes some: for
the short replies of SMTP that is most of the cost of sending them. A TCP socket nearly always takes
a reply at once, so it is offered to the socket directly as long as nothing waits before it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


class Outlet:
    """The way out of one connection."""

    __slots__ = ("_send", "_write")

    def __init__(self, transport: Any, *, tls: bool) -> None:
        """
        :param transport: where to write
        :param tls: it encrypts what is written, so that its socket must not be written to directly
        """
        self._write = transport.write
        # Not by a look for the method: wrappers, TLS among them, lend that of what they wrap.
        direct = isinstance(transport, Connection) and not tls
        self._send = transport.writeSomeData if direct else None

    def write(self, octets: bytes) -> None:
        """Send octets, in order."""
        if self._send is not None:
            sent = self._send(octets)
            if sent == len(octets):
                return
            # The socket is full or dead. From now on the transport sees to the order, and to
            # telling us of the end.
            self._send = None
            if isinstance(sent, int) and sent > 0:
                octets = octets[sent:]
        self._write(octets)
