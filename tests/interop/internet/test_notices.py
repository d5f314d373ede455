"""What the sender is told when a link stays cut, and what is told to nobody."""

from __future__ import annotations

from functools import partial

from tests.interop.internet.case import DESTINATIONS, RECORDS, InternetCase, OtherMailframe
from tests.interop.programs import maildir
from tests.interop.small_disks import SmallDiskCase

LOST = DESTINATIONS[8]
CARRIED = """[[routing.rule]]
name = "by the carrier"
recipients = ["kim@mindspring.example"]
via = "mx:carrier.example"
"""


class NoticesTests(InternetCase):
    """Links that are not mended in time."""

    records = (*RECORDS, "lost MX 10 mx.lost", f"mx.lost A {LOST}", "nomail MX 0 .")

    def setUp(self) -> None:
        super().setUp()
        self.start_provider(
            rules=CARRIED, queue='retry_every = "1s"\nwarn_after = "2s"\ngive_up_after = "6s"'
        )
        self.start_carrier("maximal_queue_lifetime = 1s", "bounce_queue_lifetime = 1s")
        self.box = self.start_destination()

    def test_what_is_told(self) -> None:
        """A delay and a failure are told once, with the reason; and of a notice there is none."""
        self.internet.cut("provider", LOST)
        self.internet.cut("carrier", "destination")
        lost = self.send("jsmith@lost.example")
        self.check_the_carriers_notice()
        self.check_the_way_back()
        self.check_ours(lost)

    def check_ours(self, name: str) -> None:
        """Angelo hears of the delay, and then that we gave up."""
        self.wait_for("warning and failure notice", lambda: len(self.about_lost()) == 2)
        delayed, failed = sorted(self.about_lost(), key=lambda m: b"Action: failed" in m)
        self.assertIn(b"Action: delayed", delayed)
        for notice in (delayed, failed):
            self.assertTrue(notice.startswith(b"Return-Path: <>\n"))
            self.assertIn(b"no answer in time", b" ".join(notice.split()))
            self.assertIn(b"mx.lost.example", notice)
        trace = self.trace(name)
        for word in ("postponed", "warned", "bounced", "no answer in time"):
            self.assertIn(word, trace)

    def about_lost(self) -> list[bytes]:
        return [m for m in self.inbox() if b"Final-Recipient: rfc822; jsmith@lost.example" in m]

    def check_the_carriers_notice(self) -> None:
        """What the next server gave up comes back to Angelo through our port 25."""
        self.send("kim@mindspring.example")
        self.wait_for("the carrier's notice", self.of_the_carrier)
        (notice,) = self.of_the_carrier()
        self.assertTrue(notice.startswith(b"Return-Path: <>\n"))
        words = b" ".join(notice.split())
        self.assertIn(b"mx.mindspring.example[203.0.113.1]:25: Connection timed out", words)

    def of_the_carrier(self) -> list[bytes]:
        return [m for m in self.inbox() if b"kim@mindspring.example" in m]

    def check_the_way_back(self) -> None:
        """A notice of ours goes out as any mail does, from nobody; refused, it leaves no trace."""
        for sender in ("jsmith@mindspring.example", "gone@mindspring.example"):
            name = self.send("kim@nomail.example", sender=sender)
            self.wait_for("the notice", partial(self.is_returned, name))
        self.wait_for("jsmith to have it", lambda: maildir(self.box))
        (notice,) = maildir(self.box)
        self.assertIn(b"Return-Path: <>\n", notice)
        self.assertIn(b"X-Original-To: jsmith@mindspring.example", notice)
        self.assertIn(b"Status: 5.1.10", notice)
        self.wait_for("the other to be gone", lambda: self.senders() <= {"angelo@demo.example"})
        self.assertEqual(len(maildir(self.box)), 1)
        self.assertEqual([m for m in self.inbox() if b"nomail" in m], [])

    def is_returned(self, name: str) -> bool:
        return "bounced" in self.trace(name)

    def senders(self) -> set[str | None]:
        return {message["sender"] for message in self.queued()}


class SmallMailframe(OtherMailframe, SmallDiskCase):
    """A server whose queue lies on a small disk."""

    def prepare(self) -> None:
        self.disk(self.folder / "state", megabytes=24)


class FullDiskTests(InternetCase):
    """The destination has no room."""

    def test_a_full_disk_at_the_destination(self) -> None:
        """Its 452 is what our queue shows, and the message goes when there is room again."""
        self.start_provider(rules="")
        there = SmallMailframe()
        there.serve_at(
            self,
            *("destination", "mindspring.example"),
            queue='retry_every = "1s"\nreserve = "5MB"\nreserve_files = 10',
        )
        self.send("jsmith@mindspring.example")
        self.wait_for("jsmith to have one", there.mailbox_messages)
        filler = there.fill(there.folder / "state")
        name = self.send("jsmith@mindspring.example")
        self.wait_until_it_says("452 4.3.1")
        filler.unlink()
        self.wait_for("jsmith to have both", lambda: len(there.mailbox_messages()) >= 2)
        self.wait_for("an empty queue", lambda: not self.queued())
        self.assertEqual(len(there.mailbox_messages()), 2)
        self.assertIn("452 4.3.1", self.trace(name))
