"""AUTH over SMTP and POP3 with every mechanism, from the first octet to the last."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.realm import make_portal
from mailframe.channel_binding import client_binding
from mailframe.server.limits import Limits
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.server.smtp import SmtpServerFactory
from mailframe.wire.sasl import PLUS, SCRAM, ClientMechanism, Derivation
from mailframe.wire.sasl_bearer import OAuthBearerClient, XOAuth2Client
from mailframe.wire.sasl_scram_client import ScramClient
from tests.server.pop3_fakes import (
    MESSAGES,
    Client,
    FakeMailbox,
    FakeMailboxes,
    Pop3Case,
    certificate,
)
from tests.server.smtp_fakes import fake_admission
from tests.server.test_authentication import Accounts, Introspection, Keeper

ANGELO = b"angelo@here.example"


def answer(client: ClientMechanism, challenge: bytes) -> bytes:
    """A client's response to a line with a challenge, as a line."""
    response = client.respond(base64.b64decode(challenge))
    if isinstance(response, Derivation):
        response = client.derived(response.compute())
    return base64.b64encode(response) + b"\r\n"


def clients(password: bytes = b"secret", token: bytes = b"t0ken") -> list[Any]:
    """One of each mechanism that a connection without TLS has."""
    return [
        ScramClient(ANGELO, password),
        OAuthBearerClient(ANGELO, token),
        XOAuth2Client(ANGELO, token),
    ]


