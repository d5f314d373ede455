"""The virtual network: what tests of servers are built on must itself behave like TCP."""

from __future__ import annotations

from typing import Any

import trustme
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailframe.testing import network
from mailframe.testing.names import Names
from mailframe.testing.network import VirtualReactor
from mailframe.testing.sockets import CAPACITY


class Recorder(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.pieces: list[int] = []
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.pieces.append(len(data))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        # Twisted's own default value for it is not in its interface.
        self.lost.append(reason)


class Recorders(Factory):
    """Keeps the protocols it builds."""

    protocol = Recorder

    def __init__(self) -> None:
        self.built: list[Recorder] = []
        self.peers: list[object] = []

    def buildProtocol(self, addr: object) -> Recorder:
        self.peers.append(addr)
        recorder = self.protocol()
        self.built.append(recorder)
        return recorder


class NetworkCase(SynchronousTestCase):
    segment: int | None = None

    def setUp(self) -> None:
        self.reactor = VirtualReactor(segment=self.segment)
        self.servers = Recorders()

    def listen(self, where: str = "tcp:2525:interface=127.0.0.1", reactor: Any = None) -> Any:
        endpoint = serverFromString(reactor or self.reactor, where)
        return self.successResultOf(endpoint.listen(self.servers))

    def connecting(self, where: str = "tcp:127.0.0.1:2525", reactor: Any = None) -> Deferred[Any]:
        return clientFromString(reactor or self.reactor, where).connect(
            Factory.forProtocol(Recorder)
        )

    def connect(self, where: str = "tcp:127.0.0.1:2525", reactor: Any = None) -> Any:
        connecting = self.connecting(where, reactor)
        self.reactor.advance(0)
        return self.successResultOf(connecting)

    def connected(self) -> tuple[Any, Any]:
        """A client and the server's end of its connection."""
        self.listen()
        client = self.connect()
        return client, self.servers.built[-1]


class ConnectionTests(NetworkCase):
    def test_interfaces(self) -> None:
        """Code that looks for what a reactor provides takes another way than in production."""
        for reactor in (self.reactor, self.reactor.at("192.0.2.1")):
            for interface in (
                IReactorTime,
                IReactorTCP,
                IReactorFDSet,
                IReactorFromThreads,
                IReactorPluggableNameResolver,
            ):
                verifyObject(interface, reactor)

    def test_both_ways(self) -> None:
        """Octets get lost or change their order."""
        client, server = self.connected()
        client.transport.write(b"one ")
        client.transport.writeSequence([b"two ", b"three"])
        server.transport.write(b"220 hello\r\n")
        self.assertEqual(server.received, b"")
        self.reactor.advance(0)
        self.assertEqual(server.received, b"one two three")
        self.assertEqual(client.received, b"220 hello\r\n")

    def test_addresses(self) -> None:
        """A server under test sees another client address than it would."""
        client, server = self.connected()
        self.assertEqual(client.transport.getPeer().host, "127.0.0.1")
        self.assertEqual(client.transport.getPeer().port, 2525)
        self.assertEqual(server.transport.getHost(), client.transport.getPeer())
        self.assertEqual(server.transport.getPeer(), client.transport.getHost())
        self.assertEqual(self.servers.peers, [client.transport.getHost()])

    def test_ipv6(self) -> None:
        """Servers can't be tested over IPv6."""
        endpoint = TCP6ServerEndpoint(self.reactor, 2525, interface="::1")
        self.successResultOf(endpoint.listen(self.servers))
        connecting = TCP6ClientEndpoint(self.reactor, "::1", 2525).connect(
            Factory.forProtocol(Recorder)
        )
        self.reactor.advance(0)
        client: Any = self.successResultOf(connecting)
        self.assertEqual(client.transport.getPeer().host, "::1")
        self.assertEqual(self.servers.built[0].transport.getPeer().host, "::1")  # type: ignore[union-attr]
        # It is connected.

    def test_ipv6_from_ipv4_host(self) -> None:
        """A host of an IPv4 address can't reach one of an IPv6 address."""
        self.listen("tcp:25:interface=\\:\\:", self.reactor.at("2001:db8::1"))
        client = self.connect("tcp:2001\\:db8\\:\\:1:25", self.reactor.at("192.0.2.7"))
        self.assertEqual(client.transport.getHost().host, "::ffff:192.0.2.7")

    def test_any_port(self) -> None:
        """A test can't leave the choice of a free port to the reactor."""
        one = self.listen("tcp:0:interface=127.0.0.1")
        two = self.listen("tcp:0:interface=127.0.0.1")
        self.assertNotEqual(one.getHost().port, two.getHost().port)
        self.connect(f"tcp:127.0.0.1:{one.getHost().port}")

    def test_every_interface(self) -> None:
        """A server that listens on every interface can't be reached."""
        self.listen("tcp:2525")
        self.connect("tcp:127.0.0.1:2525")

    def test_port_in_use(self) -> None:
        """Two servers on one port go unnoticed until production."""
        self.listen()
        endpoint = serverFromString(self.reactor, "tcp:2525:interface=127.0.0.1")
        self.failureResultOf(endpoint.listen(self.servers), CannotListenError)

    def test_stop_listening(self) -> None:
        """A server that stopped still takes connections, or ends those it has."""
        port = self.listen()
        client = self.connect()
        stopping = port.stopListening()
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.failed(ConnectionRefusedError)
        client.transport.write(b"still here")
        self.reactor.advance(0)
        self.assertEqual(self.servers.built[0].received, b"still here")
        self.listen()

    def test_stop_before_accept(self) -> None:
        """A client that came as the server went waits for ever."""
        port = self.listen()
        connecting = self.connecting()
        port.stopReading()
        self.reactor.advance(0)
        client = self.successResultOf(connecting)
        port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(len(client.lost), 1)

    def test_full_backlog(self) -> None:
        """A server that does not accept looks as if it refused."""
        port = self.listen("tcp:2525:interface=127.0.0.1:backlog=1")
        port.stopReading()
        self.connect()
        late = self.connecting()
        self.reactor.advance(31)
        self.failureResultOf(late, TimeoutError)

    def failed(self, *expected: type[Exception]) -> None:
        connecting = self.connecting()
        self.reactor.advance(0)
        self.failureResultOf(connecting, *expected)

    def test_refused(self) -> None:
        """A wrong port number looks like a slow server."""
        self.failed(ConnectionRefusedError)

    def test_bind_address(self) -> None:
        """A host with several addresses can't be told which to use."""
        self.listen()
        endpoint = TCP4ClientEndpoint(
            self.reactor, "127.0.0.1", 2525, bindAddress=("127.0.0.9", 4000)
        )
        connecting = endpoint.connect(Factory.forProtocol(Recorder))
        self.reactor.advance(0)
        self.successResultOf(connecting)
        peer: Any = self.servers.peers[0]
        self.assertEqual((peer.host, peer.port), ("127.0.0.9", 4000))

    def test_close(self) -> None:
        """What is written before a connection is closed gets lost, or the close does."""
        client, server = self.connected()
        server.transport.write(b"221 bye\r\n")
        server.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(client.received, b"221 bye\r\n")
        client.lost[0].trap(ConnectionDone)
        server.lost[0].trap(ConnectionDone)

    def test_abort(self) -> None:
        """A reset looks like an orderly end, by which half a message may be taken for whole."""
        client, server = self.connected()
        client.transport.abortConnection()
        self.reactor.advance(0)
        server.lost[0].trap(ConnectionLost)

    def test_write_after_close(self) -> None:
        """A server that writes to a client who has gone never notices."""
        client, server = self.connected()
        server.transport.pauseProducing()
        client.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(server.lost, [])
        server.transport.write(b"x")
        self.reactor.advance(0)
        server.transport.write(b"x")
        self.reactor.advance(0)
        server.lost[0].trap(ConnectionLost)

    def test_unread_octets(self) -> None:
        """Octets that nobody read are taken for received."""
        client, server = self.connected()
        server.transport.pauseProducing()
        client.transport.write(b"unread")
        self.reactor.advance(0)
        server.transport.loseConnection()
        self.reactor.advance(0)
        client.lost[0].trap(ConnectionLost)

    def test_half_close(self) -> None:
        """A protocol that goes on after the other side's end of input is cut off."""

        @implementer(IHalfCloseableProtocol)
        class HalfCloseable(Recorder):
            ended = False

            def readConnectionLost(self) -> None:
                self.ended = True

            def writeConnectionLost(self) -> None:
                pass

        self.servers.protocol = HalfCloseable
        client, server = self.connected()
        client.transport.loseWriteConnection()
        self.reactor.advance(0)
        self.assertTrue(server.ended)
        self.assertEqual(server.lost, [])

    def test_no_protocol(self) -> None:
        """A server that is full can't turn a client away."""
        self.servers.buildProtocol = lambda addr: None  # type: ignore[assignment,method-assign,return-value]
        # A factory may return None.
        self.listen()
        client = self.connect()
        self.reactor.advance(0)
        self.assertEqual(len(client.lost), 1)

    def test_starttls(self) -> None:
        """STARTTLS can't be tested without sockets."""
        authority = trustme.CA()
        issued = authority.issue_cert("mx.example").private_key_and_cert_chain_pem
        certificate = ssl.PrivateCertificate.loadPEM(issued.bytes())
        root = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(authority.cert_pem.bytes())])
        client, server = self.connected()
        server.transport.startTLS(certificate.options())
        client.transport.startTLS(ssl.optionsForClientTLS("mx.example", trustRoot=root))
        client.transport.write(b"secret")
        self.reactor.advance(0)
        self.assertEqual(server.received, b"secret")
        server.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual((len(client.lost), len(server.lost)), (1, 1))


