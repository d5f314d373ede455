"""Time that passes, kept apart from the time of day, which may jump.

An administrator sets the clock, NTP corrects it, a virtual machine goes on after days. A timer must
not wait longer or shorter for that. Twisted's reactors measure with the time of day;
`SteadyClock` has one measure with the time that passes instead. ``reactor.seconds()`` is still the
time of day, as soon as a jump was noticed, and every timer is moved along with it in the same
moment.

Whoever remembers a moment, to see later how much time has passed, asks `Elapsed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

log = Logger()

LOOK_EVERY = 1.0  # seconds
SLACK = 1.0  # seconds; less is no jump


def monotonic(clock: Any) -> Callable[[], float]:
    """What measures the time that passes: seconds since a moment that nobody knows.

    :param clock: a reactor that `SteadyClock` or a test gave a ``monotonic``; any other is believed
        not to jump
    """
    found: Callable[[], float] = getattr(clock, "monotonic", clock.seconds)
    return found


def cpu_time(clock: Any) -> Callable[[], float]:
    """What measures the CPU time of this process, in seconds; beside virtual time there is none.

    :param clock: the reactor, or a clock under test
    """
    return time.process_time if isinstance(clock, ReactorBase) else lambda: 0.0


def thread_cpu_time(clock: Any) -> Callable[[], float]:
    """The same for the thread that asks."""
    return time.thread_time if isinstance(clock, ReactorBase) else lambda: 0.0


@implementer(IReactorTime)
class Elapsed:
    """A clock that measures and does not tell the time of day: its ``seconds()`` never jump.

    :param clock: see `monotonic`
    """

    def __init__(self, clock: Any) -> None:
        self.seconds = monotonic(clock)
        self._clock = clock

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> IDelayedCall:
        """See `IReactorTime`."""
        call: IDelayedCall = self._clock.callLater(delay, callable, *args, **kw)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See `IReactorTime`."""
        calls: Sequence[IDelayedCall] = self._clock.getDelayedCalls()
        return calls


class SteadyClock(Service):
    """Has the timers of a process measure the time that passes.

    :param reactor: whose ``seconds`` are exchanged while this runs, unless it has a ``monotonic``
        already: another of these, or a test, sees to it
    :param wall: tells the time of day
    :param passes: tells the time that passes
    """

    def __init__(
        self,
        reactor: Any,
        wall: Callable[[], float] = time.time,
        passes: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._passes = passes
        self._offset = 0.0
        self._before: Callable[[], float] | None = None
        self._looking: LoopingCall | None = None

    def startService(self) -> None:
        """Take the reactor's clock over."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        reactor, passes = self._reactor, self._passes
        if hasattr(reactor, "monotonic"):
            return
        self._offset = self._wall() - passes()
        self._before = reactor.seconds
        reactor.seconds = lambda: passes() + self._offset
        reactor.monotonic = passes
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._looking.start(LOOK_EVERY, now=False)

    def stopService(self) -> None:
        """Give it back."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if self._looking is not None:
            self._looking.stop()
            self._looking = None
            self._reactor.callFromThread(self._give_back)

    def _give_back(self) -> None:
        self._move()
        self._reactor.seconds = self._before
        del self._reactor.monotonic

    def _look(self) -> None:
        if abs(self._jump()) > SLACK:
            # The reactor has taken the time already by which it makes the calls that are due now,
            # and would make every call that is moved back. What comes from threads comes before.
            self._reactor.callFromThread(self._move)

    def _jump(self) -> float:
        jump: float = self._wall() - self._reactor.seconds()
        return jump

    def _move(self) -> None:
        jump = self._jump()
        if abs(jump) > SLACK:
            log.warn("the time of day jumped by {jump:+.0f} s", jump=jump)
        self._offset += jump
        for call in self._reactor.getDelayedCalls():
            call.delay(jump)
