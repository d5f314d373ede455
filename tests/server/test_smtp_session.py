"""One SMTP connection: `mailframe.server.smtp_session`."""

from __future__ import annotations

import base64
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.interfaces import StorageFault
from mailframe.server.limits import Limits
from mailframe.server.smtp import SmtpServerFactory
from mailframe.server.smtp_connection import LINGER, MAX_UNPARSED
from mailframe.server.smtp_session import SmtpSession
from mailframe.server.trace import USUAL, Shown
from mailframe.testing.network import VirtualReactor
from mailframe.units import Octets, Seconds
from tests.server.smtp_fakes import (
    FakeAuthorisation,
    FakeRealm,
    FakeRouter,
    FakeStorage,
    fake_admission,
    fake_portal,
)

PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0angelo@here.example\0secret") + b"\r\n"
WRONG = b"AUTH PLAIN " + base64.b64encode(b"\0angelo@here.example\0wrong") + b"\r\n"
ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@here.example>\r\n"
MESSAGE = ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nbody\r\n.\r\n"


def certificate() -> CertificateOptions:
    """A certificate for TLS."""
    issued = trustme.CA().issue_cert("mx.here.example")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    issued.configure_cert(context)

    class Options(CertificateOptions):
        def getContext(self) -> SSL.Context:
            return context

    return Options()


class SessionCase(SynchronousTestCase):
    """A server between fakes."""

    def setUp(self) -> None:
        """Fakes that take everything."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.storage = FakeStorage()
        self.router = FakeRouter()
        self.authorisation = FakeAuthorisation()
        self.realm = FakeRealm()

    def factory(
        self,
        *,
        clock: Any = None,
        protocol: Any = "smtp",
        tls: Any = "none",
        context: Any = None,
        xclient: Any = (),
        shown: Shown = USUAL,
        **limits: Any,
    ) -> SmtpServerFactory:
        """The listening server."""
        clock = clock or self.clock
        return SmtpServerFactory(
            name="mx",
            protocol=protocol,
            hostname="mx.here.example",
            default_domain="here.example",
            admission=fake_admission(
                clock,
                storage=self.storage,
                router=self.router,
                authorisation=self.authorisation,
                limits=Limits(**limits),
            ),
            portal=fake_portal(self.realm),
            tls_context=context,
            tls=tls,
            limits=Limits(**limits),
            clock=clock,
            xclient=xclient,
            shown=shown,
        )

    def connect(
        self, factory: SmtpServerFactory | None = None, address: str = "192.0.2.1"
    ) -> tuple[SmtpSession, StringTransport]:
        """A client connected."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", address, 999))
        session = (factory or self.factory()).buildProtocol(None)
        session.makeConnection(transport)
        return session, transport

    def lose(self, session: SmtpSession) -> None:
        """The connection goes."""
        session.connectionLost(Failure(ConnectionDone()))

    def codes(self, transport: StringTransport) -> list[bytes]:
        """The codes of the replies since the last call."""
        lines = transport.value().split(b"\r\n")
        transport.clear()
        return [line[:3] for line in lines if line[3:4] == b" "]


