"""The connections to one listening server: counted, limited, and brought to an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mailframe.server.limits import Limits

log = Logger()


class Connection(Protocol):
    """What is asked of a connection at the end."""

    def shut_down(self) -> None:
        """Finish what is under way, then close."""

    def drop(self) -> None:
        """Close at once."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """Those that are open.

    :ivar draining: the server stops
    """

    def __init__(self, *, server: str, limits: Limits, clock: IReactorTime) -> None:
        """:param server: the server's name, for the log"""
        self.draining = False
        self._server = server
        self._limits = limits
        self._clock = clock
        self._open: set[C] = set()
        self._of_address: Counter[str] = Counter()
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
        limits = self._limits
        beyond = None
        if len(self._open) >= limits.connections:
            beyond = "connections"
        elif self._of_address[address] >= limits.connections_per_address:
            beyond = "connections_per_address"
        self._open.add(connection)
        self._of_address[address] += 1
        if beyond is not None:
            self._refused(address, beyond)
        return beyond

    def moved(self, before: str, address: str) -> str | None:
        """A connection turned out to be from another address, behind a proxy.

        :returns: the limit of that address that it is beyond, or ``None``
        """
        self._forget(before)
        beyond = None
        if self._of_address[address] >= self._limits.connections_per_address:
            beyond = "connections_per_address"
            self._refused(address, beyond)
        self._of_address[address] += 1
        return beyond

    def left(self, connection: C, address: str) -> None:
        """A connection is over."""
        self._open.discard(connection)
        self._forget(address)
        if not self._open:
            self._finish()

    def _forget(self, address: str) -> None:
        self._of_address[address] -= 1
        if self._of_address[address] <= 0:
            del self._of_address[address]

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
