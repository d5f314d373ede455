"""Connections that come through a proxy: who the client is stands in the PROXY header.

Unlike Twisted's wrapper for ``haproxy:`` endpoints, this one lets in only proxies that are trusted,
waits for the header before the session begins, so that the client is greeted, counted and judged by
its own address, and waits no longer than `HEADER_TIME`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from mailframe.authorisation.networks import Networks
from mailframe.server.peer import address_of
from mailframe.wire.proxy_header import Endpoint, ProxyHeader, ProxyHeaderError

log = Logger()

HEADER_TIME = 10.0  # seconds that a proxy has for its header


class ProxyFactory(Factory):
    """Lets trusted proxies in, and hands over whom they speak for."""

    noisy = False

    def __init__(
        self,
        build: Callable[[IAddress], IProtocol | None],
        trusted: Callable[[], Networks],
        server: str,
        clock: IReactorTime,
    ) -> None:
        """
        :param build: makes the protocol for a client
        :param trusted: the networks of the proxies, now
        :param server: the server's name, for the log
        """
        self.build = build
        self.server = server
        self.clock = clock
        self._trusted = trusted

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A connection; ``None`` when it is from no proxy, which closes it."""
        address, _ = address_of(addr)
        if self._trusted().find(address) is None:
            log.warn(
                "refused {address} on {server}: it is none of the proxies",
                address=address,
                server=self.server,
            )
            return None
        return ProxiedProtocol(self)


@implementer(IHalfCloseableProtocol)
class ProxiedProtocol(Protocol):
    """Between a proxy's connection and the client's session, for which it is the transport."""

    disconnecting = False

    def __init__(self, factory: ProxyFactory) -> None:
        """:param factory: what let it in"""
        self.factory: ProxyFactory = factory
        self._header: ProxyHeader | None = ProxyHeader()
        self._timer: IDelayedCall | None = None
        self._session: IProtocol | None = None
        self._peer: IAddress | None = None
        self._host: IAddress | None = None

    # --- the proxy's side ---------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Wait for the header."""
        directlyProvides(self, providedBy(self.transport))
        self._timer = self.factory.clock.callLater(HEADER_TIME, self._refuse, "it took too long")

    def dataReceived(self, data: bytes) -> None:
        """The header, or what the client says."""
        if self._session is not None:
            self._session.dataReceived(data)
            return
        if self._header is None:
            return  # refused
        try:
            said = self._header.feed(data)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if said is not None:
            self._begin(said.source, said.destination, said.rest)

    def _begin(self, source: Endpoint | None, destination: Endpoint | None, rest: bytes) -> None:
        self._stop_waiting()
        transport: Any = self.transport
        self._peer = _address(source) or transport.getPeer()
        self._host = _address(destination) or transport.getHost()
        assert self._peer is not None
        session = self.factory.build(self._peer)
        if session is None:
            self.loseConnection()
            return
        self._session = session
        session.makeConnection(self)  # type: ignore[arg-type]  # it provides what the transport does
        if rest:
            session.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._stop_waiting()
        log.warn(
            "refused a connection through the proxy {proxy} on {server}: {reason}",
            proxy=address_of(self._transport().getPeer())[0],
            server=self.factory.server,
            reason=reason,
        )
        transport = self._transport()
        getattr(transport, "abortConnection", transport.loseConnection)()

    def _stop_waiting(self) -> None:
        self._header = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop_waiting()
        session, self._session = self._session, None
        if session is not None:
            session.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """The other side sends no more."""
        session = IHalfCloseableProtocol(self._session, None)
        if session is not None:
            session.readConnectionLost()
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Only who closes that side alone is told of it, and nobody here does."""

    # --- the session's side -------------------------------------------------------------------

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._peer or self._transport().getPeer()

    def getHost(self) -> IAddress:
        """Where the client connected to."""
        return self._host or self._transport().getHost()

    def loseConnection(self) -> None:
        """Close, once everything is sent."""
        self.disconnecting = True
        self._transport().loseConnection()

    def _transport(self) -> Any:
        return self.transport

    def __getattr__(self, name: str) -> Any:
        """What else a transport can."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.transport, name)


def _address(endpoint: Endpoint | None) -> IAddress | None:
    if endpoint is None:
        return None
    if ":" in endpoint.host:
        return IPv6Address("TCP", endpoint.host, endpoint.port)
    return IPv4Address("TCP", endpoint.host, endpoint.port)
