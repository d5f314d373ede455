"""The login of the relay client at a smarthost, with our own server as that: over real TLS in
memory, so that both ends have to find the same channel binding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.realm import make_portal
from mailframe.delivery.connection import CLOSING, RelayConnection
from mailframe.delivery.handshake import Handshake
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.outcome import NextHop
from mailframe.server.limits import Limits
from mailframe.server.smtp import SmtpServerFactory
from mailframe.testing.network import VirtualReactor
from mailframe.wire.sasl import Login
from tests.delivery.test_tls_policy import asked
from tests.server.pop3_fakes import certificate
from tests.server.smtp_fakes import fake_admission
from tests.server.test_authentication import Accounts, Keeper

HOST = "192.0.2.1"
ANGELO = Login(authzid=b"", user=b"angelo@here.example", password=b"secret")


class SmarthostCase(SynchronousTestCase):
    """A smarthost that knows angelo, whose password is secret."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.addCleanup(self.nothing_left)
        accounts: Any = Accounts(Keeper())
        self.portal = make_portal(accounts, None)
        self.said: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace") == "mailframe.server.authentication":
                self.said.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def nothing_left(self) -> None:
        self.reactor.cut(HOST)
        self.reactor.advance(CLOSING + 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def serve(self, portal: Portal | None = None) -> SmtpServerFactory:
        limits = Limits()
        server = SmtpServerFactory(
            name="smarthost",
            protocol="submission",
            hostname="mx.here.example",
            default_domain="here.example",
            admission=fake_admission(self.reactor, limits=limits),
            portal=portal or self.portal,
            tls_context=certificate(),
            tls="starttls",
            limits=limits,
            clock=self.reactor,
        )
        self.reactor.at(HOST).listenTCP(25, server.for_endpoint())
        return server

    def connect(
        self,
        login: Login = ANGELO,
        in_thread: Callable[..., Deferred[Any]] = execute,
        **kwargs: Any,
    ) -> RelayConnection:
        connection = RelayConnection(
            where="smarthost",
            hostname="mx.rosse.example",
            hop=NextHop(where=f"tcp:{HOST}:25", tls="require", login="angelo@here.example"),
            login=login,
            handshake=Handshake.under(asked("require"), HOST, TlsPolicies()),
            settings=RelaySettings(),
            clock=self.reactor,
            in_thread=in_thread,
        )
        TCP4ClientEndpoint(self.reactor, HOST, 25).connect(
            Factory.forProtocol(lambda: connection)  # type: ignore[arg-type]  # just this one
        )
        for _ in range(6):
            self.reactor.advance(0)
        return connection

    def close(self, connection: RelayConnection) -> None:
        connection.quit()
        self.reactor.advance(0)


class LoginTests(SmarthostCase):
    def test_bound(self) -> None:
        """Our own server and client would not understand each other's channel binding."""
        server = self.serve()
        chosen: list[str] = []
        offered = server.mechanisms.offered

        def listen(can_bind: bool) -> Any:
            chosen.append("PLUS" if can_bind else "")
            return offered(can_bind)

        self.patch(server.mechanisms, "offered", listen)
        connection = self.connect()
        self.assertIsNone(self.successResultOf(connection.opened))
        self.assertIn("SCRAM-SHA-256-PLUS", connection.sender.extensions["AUTH"])
        self.assertEqual(chosen[-1], "PLUS")
        self.assertIn("accepted from", self.said[-1])
        self.close(connection)

    def test_wrong_password(self) -> None:
        """A wrong password would be taken, or bounce the mail."""
        self.serve()
        wrong = Login(authzid=b"", user=b"angelo@here.example", password=b"wrong")
        connection = self.connect(wrong)
        failed = self.successResultOf(connection.opened)
        assert failed is not None
        self.assertEqual((failed.reply.code, failed.reply.status), (454, "4.7.8"))
        self.assertIn("535 5.7.8", str(failed.reply))

    def test_in_a_thread(self) -> None:
        """The reactor would stand still while the password is hashed."""
        self.serve()
        work: list[tuple[Deferred[Any], Callable[[], Any]]] = []

        def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
            work.append((Deferred(), function))
            return work[-1][0]

        connection = self.connect(in_thread=in_thread)
        self.assertNoResult(connection.opened)
        ((deferred, function),) = work
        deferred.callback(function())
        for _ in range(3):
            self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(connection.opened))
        self.close(connection)

    def test_no_thread(self) -> None:
        """A fault of ours would leave the connection waiting for ever."""
        self.serve()

        def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
            return execute(lambda: 1 / 0)

        connection = self.connect(in_thread=in_thread)
        failed = self.successResultOf(connection.opened)
        assert failed is not None
        self.assertEqual((failed.reply.code, failed.reply.status), (451, "4.3.0"))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_broken_meanwhile(self) -> None:
        """A server that leaves while we compute would become a fault of ours."""
        self.serve()
        work: Deferred[Any] = Deferred()
        connection = self.connect(in_thread=lambda function: work)
        self.reactor.cut(HOST)
        self.reactor.advance(0)
        failed = self.successResultOf(connection.opened)
        assert failed is not None
        self.assertEqual(failed.reply.status, "4.4.2")
        work.callback(bytes(32))