class SegmentTests(NetworkCase):
    segment = 1

    def test_octet_by_octet(self) -> None:
        """A parser that only works on whole lines passes its tests."""
        client, server = self.connected()
        client.transport.write(b"EHLO a\r\n")
        self.reactor.advance(0)
        self.assertEqual(server.received, b"EHLO a\r\n")
        self.assertEqual(server.pieces, [1] * 8)


class ProducerTests(NetworkCase):
    def test_push_producer(self) -> None:
        """A server that ignores back-pressure passes its tests and fills memory in production."""
        client, server = self.connected()

        @implementer(IPushProducer)
        class Endless:
            paused = False
            stopped = False

            def resumeProducing(self) -> None:
                self.paused = False

            def pauseProducing(self) -> None:
                self.paused = True

            def stopProducing(self) -> None:
                self.stopped = True

        producer = Endless()
        server.transport.pauseProducing()
        client.transport.registerProducer(producer, True)
        written = 0
        while not producer.paused:
            client.transport.write(b"x" * 10_000)
            written += 10_000
            self.reactor.advance(0)
        self.assertLess(written, 3 * CAPACITY)
        self.assertEqual(server.received, b"")
        server.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertFalse(producer.paused)
        self.assertEqual(len(server.received), written)
        server.transport.loseConnection()
        self.reactor.advance(0)
        self.assertTrue(producer.stopped)

    def test_pull_producer(self) -> None:
        """A file that is sent by a pull producer stops after its first piece."""
        client, server = self.connected()

        @implementer(IPullProducer)
        class Pieces:
            def __init__(self, consumer: IConsumer) -> None:
                self.left = 20
                self.consumer = consumer

            def resumeProducing(self) -> None:
                self.left -= 1
                self.consumer.write(b"y" * 10_000)
                if not self.left:
                    self.consumer.unregisterProducer()

            def stopProducing(self) -> None:
                pass

        client.transport.registerProducer(Pieces(client.transport), False)
        self.reactor.advance(0)
        self.assertEqual(len(server.received), 200_000)


