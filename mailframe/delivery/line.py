"""A line of those who wait for something that others have now, and will give back.

Whoever waits holds one of the places in which messages are tried at once. That is no harm as long
as there are places enough. When they run short, a line that does not move is sent back to the
queue, and so is who would have to wait for long; each is told when to come again, one after the
other at the pace at which the line moved.
"""

from __future__ import annotations

import random as random_module
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailframe.delivery.promises import Promises

LOOK_EVERY = 0.1  # seconds
STUCK = 3  # looks in a row that found a line as it was: it holds up others
PATIENCE = 2.0  # seconds that one may wait in a line that moves
LONGEST = 300.0  # seconds after which anybody is sent back


class Line:
    """Those who wait, in the order of arrival, and how quickly they get on.

    :param clock: measures
    :param random: spreads those who come again

    :ivar is_full: whoever comes has to wait
    """

    __slots__ = ("_clock", "_pace", "_promises", "_since", "_still", "_waiting", "is_full")

    def __init__(self, clock: IReactorTime, random: random_module.Random) -> None:
        self._clock = clock
        self._promises = Promises(random)
        self._waiting: dict[Deferred[Any], float] = {}  # with the moment of arrival
        self._pace = 0.0  # seconds from one to the next, on average of late
        self._since = 0.0  # since when nothing has moved
        # Looks since then. Counted rather than measured: when the process or the machine had other
        # things to do, nothing could move.
        self._still = 0
        self.is_full = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[Any]:
        """Join the line; whoever cancels this leaves it."""
        waiting: Deferred[Any] = Deferred(self._leave)
        self._waiting[waiting] = self._clock.seconds()
        return waiting

    def _leave(self, waiting: Deferred[Any]) -> None:
        self._waiting.pop(waiting, None)

    def next(self) -> Deferred[Any]:
        """The first, who leaves the line."""
        first = next(iter(self._waiting))
        del self._waiting[first]
        return first

    def full(self) -> None:
        """From now on whoever comes has to wait."""
        self.is_full = True
        self._since = self._clock.seconds()
        self._still = 0

    def has_room(self) -> None:
        """From now on whoever comes need not wait: the time until somebody does is no step."""
        self.is_full = False

    def look(self) -> None:
        """Time has passed, and with it the chance that something moves."""
        self._still += 1

    def moved(self) -> None:
        """One of those that all had was given back."""
        now = self._clock.seconds()
        self._pace += (now - self._since - self._pace) / 8
        self._since = now
        self._still = 0

    def pace(self, parallel: int) -> float:
        """How many seconds it takes from one to the next.

        :param parallel: how many are served at once
        """
        return max(self._pace, (self._clock.seconds() - self._since) / parallel)

    @property
    def is_stuck(self) -> bool:
        """Whether nothing has moved for a while."""
        return self._still >= STUCK

    def is_slow(self, parallel: int) -> bool:
        """Whether one more would have to wait for long."""
        return self.is_stuck or (len(self._waiting) + 1) * self.pace(parallel) > PATIENCE

    def later(self, parallel: int) -> float:
        """For how many seconds one who is sent back is to stay away."""
        now, pace = self._clock.seconds(), self.pace(parallel)
        return self._promises.next(now, now + len(self._waiting) * pace, pace)

    def too_many(self, places: int) -> list[Deferred[Any]]:
        """Take out of the line all but the first ones.

        :param places: how many stay
        """
        return self._take(list(self._waiting)[places:])

    def too_long(self) -> list[Deferred[Any]]:
        """Take out those who have waited for very long."""
        until = self._clock.seconds() - LONGEST
        out = []
        for waiting, since in self._waiting.items():
            if since > until:
                break
            out.append(waiting)
        return self._take(out)

    def _take(self, out: list[Deferred[Any]]) -> list[Deferred[Any]]:
        for waiting in out:
            del self._waiting[waiting]
        return out
