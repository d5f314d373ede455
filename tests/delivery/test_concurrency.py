"""Slow start."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.concurrency import BRIEFLY, FRESH, REMEMBERED, Concurrency
from mailframe.reply import Reply

DOWN = Reply(451, "4.4.1", "down")


class ConcurrencyTests(SynchronousTestCase):
    """`Concurrency`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.concurrency = Concurrency(where="mx:x", first=5, most=20, clock=self.clock)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_grows(self) -> None:
        """A small server would be flooded, or a large one never be used to the full."""
        each = self.concurrency
        self.assertEqual(each.allowed, 1)
        each.let_in()
        self.assertEqual(each.allowed, 5)
        each.went_well(4)  # it has not even used those
        self.assertEqual(each.allowed, 5)
        for number in range(6, 21):
            each.went_well(each.allowed)
            self.assertEqual(each.allowed, number)
        each.went_well(20)
        self.assertEqual(each.allowed, 20)
        self.assertEqual(len(self.events), 1)  # not one line for each message

    def test_shrinks(self) -> None:
        """A server that says that it is too much would be sent as much as ever."""
        each = self.concurrency
        each.let_in()
        self.assertFalse(each.failed(DOWN))
        self.assertEqual(each.allowed, 4)
        each.went_well(4)
        self.assertEqual(each.allowed, 5)
        failures = 0
        while not each.failed(DOWN):
            failures += 1
        self.assertGreater(failures, 3)
        self.assertEqual(each.allowed, 1)

    def test_remembered(self) -> None:
        """Every pause would begin anew; or a server that died in it would hang many messages."""
        each = self.concurrency
        each.let_in()
        for _ in range(5):
            each.went_well(each.limit)
        self.clock.advance(FRESH - 1)
        self.assertEqual(each.allowed, 10)
        self.clock.advance(1)
        self.assertFalse(each.is_known)
        self.assertEqual(each.allowed, 1)
        each.let_in()
        self.assertEqual(each.allowed, 10)

    def test_dead(self) -> None:
        """A dead destination would never be tried again, or as often as a live one."""
        each = self.concurrency
        each.let_in()
        each.went_well(5)
        each.die(DOWN, is_slow=True)
        self.assertTrue(each.is_dead)
        self.assertEqual((each.refusal, each.allowed), (DOWN, 1))
        self.clock.advance(REMEMBERED)
        self.assertFalse(each.is_dead)
        self.assertEqual((each.refusal, each.allowed), (DOWN, 1))
        each.let_in()
        self.assertEqual((each.refusal, each.allowed), (None, 5))
        texts = [event["log_format"] for event in self.events]
        self.assertEqual(sum("left alone" in text for text in texts), 1)
        self.assertEqual(sum("answers again" in text for text in texts), 1)

    def test_dead_at_once(self) -> None:
        """A server that was mended would get no mail for a minute, whatever its operator does."""
        self.concurrency.die(DOWN, is_slow=False)
        self.assertTrue(self.concurrency.is_dead)
        self.clock.advance(BRIEFLY)
        self.assertFalse(self.concurrency.is_dead)
        self.assertEqual(self.concurrency.refusal, DOWN)
        self.assertEqual([event["s"] for event in self.events], [BRIEFLY])

    def test_other_settings(self) -> None:
        """A reload would forget what was learned, or not be heeded."""
        each = self.concurrency
        each.let_in()
        for _ in range(5):
            each.went_well(each.limit)
        each.use(first=5, most=20)
        self.assertEqual(each.limit, 10)
        each.use(first=5, most=3)
        self.assertEqual((each.limit, each.first), (3, 3))
        each.use(first=8, most=20)
        self.assertEqual(each.limit, 8)
        for _ in range(5):
            each.failed(DOWN)
        for first, limit in ((8, 3), (2, 3), (2, 3), (5, 5)):
            each.use(first=first, most=20)
            self.assertEqual(each.limit, limit, "a reload makes a server get more that had failed")

    @given(st.lists(st.sampled_from(["in", "well", "failed", "die", "wait"]), max_size=60))
    @settings(deadline=None, max_examples=60)
    def test_bounds(self, steps: list[str]) -> None:
        """Some way would lead to no connection at all, or to more than are allowed."""
        each = Concurrency(where="mx:x", first=3, most=7, clock=self.clock)
        for step in steps:
            if step == "in":
                each.let_in()
            elif step == "well":
                each.went_well(each.allowed)
            elif step == "failed":
                each.failed(DOWN)
            elif step == "die":
                each.die(DOWN, is_slow=True)
            else:
                self.clock.advance(REMEMBERED)
            self.assertTrue(1 <= each.allowed <= 7)
        self.clock.advance(REMEMBERED)
        self.assertFalse(each.is_dead)