class ConversationTests(SessionCase):
    """Mail comes in over any transport."""

    def test_message(self) -> None:
        """A message is kept with its envelope and trace header."""
        session, transport = self.connect()
        self.assertEqual(transport.value(), b"220 mx.here.example ESMTP mailframe\r\n")
        transport.clear()
        session.dataReceived(b"EHLO client.example\r\n")
        self.assertEqual(
            transport.value(),
            b"250-mx.here.example\r\n250-PIPELINING\r\n250-SIZE 25000000\r\n250-8BITMIME\r\n"
            b"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n"
            b"250-SMTPUTF8\r\n250-DELIVERBY 60\r\n250 LIMITS RCPTMAX=1000\r\n",
        )
        transport.clear()
        session.dataReceived(MESSAGE + b"QUIT\r\n")
        self.assertEqual(
            transport.value().split(b"\r\n"),
            [
                b"250 2.1.0 sender ok",
                b"250 2.1.5 recipient ok",
                b"354 send the message, ended by a line with a single dot",
                b"250 2.0.0 queued as q1",
                b"221 2.0.0 bye",
                b"",
            ],
        )
        self.assertTrue(transport.disconnecting)
        sink = self.storage.sinks[0]
        self.assertEqual(sink.ended, "commit")
        self.assertIn(b"from client.example ([192.0.2.1])", sink.content)
        self.assertRegex(
            sink.content, rb"with ESMTP id q1\r\n\t\(let in by .*\)\r\n\tfor <b@here.example>"
        )
        self.assertTrue(sink.content.endswith(b"Subject: x\r\n\r\nbody\r\n"))
        self.assertEqual(sink.envelope.arrived, 1_000_000.0)
        client = sink.envelope.client
        assert client is not None
        self.assertEqual(
            (client.server, client.protocol, client.port, client.esmtp), ("mx", "smtp", 999, True)
        )
        self.lose(session)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_octet_by_octet(self) -> None:
        """The slowest client is served like any other."""
        session, transport = self.connect()
        for octet in b"HELO x\r\n" + MESSAGE + MESSAGE:
            session.dataReceived(bytes([octet]))
        self.assertEqual(
            self.codes(transport), [b"220", b"250", *[b"250", b"250", b"354", b"250"] * 2]
        )
        self.assertEqual(len(self.storage.sinks), 2)

    def test_one_write_for_a_pipeline(self) -> None:
        """The replies to pipelined commands go out together (RFC 2920 §3.2)."""
        session, transport = self.connect()
        writes = []
        write = transport.write
        transport.write = lambda data: (writes.append(data), write(data))[1]  # type: ignore[method-assign]  # counts
        # The session has its way out already: give it this one.
        session._outlet._write = transport.write
        session.dataReceived(b"HELO x\r\n" + ENVELOPE * 3 + b"RSET\r\n")
        self.assertEqual(len(writes), 1)

    def test_refusals(self) -> None:
        """What admission refuses is told as admission words it, and goes no further."""
        session, transport = self.connect(self.factory(message_size=Octets(10)))
        session.dataReceived(b"EHLO x\r\nMAIL FROM:<> SIZE=11\r\n")
        self.assertIn(b"552 5.3.4 ", transport.value())
        session.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<x@far.example>\r\n")
        self.assertIn(b"550 5.7.1 relaying denied\r\n", transport.value())
        transport.clear()
        session.dataReceived(b"RCPT TO:<b@here.example>\r\nDATA\r\n" + b"x" * 20 + b"\r\n.\r\n")
        self.assertEqual(self.codes(transport), [b"250", b"354", b"552"])
        self.assertEqual(self.storage.sinks[0].ended, "abort")
        self.storage.receive_error = StorageFault("x")
        session.dataReceived(ENVELOPE + b"DATA\r\nRSET\r\n")
        self.assertEqual(self.codes(transport), [b"250", b"250", b"451", b"250"])

    def test_smuggling(self) -> None:
        """A message with a bare LF is refused, forgotten, and the connection closed."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\na\n.\r\nb\r\n.\r\nNOOP\r\n")
        self.assertEqual(self.codes(transport)[-2:], [b"354", b"554"])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.storage.sinks[0].ended, "abort")


class WaitingTests(SessionCase):
    """Answers that take their time come in order, and cost no memory."""

    def test_slow_recipient(self) -> None:
        """While a policy thinks, nothing else is answered; then all is, in order."""
        session, transport = self.connect()
        self.router.waiting = waiting = Deferred()
        session.dataReceived(b"HELO x\r\n" + MESSAGE + b"QUIT\r\n")
        self.assertEqual(self.codes(transport), [b"220", b"250", b"250"])
        self.router.waiting = None
        waiting.callback(None)
        self.assertEqual(self.codes(transport), [b"250", b"354", b"250", b"221"])
        self.assertEqual(self.storage.sinks[0].ended, "commit")

    def test_slow_commit(self) -> None:
        """250 waits for the commit, and QUIT behind it for the 250."""
        session, transport = self.connect()
        self.storage.committing = Deferred()
        session.dataReceived(b"HELO x\r\n" + MESSAGE + b"QUIT\r\n")
        self.assertEqual(self.codes(transport)[-1], b"354")
        self.assertFalse(transport.disconnecting)
        self.storage.committing.callback(None)
        self.assertEqual(self.codes(transport), [b"250", b"221"])
        self.assertTrue(transport.disconnecting)

    def test_input_is_paused(self) -> None:
        """A client can't fill our memory while an answer is awaited."""
        session, transport = self.connect()
        self.router.waiting = waiting = Deferred()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE)
        session.dataReceived(b"NOOP\r\n" * 10)
        self.assertEqual(transport.producerState, "producing")
        session.dataReceived(b"x" * MAX_UNPARSED + b"\r\n")
        self.assertEqual(transport.producerState, "paused")
        waiting.callback(None)
        self.assertEqual(transport.producerState, "producing")

    def test_storage_pushes_back(self) -> None:
        """A storage that is slower than the client slows the client down."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
        self.storage.room = room = Deferred()
        session.dataReceived(b"\r\none\r\n")
        self.assertEqual(transport.producerState, "paused")
        session.dataReceived(b"two\r\n.\r\n")
        self.storage.room = None
        room.callback(None)
        self.assertEqual(transport.producerState, "producing")
        self.assertTrue(self.storage.sinks[0].content.endswith(b"one\r\ntwo\r\n"))
        self.assertEqual(self.codes(transport)[-1], b"250")

    def test_client_does_not_read(self) -> None:
        """A client that sends commands without reading replies is waited for."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n")
        self.codes(transport)
        session.pauseProducing()
        session.dataReceived(ENVELOPE)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(transport.producerState, "producing")
        session.dataReceived(b"x" * MAX_UNPARSED + b"\r\n")
        self.assertEqual(transport.producerState, "paused")
        session.resumeProducing()
        self.assertEqual(self.codes(transport), [b"250", b"250", b"500"])
        self.assertEqual(transport.producerState, "producing")
        session.stopProducing()

    def test_faults_of_ours(self) -> None:
        """A bug of ours is a 451 for this command, logged, with nothing of it told."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n")
        self.codes(transport)

        def broken(*args: object) -> Any:
            raise RuntimeError("secret of ours")

        async def late(*args: object) -> Any:
            await waiting
            raise RuntimeError("secret of ours")

        async def soon(*args: object) -> Any:
            raise RuntimeError("secret of ours")

        session.dataReceived(b"MAIL FROM:<>\r\n")
        waiting: Deferred[None] = Deferred()
        for fault in (broken, late, soon):
            session._server.admission.recipient = fault  # type: ignore[method-assign]  # breaks it
            session.dataReceived(b"RCPT TO:<b@here.example>\r\n")
        waiting.callback(None)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)
        self.assertNotIn(b"secret", transport.value())
        self.assertEqual(self.codes(transport), [b"250", b"451", b"451", b"451"])

    def test_fault_while_receiving(self) -> None:
        """The same in the middle of a message: it is given up, and refused at its end."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
        assert session._incoming is not None

        def broken(octets: bytes) -> None:
            raise RuntimeError("bug")

        session._incoming.write = broken  # type: ignore[method-assign]  # breaks it
        session.dataReceived(b"x\r\n.\r\n")
        self.assertEqual(self.codes(transport)[-1], b"451")
        self.assertEqual(self.storage.sinks[0].ended, "abort")
        self.flushLoggedErrors(RuntimeError)

    def test_fault_in_the_dialogue(self) -> None:
        """A bug in the dialogue itself ends this connection with 421, and no other."""
        session, transport = self.connect()
        session._receiver.next_event = lambda: 1 // 0  # type: ignore[method-assign]  # breaks it
        session.dataReceived(b"NOOP\r\n")
        self.assertEqual(self.codes(transport), [b"220", b"421"])
        self.assertTrue(transport.disconnecting)
        self.flushLoggedErrors(ZeroDivisionError)


