"""One connection: deadlines, back-pressure, and what happens when it breaks."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.connection import CLOSING, RelayConnection
from mailframe.delivery.deadlines import LINGERING
from mailframe.delivery.handshake import Handshake
from mailframe.delivery.relay_settings import RelaySettings, Timeouts
from mailframe.interfaces import StorageFault
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.testing.contents import FakeContent
from mailframe.testing.network import VirtualReactor
from mailframe.units import Seconds
from mailframe.wire.sender_events import Failed, Settled, Transaction
from tests.delivery.servers import CLOSE, SILENCE, ScriptedServer

ANGELO = Address.parse("angelo@rosse.example")
BOB = Address.parse("bob@blu.example")
HOST = "192.0.2.1"
ONE_BY_ONE = b"250-mx\r\n250 SIZE\r\n"  # a server without PIPELINING


class _Single:
    """A factory for one connection."""

    noisy = False

    def __init__(self, connection: RelayConnection) -> None:
        self.connection = connection

    def doStart(self) -> None:
        pass

    doStop = doStart

    def buildProtocol(self, addr: Any) -> RelayConnection:
        return self.connection


class ConnectionCase(SynchronousTestCase):
    """A connection over a virtual network to a scripted server."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        self.reactor.advance(CLOSING + 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def connection(self, hop: NextHop | None = None, **settings: Any) -> RelayConnection:
        return RelayConnection(
            where="mx [192.0.2.1]:25",
            hostname="mx.rosse.example",
            hop=hop or NextHop(where="mx:blu.example"),
            login=None,
            handshake=Handshake(),
            settings=RelaySettings(**settings),
            clock=self.reactor,
        )

    def connect(self, server: ScriptedServer, **kwargs: Any) -> RelayConnection:
        self.reactor.at(HOST).listenTCP(25, server)
        connection = self.connection(**kwargs)
        TCP4ClientEndpoint(self.reactor, HOST, 25).connect(_Single(connection))
        self.reactor.advance(0)
        return connection

    def transact(
        self, connection: RelayConnection, content: FakeContent | None = None, size: int = 10
    ) -> Deferred[Any]:
        self.content = content or FakeContent(b"Subject: x\r\n\r\nbody\r\n")
        transaction = Transaction(sender=ANGELO, recipients=(BOB,), size=size)

        async def open_content() -> FakeContent:
            return self.content

        result = connection.transact(transaction, open_content)
        self.reactor.advance(0)
        return result

    def transact_paused(
        self, server: ScriptedServer, connection: RelayConnection, content: FakeContent
    ) -> Deferred[Any]:
        """Begin a transaction whose server stops reading at DATA."""
        server.pause_at = "DATA"
        return self.transact(connection, content)


