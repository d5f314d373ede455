"""Routing in virtual time: what is held goes on when it is released, and forwarded mail comes back.

A whole server with the shipped parts, as in `tests.test_story`.
"""

from __future__ import annotations

import os

from mailframe.accounts.file import FileSettings
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.guard import as_deferred
from mailframe.queue.memory import MemoryStorage
from mailframe.routing.srs import SrsSettings
from mailframe.routing.table import MapSettings, RuleSettings, TableSettings
from mailframe.units import FilePath
from tests.whole_server import ServerTests

DAY = 86_400.0
NEXT_HOP = "192.0.2.9"


class RoutingStoryTests(ServerTests):
    """Mail for here.example, whose catch-all is at far.example."""

    def setUp(self) -> None:
        super().setUp()
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder, 0o700)

        def write(name: str, text: str) -> FilePath:
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
            return FilePath(file.name)

        accounts = FilePath(os.path.join(folder, "accounts.toml"))
        with AccountStore.changing(accounts) as store:
            store.add("jsmith@here.example", None)
            store.catch("here.example", ["all@far.example"])
        self.storage = MemoryStorage(clock=self.reactor, random=self.lent()["random"])
        hop = f"tcp:{NEXT_HOP}:25"
        ways = write("ways.map", f"*@far.example {hop}\n*@there.example {hop}\n")
        self.start(
            accounts=FileSettings(path=accounts, postmaster=Address("jsmith", "here.example")),
            authorisation="providers",
            queue=self.storage,
            routing=TableSettings(
                rule=(
                    RuleSettings(name="odd", recipients=("abuse@*",), via="hold:ask Mary"),
                    RuleSettings(name="ways", via="map:ways", tls="none"),
                ),
                map=(MapSettings(name="ways", file=ways),),
                srs=SrsSettings(
                    domain="here.example", secret_file=write("srs", "0123456789abcdef")
                ),
            ),
        )
        self.envelopes = self.serve_sink(NEXT_HOP).told

    def delivered(self) -> list[str]:
        """Who got mail here."""
        return [str(recipient) for job in self.agent.jobs for recipient in job.recipients]

    def test_held_and_released(self) -> None:
        """Mail that an operator is to look at would go on by itself, or never."""
        reply = self.hand_over("abuse@here.example")
        self.assertIn(b"250 2.0.0 queued as ", reply)
        id = reply.split()[-1].decode()
        self.reactor.advance(10 * DAY)
        entry = self.successResultOf(as_deferred(self.storage.find(id)))
        assert entry is not None
        self.assertTrue(entry.held)
        self.assertEqual(self.delivered(), [])
        now = self.reactor.seconds()
        self.successResultOf(as_deferred(self.storage.release(id, now)))
        self.reactor.advance(1)
        self.assertEqual(self.delivered(), ["jsmith@here.example"])
        history = self.successResultOf(as_deferred(self.storage.history(id)))
        self.assertEqual(
            [(event.kind, event.rule) for event in history[2:6]],
            [("held", ""), ("held", "odd"), ("released", ""), ("redirected", "alias")],
        )

    def test_forwarded_and_returned(self) -> None:
        """Forwarded mail would fail its sender's SPF, and bounces be lost or relayed for all."""
        self.hand_over("whoever@here.example")
        self.reactor.advance(1)
        mail, recipient = self.envelopes
        self.assertTrue(recipient.startswith(b"RCPT TO:<all@far.example>"), recipient)
        told = mail.split(b"<")[1].split(b">")[0].decode()
        self.assertRegex(told, r"^SRS0=.{8}=..=there\.example=a@here\.example$")
        peer = self.connect()
        self.say(peer, "EHLO far.example", "MAIL FROM:<>")
        self.assertIn(b"550 5.1.1", self.say(peer, f"RCPT TO:<{told.replace('=a@', '=b@')}>"))
        self.assertIn(b"250 2.1.5", self.say(peer, f"RCPT TO:<{told.upper()}>"))
        self.say(peer, "DATA", "Subject: returned\r\n\r\nno\r\n.", "QUIT")
        self.reactor.advance(1)
        mail, recipient = self.envelopes[2:]
        self.assertTrue(mail.startswith(b"MAIL FROM:<>"), mail)
        self.assertTrue(recipient.startswith(b"RCPT TO:<A@there.example>"), recipient)

    def test_subaddress_and_postmaster(self) -> None:
        """Mail to a tagged address would go to whoever catches all."""
        for recipient in ("JSmith+news@here.example", "postmaster@here.example"):
            self.assertIn(b"250 2.0.0", self.hand_over(recipient))
        self.reactor.advance(1)
        self.assertEqual(self.delivered(), ["JSmith+news@here.example", "jsmith@here.example"])
        self.assertEqual(self.envelopes, [])
