"""A rate: so many in any stretch of time of a given length, spread evenly.

Counted as by a leaky bucket. In any stretch as long as the rate's own there are never more than the
rate says, wherever it begins: so what is allowed at once, a twentieth, is taken from what goes out
in the rest of it.
"""

from __future__ import annotations

import random as random_module

import attrs

from mailframe.delivery.promises import Promises
from mailframe.units import duration_text, parse_duration

ALLOWED = 'a number and a duration, such as "100/1m" or "2000/1h"'


@attrs.frozen
class Rate:
    """So many in any stretch of so many seconds."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``"100/1m"``; ``"100/m"`` is the same.

        :raises ValueError: it is not a rate; the message says what is allowed
        """
        count, divided, time = (part.strip() for part in text.partition("/"))
        if not divided or not count.isascii() or not count.isdigit() or int(count) < 1:
            raise ValueError(ALLOWED)
        try:
            seconds = parse_duration(time if time[:1].isdigit() else f"1{time}")
        except ValueError:
            raise ValueError(ALLOWED) from None
        if seconds <= 0:
            raise ValueError(ALLOWED)
        return cls(int(count), seconds)

    def share(self, parts: int) -> Rate:
        """What one of several processes may do of it; at least one."""
        return Rate(max(self.count // parts, 1), self.seconds)

    def __str__(self) -> str:
        return f"{self.count}/{duration_text(self.seconds)}"


class Bucket:
    """What a rate leaves room for. All times are seconds by a clock that does not jump.

    :param rate: as many
    :param random: spreads those for whom there is no room
    """

    __slots__ = ("_ahead", "_at_once", "_interval", "_promises", "_used_until")

    def __init__(self, rate: Rate, random: random_module.Random) -> None:
        self._at_once = max(rate.count // 20, 1)
        self._interval = rate.seconds / (rate.count - self._at_once + 1)
        self._ahead = (self._at_once - 1) * self._interval
        self._used_until = float("-inf")
        self._promises = Promises(random)

    def wait(self, now: float) -> float:
        """How many seconds there is no room for one more; 0 when there is."""
        return max(self._used_until - self._ahead - now, 0.0)

    def take(self, now: float) -> None:
        """One more; where there is no room it is taken from what comes next."""
        self._used_until = max(self._used_until, now) + self._interval

    def give_back(self) -> None:
        """One that was taken did not happen."""
        self._used_until -= self._interval

    def later(self, now: float) -> float:
        """For how many seconds one for whom there is no room is to stay away."""
        return self._promises.next(now, now + self.wait(now) - self._interval, self._interval)

    def is_unused(self, now: float) -> bool:
        """Whether nothing is taken of it."""
        return self._used_until <= now

    def room(self, now: float) -> int:
        """For how many there is room at once."""
        free = (now - self._used_until + self._ahead) / self._interval + 1
        return max(min(int(min(free, self._at_once)), self._at_once), 0)
