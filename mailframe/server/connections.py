"""The connections to one listening server: counted, limited, and brought to an end."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mailframe.server.limits import Limits
from mailframe.server.tally import Tally

log = Logger()


class Connection(Protocol):
    """What is asked of a connection at the end."""

    def shut_down(self) -> None:
        """Finish what is under way, then close."""

    def drop(self) -> None:
        """Close at once."""


C = TypeVar("C", bound=Connection)


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What one party is likely to have whole: the IPv4 /24 or IPv6 /64 of an address.

    :param address: in its shortest form; what is no IP address is a network by itself
    """
    try:
        prefix = 64 if ":" in address else 24
        return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
    except ValueError:
        return address


class Connections(Generic[C]):
    """Those that are open.

    :ivar draining: the server stops
    """

    def __init__(
        self, *, server: str, limits: Limits, clock: IReactorTime, tally: Tally | None = None
    ) -> None:
        """
        :param server: the server's name, for the log
        :param tally: what is counted; when ``None``, that of this object alone
        """
        self.draining = False
        self._server = server
        self._limits = limits
        self._clock = clock
        self._open: set[C] = set()
        self._tally = Tally() if tally is None else tally
        self._drained: Deferred[None] | None = None
        self._drain_limit: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def __iter__(self) -> Iterator[C]:
        return iter(self._open)

    def arrived(self, connection: C, address: str) -> str | None:
        """A connection was made. It counts until `left`, even if it is sent away.

        :returns: the limit that it is beyond, or ``None``
        """
        full = self._tally.total >= self._limits.connections
        self._open.add(connection)
        self._tally.total += 1
        return self._count(address, "connections" if full else None)

    def moved(self, before: str, address: str) -> str | None:
        """A connection turned out to be from another address, behind a proxy.

        :returns: the limit of that address that it is beyond, or ``None``
        """
        self._forget(before)
        return self._count(address, None)

    def _count(self, address: str, beyond: str | None) -> str | None:
        limits, tally = self._limits, self._tally
        network = network_of(address)
        if beyond is None:
            if tally.count(address) >= limits.connections_per_address:
                beyond = "connections_per_address"
            elif tally.count(network) >= limits.connections_per_network:
                beyond = "connections_per_network"
        tally.add(address)
        if network != address:
            tally.add(network)
        if beyond is not None:
            self._refused(address, beyond)
        return beyond

    def left(self, connection: C, address: str) -> None:
        """A connection is over."""
        if connection in self._open:
            self._open.remove(connection)
            self._tally.total -= 1
        self._forget(address)
        if not self._open:
            self._finish()

    def _forget(self, address: str) -> None:
        network = network_of(address)
        self._tally.remove(address)
        if network != address:
            self._tally.remove(network)

    def _refused(self, address: str, rule: str) -> None:
        log.info(
            "refused connection from {address} on {server}: over the limit {rule!r}",
            address=address,
            server=self._server,
            rule=rule,
        )

    def drain(self, seconds: float) -> Deferred[None]:
        """Bring all to an end.

        :param seconds: how long what is under way may take; then the connections are cut
        :returns: fires when no connection is left, or all have been cut
        """
        if self._drained is not None:
            return self._drained
        self.draining = True
        for connection in list(self._open):
            connection.shut_down()
        if not self._open:
            return succeed(None)
        self._drained = Deferred()
        self._drain_limit = self._clock.callLater(seconds, self._cut)
        return self._drained

    def _cut(self) -> None:
        self._drain_limit = None
        for connection in list(self._open):
            connection.drop()
        self._finish()

    def _finish(self) -> None:
        drained, self._drained = self._drained, None
        if self._drain_limit is not None:
            self._drain_limit.cancel()
            self._drain_limit = None
        if drained is not None:
            drained.callback(None)
