"""Attempts that come to nothing: `mailframe.queue.turned_away`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.turned_away import (
    AT_ONCE,
    BUSY_AT_ONCE,
    BUSY_RATE,
    CALM,
    COST,
    GROUP,
    LONGEST_REST,
    LOOK,
    RATE,
    WHOLE,
    TurnedAway,
)


class TurnedAwayTests(SynchronousTestCase):
    """So many, and no more."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = 0.0
        self.turned_away = TurnedAway(self.clock.seconds, lambda: self.used)

    def count(self, times: int, cpu_time: float = COST / WHOLE) -> None:
        for _ in range(times):
            self.turned_away.count(cpu_time)

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

    def work(self, share: float, seconds: float = 1.0) -> None:
        """The process uses so much of a CPU for a while."""
        self.clock.advance(seconds)
        self.used += share * seconds

    def test_busy(self) -> None:
        """A flood for one dead server slows down the taking in of all other mail."""
        self.work(0.7)
        self.assertEqual(self.turned_away.room, BUSY_AT_ONCE)
        self.count(int(BUSY_AT_ONCE))
        self.assertEqual(self.turned_away.room, 0)
        rest = self.turned_away.rest
        self.assertAlmostEqual(rest, GROUP / BUSY_RATE)
        self.work(0.7 + BUSY_AT_ONCE * COST / rest, rest + 0.001)
        self.assertEqual(self.turned_away.room, GROUP)

    def test_no_longer_busy(self) -> None:
        """Mail behind a backlog waits although there is nothing to do."""
        self.work(0.7)
        self.count(int(BUSY_AT_ONCE) * 2)
        self.assertEqual(self.turned_away.room, 0)
        self.work(0.1, CALM + 0.001)
        self.assertGreater(self.turned_away.room, AT_ONCE / 2)

    def test_busy_but_for_a_moment(self) -> None:
        """Each time that a busy process waits for its disk, hundreds are tried in vain."""
        self.work(0.7)
        self.count(int(BUSY_AT_ONCE))
        self.assertEqual(self.turned_away.room, 0)
        self.work(0.1, LOOK + 0.001)
        self.assertEqual(self.turned_away.room, 0)

    def test_quick_attempts(self) -> None:
        """Attempts that take less than they may hide the other work: the process looks idle."""
        self.count(500, COST / WHOLE / 4)
        self.work(0.5 + 500 * COST / 4 / 0.5, seconds=0.5)
        self.assertEqual(self.turned_away.room, 0)

    def test_busy_after_a_long_backlog(self) -> None:
        """What was tried at leisure has to be made up for: no mail goes out for an hour."""
        for _ in range(600):
            self.count(int(RATE) - 20)
            self.work((RATE - 20) * COST)
        self.assertGreater(self.turned_away.room, 0)
        self.count(200)
        self.work(0.7 + 200 * COST)
        self.assertLessEqual(self.turned_away.rest, LONGEST_REST)
        for _ in range(4):
            self.work(0.7, LONGEST_REST / 4)
            self.assertLessEqual(self.turned_away.rest, LONGEST_REST)
        self.assertGreaterEqual(self.turned_away.room, GROUP)

    def test_its_own_work(self) -> None:
        """The attempts themselves count as work, so that a backlog is never passed quickly."""
        for cost in (COST, COST / 4, COST, COST / 4, COST):
            self.count(200, cost / WHOLE)
            self.work(200 * cost / 0.2, 0.2)
        self.assertGreater(self.turned_away.room, BUSY_AT_ONCE)

    def test_a_jump(self) -> None:
        """A clock that is set back makes an idle process look busy."""
        self.clock.rightNow -= 900.0
        self.used += 0.5
        self.assertEqual(self.turned_away.room, AT_ONCE)
