"""When those who are sent back to the queue are to come again: one after the other."""

from __future__ import annotations

import random as random_module

SOONEST, LATEST = 1.0, 900.0  # seconds for which one who is sent back stays away


class Promises:
    """Gives each one who is sent back a time of his own.

    There is an end to it: beyond some time all come at random, for by then much may have changed.

    :param random: spreads those
    """

    __slots__ = ("_last", "_random")

    def __init__(self, random: random_module.Random) -> None:
        self._random = random
        self._last = 0.0  # when the last one is expected

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
        return LATEST * (0.5 + self._random.random() / 2)
