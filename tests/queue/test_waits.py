"""Covers mailframe.queue.waits; what comes of it is in tests.queue.test_progress."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.backoff import Backoff
from mailframe.entry import Wait
from mailframe.queue.schedule import LAST_CHANCES, Schedule
from mailframe.queue.waits import SOON, Turns, with_waits
from mailframe.units import Seconds
from tests.queue.samples import JSMITH, LOCAL, MARY, RELAY, entry

DAY = 86_400.0


class TurnsTests(SynchronousTestCase):
    def turns(self, now: float = 0.0, waits: Wait | None = None) -> Turns:
        """The turns of two recipients, of whom the second may be waiting."""
        before = entry(MARY, JSMITH)
        second = attrs.evolve(before.recipients[1], wait=waits)
        before = attrs.evolve(before, recipients=(before.recipients[0], second))
        return Turns(before, Schedule().times(0.0), now, True)

    def test_after_attempt(self) -> None:
        """A rule's waits are the queue's, or mail into a mailbox has none."""
        curve = Backoff(first=Seconds(60.0), jitter=0.0)
        turns = self.turns()
        self.assertEqual(turns.after_attempt(2, attrs.evolve(RELAY, retry=curve)), 120.0)
        self.assertEqual(turns.after_attempt(2, LOCAL), 900.0)
        self.assertEqual(turns.after_attempt(0, None), 900.0)

    def test_after_throttling(self) -> None:
        """An estimate of nothing makes us spin; one of months keeps mail for ever."""
        self.assertEqual(self.turns().after_throttling(0.0, 0.0), SOON)
        late = self.turns(5 * DAY)
        self.assertEqual(late.after_throttling(4 * DAY, 1e9), 5 * DAY + LAST_CHANCES)
        later = self.turns(6 * DAY)
        self.assertEqual(later.after_throttling(4 * DAY, 1e9), 6 * DAY + SOON)

    def test_of_untried(self) -> None:
        """A wait is cut short by an attempt for others, or goes on when its end has come."""
        wait = Wait(until=500.0, planned=0.0)
        for now, turn in ((100.0, 500.0), (600.0, 600.0 + SOON)):
            turns = self.turns(now, wait)
            self.assertEqual(turns.of_untried(1, turns.entry.recipients[1], None), turn)

    def test_after_redirects(self) -> None:
        """A redirect keeps others from their turn, or has those tried who wait."""
        turns = self.turns(100.0, Wait(until=500.0, planned=0.0))
        self.assertEqual([turns.after_redirects(i) for i in (0, 1, 2)], [100.0, 500.0, 100.0])

    def test_with_waits(self) -> None:
        """The message is tried when it is the turn of the last; or all are tried with the first."""
        recipients = entry(MARY, JSMITH).recipients
        found, earliest = with_waits(recipients, {0: 60.0, 1: 900.0})
        self.assertEqual(earliest, 60.0)
        self.assertEqual([r.wait for r in found], [None, Wait(until=900.0, planned=60.0)])
        found, earliest = with_waits(found, {1: 900.0})
        self.assertEqual((earliest, found[1].wait), (900.0, None))
