"""The POP3 server as a whole: what it is made of, TLS, and its end."""

from __future__ import annotations

import os

from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.realm import make_portal
from mailframe.delivery.maildir import MaildirSettings, build
from mailframe.guard import as_deferred
from mailframe.interfaces import IContent
from mailframe.outcome import Delivered, Local
from mailframe.server.limits import Limits
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.testing.contents import FakeContent
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation
from mailframe.testing.samples import make_envelope, make_job
from mailframe.testing.site import make_site
from mailframe.testing.threads import in_thread
from mailframe.units import FilePath
from tests.server.pop3_fakes import LOGIN, MARY, Client, Pop3Case, certificate, trust


class MakeTests(SynchronousTestCase):
    """Making a server."""

    def test_tls_needs_a_certificate(self) -> None:
        """Passwords go in the clear although the configuration says TLS."""
        for tls in ("starttls", "implicit"):
            self.assertRaises(
                ValueError,
                Pop3ServerFactory,
                name="pop",
                hostname="pop.example",
                portal=make_portal(FakeAccounts(), None),
                authorisation=FakeAuthorisation(),
                authorisation_name="fake",
                tls_context=None,
                tls=tls,
                limits=Limits(),
                clock=None,
                in_thread=in_thread,
            )


class StlsTests(Pop3Case):
    """TLS by STLS."""

    tls = "starttls"

    def secure(self, client: Client) -> None:
        self.assertEqual(self.say(client, b"STLS\r\n"), b"+OK begin TLS\r\n")
        client.transport.startTLS(trust())
        self.reactor.advance(1)

    def test_login_over_tls(self) -> None:
        """A client elsewhere can't log in, or only in the clear."""
        client = self.far()
        self.assertIn(b"\r\nSTLS\r\n", self.say(client, b"CAPA\r\n"))
        said = self.say(client, LOGIN)
        self.assertTrue(said.startswith(b"-ERR [AUTH] passwords are taken over TLS"), said)
        self.assertEqual(self.authorisation.asked, [])
        self.secure(client)
        said = self.say(client, b"CAPA\r\n" + LOGIN)
        self.assertNotIn(b"STLS", said)
        self.assertIn(b"+OK 3 messages", said)
        ((asked, _, _),) = self.authorisation.asked
        self.assertEqual((asked.server, asked.protocol), ("pop", "pop3"))
        self.assertEqual((asked.address, asked.login), ("192.0.2.9", str(MARY)))
        self.assertRegex(asked.tls or "", r"\ATLSv1\.[23] \w+\Z")
        # More than the transport's buffers hold passes through TLS as well.
        self.mailbox.messages[0] = b"0123456789abcde\n" * 20_000
        said = self.say(client, b"RETR 1\r\n")
        self.assertTrue(said.endswith(b"e\r\n.\r\n"), said[-20:])
        self.assertEqual(said.count(b"abcde\r\n"), 20_000)
        self.say(client, b"QUIT\r\n")
        self.reactor.advance(1)
        self.assertIsNotNone(client.lost)

    def test_injection(self) -> None:
        """Commands that an attacker puts before the handshake are carried out after it."""
        client = self.far()
        said = self.say(client, b"STLS\r\nUSER mary@here.example\r\n")
        self.assertEqual(said, b"")
        self.assertIsNotNone(client.lost)

    def test_user_from_before_is_forgotten(self) -> None:
        """Half a login in the clear counts after the handshake."""
        client = self.connect()
        self.assertEqual(self.say(client, b"USER mary@here.example\r\n"), b"+OK send PASS\r\n")
        self.secure(client)
        self.assertTrue(self.say(client, b"PASS sesame\r\n").startswith(b"-ERR "))


class ImplicitTests(Pop3Case):
    """TLS from the first octet."""

    tls = "implicit"

    def test_login(self) -> None:
        """Clients of port 995 can't connect."""
        self.assertIsInstance(self.factory.for_endpoint(), TLSMemoryBIOFactory)
        client = self.far()
        client.transport.startTLS(trust())
        self.reactor.advance(1)
        self.assertEqual(client.received, b"+OK pop.example POP3 server ready\r\n")
        self.assertIn(b"+OK 3 messages", self.say(client, LOGIN))
        self.assertIsNotNone(self.authorisation.asked[0][0].tls)
        self.assertTrue(self.say(client, b"STLS\r\n").startswith(b"-ERR "))


class NoTlsTests(Pop3Case):
    """A server without TLS."""

    def test_only_for_loopback(self) -> None:
        """A password travels through the network in the clear."""
        self.assertIs(self.factory.for_endpoint(), self.factory)
        self.assertIn(b"TLS only", self.say(self.far(), LOGIN))
        self.logged_in()
        certificate()


