"""The notices that tell a sender what became of a message."""

from __future__ import annotations

import email
import email.policy
import random
from email.message import EmailMessage
from typing import cast

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Entry, Notice, QueuedRecipient
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.schedule import Schedule
from mailframe.reply import Reply

ARRIVED = 1_700_000_000.0
HOUR = 3600.0
SENDER = Address.parse("angelo@rosse.example")
NOBODY = Address.parse("nobody@mindspring.com")
HEADERS = b"From: angelo@rosse.example\r\nSubject: lunch\r\n"


def failed(reply: Reply | None, where: str = "mx.mindspring.com [192.0.2.1]:25") -> QueuedRecipient:
    return QueuedRecipient(
        address=NOBODY, state="failed", attempts=3, last_reply=reply, where=where
    )


def entry(*recipients: QueuedRecipient, sender: Address | None = SENDER) -> Entry:
    permit = Permit(reason="a customer")
    return Entry(
        id="abc123",
        envelope=Envelope(
            sender=sender,
            recipients=(Recipient(address=NOBODY, evidence=permit),),
            client=Client(server="mx", protocol="smtp", address="192.0.2.9"),
            arrived=ARRIVED,
        ),
        size=1000,
        recipients=recipients,
        next_attempt=ARRIVED,
    )


def writer() -> NoticeWriter:
    return NoticeWriter(hostname="mx.rosse.example", random=random.Random(1), schedule=Schedule())


def parse(notice: Notice | None) -> EmailMessage:
    assert notice is not None
    return cast(EmailMessage, email.message_from_bytes(notice.content, policy=email.policy.default))


def explanation(notice: Notice | None) -> str:
    """The words a person reads, on one line."""
    return " ".join(parse(notice).get_payload()[0].get_payload().split())


