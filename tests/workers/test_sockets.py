"""Covers mailframe.workers.sockets."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe import listening
from mailframe.listening import CannotListen, Door, Doors
from mailframe.testing.network import VirtualReactor
from mailframe.workers import sockets
from mailframe.workers.balance import Balance, Counts
from mailframe.workers.sockets import (
    AGAIN,
    OTHERS_FIRST,
    InheritedSockets,
    SharedPort,
    SharedSockets,
    inherit,
)


class SharedSocketsTests(SynchronousTestCase):
    """In the supervising process."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.sockets = SharedSockets(self.reactor)

    def test_open(self) -> None:
        """Sockets must listen, and the supervising process never accept anybody."""
        self.sockets.open("mx", "tcp:25")
        self.sockets.open("mx", "tcp:26")
        self.assertEqual(len(set(self.sockets.descriptors())), 2)
        self.assertEqual([getattr(a, "port", 0) for a in self.sockets.addresses()], [25, 26])
        self.assertEqual(self.reactor.getReaders(), [])
        with self.assertRaises(CannotListen):
            self.sockets.open("other", "tcp:25")
        closed = self.sockets.close()
        self.reactor.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.sockets.descriptors(), ())
        SharedSockets(self.reactor).open("mx", "tcp:25")

    def unusual(self, opened: Deferred[Any]) -> str:
        """What is said of an endpoint that opens in its own way."""

        class Unusual:
            def listen(self, factory: object) -> Deferred[Any]:
                return opened

        self.patch(listening, "serverFromString", lambda reactor, text: Unusual())
        with self.assertRaises(CannotListen) as caught:
            self.sockets.open("mx", "onion:25")
        return str(caught.exception)

    def test_no_socket(self) -> None:
        """What has no descriptor can't be inherited: better said than found out by clients."""
        stopped: list[None] = []

        class Port:
            def stopListening(self) -> None:
                stopped.append(None)

        said = self.unusual(succeed(Port()))
        self.assertIn('several processes can\'t share "onion:25", for it is no socket', said)
        self.assertEqual(stopped, [None])

    def test_not_at_once(self) -> None:
        """Workers are started with the sockets that are there."""
        self.assertIn("for it does not open at once", self.unusual(Deferred()))


class FakeTransport:
    """A client's connection."""

    connected = 1