class SessionTests(ConnectionCase):
    """Ordinary sessions."""

    def test_message(self) -> None:
        """No mail would go out at all."""
        server = ScriptedServer()
        connection = self.connect(server)
        self.assertIsNone(self.successResultOf(connection.opened))
        self.assertTrue(connection.offers("PIPELINING"))
        self.assertFalse(connection.offers("CHUNKING"))
        result = self.successResultOf(self.transact(connection))
        self.assertEqual(result, Settled((Reply(250, "2.0.0", "taken"),)))
        self.assertEqual(server.messages, [b"Subject: x\r\n\r\nbody\r\n"])
        self.assertEqual(self.content.closed, 1)
        self.assertTrue(connection.usable)
        gone = connection.quit()
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(server.verbs, ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"])
        self.assertEqual(server.connections, [])

    def test_octet_by_octet(self) -> None:
        """How the network cuts the stream would change the outcome."""
        self.reactor = VirtualReactor(segment=1)
        server = ScriptedServer()
        connection = self.connect(server)
        self.assertIsInstance(self.successResultOf(self.transact(connection)), Settled)
        self.assertEqual(len(server.messages), 1)
        connection.quit()

    def test_empty_content(self) -> None:
        """A message without a single octet would hang its connection."""
        server = ScriptedServer()
        connection = self.connect(server)
        result = self.transact(connection, FakeContent(b""), size=0)
        self.assertIsInstance(self.successResultOf(result), Settled)
        self.assertEqual(server.messages, [b""])
        connection.quit()

    def test_idle_connection_says_quit(self) -> None:
        """Connections that nobody uses would be held open for minutes."""
        server = ScriptedServer()
        connection = self.connect(server, reuse_idle=Seconds(5))
        for _ in range(3):
            self.successResultOf(self.transact(connection))
            connection.rest()
            self.reactor.advance(4)
            self.assertEqual(len(server.connections), 1)
        self.reactor.advance(1)
        self.assertEqual(server.verbs[-1], "QUIT")
        self.assertEqual(server.connections, [])
        self.successResultOf(connection.closed)

    def test_quit_unanswered(self) -> None:
        """A server that does not answer to QUIT would hold up our shutdown."""
        for server in (ScriptedServer(QUIT=SILENCE), ScriptedServer()):
            self.reactor = VirtualReactor()
            connection = self.connect(server)
            self.reactor.unreachable(HOST)
            gone = connection.quit()
            again = connection.quit()
            self.reactor.advance(CLOSING - 1)
            self.assertNoResult(gone)
            self.reactor.advance(CLOSING + 1)
            self.successResultOf(gone)
            self.successResultOf(again)

    def test_close_unanswered(self) -> None:
        """A server that does not close its side of TLS would hold up our shutdown."""
        server = ScriptedServer()
        connection = self.connect(server)
        # As TLS, which waits for the other side:
        for side in (connection, server.connections[0]):
            side.transport.loseConnection = lambda: None
        gone = connection.quit()
        self.reactor.advance(0)
        self.assertEqual(server.verbs[-1], "QUIT")
        self.assertNoResult(gone)
        self.reactor.advance(LINGERING)
        self.successResultOf(gone)

    def test_refused_with_a_farewell(self) -> None:
        """A server that waits for QUIT would see our connections break (RFC 5321 §4.1.1.10)."""
        for farewell in (b"221 2.0.0 bye\r\n", SILENCE):
            self.reactor = VirtualReactor()
            server = ScriptedServer(GREETING=b"554 5.7.1 go away\r\n", QUIT=farewell)
            connection = self.connect(server)
            self.assertEqual(self.successResultOf(connection.opened).reply.code, 554)
            self.assertEqual(server.verbs, ["QUIT"])
            self.assertFalse(connection.usable)
            self.reactor.advance(CLOSING)
            self.successResultOf(connection.closed)

    def test_one_delayed_call(self) -> None:
        """Thousands of timers would be made and thrown away each second."""
        connection = self.connect(ScriptedServer())
        for _ in range(10):
            self.successResultOf(self.transact(connection))
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        connection.quit()


class DeadlineTests(ConnectionCase):
    """Servers that go silent."""

    TIMES = (
        ("GREETING", "greeting", 300),
        ("EHLO", "hello", 300),
        ("MAIL", "mail", 300),
        ("RCPT", "recipient", 300),
        ("DATA", "data", 120),
        ("DOT", "final", 600),
    )

    def test_silence(self) -> None:
        """A server that says nothing at some point would hold its message for ever."""
        for verb, stage, seconds in self.TIMES:
            self.reactor = VirtualReactor()
            server = ScriptedServer(**{"EHLO": ONE_BY_ONE, verb: SILENCE})
            connection = self.connect(server)
            result = self.transact(connection) if connection.usable else connection.opened
            self.reactor.advance(seconds - 1)
            self.assertNoResult(result)
            self.reactor.advance(1)
            failed = self.successResultOf(result)
            self.assertIsInstance(failed, Failed)
            self.assertEqual(failed.stage, stage)
            self.assertIn("timed out", str(failed.reply))
            self.assertFalse(connection.usable)
            self.reactor.advance(0)
            self.successResultOf(connection.closed)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_trickle(self) -> None:
        """A server could put off a deadline by sending one octet now and then."""
        server = ScriptedServer(EHLO=ONE_BY_ONE, MAIL=SILENCE)
        connection = self.connect(server)
        result = self.transact(connection)
        for _ in range(29):
            server.connections[0].transport.write(b"2")
            self.reactor.advance(10)
        self.assertNoResult(result)
        server.connections[0].transport.write(b"2")
        self.reactor.advance(10)
        self.assertIn("timed out", str(self.successResultOf(result).reply))

    def test_progress_counts(self) -> None:
        """A slow but honest server would be given up in the middle."""
        server = ScriptedServer(EHLO=ONE_BY_ONE, MAIL=SILENCE, RCPT=SILENCE, DATA=SILENCE)
        connection = self.connect(server)
        result = self.transact(connection)
        for reply in (b"250 ok\r\n", b"250 ok\r\n"):
            self.reactor.advance(299)
            server.connections[0].transport.write(reply)
            self.reactor.advance(0)
        self.reactor.advance(119)
        self.assertNoResult(result)
        connection.abort()

    def test_total(self) -> None:
        """A server could keep one message busy for days, one recipient every five minutes."""
        timeouts = Timeouts(total=Seconds(400))
        server = ScriptedServer(EHLO=ONE_BY_ONE, MAIL=SILENCE, RCPT=SILENCE)
        connection = self.connect(server, timeouts=timeouts)
        result = self.transact(connection)
        self.reactor.advance(299)
        server.connections[0].transport.write(b"250 ok\r\n")
        self.reactor.advance(100)
        self.assertNoResult(result)
        self.reactor.advance(1)
        self.assertIn("timed out", str(self.successResultOf(result).reply))

    def test_total_after_the_dot(self) -> None:
        """A message that took long on its way would be given up while its server puts it away, and
        would arrive twice."""
        timeouts = Timeouts(total=Seconds(400))
        server = ScriptedServer(EHLO=ONE_BY_ONE, MAIL=SILENCE, DOT=SILENCE)
        connection = self.connect(server, timeouts=timeouts)
        for _ in range(2):
            result = self.transact(connection)
            self.reactor.advance(299)
            server.connections[0].transport.write(b"250 ok\r\n")
            self.reactor.advance(0)
            self.reactor.advance(599)
            self.assertNoResult(result)
            server.connections[0].transport.write(b"250 ok\r\n")
            self.reactor.advance(0)
            self.assertIsInstance(self.successResultOf(result), Settled)
        connection.abort()

    def test_content_not_taken(self) -> None:
        """A server that stops reading would hold its message for ever."""
        server = ScriptedServer()
        connection = self.connect(server)
        big = FakeContent(b"x" * 72 * 50_000)
        result = self.transact_paused(server, connection, big)
        self.reactor.advance(179)
        self.assertNoResult(result)
        self.reactor.advance(2)
        failed = self.successResultOf(result)
        self.assertEqual(failed.stage, "content")
        self.assertEqual(failed.replies, (None,))


class BackPressureTests(ConnectionCase):
    """Content is sent no faster than it is taken."""

    def test_bounded(self) -> None:
        """A large message would stand whole in our memory."""
        server = ScriptedServer()
        connection = self.connect(server)
        line = b"x" * 70 + b"\r\n"
        content = FakeContent(line * 50_000, piece=65_520)
        result = self.transact_paused(server, connection, content)
        self.assertNoResult(result)
        self.assertGreater(len(content._octets), 3_000_000)
        server.connections[0].transport.resumeProducing()
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result), Settled)
        self.assertEqual(len(server.messages[0]), 72 * 50_000)
        self.assertEqual(content.closed, 1)
        connection.quit()

    def test_one_piece_too_large_for_the_socket(self) -> None:
        """The end of a piece that the socket took in part would be lost, or sent out of order."""
        server = ScriptedServer()
        connection = self.connect(server)
        content = FakeContent((b"x" * 62 + b"\r\n") * 1024, piece=65_536)
        result = self.transact_paused(server, connection, content)
        self.assertNoResult(result)
        server.connections[0].transport.resumeProducing()
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result), Settled)
        self.assertEqual(server.messages, [(b"x" * 62 + b"\r\n") * 1024])
        server.pause_at = ""
        self.assertIsInstance(self.successResultOf(self.transact(connection)), Settled)
        connection.quit()

    def test_socket_dead(self) -> None:
        """A connection that died unnoticed would swallow the next message."""
        server = ScriptedServer()
        connection = self.connect(server)
        self.reactor.cut(HOST)
        result = connection.transact(
            Transaction(sender=ANGELO, recipients=(BOB,), size=1), lambda: Deferred()
        )
        self.reactor.advance(0)
        self.assertTrue(self.successResultOf(result).untouched)

    def test_broken_while_paused(self) -> None:
        """The content of a message whose connection broke would stay open."""
        server = ScriptedServer()
        connection = self.connect(server)
        content = FakeContent(b"x" * 72 * 50_000, piece=65_520)
        result = self.transact_paused(server, connection, content)
        self.reactor.cut(HOST)
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(result).replies, (None,))
        self.assertEqual(content.closed, 1)


