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


class Lent:
    """Room for one that was taken and may be given back, for it is not sure to happen.

    :ivar lowest: how full the bucket was since, at the least: of what was taken no more is left
    """

    __slots__ = ("_bucket", "lowest")

    def __init__(self, bucket: Bucket, lowest: float) -> None:
        self._bucket = bucket
        self.lowest = lowest

    def used(self) -> None:
        """It happened."""
        self._bucket.end(self)

    def give_back(self, now: float) -> None:
        """It did not happen."""
        self._bucket.end(self)
        self._bucket.refund(self.lowest, now)


class Bucket:
    """What a rate leaves room for. All times are seconds by a clock that does not jump.

    :param rate: as many
    :param random: spreads those for whom there is no room
    """

    __slots__ = ("_ahead", "_at_once", "_interval", "_lent", "_promises", "_used_until")

    def __init__(self, rate: Rate, random: random_module.Random) -> None:
        self._at_once = max(rate.count // 20, 1)
        self._interval = rate.seconds / (rate.count - self._at_once + 1)
        self._ahead = (self._at_once - 1) * self._interval
        self._used_until = float("-inf")
        self._lent: set[Lent] = set()
        self._promises = Promises(random)

    def wait(self, now: float) -> float:
        """How many seconds there is no room for one more; 0 when there is."""
        return max(self._used_until - self._ahead - now, 0.0)

    def take(self, now: float) -> None:
        """One more; where there is no room it is taken from what comes next."""
        if self._lent:
            full = self._full(now)
            for lent in self._lent:
                lent.lowest = min(lent.lowest, full)
        self._used_until = max(self._used_until, now) + self._interval

    def lend(self, now: float) -> Lent:
        """The same for one that may not happen; it is to be ended in one way or the other."""
        self.take(now)
        lent = Lent(self, self._full(now))
        self._lent.add(lent)
        return lent

    def end(self, lent: Lent) -> None:
        """It is known now whether it happened; see `Lent`."""
        self._lent.discard(lent)

    def refund(self, lowest: float, now: float) -> None:
        """One that was taken did not happen.

        What has run out meanwhile is not given back: those who came then were let through as if it
        had never been taken, and more would go out together with them than may.

        :param lowest: how full it was since, at the least
        """
        full = self._full(now)
        self._used_until -= min(self._interval, lowest, full)
        if lowest > 0:
            for lent in self._lent:
                # With less in it, it would have been emptier since the others were taken.
                lent.lowest = max(min(lent.lowest, full) - self._interval, 0.0)

    def _full(self, now: float) -> float:
        """In how many seconds it has run out."""
        return max(self._used_until - now, 0.0)

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