class DrainTests(Pop3Case):
    """The server stops."""

    def test_idle(self) -> None:
        """The server can't be stopped while clients stay, or deletes what they did not confirm."""
        client = self.logged_in()
        self.say(client, b"DELE 1\r\n")
        drained = self.factory.drain(5)
        self.reactor.advance(0)
        self.successResultOf(drained)
        self.assertTrue(client.received.endswith(b"shutting down, try again later\r\n"))
        self.assertIsNotNone(client.lost)
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (0, 1))

    def test_busy(self) -> None:
        """A client whose messages are being deleted is not told whether they are."""
        client = self.logged_in()
        self.mailbox.files[0] = open(os.devnull, "rb")  # noqa: SIM115 # closed by the server
        self.threads = []
        self.say(client, b"RETR 1\r\n")
        drained = self.factory.drain(5)
        self.assertNoResult(drained)
        late = self.connect()
        self.assertTrue(late.received.startswith(b"-ERR [SYS/TEMP] the server is shutting down"))
        self.run_thread()
        self.successResultOf(drained)
        self.assertTrue(client.received.startswith(b"+OK "))
        self.assertIn(b"\r\n.\r\n-ERR [SYS/TEMP] the server is shutting", client.received)

    def test_too_long(self) -> None:
        """One client that does not end keeps the server from stopping."""
        client = self.logged_in()
        self.mailbox.files[0] = open(os.devnull, "rb")  # noqa: SIM115 # closed by the server
        self.threads = []
        self.say(client, b"RETR 1\r\n")
        drained = self.factory.drain(5)
        self.reactor.advance(5)
        self.successResultOf(drained)
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.mailbox.closed, 0)
        self.run_thread()
        self.assertEqual(self.mailbox.closed, 1)

    def test_nobody_there(self) -> None:
        """A server without clients waits when it is stopped."""
        self.successResultOf(self.factory.drain(5))


class MaildirTests(Pop3Case):
    """With the mailboxes of the local delivery agent."""

    def setUp(self) -> None:
        super().setUp()
        self.root = os.path.abspath(self.mktemp())
        self.agent = build(
            MaildirSettings(path=FilePath(self.root + "/{domain}/{mailbox}")),
            make_site(state_dir=self.root, reactor=self.reactor),
        )
        self.mailboxes.open_mailbox = self.agent.open_mailbox  # type: ignore[method-assign]

    def deliver(self, content: bytes, id: str) -> None:
        async def open_content() -> IContent:
            return FakeContent(content)

        job = make_job(
            (Local(mailbox=MARY, reason="r"),),
            (MARY,),
            open_content,
            envelope=make_envelope(MARY, arrived=self.reactor.seconds()),
            id=id,
            size=len(content),
        )
        delivering = as_deferred(self.agent.deliver(job))
        self.reactor.pump([0, 0])  # a round to prepare it, and one to put it in place
        (outcome,) = self.successResultOf(delivering)
        self.assertIsInstance(outcome, Delivered)

    def test_there_and_back(self) -> None:
        """What comes out of a mailbox is not what was put into it, or not of the size shown."""
        contents = [
            b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\xff\x00 8bit\r\n",
            b"Subject: large\r\n\r\n" + b".0123456789\r\n" * 40_000,
        ]
        for number, content in enumerate(contents):
            self.deliver(content, f"q{number}")
            self.reactor.advance(1)
        client = self.connect()
        self.assertIn(b"+OK 2 messages", self.say(client, LOGIN))
        for number, content in enumerate(contents, 1):
            listed = int(self.say(client, b"LIST %d\r\n" % number).split()[2])
            said = self.say(client, b"RETR %d\r\n" % number)
            line, _, body = said.partition(b"\r\n")
            self.assertEqual(line, b"+OK %d octets" % listed)
            self.assertTrue(body.endswith(b"\r\n.\r\n"))
            fetched = body[:-3].replace(b"\r\n..", b"\r\n.")
            self.assertEqual(len(fetched), listed)
            self.assertTrue(fetched.endswith(content))
            self.assertTrue(fetched.startswith(b"Return-Path: <angelo@rosse.example>\r\n"))

    def test_sessions(self) -> None:
        """Two sessions at once, a mailbox that stays locked, or mail deleted without QUIT."""
        self.deliver(b"Subject: x\r\n\r\n", "q1")
        client = self.connect()
        self.assertIn(b"+OK 1 messages", self.say(client, LOGIN))
        other = self.connect()
        self.assertIn(b"-ERR [IN-USE] ", self.say(other, LOGIN))
        self.say(client, b"DELE 1\r\n")
        client.transport.abortConnection()
        self.reactor.advance(0)
        self.assertIn(b"+OK 1 messages", self.say(other, LOGIN))
        ids = self.say(other, b"UIDL\r\n")
        self.assertIn(b"+OK pop.example says goodbye", self.say(other, b"DELE 1\r\nQUIT\r\n"))
        self.assertNotIn(b"id0", ids)
        self.assertIn(b"+OK 0 messages", self.say(self.connect(), LOGIN))
