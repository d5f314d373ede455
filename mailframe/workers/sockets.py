"""Listening sockets that several processes share.

The supervising process opens them, from endpoint strings as ever, and never accepts anybody. Each
worker inherits the descriptors, reads the same endpoint strings, and where an endpoint would open
a socket gives it the inherited one instead. So whatever an endpoint wraps around its socket (TLS,
the PROXY protocol) is there in every worker.

All workers wait for connections at the same sockets. Each takes one connection at a time, then
looks after those that it has, and lets others go first that have fewer
(`mailframe.workers.balance`).
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.listening import CannotListen, Door, Doors, open_endpoint
from mailframe.workers.balance import Balance

log = Logger()

OTHERS_FIRST = 0.005  # seconds that a worker with more clients leaves the next one to the others
AGAIN = 1.0  # seconds until a process that had no descriptor left tries again to accept
_SYSTEMD = re.compile(r"(^|:)systemd:.*", re.DOTALL)


# --- in the supervising process --------------------------------------------------------------


class SharedSockets:
    """Opens sockets for others.

    :param reactor: opens them
    """

    def __init__(self, reactor: Any) -> None:
        self._doors = Doors(reactor, self._open)
        self._ports: list[Any] = []

    def open(self, name: str, listen: str) -> None:
        """Open a socket of a server.

        :raises CannotListen: it can't be opened, or not be shared
        """
        before = len(self._ports)
        self._doors.open(name, listen)
        if len(self._ports) == before:
            raise CannotListen(f"{_cannot(name, listen)} it does not open at once")

    def _open(self, reactor: Any, listen: str, door: Door) -> Deferred[IListeningPort]:
        def opened(port: Any) -> Any:
            if not hasattr(port, "fileno") or not hasattr(port, "stopReading"):
                port.stopListening()
                raise CannotListen(f"{_cannot(door.name, listen)} it is no socket")
            # Nobody is accepted here; who comes meanwhile waits for a worker.
            port.stopReading()
            self._ports.append(port)
            return port

        return open_endpoint(reactor, listen, door).addCallback(opened)

    def descriptors(self) -> tuple[int, ...]:
        """The sockets, in the order in which they were opened."""
        return tuple(port.fileno() for port in self._ports)

    def addresses(self) -> tuple[IAddress, ...]:
        """Where they listen."""
        return self._doors.addresses()

    def close(self) -> Deferred[Any]:
        """Close them; fires when they are."""
        self._ports.clear()
        return self._doors.close()


def _cannot(name: str, listen: str) -> str:
    return f'[[server]] "{name}": several processes can\'t share "{listen}", for'


# --- in a worker -----------------------------------------------------------------------------


class InheritedSockets:
    """Gives each endpoint its inherited socket.

    :param descriptors: in the order in which the endpoints are going to be opened
    :param balance: what this worker has beside the others
    """

    def __init__(self, descriptors: Sequence[int], balance: Balance) -> None:
        self._descriptors: Iterator[int] = iter(descriptors)
        self._balance = balance

    def open(self, reactor: Any, listen: str, door: Door) -> Deferred[IListeningPort]:
        """Open the next endpoint; see `mailframe.listening.open_endpoint`."""
        inherited = inherit(next(self._descriptors))
        # What systemd passed is not to be had again by its own name.
        listen = _SYSTEMD.sub(r"\1tcp:0", listen)
        return open_endpoint(_Adopting(reactor, inherited, self._balance), listen, door)


def inherit(descriptor: int) -> socket.socket:
    """An inherited socket, which children of this process don't inherit."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


class _Adopting:
    """A reactor that has one socket to listen at, whatever it is asked for."""

    def __init__(self, reactor: Any, inherited: socket.socket, balance: Balance) -> None:
        self._reactor = reactor
        self._socket = inherited
        self._balance = balance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port = SharedPort(self._reactor, self._socket, factory, self._balance)
        port.startListening()
        return port

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        return self._listen(factory)

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> IListeningPort:
        return self._listen(factory)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        return self._listen(TLSMemoryBIOFactory(contextFactory, False, factory))


@implementer(IListeningPort, IReadDescriptor)
class SharedPort:
    """A port at a socket that other processes accept from as well.

    Closing it leaves the socket to the others as it is.

    :param reactor: waits for connections and adopts them
    :param listening: the socket, which does not block
    :param factory: whom it lets in
    :param balance: what this worker has beside the others
    """

    def __init__(
        self, reactor: Any, listening: socket.socket, factory: IProtocolFactory, balance: Balance
    ) -> None:
        self._reactor = reactor
        self._socket = listening
        self._factory = factory
        self._balance = balance
        self._host = _address(listening)
        self._pause: Any = None
        self._open = False

    def startListening(self) -> None:
        """Begin to accept."""
        self._factory.doStart()
        self._open = True
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """Accept nobody any more."""
        self.connectionLost(None)
        return succeed(None)

    def getHost(self) -> IAddress:
        """Where it listens."""
        return self._host

    def fileno(self) -> int:
        """The socket's descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """How it is called in log lines."""
        return "SharedPort"

    def doRead(self) -> None:
        """Take one connection, unless that is for others to do."""
        if self._balance.is_ahead():
            self._wait(OTHERS_FIRST, self._take)
        else:
            self._take()

    def _take(self) -> None:
        """Take one connection; another process may have been quicker."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno == errno.EINVAL:  # who opened it has shut it down for all
                self._reactor.removeReader(self)
                return
            self._cannot(error)
            return
        with connection:
            connection.setblocking(False)
            try:
                taken = self._reactor.adoptStreamConnection(
                    connection.fileno(), connection.family, self._factory
                )
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):  # it took the last one
                    self._cannot(error)
                else:
                    log.debug("a connection was lost at once: {reason}", reason=error.strerror)
            except Exception:
                log.failure("a connection can't be served")
            else:
                if taken is not None:
                    self._balance.took(taken)

    def _cannot(self, error: OSError) -> None:
        """Leave whoever comes to the others for a while."""
        log.error("can't accept connections at present: {reason}", reason=error.strerror)
        self._wait(AGAIN)

    def _wait(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        def go_on() -> None:
            self._pause = None
            self._reactor.addReader(self)
            then()

        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(seconds, go_on)

    def connectionLost(self, reason: Failure | None) -> None:
        """The socket is not to be used any more. May be called again."""
        if not self._open:
            return
        self._open = False
        if self._pause is not None:
            self._pause.cancel()
        self._reactor.removeReader(self)
        self._socket.close()
        self._factory.doStop()


def _address(listening: socket.socket) -> IAddress:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return UNIXAddress(name)
    if listening.family == socket.AF_INET6:
        return IPv6Address("TCP", *name)
    return IPv4Address("TCP", *name)