class SmtpTests(SynchronousTestCase):
    """RFC 4954, from loopback."""

    def setUp(self) -> None:
        self.clock = Clock()
        limits = Limits(login_failures_per_address=0)
        accounts: Any = Accounts(Keeper(), Introspection())
        self.factory = SmtpServerFactory(
            name="submission",
            protocol="submission",
            hostname="mx.here.example",
            default_domain="here.example",
            admission=fake_admission(self.clock, limits=limits),
            portal=make_portal(accounts, None),
            tls_context=None,
            tls="none",
            limits=limits,
            clock=self.clock,
        )

    def connect(self) -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 999))
        self.session = self.factory.buildProtocol(None)
        self.session.makeConnection(self.transport)
        self.greeting = self.say(b"EHLO x\r\n")

    def say(self, octets: bytes) -> bytes:
        self.transport.clear()
        self.session.dataReceived(octets)
        return self.transport.value()

    def log_in(self, client: Any, initial: bool = True) -> bytes:
        """The last reply to a whole exchange."""
        command = b"AUTH " + client.name.encode()
        if initial:
            command += b" " + base64.b64encode(client.initial())
        said = self.say(command + b"\r\n")
        while said.startswith(b"334 "):
            self.assertEqual(said.count(b"\r\n"), 1)
            said = self.say(answer(client, said[4:].strip()))
        return said

    def test_offer(self) -> None:
        """A client would not find out what it may use."""
        self.connect()
        self.assertIn(b"250-AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2\r\n", self.greeting)
        self.assertEqual(self.say(b"AUTH PLAIN AGEAYg==\r\n")[:9], b"504 5.5.4")
        self.assertEqual(self.say(b"AUTH SCRAM-SHA-256-PLUS\r\n")[:9], b"504 5.5.4")

    def test_accepted(self) -> None:
        """Nobody could log in with this mechanism; or somebody could twice (RFC 4954 §4)."""
        for initial in (True, False):
            for client in clients():
                self.connect()
                self.assertEqual(self.log_in(client, initial), b"235 2.7.0 authenticated\r\n")
                self.assertEqual(self.say(b"AUTH SCRAM-SHA-256\r\n")[:9], b"503 5.5.1")
                self.assertEqual(self.session._client.login, ANGELO.decode())

    def test_refused(self) -> None:
        """The words would tell what was wrong, or a client be let in."""
        for client in clients(b"wrong", b"expired"):
            self.connect()
            said = self.log_in(client)
            self.assertEqual(said, b"535 5.7.8 authentication failed: wrong login or password\r\n")
            self.assertIsNone(self.session._client.login)
            self.assertEqual(self.say(b"NOOP\r\n")[:3], b"250")

    def test_cancelled(self) -> None:
        """A client that thinks better of it could not go on, or would be logged in (``*``)."""
        for steps in range(3):
            self.connect()
            client = ScramClient(ANGELO, b"secret")
            said = self.say(b"AUTH SCRAM-SHA-256\r\n")
            for _ in range(steps):
                said = self.say(answer(client, said[4:].strip()))
            self.assertEqual(said[:4], b"334 ")
            self.assertEqual(self.say(b"*\r\n"), b"501 5.7.0 authentication cancelled\r\n")
            self.assertIsNone(self.session._client.login)
            self.assertEqual(self.say(b"MAIL FROM:<>\r\n")[:3], b"250")

    def test_pipelined(self) -> None:
        """What comes behind a response would be read as part of the exchange (RFC 2920)."""
        self.connect()
        said = self.say(b"AUTH SCRAM-SHA-256 ")
        self.assertEqual(said, b"")
        client = ScramClient(ANGELO, b"secret")
        said = self.say(base64.b64encode(client.initial() or b"") + b"\r\n")
        said = self.say(answer(client, said[4:].strip()))
        said = self.say(answer(client, said[4:].strip()) + b"NOOP\r\n")
        self.assertEqual([line[:3] for line in said.splitlines()], [b"235", b"250"])

    def test_downgrade(self) -> None:
        """Without TLS nothing is bound, and who says so is believed."""
        self.connect()
        client = ScramClient(ANGELO, b"secret", binding=("tls-exporter", b"x"))
        self.assertEqual(self.log_in(client)[:3], b"235")

    def test_gone(self) -> None:
        """A login that was proved, but never confirmed, would be held for ever."""
        self.connect()
        client = ScramClient(ANGELO, b"secret")
        said = self.say(b"AUTH SCRAM-SHA-256\r\n")
        for _ in range(2):
            said = self.say(answer(client, said[4:].strip()))
        self.session.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Pop3Tests(Pop3Case):
    """RFC 5034, from loopback."""

    tls = "starttls"

    def setUp(self) -> None:
        super().setUp()
        self.serve(Keeper(), Introspection())

    def serve(self, *checkers: Any) -> None:
        """Serve with these checkers, at another port of the same host."""
        accounts: Any = Accounts(*checkers)
        self.other = Pop3ServerFactory(
            name="pop",
            hostname="pop.example",
            portal=make_portal(accounts, FakeMailboxes(FakeMailbox(list(MESSAGES)))),
            authorisation=self.authorisation,
            authorisation_name="fake",
            tls_context=certificate(),
            tls="starttls",
            limits=Limits(login_failures_per_address=0),
            clock=self.reactor,
            in_thread=self.in_thread,
        )
        self.factory = self.other
        self.reactor.listenTCP(111, self.other.for_endpoint(), interface="127.0.0.1")

    def connect(self, host: str = "127.0.0.1", reactor: Any = None) -> Client:
        connecting = clientFromString(self.reactor, "tcp:127.0.0.1:111").connect(
            Factory.forProtocol(Client)
        )
        self.reactor.advance(0)
        client: Client = self.successResultOf(connecting)
        return client

    def log_in(self, connection: Client, client: Any, initial: bool) -> bytes:
        command = b"AUTH " + client.name.encode()
        if initial:
            command += b" " + base64.b64encode(client.initial())
        said = self.say(connection, command + b"\r\n")
        while said.startswith(b"+ "):
            said = self.say(connection, answer(client, said[2:].strip()))
        return said

    def test_offer(self) -> None:
        """A client would be offered USER, which no checker takes."""
        said = self.say(self.connect(), b"CAPA\r\n")
        self.assertIn(b"\r\nSASL SCRAM-SHA-256 OAUTHBEARER XOAUTH2\r\n", said)
        self.assertNotIn(b"\r\nUSER\r\n", said)

    def test_accepted(self) -> None:
        """Nobody could fetch mail with this mechanism."""
        for initial in (True, False):
            for client in clients():
                connection = self.connect()
                said = self.log_in(connection, client, initial)
                self.assertEqual(said[:14], b"+OK 3 messages")
                self.assertEqual(self.say(connection, b"QUIT\r\n")[:3], b"+OK")

    def test_refused(self) -> None:
        """The words would tell what was wrong, or a client be let in."""
        for client in clients(b"wrong", b"expired"):
            connection = self.connect()
            said = self.log_in(connection, client, True)
            self.assertEqual(
                said, b"-ERR [AUTH] authentication failed: wrong login or password\r\n"
            )
            self.assertEqual(self.say(connection, b"STAT\r\n")[:4], b"-ERR")

    def test_cancelled(self) -> None:
        """A client that thinks better of it would be logged in."""
        for steps in range(3):
            connection, client = self.connect(), ScramClient(ANGELO, b"secret")
            said = self.say(connection, b"AUTH SCRAM-SHA-256\r\n")
            for _ in range(steps):
                said = self.say(connection, answer(client, said[2:].strip()))
            self.assertEqual(said[:2], b"+ ")
            self.assertEqual(self.say(connection, b"*\r\n")[:4], b"-ERR")
            self.assertEqual(self.say(connection, b"STAT\r\n")[:4], b"-ERR")

    def test_bound(self) -> None:
        """Channel binding would not work over POP3, or not be offered after STLS."""
        connection = self.connect()
        self.assertEqual(self.say(connection, b"STLS\r\n")[:3], b"+OK")
        transport: Any = connection.transport
        transport.startTLS(CertificateOptions())
        for _ in range(4):
            self.reactor.advance(0)
        said = self.say(connection, b"CAPA\r\n")
        self.assertIn(f"\r\nSASL {PLUS} {SCRAM} ".encode(), said)
        binding = client_binding(connection.transport)
        assert binding is not None
        client = ScramClient(ANGELO, b"secret", binding=binding)
        self.assertEqual(self.log_in(connection, client, True)[:4], b"-ERR", "a downgrade")
        client = ScramClient(ANGELO, b"secret", binding=binding, plus=True)
        self.assertEqual(self.log_in(connection, client, True)[:14], b"+OK 3 messages")
