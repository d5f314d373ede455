"""A listening SMTP server: `mailframe.server.smtp`."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.server.smtp import SmtpServerFactory
from mailframe.server.smtp_session import SmtpSession
from tests.server.smtp_fakes import fake_admission
from tests.server.test_smtp_session import ENVELOPE, MESSAGE, SessionCase, certificate


class ConnectionTests(SessionCase):
    """There is room for everyone, and nobody takes it all."""

    def test_limits(self) -> None:
        """Too many connections, in all or from one address, are sent away with 421."""
        factory = self.factory(connections=3, connections_per_address=2)
        first, transport = self.connect(factory, "192.0.2.1")
        self.connect(factory, "192.0.2.1")
        refused, transport = self.connect(factory, "192.0.2.1")
        self.assertEqual(self.codes(transport), [b"421"])
        self.assertTrue(transport.disconnecting)
        refused.dataReceived(b"EHLO x\r\n")
        self.assertEqual(transport.value(), b"")
        self.lose(refused)
        _, transport = self.connect(factory, "192.0.2.2")
        self.assertEqual(self.codes(transport), [b"220"])
        other, transport = self.connect(factory, "192.0.2.3")
        self.assertEqual(self.codes(transport), [b"421"])
        self.lose(other)
        self.lose(first)
        _, transport = self.connect(factory, "192.0.2.1")
        self.assertEqual(self.codes(transport), [b"220"])

    def test_counts_are_forgotten(self) -> None:
        """A server that has seen many addresses remembers none of them."""
        factory = self.factory()
        for number in range(10):
            session, _ = self.connect(factory, f"192.0.2.{number}")
            self.lose(session)
        self.assertEqual(
            (len(factory.connections._tally), factory.connections._tally.total), (0, 0)
        )

    def test_shared_failures(self) -> None:
        """Who may not guess at one server goes on at the next."""
        shared = LoginFailures(limits=Limits(), clock=self.clock)
        factory = SmtpServerFactory(
            name="mx",
            protocol="submission",
            hostname="mx.here.example",
            default_domain="here.example",
            admission=fake_admission(self.clock),
            portal=None,
            tls_context=None,
            tls="none",
            limits=Limits(),
            clock=self.clock,
            login_failures=shared,
        )
        self.assertIs(factory.login_failures, shared)

    def test_tls_needs_a_certificate(self) -> None:
        """A server that should offer TLS doesn't start without being able to."""
        with self.assertRaises(ValueError):
            self.factory(tls="starttls")

    def test_for_endpoint(self) -> None:
        """With implicit TLS the factory to listen with is TLS around this one."""
        plain = self.factory()
        self.assertIs(plain.for_endpoint(), plain)
        wrapped = self.factory(tls="implicit", context=certificate()).for_endpoint()
        self.assertIsInstance(wrapped, TLSMemoryBIOFactory)


class DrainTests(SessionCase):
    """A server that stops finishes what it began, and begins nothing."""

    def test_nobody(self) -> None:
        """Without connections it is over at once, but for clients that come later."""
        factory = self.factory()
        self.successResultOf(factory.drain(10))
        _, transport = self.connect(factory)
        self.assertEqual(self.codes(transport), [b"421"])

    def drained(self) -> tuple[SmtpSession, Deferred[None], list[bytes]]:
        """A server with one message under way and one idle client, told to stop."""
        factory = self.factory()
        busy, self.transport = self.connect(factory)
        idle, transport = self.connect(factory)
        busy.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n")
        self.transport.clear()
        transport.clear()
        draining = factory.drain(10)
        self.assertIs(factory.drain(10), draining)
        codes = self.codes(transport)
        self.lose(idle)
        self.assertNoResult(draining)
        return busy, draining, codes

    def test_under_way(self) -> None:
        """Idle clients are sent away; a message under way is finished and acknowledged."""
        busy, draining, codes = self.drained()
        self.assertEqual(codes, [b"421"])
        busy.dataReceived(b"x\r\n.\r\n" + ENVELOPE)
        self.assertEqual(self.codes(self.transport), [b"250", b"421"])
        self.lose(busy)
        self.successResultOf(draining)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_alone(self) -> None:
        """Also when the client says no more after its message."""
        busy, _, _ = self.drained()
        busy.dataReceived(b"x\r\n.\r\n")
        self.assertEqual(self.codes(self.transport), [b"250", b"421"])
        self.assertTrue(self.transport.disconnecting)

    def test_too_slow(self) -> None:
        """After the limit connections are cut, and their messages not kept."""
        busy, draining, _ = self.drained()
        self.clock.advance(10)
        self.successResultOf(draining)
        self.assertTrue(self.transport.disconnecting)
        self.lose(busy)
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_commit_under_way(self) -> None:
        """A commit under way is waited for and acknowledged."""
        factory = self.factory()
        session, transport = self.connect(factory)
        self.storage.committing = Deferred()
        session.dataReceived(b"HELO x\r\n" + MESSAGE)
        self.codes(transport)
        factory.drain(10)
        self.assertEqual(transport.value(), b"")
        self.storage.committing.callback(None)
        self.assertEqual(self.codes(transport), [b"250", b"421"])
