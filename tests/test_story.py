"""The whole story in virtual time: five days pass in a moment.

A whole server, with the shipped parts: a client submits with a login, the next hop is down, and
what the sender is told in the end is read over POP3. Only the network, the resolver, the threads
and the clock are made up.
"""

from __future__ import annotations

import base64
import email
import email.policy
import os
from email.message import EmailMessage

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from mailframe.accounts.file import FileSettings
from mailframe.accounts.store import AccountStore
from mailframe.delivery.maildir import MaildirSettings
from mailframe.routing.table import RuleSettings, TableSettings
from mailframe.settings import ServerSettings
from mailframe.units import FilePath
from tests.whole_server import ServerTests

HOUR = 3600.0
DAY = 24 * HOUR
NEXT_HOP = "192.0.2.9"
PASSWORD = "correct horse"


class StoryTests(ServerTests):
    """Angelo writes to jsmith at a server that can't be reached."""

    def setUp(self) -> None:
        super().setUp()
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder, 0o700)
        accounts = os.path.join(folder, "accounts.toml")
        with AccountStore.changing(accounts) as store:
            store.add("angelo@here.example", PASSWORD)
        rule = RuleSettings(
            name="far", recipients=("*@far.example",), via=f"tcp:{NEXT_HOP}:25", tls="none"
        )
        self.start(
            servers=[
                ServerSettings(name="mx", protocol="smtp", listen=("tcp:25",)),
                ServerSettings(name="submission", protocol="submission", listen=("tcp:587",)),
                ServerSettings(name="pop", protocol="pop3", listen=("tcp:110",)),
            ],
            accounts=FileSettings(path=FilePath(accounts)),
            authorisation="providers",
            routing=TableSettings(rule=(rule,)),
            delivery=MaildirSettings(path=FilePath(os.path.join(folder, "{domain}", "{mailbox}"))),
        )

    def submit(self, *recipients: str) -> str:
        """Submit a message as angelo; returns its queue id."""
        peer = self.connect(587)
        secret = base64.b64encode(f"\0angelo@here.example\0{PASSWORD}".encode()).decode()
        self.assertIn(b"235 2.7.0", self.say(peer, "EHLO pc.example", f"AUTH PLAIN {secret}"))
        self.say(peer, "MAIL FROM:<angelo@here.example>")
        for recipient in recipients:
            self.assertIn(b"250 2.1.5", self.say(peer, f"RCPT TO:<{recipient}>"))
        reply = self.say(peer, "DATA", "Subject: lunch\r\nX-Mine: yes\r\n\r\nAt one?\r\n.")
        self.say(peer, "QUIT")
        self.assertTrue(reply.startswith(b"250 2.0.0 queued as "), reply)
        return reply.split()[-1].decode()

    def fetch(self) -> list[EmailMessage]:
        """All of angelo's mail, over POP3."""
        peer = self.connect(110)
        self.assertIn(
            b"+OK", self.say(peer, "USER angelo@here.example", f"PASS {PASSWORD}"), "login"
        )
        count = int(self.say(peer, "STAT").split()[1])
        texts = [self.say(peer, f"RETR {n + 1}").split(b"\r\n", 1)[1] for n in range(count)]
        self.say(peer, "QUIT")
        return [
            email.message_from_bytes(text.removesuffix(b".\r\n"), policy=email.policy.default)
            for text in texts
        ]

    def status(self, notice: EmailMessage) -> EmailMessage:
        """The fields about the one recipient of a notice."""
        self.assertEqual(notice.get_content_type(), "multipart/report")
        (report,) = (p for p in notice.walk() if p.get_content_type() == "message/delivery-status")
        _message, recipient = report.get_payload()
        return recipient

    def test_five_days(self) -> None:
        """One delay warning after four hours, one failure notice after five days, then nothing."""
        self.reactor.down(NEXT_HOP)
        self.submit("jsmith@far.example")
        self.reactor.advance(4 * HOUR - 60)
        self.assertEqual(self.fetch(), [])
        self.reactor.advance(120)
        (warning,) = self.fetch()
        self.assertEqual(self.status(warning)["Action"], "delayed")
        self.reactor.advance(5 * DAY - 5 * HOUR)
        self.assertEqual(len(self.fetch()), 1)
        self.reactor.advance(2 * HOUR)
        _, failure = self.fetch()
        status = self.status(failure)
        self.assertEqual(status["Action"], "failed")
        self.assertEqual(status["Final-Recipient"], "rfc822; jsmith@far.example")
        self.assertTrue(status["Status"].startswith("4.4."), status["Status"])
        self.assertIn("X-Mine: yes", failure.as_string())
        self.assertEqual(failure["Return-Path"], "<>")
        self.reactor.advance(10 * DAY)
        self.assertEqual(len(self.fetch()), 2)

    def test_the_next_hop_comes_back(self) -> None:
        """Each recipient settles by itself: the local copy at once, the other when it can."""
        self.reactor.down(NEXT_HOP)
        self.submit("jsmith@far.example", "angelo@here.example")
        self.reactor.advance(1)
        self.assertEqual([m["Subject"] for m in self.fetch()], ["lunch"])
        self.reactor.advance(2 * HOUR)
        taken = self.sink()
        self.reactor.up(NEXT_HOP)
        self.reactor.advance(900)
        self.assertEqual(len(taken), 1)
        self.assertIn(b"\r\nAt one?\r\n", taken[0])
        self.reactor.advance(10 * DAY)
        self.assertEqual(len(self.fetch()), 1, "no notice about mail that arrived")

    def test_a_refusal_bounces_at_once(self) -> None:
        """A 5xx is told at once, with the remote server's words and status."""
        self.sink(rcpt=b"550 5.1.1 no jsmith here\r\n")
        self.submit("jsmith@far.example")
        self.reactor.advance(1)
        (failure,) = self.fetch()
        status = self.status(failure)
        self.assertEqual(status["Status"], "5.1.1")
        self.assertEqual(status["Diagnostic-Code"], "smtp; 550 5.1.1 no jsmith here")

    def sink(self, rcpt: bytes = b"250 2.1.5 ok\r\n") -> list[bytes]:
        """A next hop that says what it is told to; returns the contents it takes."""
        taken: list[bytes] = []

        class Sink(LineOnlyReceiver):
            content: list[bytes] | None = None

            def connectionMade(self) -> None:
                self.transport.write(b"220 sink ESMTP\r\n")

            def lineReceived(self, line: bytes) -> None:
                if self.content is not None:
                    if line != b".":
                        self.content.append(line)
                        return
                    taken.append(b"\r\n".join(self.content) + b"\r\n")
                    self.content = None
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.content = []
                self.transport.write(
                    {b"RCPT": rcpt, b"DATA": b"354 go on\r\n"}.get(verb, b"250 2.0.0 ok\r\n")
                )

        self.reactor.at(NEXT_HOP).listenTCP(25, Factory.forProtocol(Sink))
        return taken
