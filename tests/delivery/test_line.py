"""Waiting."""

from __future__ import annotations

import random
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.concurrency import Concurrency
from mailframe.delivery.destination import Destination, Permit
from mailframe.delivery.line import LONGEST, LOOK_EVERY, STUCK, Line
from mailframe.outcome import Throttled


class LineTests(SynchronousTestCase):
    """`Line`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.line = Line(self.clock, random.Random(1))

    def test_order(self) -> None:
        """Messages would be overtaken; or places be kept for those who left."""
        first, second, third = (self.line.wait() for _ in range(3))
        second.cancel()
        self.failureResultOf(second)
        self.assertEqual(len(self.line), 2)
        self.assertIs(self.line.next(), first)
        self.assertIs(self.line.next(), third)
        self.assertFalse(self.line)

    def test_pace(self) -> None:
        """Those who are sent back would come too early, or long after there is room."""
        self.line.full()
        for _ in range(50):
            self.clock.advance(0.5)
            self.line.moved()
        self.assertAlmostEqual(self.line.pace(4), 0.5, places=2)
        self.assertFalse(self.line.is_slow(4))
        for _ in range(4):
            self.line.wait()
        self.assertTrue(self.line.is_slow(4))
        self.clock.advance(40)
        self.assertAlmostEqual(self.line.pace(4), 10, places=2)
        self.assertAlmostEqual(self.line.later(4), 4 * 10 + 10, places=2)
        self.assertAlmostEqual(self.line.later(4), 4 * 10 + 20, places=2)

    def test_full(self) -> None:
        """What it means that one is given back would be taken for what it does not."""
        self.assertFalse(self.line.is_full)
        self.line.full()
        self.line.moved()
        self.assertTrue(self.line.is_full)
        self.line.has_room()
        self.assertFalse(self.line.is_full)

    def test_stuck(self) -> None:
        """Messages would be sent back whenever our own machine has other things to do."""
        self.line.full()
        for _ in range(STUCK - 1):
            self.clock.advance(10)
            self.line.look()
        self.assertFalse(self.line.is_stuck)
        self.line.look()
        self.assertTrue(self.line.is_stuck)
        self.line.moved()
        self.assertFalse(self.line.is_stuck)

    def test_out(self) -> None:
        """The wrong ones would be sent back."""
        old = self.line.wait()
        self.clock.advance(LONGEST - 1)
        young = [self.line.wait() for _ in range(3)]
        self.assertEqual(self.line.too_long(), [])
        self.clock.advance(1)
        self.assertEqual(self.line.too_long(), [old])
        self.assertEqual(self.line.too_many(1), young[1:])
        self.assertEqual(len(self.line), 1)


class Simulation:
    """A queue of messages to one destination, which takes each so many seconds.

    :ivar throttles: how often each message was sent back
    """

    def __init__(self, *, messages: int, seconds: float, limit: int, places: int) -> None:
        self.clock = Clock()
        self.places = places
        self.seconds = seconds
        self.due = deque((0.0, number) for number in range(messages))
        self.later: list[tuple[float, int]] = []
        self.under_way = 0
        self.busy = self.most_busy = 0
        self.throttles: Counter[int] = Counter()
        self.done: list[int] = []
        self.destination = Destination(
            where="mx:slow.example",
            concurrency=Concurrency(
                where="mx:slow.example", first=min(5, limit), most=limit, clock=self.clock
            ),
            line=Line(self.clock, random.Random(1)),
            reuse_messages=100,
            keep=False,
            line_begins=lambda _: None,
        )

    @property
    def is_scarce(self) -> bool:
        return self.under_way * 2 > self.places

    def run(self, step: float = LOOK_EVERY) -> None:
        next_look = LOOK_EVERY
        while self.due or self.later or self.under_way:
            now = self.clock.seconds()
            self.later.sort(reverse=True)
            while self.later and self.later[-1][0] <= now:
                self.due.append(self.later.pop())
            while self.due and self.under_way < self.places:
                self.attempt(self.due.popleft()[1])
            self.clock.advance(step)
            if self.clock.seconds() >= next_look:
                next_look = self.clock.seconds() + LOOK_EVERY
                self.destination.look(self.is_scarce)

    def attempt(self, number: int) -> None:
        self.under_way += 1
        granted = self.destination.permit(self.is_scarce)
        if isinstance(granted, Deferred):
            granted.addCallback(self.granted, number)
        else:
            self.granted(granted, number)

    def granted(self, granted: object, number: int) -> None:
        if isinstance(granted, Throttled):
            self.under_way -= 1
            self.throttles[number] += 1
            self.later.append((self.clock.seconds() + granted.seconds, number))
            return
        assert isinstance(granted, Permit)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        self.clock.callLater(self.seconds, self.ended, granted, number)

    def ended(self, permit: Permit, number: int) -> None:
        self.under_way -= 1
        self.busy -= 1
        self.done.append(number)
        self.destination.let_in()
        self.destination.went_well()
        self.destination.give_back(permit)


class SlowTests(SynchronousTestCase):
    """Very much mail for one destination."""

    def test_few_throttles(self) -> None:
        """A slow server's mail would keep the queue busy with claiming it and putting it back."""
        simulation = Simulation(messages=10_000, seconds=2.0, limit=20, places=200)
        simulation.run()
        self.assertEqual(sorted(simulation.done), list(range(10_000)))
        # 20 connections, 2 s each: 1000 s are needed at the least.
        self.assertLess(simulation.clock.seconds(), 1300)
        self.assertLess(simulation.throttles.total(), 3 * 10_000)
        self.assertLess(max(simulation.throttles.values()), 25)

    def test_very_slow(self) -> None:
        """The same, with a server that takes minutes for each message."""
        simulation = Simulation(messages=1_000, seconds=200.0, limit=10, places=200)
        simulation.run(step=1.0)
        # 20,000 s are needed at the least; 1,000 messages wait for a quarter of an hour at a time.
        self.assertLess(simulation.clock.seconds(), 24_000)
        self.assertLess(simulation.throttles.total(), 30 * 1_000)

    def test_fast(self) -> None:
        """Mail for one fast server would be sent back for no reason, and lose time."""
        simulation = Simulation(messages=3_000, seconds=0.02, limit=20, places=200)
        simulation.run(step=0.01)
        self.assertLess(simulation.throttles.total(), 300)
        self.assertLess(simulation.clock.seconds(), 6.0)

    @given(
        messages=st.integers(1, 300),
        seconds=st.sampled_from([0.05, 1.0, 30.0]),
        limit=st.integers(1, 8),
        places=st.integers(2, 40),
    )
    @settings(deadline=None, max_examples=25)
    def test_everybody(self, messages: int, seconds: float, limit: int, places: int) -> None:
        """A message would wait for ever, or a server get more connections than it is to have."""
        simulation = Simulation(messages=messages, seconds=seconds, limit=limit, places=places)
        simulation.run(step=max(LOOK_EVERY, seconds / 10))
        self.assertEqual(sorted(simulation.done), list(range(messages)))
        self.assertLessEqual(simulation.most_busy, limit)