class LossTests(SessionCase):
    """A connection that breaks leaves nothing behind."""

    def test_in_the_middle(self) -> None:
        """Half a message is forgotten."""
        session, _ = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\nhalf")
        self.lose(session)
        self.assertEqual(self.storage.sinks[0].ended, "abort")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_a_policy_thinks(self) -> None:
        """A policy's answer is not waited for."""
        cancelled = []
        session, transport = self.connect()
        self.router.waiting = Deferred(cancelled.append)
        session.dataReceived(b"HELO x\r\n" + ENVELOPE)
        transport.clear()
        self.lose(session)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_there_is_no_room(self) -> None:
        """A message that waits for room is given up, once."""
        session, _ = self.connect()
        self.storage.room = Deferred()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\nhalf\r\n")
        self.lose(session)
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_during_commit(self) -> None:
        """A commit under way is not disturbed: the message may be kept, unacknowledged."""
        session, transport = self.connect()
        self.storage.committing = Deferred(lambda _: self.fail("cancelled"))
        session.dataReceived(b"HELO x\r\n" + MESSAGE)
        transport.clear()
        self.lose(session)
        self.storage.committing.callback(None)
        self.assertEqual(self.storage.sinks[0].ended, "commit")
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HalfClosedTests(SessionCase):
    """A client that has said everything closes its side, and listens."""

    def test_during_commit(self) -> None:
        """A client that does so behind QUIT learns that its message was taken: it is sent once."""
        session, transport = self.connect()
        self.storage.committing = Deferred()
        session.dataReceived(b"HELO x\r\n" + MESSAGE + b"QUIT\r\n")
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        transport.clear()
        self.storage.committing.callback(None)
        self.assertEqual(transport.value(), b"250 2.0.0 queued as q1\r\n221 2.0.0 bye\r\n")
        self.assertTrue(transport.disconnecting)

    def test_without_quit(self) -> None:
        """A script that sends a whole dialogue at once gets all replies, and is not kept."""
        session, transport = self.connect()
        self.router.waiting = waiting = Deferred()
        session.dataReceived(b"HELO x\r\n" + MESSAGE)
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        self.router.waiting = None
        waiting.callback(None)
        self.assertEqual(self.codes(transport)[-1], b"250")
        self.assertTrue(transport.disconnecting)

    def test_while_it_takes_no_replies(self) -> None:
        """What it said is answered once there is room."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n")
        session.pauseProducing()
        session.dataReceived(b"NOOP\r\n")
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        transport.clear()
        session.resumeProducing()
        self.assertEqual(self.codes(transport), [b"250"])
        self.assertTrue(transport.disconnecting)

    def test_in_the_middle(self) -> None:
        """Half a message will not get whole: the connection isn't kept for it."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\nhalf")
        session.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.lose(session)
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_between_commands(self) -> None:
        """Nothing is waited for; the socket's other side is not heard of by itself."""
        session, transport = self.connect()
        session.readConnectionLost()
        session.writeConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.lose(session)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_transport_tells(self) -> None:
        """Without the interface Twisted closes the other side too."""
        self.assertTrue(IHalfCloseableProtocol.providedBy(self.connect()[0]))


