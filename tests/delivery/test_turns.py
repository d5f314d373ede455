"""So many at once, the others in the order of arrival."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.line import LONGEST, PATIENCE, STUCK, Line
from mailframe.delivery.turns import Turns
from mailframe.outcome import Throttled
from mailframe.reply import Reply

DOWN = Reply(451, "4.4.1", "down")


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(2, Line(self.clock, random.Random(1)), DOWN)

    def take(self, is_scarce: bool = False) -> Deferred[Any]:
        return maybeDeferred(self.turns.take, is_scarce)

    def test_limit(self) -> None:
        """More would be under way at once than the process has descriptors for."""
        for _ in range(2):
            self.assertIsNone(self.successResultOf(self.take()))
        waiting = [self.take() for _ in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1])
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(waiting[0]))
        self.assertNoResult(waiting[2])
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(waiting[2]))
        for _ in range(2):
            self.turns.give_back()
        for _ in range(2):
            self.assertIsNone(self.successResultOf(self.take()))
        self.assertNoResult(self.take())

    def test_turned_away(self) -> None:
        """Those who wait would hold up the shutdown."""
        for _ in range(2):
            self.take()
        waiting = self.take()
        self.turns.turn_away(DOWN)
        self.assertEqual(self.successResultOf(waiting), DOWN)
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(self.take()))

    def test_many_short_ones(self) -> None:
        """A long line of those who are done at once would exhaust the stack."""

        async def short() -> None:
            await maybeDeferred(self.turns.take, False)
            self.turns.give_back()

        for _ in range(2):
            self.take()
        done = [Deferred.fromCoroutine(short()) for _ in range(5000)]
        self.turns.give_back()
        for each in done:
            self.successResultOf(each)

    def test_nobody_gets_on(self) -> None:
        """Messages that wait for nothing would keep all others from being tried."""
        for _ in range(2):
            self.take()
        waiting = self.take()
        for _ in range(STUCK):
            self.turns.look(False)
        self.assertNoResult(waiting)
        self.turns.look(True)
        throttled = self.successResultOf(waiting)
        self.assertIsInstance(throttled, Throttled)
        self.assertEqual(throttled.reply, DOWN)
        self.assertEqual(self.turns.waiting, 0)

    def test_a_line_that_is_slow(self) -> None:
        """Mail that waits for a turn takes all places, and mail for mailboxes here gets none."""
        for _ in range(2):
            self.take()
        for _ in range(50):
            self.turns.look(True)
            self.clock.advance(0.25)
            waiting = self.take(True)
            self.turns.give_back()
            self.successResultOf(waiting)
        waiting = [self.take(True) for _ in range(20)]
        (throttled, *_) = sent_back = [
            self.successResultOf(each) for each in waiting if each.called
        ]
        self.assertIsInstance(throttled, Throttled)
        self.assertAlmostEqual(20 - len(sent_back), PATIENCE / 0.25, delta=2)
        self.assertNoResult(self.take())  # there are places enough for those who wait

    def test_too_long(self) -> None:
        """Mail waits for hours for a turn, and is not tried in the end."""
        for _ in range(2):
            self.take()
        waiting = self.take()
        self.clock.advance(LONGEST)
        self.turns.look(False)
        self.assertIsInstance(self.successResultOf(waiting), Throttled)
