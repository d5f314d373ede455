"""Limits that many wait under: `mailframe.time_limits`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.time_limits import TimeLimit, wait_under


class Waiter:
    """Remembers when its time was over."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.over: list[float] = []
        self.limit: TimeLimit = wait_under(clock, seconds, self)

    def time_is_over(self) -> None:
        self.over.append(self.clock.seconds())


class TimeLimitTests(SynchronousTestCase):
    """Each waits exactly as long as it may."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(0.1)

    def test_each_at_its_own_time(self) -> None:
        """A plugin that hangs holds up a message longer than it may, or costs another its time."""
        waiters = []
        for _ in range(3):
            waiters.append(Waiter(self.clock, 30.0))
            self.clock.advance(10.0)
        self.assertEqual([len(w.over) for w in waiters], [1, 0, 0])
        self.clock.pump([5.0, 5.0, 5.0, 5.0])
        for waiter, due in zip(waiters, (30.1, 40.1, 50.1), strict=True):
            (over,) = waiter.over
            self.assertAlmostEqual(over, due)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """Each call into a plugin costs a timer."""
        waiters = [Waiter(self.clock, 30.0) for _ in range(100)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for waiter in waiters:
            self.assertTrue(waiter.limit.end(waiter))
            self.assertFalse(waiter.limit.end(waiter))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_several_limits(self) -> None:
        """One plugin's limit holds for another."""
        slow, quick = Waiter(self.clock, 30.0), Waiter(self.clock, 1.0)
        other = Clock()
        elsewhere = Waiter(other, 1.0)
        self.clock.advance(1.0)
        self.assertEqual([len(each.over) for each in (slow, quick, elsewhere)], [0, 1, 0])
        other.advance(1.0)
        self.assertEqual(len(elsewhere.over), 1)

    def test_again_after_all_have_ended(self) -> None:
        """A call that begins when none is under way has no limit, or that of an earlier one."""
        first = Waiter(self.clock, 30.0)
        self.clock.advance(29.0)
        first.limit.end(first)
        second = Waiter(self.clock, 30.0)
        self.clock.advance(29.0)
        self.assertEqual(second.over, [])
        self.clock.advance(1.0)
        self.assertEqual((len(first.over), len(second.over)), (0, 1))

    def test_begins_while_others_end(self) -> None:
        """What is asked next because another took too long has no limit."""
        seconds = 30.0
        clock = self.clock
        later: list[Waiter] = []

        class Asker(Waiter):
            def time_is_over(self) -> None:
                super().time_is_over()
                later.append(Waiter(clock, seconds))

        asker = Asker(clock, seconds)
        clock.advance(seconds)
        clock.advance(seconds)
        self.assertEqual((len(asker.over), len(later[0].over)), (1, 1))
        self.assertEqual(clock.getDelayedCalls(), [])