class TimeTests(SessionCase):
    """Nobody can hold a connection for ever."""

    def test_idle(self) -> None:
        """A silent client is sent away after five minutes, not before."""
        session, transport = self.connect()
        self.clock.advance(200)
        session.dataReceived(b"HELO x\r\n")
        self.codes(transport)
        self.clock.advance(299)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(1)
        self.assertEqual(transport.value()[:10], b"421 4.4.2 ")
        self.assertTrue(transport.disconnecting)
        session.dataReceived(b"NOOP\r\n")
        self.assertEqual(transport.value().count(b"\r\n"), 1)

    def test_clock_set_back(self) -> None:
        """A silent client is kept for as long as the clock was set back."""
        _, transport = self.connect()
        self.clock.advance(200)
        self.clock.rightNow -= 86_400
        for call in self.clock.getDelayedCalls():
            call.delay(-86_400)
        self.clock.pump([60] * 10)
        self.assertTrue(transport.disconnecting)

    def test_does_not_go(self) -> None:
        """A client that does not take the last reply is cut off."""
        session, transport = self.connect()
        session.dataReceived(b"QUIT\r\n")
        aborted = []
        transport.abortConnection = lambda: aborted.append(1)  # type: ignore[method-assign]  # looks
        self.clock.advance(LINGER)
        self.assertEqual(aborted, [1])

    def test_slow_loris(self) -> None:
        """A client that sends an octet now and then has an hour for a message, no more."""
        session, transport = self.connect(self.factory(data_rate=Octets(0)))
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
        self.codes(transport)
        for _ in range(59):
            self.clock.advance(60)
            session.dataReceived(b"x")
        self.assertEqual(transport.value(), b"")
        self.clock.advance(60)
        self.assertEqual(self.codes(transport), [b"421"])
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def drip(self, session: SmtpSession, transport: StringTransport, octets: bytes) -> int:
        """Send the same octets each minute. :returns: after how many minutes that ended"""
        self.codes(transport)
        for minute in range(1000):
            if transport.disconnecting:
                return minute
            session.dataReceived(octets)
            self.clock.advance(60)
        return 1000

    def test_command_octet_by_octet(self) -> None:
        """A client that never ends its command holds a connection for hours."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n")
        self.assertEqual(self.drip(session, transport, b"N"), 5)
        self.assertEqual(self.codes(transport), [b"421"])

    def test_nothing_but_small_talk(self) -> None:
        """A client that never comes to the point holds a connection for hours."""
        session, transport = self.connect()
        self.assertEqual(self.drip(session, transport, b"NOOP\r\n"), 10)
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE)
        self.assertGreater(self.drip(session, transport, b"NOOP\r\n"), 10)

    def test_small_talk_before_login(self) -> None:
        """A client with a login may wait before it sends mail."""
        session, transport = self.connect(address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\n" + PLAIN)
        self.assertGreater(self.drip(session, transport, b"NOOP\r\n"), 10)

    def test_slow_message(self) -> None:
        """A message may come slowly, but not for ever: fifty octets a second on the average."""
        for octets, ends in ((b"x", False), (b"x" * 58 + b"\r\n", False), (b"x\r\n" * 1000, True)):
            session, transport = self.connect(self.factory(transaction=Seconds(1200.0)))
            session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
            minutes = self.drip(session, transport, octets)
            self.assertEqual(self.codes(transport), [b"421"])
            self.assertEqual(minutes == 20, ends, (octets[:2], minutes))
            self.assertLessEqual(minutes, 20 if ends else 7)

    def test_silent_in_a_message(self) -> None:
        """A client that was fast and is gone has five minutes, as any other."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n" + b"x\r\n" * 100_000)
        self.codes(transport)
        self.clock.advance(299)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_storage_is_slow(self) -> None:
        """The time that our storage takes is not the client's."""
        session, transport = self.connect()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
        for _ in range(20):
            self.storage.room = room = Deferred()
            session.dataReceived(b"x\r\n")
            self.clock.advance(29)
            self.storage.room = None
            room.callback(None)
        self.assertFalse(transport.disconnecting)
        session.dataReceived(b".\r\n")
        self.assertEqual(self.codes(transport)[-1], b"250")

    def test_one_transaction_after_the_other(self) -> None:
        """A client that begins anew each time its hour is nearly over stays for days."""
        session, transport = self.connect(self.factory(session=Seconds(1000.0)))
        session.dataReceived(b"HELO x\r\n")
        for _ in range(4):
            session.dataReceived(b"RSET\r\nMAIL FROM:<>\r\n")
            self.clock.advance(290)
        self.assertEqual(self.codes(transport)[-1], b"250")
        session.dataReceived(b"RSET\r\nMAIL FROM:<>\r\n")
        self.assertEqual(self.codes(transport), [b"250", b"421"])

    def test_old_session(self) -> None:
        """An old connection is ended between two messages, not within one."""
        factory = self.factory(session=Seconds(1000.0), idle=Seconds(400.0))
        session, transport = self.connect(factory)
        self.clock.advance(300)
        session.dataReceived(b"HELO x\r\n")
        self.clock.advance(300)
        session.dataReceived(ENVELOPE)
        self.clock.advance(399)
        session.dataReceived(b"NOOP\r\n")
        self.clock.advance(100)
        self.assertEqual(self.codes(transport)[-1], b"250")
        session.dataReceived(b"RSET\r\n")
        self.clock.advance(300)
        self.assertEqual(self.codes(transport)[-1], b"421")

    def test_own_time_does_not_count(self) -> None:
        """A client is not sent away for our own slowness."""
        session, transport = self.connect()
        self.router.waiting = waiting = Deferred()
        session.dataReceived(b"HELO x\r\n" + ENVELOPE)
        self.clock.advance(300)
        self.clock.advance(299)
        waiting.callback(None)
        self.assertEqual(self.codes(transport)[-1], b"250")
        self.clock.advance(299)
        self.assertFalse(transport.disconnecting)