class FailureTests(SynchronousTestCase):
    def notice(self, *recipients: QueuedRecipient, headers: bytes = HEADERS) -> Notice:
        notice = writer().failure(
            entry(*recipients), list(recipients), headers, ARRIVED + 5 * 24 * HOUR
        )
        assert notice is not None
        return notice

    def test_envelope(self) -> None:
        """A notice that can itself be answered by a notice makes two servers talk for ever."""
        envelope = self.notice(failed(Reply(550, "5.1.1", "no"))).envelope
        self.assertIsNone(envelope.sender)
        self.assertIsNone(envelope.client)
        self.assertEqual([r.address for r in envelope.recipients], [SENDER])
        self.assertEqual(
            envelope.recipients[0].evidence, Permit(reason="a notice about abc123", rule="notice")
        )
        self.assertEqual(envelope.arrived, ARRIVED + 5 * 24 * HOUR)
        self.assertEqual(envelope.body, "7BIT")

    def test_header_section(self) -> None:
        """Vacation programs answer the notice, and readers can't see who sent it and when."""
        message = parse(self.notice(failed(Reply(550, "5.1.1", "no"))))
        self.assertEqual(message["From"], "Mail Delivery System <MAILER-DAEMON@mx.rosse.example>")
        self.assertEqual(message["To"], "angelo@rosse.example")
        self.assertEqual(message["Subject"], "Undelivered mail returned to sender")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Date"], "Sun, 19 Nov 2023 22:13:20 -0000")
        self.assertEqual(message["MIME-Version"], "1.0")
        self.assertRegex(message["Message-ID"], r"\A<[0-9a-f]{24}@mx\.rosse\.example>\Z")

    def test_refused(self) -> None:
        """The sender learns that the mail failed, and not which server refused it or why."""
        notice = self.notice(failed(Reply(550, "5.1.1", "no such user")))
        said = explanation(notice)
        self.assertIn(
            "<nobody@mindspring.com> It was refused at mx.mindspring.com [192.0.2.1]:25 with: "
            "550 5.1.1 no such user",
            said,
        )
        self.assertIn("abc123", said)
        self.assertIn(b"Diagnostic-Code: smtp; 550 5.1.1 no such user", notice.content)
        self.assertIn(b"Action: failed", notice.content)
        self.assertIn(b"Reporting-MTA: dns; mx.rosse.example", notice.content)
        self.assertIn(b"Arrival-Date: Tue, 14 Nov 2023 22:13:20 -0000", notice.content)

    def test_expired(self) -> None:
        """The sender is told "refused" although the other server just could not be reached."""
        said = explanation(self.notice(failed(Reply(451, "4.4.1", "connection refused"), "")))
        self.assertIn(
            "It was tried 3 times in 5d. The last attempt ended with: 451 4.4.1 connection refused",
            said,
        )

    def test_never_tried(self) -> None:
        """A message that was given up untried costs its sender the notice."""
        untried = QueuedRecipient(address=NOBODY, state="failed")
        notice = self.notice(untried)
        self.assertIn("It has not been tried yet.", explanation(notice))
        self.assertNotIn(b"Last-Attempt-Date", notice.content)

    def test_redirected(self) -> None:
        """The sender gets a notice about somebody they never wrote to."""
        alias = QueuedRecipient(
            address=Address.parse("team@rosse.example"), state="redirected", attempts=1
        )
        target = attrs.evolve(failed(Reply(550, "5.1.1", "no")), parent=0)
        notice = writer().failure(entry(alias, target), [target], HEADERS, ARRIVED)
        self.assertIn("(to whom <team@rosse.example> is redirected)", explanation(notice))

    def test_headers_only(self) -> None:
        """The body of a message under a forged name is sent on to the one whose name it is."""
        notice = self.notice(failed(None), headers=HEADERS + b"\r\nsecret body")
        part = parse(notice).get_payload()[2]
        self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        self.assertEqual(part.get_payload(decode=True), HEADERS)
        self.assertNotIn(b"secret", notice.content)

    def test_null_reverse_path(self) -> None:
        """A bounce is bounced."""
        recipient = failed(Reply(550, "5.1.1", "no"))
        bounce = entry(recipient, sender=None)
        self.assertIsNone(writer().failure(bounce, [recipient], HEADERS, ARRIVED))

    @given(st.text(max_size=700), st.text(max_size=300), st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_hostile_remote(self, said: str, where: str, headers: bytes) -> None:
        """A remote server writes headers or parts into our notice, or breaks a line of it."""
        notice = self.notice(failed(Reply(550, None, said), where), headers=headers)
        for line in notice.content.split(b"\r\n"):
            self.assertRegex(line, rb"\A[\t\x20-\x7e]{0,998}\Z")
        message = parse(notice)
        self.assertEqual(
            [part.get_content_type() for part in message.get_payload()],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )


class WarningTests(SynchronousTestCase):
    def warning(self, sender: Address | None = SENDER, attempts: int = 16) -> Notice | None:
        waiting = QueuedRecipient(
            address=NOBODY,
            attempts=attempts,
            last_reply=Reply(451, "4.4.1", "connection refused"),
            where="mx.mindspring.com [192.0.2.1]:25",
        )
        return writer().warning(
            entry(waiting, sender=sender), [waiting], HEADERS, ARRIVED + 4 * HOUR
        )

    def test_says_until_when(self) -> None:
        """The sender does not know whether to send the message again, and sends it twice."""
        notice = self.warning()
        said = explanation(notice)
        self.assertIn("Your message has been waiting for 4h", said)
        self.assertIn("it is tried until Sun, 19 Nov 2023 22:13:20 -0000", said)
        self.assertIn("It was tried 16 times in 4h.", said)
        assert notice is not None
        self.assertIn(b"Action: delayed", notice.content)
        self.assertIn(b"Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 -0000", notice.content)
        self.assertEqual(parse(notice)["Subject"], "Delayed mail (still being tried)")

    def test_tried_once(self) -> None:
        """ "1 times" tells the reader that nobody reads these notices."""
        self.assertIn("It was tried once in 4h.", explanation(self.warning(attempts=1)))

    def test_null_reverse_path(self) -> None:
        """A delayed bounce is answered with a warning to nobody."""
        self.assertIsNone(self.warning(sender=None))
