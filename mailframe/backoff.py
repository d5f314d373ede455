"""How long mail waits from one failed attempt to the next: always the same, or ever longer.

Chance keeps messages apart that failed together, so that a server that comes back is not asked for
all of them in one moment. It is drawn from the message's queue id and the number of the attempt
alone: an explanation shows the very times that come true, and a simulation repeats itself.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b

import attrs

from mailframe.units import Seconds, duration_text

MAX_FACTOR = 100.0
MAX_JITTER = 0.5


@attrs.frozen(kw_only=True)
class Backoff:
    """A back-off curve.

    :ivar first: from the first attempt to the second, seconds
    :ivar factor: how many times as long each wait is as the one before it; 1: all the same
    :ivar longest: no wait is longer, seconds
    :ivar jitter: the part of each wait by which chance may shorten it, 0 to 0.5
    :ivar warn_after: from arrival to the delay warning, seconds, in place of what all mail has;
        0 is never
    :ivar give_up_after: from arrival to the failure notice, seconds, likewise
    """

    first: Seconds = Seconds(300.0)
    factor: float = 2.0
    longest: Seconds = Seconds(14400.0)
    jitter: float = 0.2
    warn_after: Seconds | None = None
    give_up_after: Seconds | None = None

    def __attrs_post_init__(self) -> None:
        if self.first < 1:
            raise ValueError(f"'first' found {duration_text(self.first)}; allowed: at least 1s")
        if not 1 <= self.factor <= MAX_FACTOR:
            raise ValueError(
                f"'factor' found {self.factor:g}; allowed: from 1, for waits that stay the same, "
                f"to {MAX_FACTOR:g}"
            )
        if self.longest < self.first:
            raise ValueError(
                f"longest ({duration_text(self.longest)}) is shorter than first "
                f"({duration_text(self.first)}); make one of them fit the other"
            )
        if not 0 <= self.jitter <= MAX_JITTER:
            raise ValueError(
                f"'jitter' found {self.jitter:g}; allowed: from 0, for none, to {MAX_JITTER:g}, "
                "which may halve a wait"
            )

    @classmethod
    @lru_cache(maxsize=16)  # asked for with every attempt
    def fixed(cls, seconds: float) -> Backoff:
        """Waits that are all the same."""
        same = Seconds(seconds)
        return cls(first=same, factor=1.0, longest=same, jitter=0.0)

    def wait(self, attempts: int, seed: str) -> float:
        """Seconds from one attempt to the next.

        :param attempts: how many have been made, at least 1
        :param seed: whose wait it is: the queue id
        """
        wait: float = self.first
        if self.factor > 1 and attempts > 1:
            # From here on it is the longest; without the bound the power would overflow.
            most = math.ceil(math.log(self.longest / self.first, self.factor))
            wait = min(self.first * self.factor ** min(attempts - 1, most), self.longest)
        if self.jitter:
            wait *= 1 - self.jitter * _chance(seed, attempts)
        return wait


def _chance(seed: str, attempts: int) -> float:
    """A number from 0 to 1, the same for the same message and attempt everywhere."""
    drawn = blake2b(f"{seed} {attempts}".encode(), digest_size=7).digest()
    return int.from_bytes(drawn, "big") / (1 << 56)