class AuthTests(SessionCase):
    """Logins are proved where nobody listens."""

    def test_loopback(self) -> None:
        """From loopback a login needs no TLS, and opens the way elsewhere."""
        session, transport = self.connect(address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\n")
        self.assertIn(b"250-AUTH PLAIN LOGIN\r\n", transport.value())
        session.dataReceived(PLAIN + b"MAIL FROM:<>\r\nRCPT TO:<x@far.example>\r\nDATA\r\n.\r\n")
        self.assertEqual(self.codes(transport)[-5:], [b"235", b"250", b"250", b"354", b"250"])
        sink = self.storage.sinks[0]
        self.assertIn(b"with ESMTPA id", sink.content)
        assert sink.envelope.client is not None
        self.assertEqual(sink.envelope.client.login, "angelo@here.example")
        self.lose(session)
        self.assertEqual(self.realm.logouts, ["angelo@here.example"])

    def test_in_the_clear(self) -> None:
        """From elsewhere it is neither offered nor taken in the clear."""
        session, transport = self.connect()
        session.dataReceived(b"EHLO x\r\n" + PLAIN)
        self.assertNotIn(b"AUTH", transport.value())
        self.assertEqual(self.codes(transport)[-1], b"538")

    def test_wrong(self) -> None:
        """Wrong passwords are refused, slower and slower, and then the client is sent away."""
        session, transport = self.connect(address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\n" + WRONG * 6)
        self.assertEqual(self.codes(transport)[2:], [b"535"] * 3)
        self.clock.pump([2, 4, 8])
        self.assertEqual(self.codes(transport), [b"535", b"535", b"421"])
        self.assertTrue(transport.disconnecting)

    def test_guessing_over_many_connections(self) -> None:
        """Guessing goes on as fast over connections as it may not over one."""
        factory = self.factory(login_failures_per_login=3)
        for _ in range(3):
            session, transport = self.connect(factory, address="127.0.0.1")
            session.dataReceived(b"EHLO x\r\n" + WRONG)
            self.assertEqual(self.codes(transport)[-1], b"535")
        session, transport = self.connect(factory, address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\n" + PLAIN)
        self.assertIn(b"\r\n454 4.7.0 too many failed logins", transport.value())

    def test_lost_during_delay(self) -> None:
        """Who hangs up while being slowed down leaves nothing behind."""
        session, _ = self.connect(address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\n" + WRONG * 4)
        self.lose(session)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Talker(Protocol):
    """A client that keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.heard += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # Twisted's way
        """Note it."""
        self.lost = True


class TlsTests(SessionCase):
    """TLS, over Twisted's own transports in memory."""

    def setUp(self) -> None:
        """A virtual network with this server on it."""
        super().setUp()
        self.reactor = VirtualReactor()
        self.talker = Talker()

    def listen(self, factory: SmtpServerFactory) -> None:
        """Listen, and connect from another host."""
        self.reactor.at("192.0.2.2").listenTCP(25, factory.for_endpoint())

    def dial(self, wrap: Any = None) -> None:
        """Connect to it."""
        factory = ClientFactory()
        factory.protocol = lambda: self.talker  # type: ignore[assignment]  # just this one
        self.reactor.at("192.0.2.1").connectTCP("192.0.2.2", 25, wrap(factory) if wrap else factory)
        self.reactor.advance(0)

    def say(self, octets: bytes) -> bytes:
        """Say something, and hear the answer."""
        self.talker.heard = b""
        assert self.talker.transport is not None
        self.talker.transport.write(octets)
        self.reactor.advance(0)
        return self.talker.heard

    def starttls_server(self) -> SmtpServerFactory:
        """A server with STARTTLS."""
        return self.factory(clock=self.reactor, tls="starttls", context=certificate())

    def test_starttls(self) -> None:
        """After STARTTLS the client starts over, may log in, and the message says so."""
        self.listen(self.starttls_server())
        self.dial()
        self.assertIn(b"250-STARTTLS\r\n", self.say(b"EHLO clear.example\r\n"))
        self.assertEqual(self.say(b"MAIL FROM:<>\r\n")[:3], b"250")
        self.assertEqual(self.say(b"STARTTLS\r\n")[:3], b"220")
        transport: Any = self.talker.transport
        transport.startTLS(CertificateOptions())
        self.reactor.advance(0)
        self.assertEqual(self.say(b"MAIL FROM:<>\r\n")[:3], b"503")
        heard = self.say(b"EHLO client.example\r\n")
        self.assertIn(b"250-AUTH PLAIN LOGIN\r\n", heard)
        self.assertNotIn(b"STARTTLS", heard)
        self.assertEqual(self.say(PLAIN)[:3], b"235")
        self.assertIn(b"250 2.0.0 queued as q1\r\n", self.say(MESSAGE))
        content = self.storage.sinks[0].content
        self.assertIn(b"from client.example", content)
        self.assertRegex(content, rb"with ESMTPSA\r\n\t\(TLSv1\.[23] [A-Z0-9_]+\) id q1")
        self.say(b"QUIT\r\n")
        self.assertTrue(self.talker.lost)

    def test_injection(self) -> None:
        """Commands in the clear behind STARTTLS end the connection, and are not obeyed."""
        for parts in ((b"STARTTLS\r\nRSET\r\n",), (b"STARTTLS\r\nM",), (b"STARTTLS\r\n" * 2,)):
            self.talker = Talker()
            self.reactor = VirtualReactor()
            self.listen(self.starttls_server())
            self.dial()
            self.say(b"EHLO x\r\n")
            with capturedLogs() as logs:
                for part in parts:
                    self.assertEqual(self.say(part), b"")
            self.assertTrue(self.talker.lost)
            self.assertTrue(any("STARTTLS" in str(event["log_format"]) for event in logs))

    def test_implicit(self) -> None:
        """A server that begins with TLS offers logins at once, and no STARTTLS."""
        self.listen(self.factory(clock=self.reactor, tls="implicit", context=certificate()))
        self.dial(
            lambda factory: TLSMemoryBIOFactory(
                CertificateOptions(), True, factory, clock=self.reactor
            )
        )
        self.assertEqual(self.talker.heard[:3], b"220")
        heard = self.say(b"EHLO x\r\n")
        self.assertIn(b"AUTH", heard)
        self.assertNotIn(b"STARTTLS", heard)
        self.assertEqual(self.say(PLAIN + MESSAGE)[-24:], b"250 2.0.0 queued as q1\r\n")
        self.assertIn(b"ESMTPSA", self.storage.sinks[0].content)

    def test_no_handshake(self) -> None:
        """A client that never begins TLS is sent away like any silent one."""
        self.listen(self.starttls_server())
        self.dial()
        self.say(b"EHLO x\r\n")
        self.say(b"STARTTLS\r\n")
        self.reactor.advance(300 + LINGER)
        self.assertTrue(self.talker.lost)

    def test_over_sockets(self) -> None:
        """Over a real transport's buffers a large pipeline is answered whole and in order."""
        self.listen(self.factory(clock=self.reactor, errors=10**6, junk_commands=10**6))
        self.dial()
        self.say(b"HELO x\r\n")
        heard = self.say(b"NOOP\r\n" * 50_000)
        self.assertEqual(heard, b"250 2.0.0 ok\r\n" * 50_000)
