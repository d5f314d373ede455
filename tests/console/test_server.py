"""The console's factory, spoken to in HTTP over memory."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.console.server import REQUEST_TIME, ConsoleServerFactory
from mailframe.queue.memory import MemoryStorage
from mailframe.server.limits import Limits


class Hanging:
    """A storage that does not answer before it is told to."""

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()

    def messages(self, after: str | None, limit: int) -> Deferred[Any]:
        return self.answer


class Factory(SynchronousTestCase):
    """What a service wires up."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = self.make_factory(MemoryStorage(clock=self.clock, random=Random(1)))

    def make_factory(self, storage: Any) -> ConsoleServerFactory:
        return ConsoleServerFactory(
            name="console",
            storage=storage,
            hostname="mx.rosse.example",
            clock=self.clock,
            limits=Limits(),
        )

    def connect(self, factory: ConsoleServerFactory, peer: str = "127.0.0.1") -> Any:
        """A connection, as the protocol and the transport it writes to."""
        endpoint_factory: Any = factory.for_endpoint()
        endpoint_factory.doStart()
        self.addCleanup(endpoint_factory.doStop)
        address = IPv4Address("TCP", peer, 40000)
        protocol = endpoint_factory.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        protocol.makeConnection(transport)
        return protocol, transport

    def test_speaks_http(self) -> None:
        """No browser could show the console."""
        verifyObject(IProtocolFactory, self.factory.for_endpoint())
        protocol, transport = self.connect(self.factory)
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost:8025\r\n\r\n")
        answer = transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        self.assertIn(b"Nothing is waiting", answer)
        self.assertIn(b"Content-Security-Policy: default-src 'none'", answer)
        protocol.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_machines(self) -> None:
        """A console that was bound to the wrong interface would be open to everybody."""
        protocol, transport = self.connect(self.factory, "192.0.2.1")
        protocol.dataReceived(b"GET /api/queue HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 403 "))
        protocol.connectionLost(None)

    def test_bodies_are_thrown_away(self) -> None:
        """Anybody who can connect could fill the disk with a request's body."""
        protocol, transport = self.connect(self.factory)
        protocol.dataReceived(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000
        )
        (request,) = (
            protocol.requests if hasattr(protocol, "requests") else protocol._channel.requests
        )
        self.assertEqual(request.content.tell(), 0)
        protocol.dataReceived(b"x" * 100_000)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 405 "))
        protocol.connectionLost(None)

    def test_silent_clients(self) -> None:
        """Connections that say nothing would stay for ever."""
        _, transport = self.connect(self.factory)
        self.clock.advance(REQUEST_TIME + 1)
        self.assertTrue(transport.disconnecting)

    def test_drain_waits_for_requests(self) -> None:
        """A restart would cut off an answer."""
        storage = Hanging()
        factory = self.make_factory(storage)
        protocol, transport = self.connect(factory)
        self.successResultOf(factory.drain(5))
        protocol.dataReceived(b"GET /api/queue HTTP/1.1\r\nHost: localhost\r\n\r\n")
        drained = factory.drain(5)
        self.assertNoResult(drained)
        storage.answer.callback([])
        self.successResultOf(drained)
        self.assertIn(b'"messages": []', transport.value())
        protocol.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain_does_not_wait_for_ever(self) -> None:
        """A storage that hangs would keep the server from stopping."""
        storage = Hanging()
        factory = self.make_factory(storage)
        protocol, _ = self.connect(factory)
        protocol.dataReceived(b"GET /api/queue HTTP/1.1\r\nHost: localhost\r\n\r\n")
        drained = factory.drain(5)
        self.clock.advance(5)
        self.successResultOf(drained)
        storage.answer.callback([])
        protocol.connectionLost(None)
