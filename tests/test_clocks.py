"""Covers mailframe.clocks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.clocks import Elapsed, SteadyClock, monotonic
from mailframe.testing.network import VirtualReactor

DAY = 86_400.0


class TimeOfDay:
    """A reactor as Twisted's are, whose timers measure with the time of day, and that."""

    def __init__(self) -> None:
        self.of_day = 1_700_000_000.0
        self.passed = 5.0
        self.seconds = self.wall
        self.calls: list[DelayedCall] = []
        self.from_threads: list[Callable[[], None]] = []

    def wall(self) -> float:
        return self.of_day

    def passes(self) -> float:
        return self.passed

    def callLater(self, delay: float, call: object, *args: object, **kw: object) -> DelayedCall:
        later = DelayedCall(
            self.seconds() + delay, call, args, kw, self.calls.remove, lambda _: None, self.seconds
        )
        self.calls.append(later)
        return later

    def getDelayedCalls(self) -> list[DelayedCall]:
        return self.calls

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.from_threads.append(call)

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps of a tenth of a second."""
        for _ in range(round(seconds * 10)):
            self.passed += 0.1
            self.of_day += 0.1
            self.iterate()

    def iterate(self) -> None:
        """As `ReactorBase.runUntilCurrent` does."""
        while self.from_threads:
            self.from_threads.pop(0)()
        now = self.seconds()
        while due := [call for call in self.calls if call.getTime() <= now]:
            self.calls.remove(due[0])
            due[0].called = 1
            due[0].func(*due[0].args, **due[0].kw)


class SteadyTests(SynchronousTestCase):
    """Timers of a process whose clock is set."""

    def setUp(self) -> None:
        self.reactor = TimeOfDay()
        self.steady = SteadyClock(self.reactor, self.reactor.wall, self.reactor.passes)
        self.called: list[float] = []
        self.steady.startService()

    def tearDown(self) -> None:
        if self.steady.running:
            self.steady.stopService()
        self.assertEqual([c for c in self.reactor.calls if c.func != self.call], [])

    def assert_near(self, first: float, second: float, most: float = 0.001) -> None:
        self.assertLessEqual(abs(first - second), most, f"{first} and {second}")

    def call(self) -> None:
        self.called.append(self.reactor.passed)

    def test_set_back(self) -> None:
        """A queue that was to be looked at in a minute is looked at in a day."""
        self.reactor.callLater(60, self.call)
        self.reactor.wait(10)
        self.reactor.of_day -= DAY
        self.reactor.wait(55)
        ((at),) = self.called
        self.assert_near(at, 65, 0.2)
        self.assert_near(self.reactor.seconds(), self.reactor.of_day, 0.001)

    def test_set_forward(self) -> None:
        """Every connection ends, and what was sent and not answered is sent again."""
        self.reactor.callLater(60, self.call)
        self.reactor.wait(10)
        self.reactor.of_day += 10 * DAY
        self.reactor.wait(45)
        self.assertEqual(self.called, [])
        self.reactor.wait(10)
        self.assertEqual(len(self.called), 1)
        self.assert_near(self.reactor.seconds(), self.reactor.of_day, 0.001)

    def test_both_at_once(self) -> None:
        """The time of day has jumped and the timers have not yet, or the other way round."""
        later = self.reactor.callLater(60, self.call)
        before = later.getTime() - self.reactor.seconds()
        self.reactor.of_day += DAY
        self.assert_near(later.getTime() - self.reactor.seconds(), before, 0.001)
        self.reactor.wait(1.1)
        self.assert_near(later.getTime() - self.reactor.seconds(), before - 1.1, 0.001)

    def test_small_steps(self) -> None:
        """Many corrections that are too small to be noticed make the clock wrong in the end."""
        for _ in range(20):
            self.reactor.of_day += 0.3
            self.reactor.wait(1)
        self.assert_near(self.reactor.seconds(), self.reactor.of_day, 1.1)

    def test_stop(self) -> None:
        """A program that goes on without the server has a clock that goes wrong."""
        self.reactor.callLater(60, self.call)
        self.reactor.of_day -= DAY
        self.steady.stopService()
        self.reactor.wait(61)
        self.assertEqual(self.reactor.seconds, self.reactor.wall)
        self.assertEqual(len(self.called), 1)

    def test_once(self) -> None:
        """Two servers in one program move every timer twice."""
        second = SteadyClock(self.reactor, self.reactor.wall, self.reactor.passes)
        second.startService()
        self.reactor.callLater(60, self.call)
        self.reactor.of_day += DAY
        self.reactor.wait(61)
        self.assertEqual(len(self.called), 1)
        second.stopService()

    def test_real_reactor(self) -> None:
        """Twisted's own reactor can't be had to do it."""
        program = """
import json, sys, time
real, jump = time.time, [0.0]
time.time = lambda: real() + jump[0]  # as Twisted's reactor imports it
from twisted.internet import reactor
from mailframe.clocks import SteadyClock
SteadyClock(reactor, time.time).startService()
began, said = time.monotonic(), []
say = lambda: said.append((time.monotonic() - began, reactor.seconds() - time.time()))
reactor.callLater(0.1, jump.__setitem__, 0, float(sys.argv[1]))
reactor.callLater(1.5, say)
reactor.callLater(1.7, reactor.stop)
reactor.run()
print(json.dumps(said))
"""
        for jump in ("-86400", "864000"):
            done = subprocess.run(
                [sys.executable, "-c", program, jump],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            ((passed, off),) = json.loads(done.stdout)
            self.assertGreater(passed, 1.4)
            self.assertLess(passed, 10)
            self.assertLess(abs(off), 0.1)


class ElapsedTests(SynchronousTestCase):
    """What measures."""

    def test_virtual(self) -> None:
        """A clock that jumps in a test does not jump as one does in a server."""
        reactor = VirtualReactor()
        host = reactor.at("192.0.2.1")
        called: list[float] = []
        reactor.callLater(60, lambda: called.append(reactor.monotonic()))
        began, of_day = reactor.monotonic(), host.seconds()
        reactor.advance(10)
        reactor.jump(-DAY)
        self.assertEqual(host.seconds(), of_day + 10 - DAY)
        reactor.advance(49)
        self.assertEqual(called, [])
        reactor.advance(1)
        reactor.jump(2 * DAY)
        self.assertEqual(called, [began + 60])
        self.assertEqual(host.monotonic(), began + 60)

    def test_elapsed(self) -> None:
        """What was remembered for a minute is remembered for a day."""
        reactor = VirtualReactor()
        clock = Elapsed(reactor)
        verifyObject(IReactorTime, clock)
        before = clock.seconds()
        reactor.jump(-DAY)
        self.assertEqual(clock.seconds(), before)
        call = clock.callLater(5, lambda: None)
        self.assertEqual(list(clock.getDelayedCalls()), [call])
        call.cancel()

    def test_any_other_clock(self) -> None:
        """A part can't be used under a clock that only tells the time."""
        clock = Clock()
        clock.advance(7)
        self.assertEqual(monotonic(clock)(), 7)