class FaultTests(NetworkCase):
    def test_down(self) -> None:
        """What happens when a server dies can't be tested."""
        client, server = self.connected()
        self.reactor.down("127.0.0.1")
        self.reactor.advance(0)
        client.lost[0].trap(ConnectionLost)
        server.lost[0].trap(ConnectionLost)
        refused = self.connecting()
        self.reactor.advance(0)
        self.failureResultOf(refused, ConnectionRefusedError)
        self.reactor.up("127.0.0.1")
        self.connect()

    def test_unreachable(self) -> None:
        """What happens when a host can't be reached can't be tested."""
        self.listen()
        self.reactor.unreachable("127.0.0.1")
        connecting = self.connecting("tcp:127.0.0.1:2525:timeout=10")
        self.reactor.advance(9.9)
        self.assertNoResult(connecting)
        self.reactor.advance(0.2)
        self.failureResultOf(connecting, TimeoutError)

    def test_silence(self) -> None:
        """A connection that hangs for a while can't be tested."""
        client, server = self.connected()
        self.reactor.unreachable("127.0.0.1")
        client.transport.write(b"lost?")
        client.transport.loseConnection()
        self.reactor.advance(60)
        self.assertEqual((server.received, server.lost), (b"", []))
        self.reactor.up("127.0.0.1")
        self.reactor.advance(0)
        self.assertEqual(server.received, b"lost?")
        self.assertEqual(len(server.lost), 1)

    def test_cut(self) -> None:
        """A connection that breaks in the middle of a message can't be tested."""
        client, server = self.connected()
        self.reactor.cut("192.0.2.1")
        self.reactor.advance(0)
        self.assertEqual(server.lost, [])
        client.transport.write(b"half a mess")
        self.reactor.advance(0)
        self.reactor.cut("127.0.0.1")
        self.reactor.advance(0)
        server.lost[0].trap(ConnectionLost)
        client.lost[0].trap(ConnectionLost)
        self.connect()


