"""Covers mailframe.queue.standing."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Entry, Notice, Ready, Step
from mailframe.guard import as_deferred
from mailframe.interfaces import LeaseLost, StorageFault
from mailframe.outcome import Delivered, Tried
from mailframe.queue.progress import Progress, advance
from mailframe.queue.schedule import Schedule
from mailframe.queue.standing import Standing
from tests.queue.samples import ANGELO, JSMITH, MARY, OK, RELAY, entry

READY = Ready(mailbox=MARY, since=1.0, where="x")


class StandingTests(SynchronousTestCase):
    """What is recorded before an attempt is over."""

    def setUp(self) -> None:
        self.settling: list[tuple[Step, Deferred[None]]] = []
        self.standing = Standing(
            entry(MARY, JSMITH, ANGELO),
            advance=lambda entry, tried: advance(entry, tried, 5.0, Schedule()),
            write=self.write,
            settle=self.settle,
        )

    async def write(self, entry: Entry, progress: Progress) -> tuple[Step, Sequence[Notice]]:
        return progress.step, ()

    async def settle(self, entry: Entry, step: Step, notices: Sequence[Notice]) -> None:
        done: Deferred[None] = Deferred()
        self.settling.append((step, done))
        await done

    def arrived(self, index: int) -> Deferred[None]:
        delivered = Delivered(where="mx", reply=OK)
        tried = Tried(index=index, route=RELAY, outcome=delivered)
        return as_deferred(self.standing.record_arrived([tried]))

    def ready(self, index: int) -> Deferred[None]:
        return as_deferred(self.standing.record_ready({index: READY}))

    def test_one_does_not_undo_the_other(self) -> None:
        """What one destination took is forgotten because another one records something."""
        both = self.arrived(1), self.ready(0)
        (first, one), (second, two) = self.settling
        self.assertEqual([r.state for r in first.recipients], ["pending", "relayed", "pending"])
        self.assertEqual([r.state for r in second.recipients], ["pending", "relayed", "pending"])
        self.assertEqual([r.ready for r in second.recipients], [READY, None, None])
        for step in (first, second):
            self.assertTrue(step.goes_on)
            self.assertEqual(step.next_attempt, self.standing.entry.next_attempt)
        self.assertEqual([event.kind for event in first.events], ["routed", "relayed"])
        self.assertEqual(second.events, ())
        one.callback(None)
        two.callback(None)
        for done in both:
            self.successResultOf(done)

    def test_taken_back(self) -> None:
        """What could not be recorded counts as recorded; or what was, as not."""
        failing, succeeding = self.arrived(1), self.ready(0)
        (_, one), (_, two) = self.settling
        two.callback(None)
        one.errback(StorageFault("disk"))
        self.failureResultOf(failing, StorageFault)
        self.successResultOf(succeeding)
        recipients = self.standing.entry.recipients
        self.assertEqual([r.state for r in recipients], ["pending"] * 3)
        self.assertEqual([r.ready for r in recipients], [READY, None, None])
        withdrawn = as_deferred(self.standing.record_ready({0: None}))
        self.settling.pop()[1].callback(None)
        self.successResultOf(withdrawn)
        self.assertEqual([r.ready for r in self.standing.entry.recipients], [None] * 3)

    def test_too_late(self) -> None:
        """An agent that was given up on overwrites what others have recorded since."""
        self.standing.over = True
        self.failureResultOf(self.ready(0), LeaseLost)
        self.failureResultOf(self.arrived(1), LeaseLost)
        self.assertEqual(self.settling, [])
        self.assertEqual([r.ready for r in self.standing.entry.recipients], [None] * 3)
