"""The notices that tell a sender what became of a message."""

from __future__ import annotations

import email
import email.policy
import random
from email.message import EmailMessage
from typing import Any, cast

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Entry, Event, Notice, QueuedRecipient, Step
from mailframe.envelope import Client, DeliverBy, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue.asked import Action
from mailframe.queue.notices import NoticeSettings, NoticeWriter
from mailframe.queue.progress import Progress
from mailframe.queue.schedule import Schedule
from mailframe.reply import Reply
from mailframe.units import Octets

ARRIVED = 1_700_000_000.0
HOUR = 3600.0
LATER = ARRIVED + 5 * 24 * HOUR
SENDER = Address.parse("angelo@rosse.example")
WIDE_SENDER = Address.parse("ang\u00e8lo@rosse.example")
NOBODY = Address.parse("nobody@mindspring.com")
HEADERS = b"From: angelo@rosse.example\r\nSubject: lunch\r\n"
WHOLE = HEADERS + b"\r\nAt one?\r\n"
WIDE = HEADERS + "\r\nUm eins, J\u00fcrgen?\r\n".encode()
NO = Reply(550, "5.1.1", "no such user", is_remote=True)
OK = Reply(250, "2.1.5", "taken")
REMOTE = "mx.mindspring.com [192.0.2.1]:25"


def about(reply: Reply | None, where: str = REMOTE, attempts: int = 3) -> QueuedRecipient:
    return QueuedRecipient(address=NOBODY, attempts=attempts, last_reply=reply, where=where)


def entry(*recipients: QueuedRecipient, orcpt: str | None = None, **envelope: Any) -> Entry:
    named = tuple(
        Recipient(address=each.address, evidence=Permit(reason="a customer"), orcpt=orcpt)
        for each in recipients
        if each.parent is None
    )
    values = {
        "sender": SENDER,
        "client": Client(server="mx", protocol="smtp", address="192.0.2.9", helo="pc.example"),
        "arrived": ARRIVED,
        **envelope,
    }
    return Entry(
        id="abc123",
        envelope=Envelope(recipients=named, **values),
        size=1000,
        recipients=recipients,
        next_attempt=ARRIVED,
    )


def writer(**changes: Any) -> NoticeWriter:
    return NoticeWriter(
        hostname="mx.rosse.example", random=random.Random(1), schedule=Schedule(), **changes
    )


def progress(message: Entry, notices: dict[Action, tuple[int, ...]]) -> Progress:
    step = Step(recipients=message.recipients, next_attempt=None, warned=False, events=())
    return Progress(step=step, notices=notices)


def write(
    action: Action,
    message: Entry,
    *indices: int,
    content: bytes = HEADERS,
    now: float = LATER,
    by: NoticeWriter | None = None,
) -> Notice:
    wanted = progress(message, {action: indices or (0,)})
    _step, (notice,) = (by or writer()).write(message, wanted, content, now)
    return notice


def parse(notice: Notice) -> EmailMessage:
    return cast(EmailMessage, email.message_from_bytes(notice.content, policy=email.policy.default))


def explanation(notice: Notice) -> str:
    """The words a person reads, on one line."""
    text = cast(EmailMessage, parse(notice).get_payload()[0])
    return " ".join(cast(str, text.get_content()).split())


def returned(notice: Notice) -> str:
    """The type of the part that returns something of the message."""
    return cast(str, parse(notice).get_payload()[2].get_content_type())