class BreakTests(ConnectionCase):
    """Connections that break, and those that we break."""

    def test_closed_by_the_server(self) -> None:
        """A server that closes at some point would leave its message waiting."""
        for verb, stage, replied in (
            ("GREETING", "greeting", ()),
            ("EHLO", "hello", ()),
            ("MAIL", "mail", (None,)),
            ("RCPT", "recipient", (None,)),
            ("DATA", "data", (None,)),
        ):
            self.reactor = VirtualReactor()
            server = ScriptedServer(**{"EHLO": ONE_BY_ONE, verb: CLOSE})
            connection = self.connect(server)
            result = self.transact(connection) if connection.usable else connection.opened
            failed = self.successResultOf(result)
            self.assertEqual((failed.stage, failed.replies), (stage, replied))
            self.assertEqual(failed.reply.status, "4.4.2")
            self.successResultOf(connection.closed)

    def test_closed_after_the_dot(self) -> None:
        """A message that may have been delivered would go to another host at once."""
        connection = self.connect(ScriptedServer(DOT=CLOSE))
        failed = self.successResultOf(self.transact(connection))
        (reply,) = failed.replies
        self.assertIn("may have been delivered", str(reply))

    def test_refused_early(self) -> None:
        """A refusal that comes while content is sent would be lost."""
        server = ScriptedServer(DATA=b"354 go\r\n552 5.3.4 too big\r\n")
        connection = self.connect(server)
        failed = self.successResultOf(self.transact(connection))
        self.assertEqual(failed.replies, (Reply(552, "5.3.4", "too big"),))
        self.successResultOf(connection.closed)
        self.assertEqual(server.messages, [])

    def test_unreadable_content(self) -> None:
        """A damaged queue would send half a message as a whole one."""
        for content in (
            FakeContent(b"x" * 100, piece=10, fails_after=3, error=StorageFault("disk")),
            FakeContent(b"", fails_after=0),
        ):
            self.reactor = VirtualReactor()
            server = ScriptedServer()
            connection = self.connect(server)
            failed = self.successResultOf(self.transact(connection, content))
            self.assertEqual(
                failed.replies, (Reply(451, "4.3.0", "the content could not be read here"),)
            )
            self.reactor.advance(0)
            self.assertEqual(server.messages, [])
            self.assertEqual(server.connections, [])
            self.assertEqual(content.closed, 1)
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_slow_content(self) -> None:
        """Content that comes late, when the connection is gone, would crash or stay open."""
        server = ScriptedServer()
        connection = self.connect(server)
        content = FakeContent(b"abc")
        opening: Deferred[Any] = Deferred()
        result = connection.transact(
            Transaction(sender=ANGELO, recipients=(BOB,), size=3), lambda: opening
        )
        self.reactor.advance(180)
        self.assertEqual(self.successResultOf(result).stage, "content")
        opening.callback(content)
        self.assertEqual(content.closed, 1)
        self.assertEqual(server.messages, [])

    def test_cancelled(self) -> None:
        """A delivery that is given up would go on behind our back."""
        server = ScriptedServer(DOT=SILENCE)
        connection = self.connect(server)
        result = self.transact(connection)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(server.connections, [])
        self.assertFalse(connection.usable)
        self.reactor = VirtualReactor()
        connection = self.connect(ScriptedServer(EHLO=SILENCE))
        connection.opened.cancel()
        self.failureResultOf(connection.opened, CancelledError)
        self.reactor.advance(0)
        self.successResultOf(connection.closed)

    def test_aborted(self) -> None:
        """A transaction that is under way at the shutdown would never get an answer."""
        connection = self.connect(ScriptedServer(DOT=SILENCE))
        result = self.transact(connection)
        gone = connection.quit()
        self.assertEqual(
            str(self.successResultOf(result).replies[0]),
            "451 4.3.2 broken off by our shutdown after the final dot: the message may have been "
            "delivered, and may arrive twice",
        )
        self.reactor.advance(0)
        self.successResultOf(gone)
        connection.abort()
        self.connection().abort()

    def test_lmtp_server_wants_content_for_nobody(self) -> None:
        """An outcome that is settled would be lost with the connection that fails behind it."""
        server = ScriptedServer(RCPT=b"550 5.1.1 no\r\n")
        connection = self.connect(server, hop=NextHop(where="mx:x", protocol="lmtp"))
        result = self.successResultOf(self.transact(connection))
        self.assertEqual(result, Settled((Reply(550, "5.1.1", "no"),)))
        self.assertFalse(connection.usable)

    def test_close_that_does_not_end(self) -> None:
        """A connection whose other side stopped reading would stay half closed for ever."""
        server = ScriptedServer()
        connection = self.connect(server)
        result = self.transact_paused(server, connection, FakeContent(b"x" * 1_000_000))
        server.connections[0].transport.write(b"552 5.3.4 too big\r\n")
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result), Failed)
        self.assertNoResult(connection.closed)
        self.reactor.advance(CLOSING)
        self.successResultOf(connection.closed)

    def test_transport_without_tls(self) -> None:
        """STARTTLS over a transport that has no TLS would crash."""
        connection = self.connection(hop=NextHop(where="x", tls="require"))
        connection.handshake.creator = object()
        connection.makeConnection(StringTransport())
        connection.dataReceived(b"220 hi\r\n")
        connection.dataReceived(b"250-mx\r\n250 STARTTLS\r\n")
        connection.dataReceived(b"220 go\r\n")
        failed = self.successResultOf(connection.opened)
        self.assertEqual((failed.reply.code, failed.reply.status), (454, "4.7.5"))
        connection.connectionLost()


class SettingsTests(SynchronousTestCase):
    """The ``[relay]`` table."""

    def test_limits(self) -> None:
        """Nonsense in the configuration would show only when mail does not go out."""
        for wrong in (
            {"port": 0},
            {"port": 65536},
            {"connections_per_destination": 0},
            {"reuse_messages": 0},
        ):
            with self.assertRaises(ValueError):
                RelaySettings(**wrong)
        self.assertEqual(attrs.evolve(RelaySettings(), port=2525).port, 2525)
