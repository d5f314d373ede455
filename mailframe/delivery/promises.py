"""When those who are sent back to the queue are to come again: one after the other."""

from __future__ import annotations

import random as random_module

SOONEST, LATEST = 1.0, 900.0  # seconds for which one who is sent back stays away
# Of those who come at random no more than so many a second, or as many as there is room for: it is
# half of what a busy process may try in vain (`mailframe.queue.turned_away`). More than that would
# be overdue for ever, and all other mail behind them.
APART = 1 / 20  # seconds
LONGEST = 4 * 3600.0  # seconds for which they stay away at the most, however many they are


class Promises:
    """Gives each one who is sent back a time of his own.

    There is an end to it: beyond some time all come at random, for by then much may have changed.
    The more they are, the longer that takes.

    :param random: spreads those
    """

    __slots__ = ("_last", "_random", "_until")

    def __init__(self, random: random_module.Random) -> None:
        self._random = random
        self._last = 0.0  # when the last one is expected
        self._until = 0.0  # when the last one of those who come at random may come

    def next(self, now: float, earliest: float, pace: float) -> float:
        """For how many seconds one more is to stay away.

        :param now: seconds by any clock that does not jump
        :param earliest: one pace before there may be room, by the same clock
        :param pace: seconds from one to the next
        """
        self._last = max(max(self._last, earliest) + pace, now + SOONEST)
        if self._last - now <= LATEST:
            return self._last - now
        self._last = now + LATEST
        until = max(self._until, now + LATEST) + min(pace, APART)
        self._until = min(until, now + LONGEST)
        soonest = LATEST / 2
        return soonest + (self._until - now - soonest) * self._random.random()
