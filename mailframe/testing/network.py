"""A reactor whose time and network are virtual, for whole servers and for many hosts at once.

    reactor = VirtualReactor()
    serverFromString(reactor, "tcp:2525:interface=127.0.0.1").listen(factory)
    clientFromString(reactor, "tcp:127.0.0.1:2525").connect(other)
    reactor.advance(0)        # everything that happens without time passing
    reactor.advance(5 * 86400)  # five days, every timer at its own moment

`VirtualReactor.at` gives the reactor of another host of the same network, with an address of its
own:

    mx = reactor.at("192.0.2.1")
    serverFromString(mx, "tcp:25").listen(factory)

Nothing here touches a socket, a thread or the wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHostnameResolver,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.task import Clock
from zope.interface import implementer

from mailframe.testing.names import LOOPBACK, Names
from mailframe.testing.sockets import ListeningSocket, StreamSocket
from mailframe.testing.switch import Switch

# A program under test that calls itself for ever without time passing would hang the test run.
MAX_CALLS_AT_ONE_MOMENT = 1_000_000


class Stuck(AssertionError):
    """Calls make further calls without end while no time passes."""


@implementer(
    IReactorTime, IReactorTCP, IReactorFDSet, IReactorFromThreads, IReactorPluggableNameResolver
)
class VirtualHost:
    """The reactor as one host of a virtual network sees it; made by `VirtualReactor.at`.

    :ivar address: the host's own IP address
    """

    running = True

    def __init__(self, clock: VirtualReactor, switch: Switch, names: Names, address: str) -> None:
        self.address = address
        self._clock = clock
        self._switch = switch
        self._names = names
        self.nameResolver: IHostnameResolver = names
        self._triggers: dict[str, list[tuple[str, Callable[[], object]]]] = {}

    # --- IReactorTime ------------------------------------------------------------------------

    def seconds(self) -> float:
        """POSIX seconds of virtual time."""
        return self._clock.seconds()

    def monotonic(self) -> float:
        """Seconds of virtual time that have passed, whatever the time of day."""
        return self._clock.monotonic()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """Call something later, in virtual time."""
        return self._clock.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """What is still to be called, on every host of the network."""
        return self._clock.getDelayedCalls()

    # --- IReactorTCP -------------------------------------------------------------------------

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> _ListeningPort:
        """Listen; without an interface, on this host's address and on its loopback."""
        listening = _ListeningPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        """Connect; without ``bindAddress``, from this host's address."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    # --- IReactorFDSet -----------------------------------------------------------------------

    def addReader(self, reader: Any) -> None:
        """Called by Twisted's transports."""
        self._switch.watch(reader, reading=True)

    def addWriter(self, writer: Any) -> None:
        """Called by Twisted's transports."""
        self._switch.watch(writer, reading=False)

    def removeReader(self, reader: Any) -> None:
        """Called by Twisted's transports."""
        self._switch.unwatch(reader, reading=True)

    def removeWriter(self, writer: Any) -> None:
        """Called by Twisted's transports."""
        self._switch.unwatch(writer, reading=False)

    def removeAll(self) -> list[Any]:
        """Forget about every transport and port."""
        everything = list(dict.fromkeys([*self.getReaders(), *self.getWriters()]))
        for descriptor in everything:
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
        return everything

    def getReaders(self) -> list[Any]:
        """Transports and ports that read."""
        return self._switch.readers

    def getWriters(self) -> list[Any]:
        """Transports that have something to write."""
        return self._switch.writers

    # --- names, threads, start and stop ------------------------------------------------------

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Have another resolver answer for host names in endpoint strings."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def resolve(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:
        """The first address of a host name."""
        return self._names.resolve(name)

    def callFromThread(self, callable: Callable[..., object], *args: object, **kw: object) -> None:
        """Call something soon. There are no threads here; to be used by one thread alone."""
        self.callLater(0, callable, *args, **kw)

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kw: Any) -> None:
        """Call something now: this reactor always runs."""
        callable(*args, **kw)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., object], *args: Any, **kw: Any
    ) -> tuple[str, tuple[str, Callable[[], object]]]:
        """Call something ``before``, ``during`` or ``after`` the end of this host."""
        trigger = (phase, lambda: callable(*args, **kw))
        self._triggers.setdefault(eventType, []).append(trigger)
        return eventType, trigger

    def removeSystemEventTrigger(
        self, triggerID: tuple[str, tuple[str, Callable[[], object]]]
    ) -> None:
        """Undo `addSystemEventTrigger`."""
        self._triggers[triggerID[0]].remove(triggerID[1])

    def stop(self) -> Deferred[None]:
        """End this host: its shutdown triggers run, each phase when the one before is done."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        triggers = self._triggers.pop("shutdown", [])
        for phase in ("before", "during", "after"):
            due = [maybeDeferred(call) for at, call in triggers if at == phase]
            await gatherResults(due, consumeErrors=True)
        self.running = False


class VirtualReactor(Clock, VirtualHost):
    """The clock of a virtual network, and the reactor of its first host, at 127.0.0.1.

    :param now: the virtual time to begin at, POSIX seconds
    :param segment: how many octets arrive at once at the most; 1 shows every mistake in putting
        pieces together
    """

    def __init__(self, now: float = 1_700_000_000.0, segment: int | None = None) -> None:
        Clock.__init__(self)
        self.rightNow = now
        switch = Switch(self)
        switch.segment = segment
        self._jumped = 0.0
        VirtualHost.__init__(self, self, switch, Names(), LOOPBACK)

    # Clock's own, for VirtualHost would hand these to its clock, which is this very object.
    seconds = Clock.seconds
    callLater = Clock.callLater
    getDelayedCalls = Clock.getDelayedCalls

    def monotonic(self) -> float:
        """Seconds of virtual time that have passed, whatever the time of day; see `jump`."""
        return self.rightNow - self._jumped

    def jump(self, seconds: float) -> None:
        """Set the time of day, forward or back, without any time passing.

        What is to be called later is called when so much time has passed as if nothing had been
        done: so it is in a process with a `mailframe.clocks.SteadyClock`.
        """
        self._jumped += seconds
        self.rightNow += seconds
        for call in self.calls:
            call.delay(seconds)

    def at(self, address: str) -> VirtualHost:
        """The reactor of the host with this IP address."""
        return VirtualHost(self, self._switch, self._names, address)

    def name(self, host: str, *addresses: str) -> None:
        """Let a host name in an endpoint string stand for these IP addresses."""
        self._names.known[host] = addresses

    def down(self, address: str) -> None:
        """Stop a host: its connections break, and attempts at others are refused."""
        self._switch.set_fault(address, "down")

    def unreachable(self, address: str) -> None:
        """Pull a host's cable: what is sent is held back, and attempts run into their timeout."""
        self._switch.set_fault(address, "unreachable")

    def up(self, address: str) -> None:
        """End `down` or `unreachable`."""
        self._switch.set_fault(address, None)

    def cut(self, address: str) -> None:
        """Break the connections that a host has now."""
        self._switch.cut(address)

    def advance(self, amount: float) -> None:
        """Let time pass, with every call made at its own moment, in order.

        :param amount: seconds; 0 does all there is to do now
        :raises Stuck: there is no end to what there is to do at one moment
        """
        end = self.rightNow + amount
        calls = 0
        while self.calls and self.calls[0].getTime() <= end:
            call = self.calls.pop(0)
            if call.getTime() > self.rightNow:
                self.rightNow = call.getTime()
                calls = 0
            calls += 1
            if calls > MAX_CALLS_AT_ONE_MOMENT:
                raise Stuck(f"{call.func!r} is called again and again")
            call.called = 1
            call.func(*call.args, **call.kw)
        self.rightNow = end

    def pump(self, timings: Iterable[float] = (0.0,)) -> None:
        """Do all there is to do now; or advance by each of ``timings`` in turn."""
        super().pump(timings)


