"""What a sender asked to be told, in a whole server and virtual time.

The messages are put into the queue with what a client may say in MAIL and RCPT, so that nothing
depends on how it is said there.
"""

from __future__ import annotations

import email
from email.message import Message
from typing import Any

import attrs

from mailframe.address import Address
from mailframe.envelope import Envelope, Notify, Recipient
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage
from mailframe.outcome import Delivered, Permit, Postponed, Refused
from mailframe.queue.notices import NoticeSettings
from mailframe.reply import Reply
from tests.whole_server import JSMITH, ServerTests

HOUR = 3600.0
MARY = Address("mary", "here.example")
TEAM = Address("team", "here.example")
CONTENT = b"Subject: lunch\r\n\r\nAt one?\r\n"
ALL: tuple[Notify, ...] = ("SUCCESS", "FAILURE", "DELAY")


class NoticeTests(ServerTests):
    """jsmith writes to mary and wants to know."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts.passwords[MARY] = b"secret"
        self.start()

    def queue(self) -> IQueueStorage:
        assert self.server is not None
        storage: IQueueStorage = self.server._now().parts.queue.part
        return storage

    def send(self, recipient: Address, notify: tuple[Notify, ...], **changes: Any) -> str:
        """Queue a message from jsmith."""
        asked = Recipient(
            address=recipient,
            evidence=Permit(reason="a test"),
            notify=notify,
            orcpt=f"rfc822;{recipient}",
        )
        envelope = Envelope(
            sender=JSMITH, recipients=(asked,), client=None, arrived=self.reactor.seconds()
        )
        sink = self.queue().receive(envelope=attrs.evolve(envelope, envid="QQ1", **changes))
        self.assertIsNone(sink.write(octets=CONTENT))
        self.successResultOf(as_deferred(sink.commit()))
        self.reactor.advance(1)
        return sink.id

    def told(self) -> list[Message]:
        """The fields about the one recipient of each notice that jsmith got."""
        reports = []
        for octets in self.agent.delivered.get(JSMITH, []):
            _text, status, _returned = email.message_from_bytes(octets).get_payload()
            message, recipient = status.get_payload()
            self.assertEqual(message["Original-Envelope-Id"], "QQ1")
            reports.append(recipient)
        return reports

    def test_delivered(self) -> None:
        """Who asked whether the message arrived does not learn it."""
        self.send(MARY, ALL)
        (about,) = self.told()
        self.assertEqual((about["Action"], about["Status"]), ("delivered", "2.0.0"))
        self.assertEqual(about["Original-Recipient"], "rfc822;mary@here.example")
        self.reactor.advance(6 * 24 * HOUR)
        self.assertEqual(len(self.told()), 1)

    def test_alias(self) -> None:
        """A mail to an alias is answered for each of its members; or not at all."""
        self.accounts.aliases[TEAM] = (MARY, JSMITH)
        self.send(TEAM, ("SUCCESS",))
        content, *notices = self.agent.delivered[JSMITH]
        self.assertTrue(content.endswith(CONTENT))
        self.assertEqual(len(notices), 1)
        self.assertIn(b"Action: expanded\r\n", notices[0])

    def test_delayed_and_failed(self) -> None:
        """One warning, one failure with the whole message, and nothing of a success."""
        self.agent.outcomes[MARY] = Postponed(where="fake", reply=Reply(452, "4.2.2", "full"))
        self.send(MARY, ALL, ret="FULL")
        self.reactor.advance(5 * HOUR)
        self.agent.outcomes[MARY] = Refused(where="fake", reply=Reply(550, "5.2.1", "closed"))
        self.reactor.advance(HOUR)
        self.assertEqual([about["Action"] for about in self.told()], ["delayed", "failed"])
        warning, failure = self.agent.delivered[JSMITH]
        self.assertNotIn(b"At one?", warning)
        self.assertIn(CONTENT, failure)

    def test_never(self) -> None:
        """Who asked not to be told is told; or nobody can find out what became of the mail."""
        self.agent.outcomes[MARY] = Refused(where="fake", reply=Reply(550, "5.2.1", "closed"))
        id = self.send(MARY, ("NEVER",))
        self.assertEqual(self.told(), [])
        history = self.successResultOf(as_deferred(self.queue().history(id=id)))
        self.assertEqual([event.kind for event in history][-2:], ["refused", "dropped"])

    def test_a_flood(self) -> None:
        """Who puts a server together can't say how many notices a forged name is flooded with."""
        self.stop()
        self.start(notices=NoticeSettings(notices_per_sender=1))
        ids = [self.send(MARY, ("SUCCESS",)) for _ in range(3)]
        self.assertEqual(len(self.told()), 1)
        history = self.successResultOf(as_deferred(self.queue().history(id=ids[-1])))
        self.assertEqual([event.kind for event in history][-2:], ["delivered", "dropped"])

    def test_not_asked(self) -> None:
        """Every mail is answered."""
        self.agent.outcomes[MARY] = Delivered(where="fake", reply=Reply(250, "2.0.0", "kept"))
        self.send(MARY, ())
        self.assertEqual(self.told(), [])
