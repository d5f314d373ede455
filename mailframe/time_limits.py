"""Time limits that many wait under at once, with one timer for all that are equally long.

Who began to wait first is due first. So a limit of its own for each call into a plugin costs next
to nothing: under load only the one that is due next has a timer, and of most of the others nothing
is ever asked.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailframe.clocks import monotonic

_SAME = 0.001  # seconds; what is due so soon is due now, however times were rounded


class Waits(Protocol):
    """Something that waits under a limit; told from others by what it is."""

    def time_is_over(self) -> None:
        """It has waited as long as it may."""


class TimeLimit:
    """All that wait for so many seconds on a clock, of which there is at least one.

    :ivar seconds: how long they may
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._key = clock, seconds
        self._clock = clock
        self._now = monotonic(clock)
        self._waiting: dict[Waits, float] = {}  # with the time at which each is due
        self._timer: IDelayedCall | None = None

    def begin(self, each: Waits) -> None:
        """One more waits."""
        self._waiting[each] = self._now() + self.seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._look)

    def end(self, each: Waits) -> bool:
        """One need not wait any more; whether it was still waiting."""
        if self._waiting.pop(each, None) is None:
            return False
        if not self._waiting:
            self._forget()
        return True

    def _forget(self) -> None:
        if _limits.get(self._key) is self:
            del _limits[self._key]
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _look(self) -> None:
        """Tell those whose time is over, and come back for the next."""
        self._timer = None
        now = self._now()
        over = []
        for each, due in self._waiting.items():
            if due - now > _SAME:
                break
            over.append(each)
        for each in over:
            del self._waiting[each]
        if self._waiting:
            due = next(iter(self._waiting.values()))
            self._timer = self._clock.callLater(due - now, self._look)
        else:
            self._forget()
        for each in over:
            each.time_is_over()


_limits: dict[tuple[IReactorTime, float], TimeLimit] = {}  # those under which something waits


def wait_under(clock: IReactorTime, seconds: float, each: Waits) -> TimeLimit:
    """Let something wait for so many seconds.

    :param clock: see `mailframe.clocks.monotonic`
    :returns: the limit, which must be told when the waiting has come to an end
    """
    limit = _limits.get((clock, seconds))
    if limit is None:
        limit = _limits[clock, seconds] = TimeLimit(clock, seconds)
    limit.begin(each)
    return limit