class FailureTests(SynchronousTestCase):
    def test_envelope(self) -> None:
        """A notice that can itself be answered by a notice makes two servers talk for ever."""
        envelope = write("failed", entry(about(NO))).envelope
        self.assertIsNone(envelope.sender)
        self.assertIsNone(envelope.client)
        self.assertEqual([r.address for r in envelope.recipients], [SENDER])
        self.assertEqual(
            envelope.recipients[0].evidence, Permit(reason="a notice about abc123", rule="notice")
        )
        self.assertEqual(envelope.arrived, LATER)
        self.assertEqual(envelope.body, "7BIT")
        self.assertIs(envelope.smtputf8, False)
        self.assertIs(envelope.require_tls, False)
        self.assertIsNone(envelope.ret)

    def test_header_section(self) -> None:
        """Vacation programs answer the notice, and readers can't see who sent it and when."""
        message = parse(write("failed", entry(about(NO))))
        self.assertEqual(message["From"], "Mail Delivery System <MAILER-DAEMON@mx.rosse.example>")
        self.assertEqual(message["To"], "angelo@rosse.example")
        self.assertEqual(message["Subject"], "Undelivered mail returned to sender")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Date"], "Sun, 19 Nov 2023 22:13:20 -0000")
        self.assertEqual(message["MIME-Version"], "1.0")
        self.assertRegex(message["Message-ID"], r"\A<[0-9a-f]{24}@mx\.rosse\.example>\Z")

    def test_refused(self) -> None:
        """The sender learns that the mail failed, and not which server refused it or why."""
        notice = write("failed", entry(about(NO)))
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
        self.assertIn(b"Received-From-MTA: dns; pc.example", notice.content)
        self.assertIn(b"Arrival-Date: Tue, 14 Nov 2023 22:13:20 -0000", notice.content)

    def test_expired(self) -> None:
        """The sender is told "refused" although the other server just could not be reached."""
        waiting = about(Reply(451, "4.4.1", "connection refused"), "")
        self.assertIn(
            "It was tried 3 times in 5d. The last attempt ended with: 451 4.4.1 connection refused",
            explanation(write("failed", entry(waiting))),
        )

    def test_never_tried(self) -> None:
        """A message that was given up untried costs its sender the notice."""
        notice = write("failed", entry(about(None, "", 0)))
        self.assertIn("It has not been tried yet.", explanation(notice))
        self.assertNotIn(b"Last-Attempt-Date", notice.content)

    def test_redirected(self) -> None:
        """The sender gets a notice about somebody they never wrote to."""
        alias = QueuedRecipient(
            address=Address.parse("team@rosse.example"), state="redirected", attempts=1
        )
        message = entry(alias, attrs.evolve(about(NO), parent=0), orcpt="rfc822;team@rosse.example")
        notice = write("failed", message, 1)
        self.assertIn("(to whom <team@rosse.example> is redirected)", explanation(notice))
        self.assertIn(b"Original-Recipient: rfc822;team@rosse.example\r\n", notice.content)
        self.assertIn(b"Final-Recipient: rfc822; nobody@mindspring.com\r\n", notice.content)

    def test_headers_only(self) -> None:
        """The body of a message under a forged name is sent on to the one whose name it is."""
        notice = write("failed", entry(about(NO)), content=HEADERS + b"\r\nsecret body")
        part = parse(notice).get_payload()[2]
        self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        self.assertEqual(part.get_payload(decode=True), HEADERS)
        self.assertNotIn(b"secret", notice.content)

    def test_refused_by_us(self) -> None:
        """Words of our own are put into a remote server's mouth."""
        big = Reply(552, "5.3.4", "the server takes no more than 100 octets")
        for where, told in (
            (REMOTE, f"This server could not hand it over at {REMOTE}: 552 5.3.4 the server"),
            ("", "It was refused by this server with: 552 5.3.4 the server"),
        ):
            notice = write("failed", entry(about(big, where)))
            self.assertIn(told, explanation(notice))
            self.assertIn(b"Diagnostic-Code: X-mailframe; 552 5.3.4", notice.content)

    def test_why_this_way(self) -> None:
        """Nobody can say which rule sent the mail to the server that refused it."""
        message = entry(about(NO))
        reason = 'rule "blu" matches: tcp:blu.example:25'
        event = Event(
            at=LATER, kind="refused", recipient=NOBODY, reason=reason, rule="blu", plugin="table"
        )
        wanted = progress(message, {"failed": (0,)})
        wanted = attrs.evolve(wanted, step=attrs.evolve(wanted.step, events=(event,)))
        _step, (notice,) = writer().write(message, wanted, HEADERS, LATER)
        self.assertIn(f"It was to go this way: {reason} (table blu)", explanation(notice))

    def test_envelope_id(self) -> None:
        """The sender's software can't tell which of its envelopes came back."""
        notice = write("failed", entry(about(NO), envid="QQ314159"))
        self.assertIn(b"\r\nOriginal-Envelope-Id: QQ314159\r\n", notice.content)

    def test_too_late(self) -> None:
        """Who set a deadline can't tell that it was missed (RFC 2852)."""
        late = DeliverBy(at=ARRIVED + HOUR, mode="R")
        waiting = about(Reply(451, "4.4.1", "connection refused"))
        notice = write("failed", entry(waiting, deliver_by=late))
        self.assertIn(b"Status: 5.4.7\r\n", notice.content)
        self.assertIn(b"Deliver-By-Date: Tue, 14 Nov 2023 23:13:20 -0000\r\n", notice.content)
        said = b"Diagnostic-Code: X-mailframe; 451 4.4.1 connection refused\r\n"
        self.assertIn(said, notice.content)
        refused = write("failed", entry(about(NO), deliver_by=late))
        self.assertIn(b"Status: 5.1.1\r\n", refused.content)

    def test_many(self) -> None:
        """The explanation for people is as long as a telephone directory; or some are left out."""
        many = [about(NO) for _ in range(500)]
        notice = write("failed", entry(*many), *range(500))
        self.assertEqual(notice.content.count(b"Final-Recipient:"), 500)
        self.assertIn("And 400 more, whom the report attached names.", explanation(notice))

    @given(st.text(max_size=700), st.text(max_size=300), st.binary(max_size=200), st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_hostile(self, said: str, where: str, content: bytes, full: bool) -> None:
        """A remote server or the sender writes headers or parts into our notice."""
        message = entry(
            about(Reply(550, None, said), where),
            orcpt=where,
            envid=said,
            ret="FULL" if full else "HDRS",
        )
        notice = write("failed", message, content=content)
        for line in notice.content.split(b"\r\n"):
            self.assertRegex(line, rb"\A[^\r\n\x80-\xff]{0,998}\Z")
        parsed = parse(notice)
        self.assertFalse(parsed.defects)
        types = [part.get_content_type() for part in parsed.get_payload()]
        self.assertEqual(types[:2], ["text/plain", "message/delivery-status"])
        self.assertIn(types[2:], (["text/rfc822-headers"], ["message/rfc822"]))


class ReturnTests(SynchronousTestCase):
    """How much of the message comes back."""

    def asks(self, message: Entry, action: Action = "failed", **changes: Any) -> bool:
        return writer(**changes).returns_whole(message, progress(message, {action: (0,)}))

    def test_whole(self) -> None:
        """What was written is lost with the message, although the sender asked to have it back."""
        message = entry(about(NO), ret="FULL")
        self.assertTrue(self.asks(message))
        notice = write("failed", message, content=WHOLE)
        self.assertEqual(returned(notice), "message/rfc822")
        self.assertIn(b"At one?", notice.content)
        self.assertIn("Your message is attached.", explanation(notice))

    def test_when_asked_only(self) -> None:
        """Every notice carries the message, as in the days of backscatter."""
        for ret in ("HDRS", None):
            message = entry(about(NO), ret=ret)
            self.assertFalse(self.asks(message))
            notice = write("failed", message, content=WHOLE)
            self.assertEqual(returned(notice), "text/rfc822-headers")
            self.assertIn("The headers of your message are attached.", explanation(notice))

    def test_failures_only(self) -> None:
        """A notice of success returns the message (RFC 3461 §4.3)."""
        message = entry(about(OK), about(NO), ret="FULL")
        for action in ("delayed", "delivered", "relayed", "expanded"):
            self.assertFalse(self.asks(message, action))
        both = progress(message, {"failed": (1,), "relayed": (0,)})
        _step, notices = writer().write(message, both, WHOLE, LATER)
        self.assertEqual([returned(n) for n in notices], ["message/rfc822", "text/rfc822-headers"])

    def test_large(self) -> None:
        """The queue fills up with the returned messages of a single sender."""
        message = attrs.evolve(entry(about(NO), ret="FULL"), size=50_001)
        self.assertFalse(self.asks(message))
        self.assertTrue(self.asks(message, settings=NoticeSettings(return_up_to=Octets(60_000))))
        small = attrs.evolve(message, size=1)
        self.assertFalse(self.asks(small, settings=NoticeSettings(return_up_to=Octets(0))))

    def test_binary(self) -> None:
        """Octets that no server on the way back need take make the notice undeliverable."""
        self.assertFalse(self.asks(entry(about(NO), ret="FULL", body="BINARYMIME")))

    def test_8bit(self) -> None:
        """A notice is lost on its way, because it returned octets that a server did not take."""
        message = entry(about(NO), ret="FULL", body="8BITMIME")
        notice = write("failed", message, content=WIDE)
        self.assertEqual(returned(notice), "text/rfc822-headers")
        self.assertEqual(notice.envelope.body, "7BIT")

    def test_8bit_to_somebody_here(self) -> None:
        """Who writes with umlauts never gets a message back."""
        message = entry(about(NO), ret="FULL", body="8BITMIME")
        here = writer(local_domains=frozenset(["rosse.example"]))
        notice = write("failed", message, content=WIDE, by=here)
        self.assertEqual(returned(notice), "message/rfc822")
        self.assertEqual(notice.envelope.body, "8BITMIME")

    def test_unreadable(self) -> None:
        """The sender is not told at all, because the message can't be read."""
        notice = write("failed", entry(about(NO), ret="FULL"), content=b"")
        self.assertEqual(returned(notice), "text/rfc822-headers")

    def test_require_tls(self) -> None:
        """What was never to be sent without TLS comes back in clear (RFC 8689 §5)."""
        message = entry(about(NO), ret="FULL", require_tls=True)
        self.assertFalse(self.asks(message))
        notice = write("failed", message, content=WHOLE)
        self.assertTrue(notice.envelope.require_tls)
        self.assertEqual(returned(notice), "text/rfc822-headers")


class InternationalTests(SynchronousTestCase):
    """Addresses beyond ASCII (RFC 6533)."""

    WIDE = Address.parse("j\u00fcrgen@mindspring.com")

    def test_to_a_sender_in_ascii(self) -> None:
        """The notice can't reach the sender, whose server knows nothing of SMTPUTF8."""
        message = entry(attrs.evolve(about(NO), address=self.WIDE), smtputf8=True)
        notice = write("failed", message)
        self.assertTrue(notice.content.isascii())
        self.assertFalse(notice.envelope.smtputf8)
        self.assertIn("<j\u00fcrgen@mindspring.com>", explanation(notice))
        self.assertIn(b"Final-Recipient: utf-8; j\\x{FC}rgen@mindspring.com\r\n", notice.content)

    def test_to_a_sender_beyond_ascii(self) -> None:
        """The notice is refused: its recipient needs SMTPUTF8, and it did not say so."""
        message = entry(
            attrs.evolve(about(NO), address=self.WIDE), sender=WIDE_SENDER, smtputf8=True
        )
        notice = write("failed", message, content="Subject: Gr\u00fc\u00dfe\r\n".encode())
        self.assertTrue(notice.envelope.smtputf8)
        self.assertEqual(notice.envelope.body, "8BITMIME")
        parsed = parse(notice)
        self.assertIn("\r\nTo: <ang\u00e8lo@rosse.example>\r\n".encode(), notice.content)
        self.assertEqual(
            [part.get_content_type() for part in parsed.get_payload()],
            ["text/plain", "message/global-delivery-status", "message/global-headers"],
        )
        self.assertIn("utf-8; j\u00fcrgen@mindspring.com".encode(), notice.content)

    def test_whole(self) -> None:
        """The message with UTF-8 in its header comes back as something else (RFC 6532 §3.7)."""
        message = entry(about(NO), sender=WIDE_SENDER, smtputf8=True, ret="FULL")
        notice = write("failed", message, content="Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode())
        self.assertEqual(returned(notice), "message/global")


class WarningTests(SynchronousTestCase):
    def warning(self, attempts: int = 16, **envelope: Any) -> Notice:
        waiting = about(Reply(451, "4.4.1", "connection refused"), attempts=attempts)
        return write("delayed", entry(waiting, **envelope), now=ARRIVED + 4 * HOUR)

    def test_says_until_when(self) -> None:
        """The sender does not know whether to send the message again, and sends it twice."""
        notice = self.warning()
        said = explanation(notice)
        self.assertIn("Your message has been waiting for 4h", said)
        self.assertIn("it is tried until Sun, 19 Nov 2023 22:13:20 -0000", said)
        self.assertIn("It was tried 16 times in 4h.", said)
        self.assertIn(b"Action: delayed", notice.content)
        self.assertIn(b"Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 -0000", notice.content)
        self.assertEqual(parse(notice)["Subject"], "Delayed mail (still being tried)")

    def test_until_a_rule_s_own_end(self) -> None:
        """The same, where a rule gives up mail for one of the recipients sooner."""
        about_one = about(Reply(451, "4.4.1", "connection refused"), attempts=3)
        message = entry(
            about_one, attrs.evolve(about_one, address=Address.parse("bob@blu.example"))
        )
        wanted = attrs.evolve(
            progress(message, {"delayed": (0, 1)}), give_up_at={0: ARRIVED + 24 * HOUR}
        )
        _step, (notice,) = writer().write(message, wanted, HEADERS, ARRIVED + 4 * HOUR)
        untils = [line for line in notice.content.split(b"\r\n") if b"Retry-Until" in line]
        self.assertEqual(
            untils,
            [
                b"Will-Retry-Until: Wed, 15 Nov 2023 22:13:20 -0000",
                b"Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 -0000",
            ],
        )
        self.assertIn("it is tried until Wed, 15 Nov 2023", explanation(notice))

    def test_until_the_deadline(self) -> None:
        """The sender is promised five days, where the message is given up after one."""
        deadline = DeliverBy(at=ARRIVED + 24 * HOUR, mode="R")
        notice = self.warning(deliver_by=deadline)
        self.assertIn(b"Will-Retry-Until: Wed, 15 Nov 2023 22:13:20 -0000", notice.content)

    def test_never_tried(self) -> None:
        """The sender is told that a server refused what limits here kept back."""
        limit = Reply(451, "4.7.1", "no more than 10 messages a minute go to mx.example")
        waiting = about(limit, attempts=0)
        said = explanation(write("delayed", entry(waiting), now=ARRIVED + 4 * HOUR))
        self.assertIn("It has not been tried, because: 451 4.7.1 no more than 10", said)

    def test_throttled_since(self) -> None:
        """An attempt of hours ago is told as if it had been just now."""
        waiting = attrs.evolve(about(NO, attempts=2), throttled=ARRIVED + HOUR)
        said = explanation(write("delayed", entry(waiting), now=ARRIVED + 4 * HOUR))
        self.assertIn(
            "It was tried 2 times in 4h, and not since Tue, 14 Nov 2023 23:13:20 -0000, because "
            "limits of this server left no room. The last attempt at",
            said,
        )

    def test_tried_once(self) -> None:
        """ "1 times" tells the reader that nobody reads these notices."""
        self.assertIn("It was tried once in 4h.", explanation(self.warning(attempts=1)))


class SuccessTests(SynchronousTestCase):
    def test_delivered(self) -> None:
        """Who asked whether the message arrived does not learn it."""
        mailbox = about(Reply(250, "2.0.0", "delivered"), "nobody@mindspring.com", attempts=1)
        notice = write("delivered", entry(mailbox))
        self.assertIn("in the mailboxes of the recipients below", explanation(notice))
        self.assertIn(b"Action: delivered\r\nStatus: 2.0.0\r\n", notice.content)
        self.assertNotIn(b"Remote-MTA", notice.content)
        self.assertEqual(parse(notice)["Subject"], "Delivered mail")

    def test_relayed(self) -> None:
        """The sender waits for a notice that the next server will never send."""
        notice = write("relayed", entry(about(OK)))
        self.assertIn("It was taken at mx.mindspring.com [192.0.2.1]:25", explanation(notice))
        self.assertIn(b"Action: relayed\r\nStatus: 2.1.5\r\n", notice.content)
        self.assertIn(b"asked to be told", notice.content)
        deadline = DeliverBy(at=LATER, mode="N")
        notice = write("relayed", entry(about(OK), deliver_by=deadline))
        self.assertIn("what that server makes of it is not known", explanation(notice))
        self.assertNotIn(b"asked", notice.content)
        self.assertIn(b"Remote-MTA: dns; mx.mindspring.com\r\n", notice.content)

    def test_expanded(self) -> None:
        """Mail to an alias for many looks like lost."""
        alias = QueuedRecipient(address=NOBODY, state="redirected", attempts=1)
        notice = write("expanded", entry(alias))
        self.assertIn("<nobody@mindspring.com>", explanation(notice))
        self.assertIn(b"Action: expanded\r\nStatus: 2.0.0\r\n", notice.content)


class StepTests(SynchronousTestCase):
    """One step's notices, and what the history tells of them."""

    def test_one_for_each_action(self) -> None:
        """A mail to ten is answered with ten notices."""
        message = entry(about(NO), about(NO), about(OK))
        wanted = progress(message, {"failed": (0, 1), "relayed": (2,)})
        step, notices = writer().write(message, wanted, HEADERS, LATER)
        self.assertEqual(len(notices), 2)
        self.assertEqual(notices[0].content.count(b"Action: failed"), 2)
        self.assertNotIn(b"relayed", notices[0].content)
        self.assertEqual([e.kind for e in step.events], ["bounced", "bounced", "notified"])
        self.assertEqual(step.events[0].reason, "a notice (failed) goes to angelo@rosse.example")

    def test_nothing_wanted(self) -> None:
        """A notice without a reason."""
        message = entry(about(OK))
        wanted = progress(message, {})
        self.assertEqual(writer().write(message, wanted, b"", LATER), (wanted.step, ()))

    def test_null_reverse_path(self) -> None:
        """A bounce is bounced."""
        message = entry(about(NO), sender=None)
        wanted = progress(message, {"failed": (0,)})
        self.assertEqual(writer().write(message, wanted, HEADERS, LATER), (wanted.step, ()))

    def test_too_many(self) -> None:
        """A name forged on a flood of mail is flooded with our notices; or they vanish unseen."""
        few = writer(settings=NoticeSettings(notices_per_sender=2))
        message = entry(about(NO))
        wanted = progress(message, {"failed": (0,)})
        kinds = [
            [event.kind for event in few.write(message, wanted, HEADERS, LATER + second)[0].events]
            for second in range(3)
        ]
        self.assertEqual(kinds, [["bounced"], ["bounced"], ["dropped"]])
        step, notices = few.write(message, wanted, HEADERS, LATER + 3)
        self.assertEqual(notices, [])
        self.assertEqual(
            step.events[0].reason, "angelo@rosse.example got too many notices within an hour"
        )
        self.assertEqual(len(few.write(message, wanted, HEADERS, LATER + HOUR)[1]), 1)

    def test_none_at_all(self) -> None:
        """A limit of 0 would take every bounce away from everybody."""
        self.assertRaises(ValueError, NoticeSettings, notices_per_sender=0)
