"""Listening sockets: ``listen = "tcp:25"`` examined beforehand, and opened."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpointStringParser,
)
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.authorisation.networks import Networks
from mailframe.config_errors import nearest, shown
from mailframe.server.proxied import ProxyFactory

log = Logger()

# Parsing these has no side effects and needs nothing of a reactor, so that a dummy will do.
_PURE = ("tcp", "tcp6", "unix")
_BUILT_IN = (*_PURE, "ssl")
PROXIED = "haproxy:"  # before the endpoint at which proxies connect, and send the PROXY header
_PORT = re.compile(r"(?:^tcp6?:|:)(?:port=)?(\d+)(?::|$)")
_MODE = re.compile(r":mode=([^:]*)")
_OCTAL = re.compile(r"0?[0-7]{3}")
_WANTED = 'a Twisted server endpoint string such as "tcp:25" or "tcp:25:interface=127.0.0.1"'


def check_endpoint(listen: str) -> str:
    """Why this is not a Twisted server endpoint string, or ``""``."""
    listen = listen.removeprefix(PROXIED)
    kind, colon, _ = listen.partition(":")
    if kind in _PURE:
        mode = _MODE.search(listen) if kind == "unix" else None
        if mode is not None and not _OCTAL.fullmatch(mode[1]):
            return f"{shown(listen)}: {shown(mode[1])} is no mode, which is octal, such as mode=660"
        return "" if _parses(listen) else f"{shown(listen)} is not {_WANTED}"
    known = {*_BUILT_IN, *(p.prefix for p in getPlugins(IStreamServerEndpointStringParser))}
    if kind in known and colon:
        return ""
    guess = nearest(kind, known)
    hint = f"; did you mean {guess!r}?" if guess and guess != kind else ""
    return f"{shown(listen)} is not {_WANTED}{hint}"


def _endpoint(reactor: Any, listen: str) -> Any:
    # twisted.internet.endpoints has no annotations here
    return serverFromString(reactor, listen)  # type: ignore[no-untyped-call]


def _parses(listen: str) -> bool:
    try:
        _endpoint(object(), listen)
    except (ValueError, TypeError, LookupError):  # what its parsers raise for a wrong argument
        return False
    port = _PORT.search(listen)
    return port is None or int(port[1]) <= 65535


@implementer(IProtocolFactory, ILoggingContext)
class Door:
    """What a listening socket is opened with: it hands each client to the factory of the moment.

    So sockets can be opened before privileges are dropped and before there is anything that could
    serve a client, and whoever serves can be exchanged without closing them.

    :param name: the ``name`` of the ``[[server]]``

    :ivar proxies: who may speak for clients at its ``haproxy:`` endpoints
    """

    noisy = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.proxies = Networks(())
        self._factory: IProtocolFactory | None = None
        self._ports = 0

    def logPrefix(self) -> str:
        """How the server is called in log lines of its ports."""
        return self.name

    def lead_to(self, factory: IProtocolFactory | None) -> None:
        """Have this factory serve who comes from now on; ``None``: nobody is let in."""
        previous, self._factory = self._factory, factory
        if self._ports:
            if factory is not None:
                factory.doStart()
            if previous is not None:
                previous.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Let a client in."""
        return None if self._factory is None else self._factory.buildProtocol(addr)

    def behind_proxies(self, clock: IReactorTime) -> IProtocolFactory:
        """What a ``haproxy:`` endpoint is opened with: proxies bring their clients through it."""
        return _ProxyDoor(self, clock)

    def doStart(self) -> None:
        """A port was opened."""
        self._ports += 1
        if self._ports == 1 and self._factory is not None:
            self._factory.doStart()

    def doStop(self) -> None:
        """A port was closed."""
        self._ports -= 1
        if not self._ports and self._factory is not None:
            self._factory.doStop()


@implementer(ILoggingContext)
class _ProxyDoor(ProxyFactory):
    """The way for proxies through a door."""

    def __init__(self, door: Door, clock: IReactorTime) -> None:
        super().__init__(door.buildProtocol, lambda: door.proxies, door.name, clock)
        self._door = door

    def logPrefix(self) -> str:
        """See `Door.logPrefix`."""
        return self._door.logPrefix()

    def doStart(self) -> None:
        """See `Door.doStart`."""
        self._door.doStart()

    def doStop(self) -> None:
        """See `Door.doStop`."""
        self._door.doStop()


class CannotListen(Exception):
    """A listening socket can't be opened. ``str(error)`` names the server, its endpoint and why."""


def open_endpoint(reactor: Any, listen: str, door: Door) -> Deferred[IListeningPort]:
    """Open one listening socket.

    :returns: the port; fails with `CannotListen`
    """

    def failed(failure: Failure) -> NoReturn:
        error = failure.value
        fault = getattr(error, "socketError", error)
        reason = getattr(fault, "strerror", None) or fault
        in_use = getattr(fault, "errno", None) == errno.EADDRINUSE
        if in_use and listen.removeprefix(PROXIED).startswith("tcp6:"):
            reason = f'{reason}; "tcp6:" takes IPv4 as well, and needs no "tcp:" beside it'
        raise CannotListen(f'[[server]] "{door.name}" can\'t listen on "{listen}": {reason}')

    def listening() -> Deferred[IListeningPort]:
        factory: IProtocolFactory = door
        if listen.startswith(PROXIED):
            factory = door.behind_proxies(reactor)
        opened: Deferred[IListeningPort]
        opened = _endpoint(reactor, listen.removeprefix(PROXIED)).listen(factory)
        return opened

    return maybeDeferred(listening).addErrback(failed)


Opener: TypeAlias = "Callable[[Any, str, Door], Deferred[IListeningPort]]"


class Doors:
    """The doors of all listening servers, and the sockets they stand open with.

    :param reactor: opens the sockets
    :param opener: how, if not by `open_endpoint`
    """

    def __init__(self, reactor: Any, opener: Opener = open_endpoint) -> None:
        self._reactor = reactor
        self._opener = opener
        self._doors: dict[str, Door] = {}
        self._ports: list[IListeningPort] = []
        self._closed = False

    def open(self, name: str, listen: str) -> None:
        """Open a socket of a server.

        :raises CannotListen: it can't be opened, as far as that shows at once; what an endpoint
            that takes its time finds out later is logged
        """
        door = self._doors.setdefault(name, Door(name))
        errors: list[Failure] = []
        opened = self._opener(self._reactor, listen, door)
        at_once = True

        def failed(failure: Failure) -> None:
            if at_once:
                errors.append(failure)
            else:
                log.critical("{reason}", reason=failure.getErrorMessage())

        opened.addCallbacks(self._opened, failed)
        at_once = False
        if errors:
            errors[0].raiseException()

    def _opened(self, port: IListeningPort) -> None:
        if self._closed:
            port.stopListening()
        else:
            self._ports.append(port)

    def lead_to(
        self,
        factories: Mapping[str, IProtocolFactory],
        proxies: Mapping[str, Networks] | None = None,
    ) -> None:
        """Have these factories serve who comes from now on, each at the server of its name.

        :param proxies: who may speak for clients, by the servers' names
        """
        for name, factory in factories.items():
            self._doors[name].proxies = (proxies or {}).get(name, Networks(()))
            self._doors[name].lead_to(factory)

    def addresses(self) -> tuple[IAddress, ...]:
        """Where the sockets listen, in the order in which they were opened."""
        return tuple(port.getHost() for port in self._ports)

    def close(self) -> Deferred[Any]:
        """Close the sockets; fires when they are. Whoever is connected stays so."""
        self._closed = True
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])