class _VirtualTls:
    """STARTTLS in virtual time, to be mixed into Twisted's transports."""

    reactor: Any
    protocol: Any

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """Begin TLS; Twisted's own gathers small writes by the global reactor's clock."""
        begin: Any = super()
        begin.startTLS(contextFactory, normal)
        self.protocol._aggregator._clock = self.reactor


class _Served(_VirtualTls, tcp.Server):
    """Twisted's transport of an accepted connection."""


class _ListeningPort(tcp.Port):
    """Twisted's listening port on a socket in memory."""

    reactor: Any
    transport = _Served

    def createInternetSocket(self) -> Any:
        return ListeningSocket(self.reactor._switch, self.reactor.address)


class _Client(_VirtualTls, tcp.Client):
    """Twisted's client transport on a socket in memory."""

    connector: Any

    def createInternetSocket(self) -> Any:
        # Its own reactor is not set yet when Twisted asks for the socket.
        host = self.connector.reactor
        return StreamSocket(host._switch, host.address)


class _Connector(tcp.Connector):
    """Twisted's connector, for such a client."""

    def _makeTransport(self) -> _Client:
        make: Any = _Client  # whose constructor Twisted has not annotated
        client: _Client = make(self.host, self.port, self.bindAddress, self, self.reactor)
        return client