class HostTests(NetworkCase):
    def test_own_addresses(self) -> None:
        """A network of several servers, each with its own port 25, can't be tested."""
        mx, other = self.reactor.at("192.0.2.1"), self.reactor.at("192.0.2.2")
        self.listen("tcp:25", mx)
        client = self.connect("tcp:192.0.2.1:25", other)
        self.assertEqual(client.transport.getHost().host, "192.0.2.2")
        refused = self.connecting("tcp:192.0.2.2:25", mx)
        self.reactor.advance(0)
        self.failureResultOf(refused, ConnectionRefusedError)

    def test_loopback_is_private(self) -> None:
        """One host's loopback server takes another host's mail."""
        mx, other = self.reactor.at("192.0.2.1"), self.reactor.at("192.0.2.2")
        self.listen("tcp:25:interface=127.0.0.1", mx)
        self.connect("tcp:127.0.0.1:25", mx)
        for reactor in (other, self.reactor):
            refused = self.connecting("tcp:127.0.0.1:25", reactor)
            self.reactor.advance(0)
            self.failureResultOf(refused, ConnectionRefusedError)

    def test_one_host_of_many_goes_down(self) -> None:
        """One server's fault breaks connections between others."""
        self.listen("tcp:25", self.reactor.at("192.0.2.1"))
        self.listen("tcp:25", self.reactor.at("192.0.2.2"))
        one = self.connect("tcp:192.0.2.1:25")
        two = self.connect("tcp:192.0.2.2:25")
        self.reactor.down("192.0.2.1")
        self.reactor.advance(0)
        self.assertEqual((len(one.lost), len(two.lost)), (1, 0))

    def test_names(self) -> None:
        """Endpoint strings with host names can't be tested."""
        self.reactor.name("mx.example", "192.0.2.1")
        self.listen("tcp:25", self.reactor.at("192.0.2.1"))
        client = self.connect("tcp:mx.example:25")
        self.assertEqual(client.transport.getPeer().host, "192.0.2.1")
        self.assertEqual(self.successResultOf(self.reactor.resolve("mx.example")), "192.0.2.1")
        self.failureResultOf(self.reactor.resolve("nowhere.example"), DNSLookupError)
        unknown = HostnameEndpoint(self.reactor, "nowhere.example", 25).connect(Factory())
        self.failureResultOf(unknown, DNSLookupError)

    def test_install_name_resolver(self) -> None:
        """A resolver of the test's own is ignored."""
        host = self.reactor.at("192.0.2.1")
        before = host.installNameResolver(Names())
        self.assertIs(before, self.reactor.nameResolver)
        self.assertIsNot(host.nameResolver, before)


