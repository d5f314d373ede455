"""Attempts that come to nothing: `mailframe.queue.turned_away`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.turned_away import AT_ONCE, GROUP, RATE, TurnedAway


class TurnedAwayTests(SynchronousTestCase):
    """So many, and no more."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turned_away = TurnedAway(self.clock.seconds)

    def count(self, times: int) -> None:
        for _ in range(times):
            self.turned_away.count()

    def test_none(self) -> None:
        """Who is never turned away is held up all the same."""
        for _ in range(10):
            self.assertEqual((self.turned_away.room, self.turned_away.rest), (AT_ONCE, 0.0))
            self.clock.advance(100.0)

    def test_rate(self) -> None:
        """Attempts that move nothing take all the time there is, or the queue stands still."""
        self.count(int(AT_ONCE) + 50)
        self.assertEqual(self.turned_away.room, 0)
        rest = self.turned_away.rest
        self.assertAlmostEqual(rest, (GROUP + 50) / RATE)
        self.clock.advance(rest - 0.001)
        self.assertEqual(self.turned_away.room, 0)
        self.clock.advance(0.002)
        self.assertEqual((self.turned_away.room, self.turned_away.rest), (GROUP, 0.0))

    def test_the_clock_is_set_back(self) -> None:
        """The queue stands still for as long."""
        self.clock.advance(1000.0)
        self.count(int(AT_ONCE) * 2)
        self.clock.rightNow -= 900.0
        self.assertEqual(self.turned_away.room, 0)
        self.clock.advance(AT_ONCE / RATE + 1.0)
        self.assertGreater(self.turned_away.room, 0)