class FakeReactor(Clock):
    """Notes what it is asked to watch and to adopt."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.adopted: list[tuple[int, int, Any]] = []
        self.trouble: Exception | None = None
        self.refuses = False
        self.connections: list[FakeTransport] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> Any:
        if self.trouble:
            raise self.trouble
        self.adopted.append((descriptor, family, factory))
        if self.refuses:
            return None
        self.connections.append(FakeTransport())
        return self.connections[-1]


class FakeConnection:
    """What a fake socket accepts."""

    family = socket.AF_INET

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.log.append("closed")

    def setblocking(self, flag: bool) -> None:
        self.log.append(f"blocking {flag}")

    def fileno(self) -> int:
        return 77


class FakeSocket:
    """A listening socket with clients or errors that wait."""

    def __init__(self, family: int = socket.AF_INET, name: Any = ("127.0.0.1", 25)) -> None:
        self.family = family
        self.name = name
        self.waiting: list[Any] = []
        self.closed = 0

    def accept(self) -> Any:
        found = self.waiting.pop(0) if self.waiting else BlockingIOError()
        if isinstance(found, Exception):
            raise found
        return found, ("192.0.2.1", 1025)

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def getsockname(self) -> Any:
        return self.name

    def close(self) -> None:
        self.closed += 1


class SharedPortTests(SynchronousTestCase):
    """A worker's port."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.socket: Any = FakeSocket()
        self.factory = Factory.forProtocol(Protocol)
        self.counts = Counts(2)
        self.addCleanup(self.counts.close)
        self.balance = Balance(self.counts, 1)
        self.balance.begin()
        self.port = SharedPort(self.reactor, self.socket, self.factory, self.balance)
        self.port.startListening()
        self.log: list[str] = []

    def test_interfaces(self) -> None:
        """Twisted's reactors must be able to use it."""
        verifyObject(IListeningPort, self.port)
        verifyObject(IReadDescriptor, self.port)
        self.assertEqual((self.port.fileno(), self.port.logPrefix()), (7, "SharedPort"))

    def test_one_at_a_time(self) -> None:
        """A worker that took all that wait would leave nothing for the others to do."""
        self.socket.waiting = [FakeConnection(self.log), FakeConnection(self.log)]
        self.port.doRead()
        self.assertEqual(self.reactor.adopted, [(77, socket.AF_INET, self.factory)])
        self.assertEqual(self.log, ["blocking False", "closed"])
        self.port.doRead()
        self.assertEqual(len(self.reactor.adopted), 2)

    def test_others_first(self) -> None:
        """Who has more clients than another must leave it the next, but not for long."""
        self.counts.set(2, 0)
        self.socket.waiting = [FakeConnection(self.log) for _ in range(4)]
        for _ in range(2):
            self.port.doRead()
        self.assertEqual(len(self.reactor.adopted), 2)
        self.port.doRead()
        self.assertEqual((len(self.reactor.adopted), self.reactor.readers), (2, []))
        self.reactor.advance(OTHERS_FIRST)
        self.assertEqual((len(self.reactor.adopted), self.reactor.readers), (3, [self.port]))
        self.counts.set(2, 1)
        self.reactor.connections[0].connected = 0
        self.port.doRead()
        self.assertEqual(len(self.reactor.adopted), 4)

    def test_refused(self) -> None:
        """Who was turned away is no client that somebody has."""
        self.reactor.refuses = True
        self.counts.set(2, 5)
        self.socket.waiting = [FakeConnection(self.log)]
        self.port.doRead()
        self.assertEqual((len(self.reactor.adopted), self.counts.least()), (1, 0))

    def test_somebody_was_quicker(self) -> None:
        """Most of the time another worker has taken the client."""
        self.socket.waiting = [BlockingIOError(), ConnectionAbortedError()]
        with capturedLogs() as events:
            self.port.doRead()
            self.port.doRead()
        self.assertEqual(events, [])
        self.assertEqual(self.reactor.readers, [self.port])

    def test_no_descriptor_left(self) -> None:
        """Must neither spin nor be deaf for ever."""
        self.socket.waiting = [OSError(errno.EMFILE, "Too many open files")]
        with capturedLogs() as events:
            self.port.doRead()
        self.assertIn("Too many open files", events[0]["reason"])
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(AGAIN)
        self.assertEqual(self.reactor.readers, [self.port])

    def test_the_last_descriptor(self) -> None:
        """Accepting took it, and none is left to serve with: one client after the other would be
        taken and dropped, while another process might serve them.
        """
        self.reactor.trouble = OSError(errno.EMFILE, "Too many open files")
        self.socket.waiting = [FakeConnection(self.log)]
        with capturedLogs() as events:
            self.port.doRead()
        self.assertIn("Too many open files", events[0]["reason"])
        self.assertEqual((self.log.count("closed"), self.reactor.readers), (1, []))
        self.reactor.advance(AGAIN)
        self.assertEqual(self.reactor.readers, [self.port])

    def test_stop_while_pausing(self) -> None:
        """A port that is closed must not come back."""
        self.socket.waiting = [OSError(errno.ENFILE, "x")]
        self.port.doRead()
        self.port.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_shut_down_by_its_owner(self) -> None:
        """When the supervising process closes its ports, that is no reason to complain."""
        self.socket.waiting = [OSError(errno.EINVAL, "Invalid argument")]
        with capturedLogs() as events:
            self.port.doRead()
        self.assertEqual((events, self.reactor.readers), ([], []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_trouble_with_a_connection(self) -> None:
        """A client that has left already, or a bug, must not end the port."""
        for trouble, level in ((OSError(107, "not connected"), "debug"), (KeyError(), "critical")):
            self.reactor.trouble = trouble
            self.socket.waiting = [FakeConnection(self.log)]
            with capturedLogs() as events:
                self.port.doRead()
            self.assertEqual([event["log_level"].name for event in events], [level])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.log.count("closed"), 2)
        self.assertEqual(self.reactor.readers, [self.port])

    def test_stop(self) -> None:
        """Closing it must free the socket here, once."""
        self.successResultOf(self.port.stopListening())
        self.successResultOf(self.port.stopListening())
        self.assertEqual((self.socket.closed, self.reactor.readers), (1, []))
        self.assertEqual(self.port.fileno(), -1)
        self.assertEqual(self.factory.numPorts, 0)

    def test_addresses(self) -> None:
        """Programs must be able to learn where they listen, whatever the kind."""
        for family, name, address in (
            (socket.AF_INET, ("127.0.0.1", 25), IPv4Address("TCP", "127.0.0.1", 25)),
            (socket.AF_INET6, ("::1", 25, 0, 0), IPv6Address("TCP", "::1", 25, 0, 0)),
            (socket.AF_UNIX, "/run/x", UNIXAddress(b"/run/x")),
        ):
            listening: Any = FakeSocket(family, name)
            port = SharedPort(self.reactor, listening, self.factory, self.balance)
            self.assertEqual(port.getHost(), address)


class InheritedTests(SynchronousTestCase):
    """What a worker's endpoints get."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.inherited: list[int] = []

        def fake(descriptor: int) -> FakeSocket:
            self.inherited.append(descriptor)
            return FakeSocket()

        self.patch(sockets, "inherit", fake)
        counts = Counts(1)
        self.addCleanup(counts.close)
        self.balance = Balance(counts, 1)

    def test_in_order(self) -> None:
        """Each endpoint must get its own socket, or mail would come to the wrong server."""
        given = InheritedSockets([4, 5, 6, 7, 8], self.balance)
        doors = Doors(self.reactor, given.open)
        for number, listen in enumerate(
            (
                "tcp:25:interface=192.0.2.1",
                "tcp6:25",
                "unix:/run/x:mode=600",
                "systemd:domain=INET:name=mx",
                "haproxy:systemd:domain=INET6:index=1",
            )
        ):
            doors.open(f"s{number}", listen)
            self.assertEqual(len(self.reactor.readers), number + 1)
        self.assertEqual(self.inherited, [4, 5, 6, 7, 8])
        doors.close()
        self.assertEqual(self.reactor.readers, [])

    def test_ssl(self) -> None:
        """What an endpoint wraps around its socket must be there in a worker as well."""
        door = Door("mx")
        inherited: Any = FakeSocket()
        adopting = sockets._Adopting(self.reactor, inherited, self.balance)
        port: Any = adopting.listenSSL(465, door, CertificateOptions())
        self.assertIsInstance(port._factory, TLSMemoryBIOFactory)
        self.assertIs(port._factory.wrappedFactory, door)
        self.assertEqual(adopting.seconds(), 0.0)

    def test_inherit(self) -> None:
        """Programs that a plugin starts must not keep the port open."""
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        number = one.detach()
        os.set_inheritable(number, True)
        self.patch(sockets, "inherit", inherit)
        with sockets.inherit(number) as found:
            self.assertEqual(found.fileno(), number)
            self.assertFalse(found.get_inheritable())