class TimeTests(NetworkCase):
    def test_each_at_its_moment(self) -> None:
        """Five days of retries run all at the end, and every time in the history is wrong."""
        start = self.reactor.seconds()
        seen: list[float] = []

        def again() -> None:
            seen.append(self.reactor.seconds() - start)
            self.reactor.at("192.0.2.1").callLater(10, again)

        again()
        self.reactor.advance(35)
        self.assertEqual(seen, [0, 10, 20, 30])
        self.assertEqual(self.reactor.seconds() - start, 35)
        self.reactor.pump([5.0, 10.0])
        self.assertEqual(seen, [0, 10, 20, 30, 40, 50])
        self.assertEqual(len(self.reactor.at("192.0.2.1").getDelayedCalls()), 1)

    def test_zero_delay(self) -> None:
        """What follows at once from a call at once is left undone."""
        done: list[str] = []
        self.reactor.callLater(0, self.reactor.callLater, 0, done.append, "inner")
        self.reactor.callFromThread(done.append, "thread")
        self.reactor.pump()
        self.assertEqual(done, ["thread", "inner"])

    def test_without_end(self) -> None:
        """A loop without end hangs the test run instead of failing a test."""
        self.patch(network, "MAX_CALLS_AT_ONE_MOMENT", 100)

        def again() -> None:
            self.reactor.callLater(0, again)

        again()
        self.assertRaises(network.Stuck, self.reactor.advance, 1)

    def test_looping_call(self) -> None:
        """Twisted's own LoopingCall skips its calls."""
        calls: list[None] = []
        loop = LoopingCall(calls.append, None)
        loop.clock = self.reactor
        loop.start(60)
        self.reactor.advance(3600)
        loop.stop()
        self.assertEqual(len(calls), 61)


class EventTests(NetworkCase):
    def test_shutdown(self) -> None:
        """What a server does at its end can't be tested, or is done in the wrong order."""
        host = self.reactor.at("192.0.2.1")
        finished: Deferred[None] = Deferred()
        order: list[str] = []
        host.callWhenRunning(order.append, "running")
        host.addSystemEventTrigger("after", "shutdown", order.append, "after")
        host.addSystemEventTrigger("during", "shutdown", order.append, "during")
        host.addSystemEventTrigger("before", "shutdown", lambda: finished)
        removed = host.addSystemEventTrigger("before", "shutdown", order.append, "removed")
        host.removeSystemEventTrigger(removed)
        stopping = host.stop()
        self.assertEqual(order, ["running"])
        finished.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(order, ["running", "during", "after"])
        self.assertFalse(host.running)

    def test_remove_all(self) -> None:
        """A test can't let go of everything that is open."""
        client, _server = self.connected()
        client.transport.write(b"x")
        self.assertEqual(self.reactor.getWriters(), [client.transport])
        self.assertEqual(len(self.reactor.removeAll()), 3)
        self.assertEqual(self.reactor.getReaders(), [])
