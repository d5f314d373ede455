"""So many at once, the others in the order of arrival."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.line import STUCK, Line
from mailframe.delivery.turns import Turns
from mailframe.outcome import Throttled
from mailframe.reply import Reply

DOWN = Reply(451, "4.4.1", "down")


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(2, Line(self.clock, random.Random(1)))

    def take(self) -> Deferred[Any]:
        return maybeDeferred(self.turns.take)

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
            await maybeDeferred(self.turns.take)
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
            self.turns.look(False, DOWN)
        self.assertNoResult(waiting)
        self.turns.look(True, DOWN)
        throttled = self.successResultOf(waiting)
        self.assertIsInstance(throttled, Throttled)
        self.assertEqual(throttled.reply, DOWN)
        self.assertEqual(self.turns.waiting, 0)
