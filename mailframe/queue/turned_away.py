"""How many attempts may come to nothing because limits of ours leave no room for them.

Such an attempt is no attempt: it costs time, and moves nothing. A message has to be tried before it
shows that there is no room for it, and those behind it may go elsewhere. So there have to be such
attempts, but not as many as there can be: while a thousand messages a second come in for one
destination that can't follow, a server that tries each of them at once does little else.
"""

from __future__ import annotations

from collections.abc import Callable

# What waits for one destination that can't follow is tried once before what is behind it: a backlog
# of so many is passed without a pause, and a larger one at the rate. A quarter of a thousand take a
# sixth of the time there is.
RATE = 250.0  # a second
AT_ONCE = 1500.0  # before that counts
GROUP = 20.0  # so many at least are allowed at a time: to claim one by one costs more


class TurnedAway:
    """Counts them.

    :param now: tells the time, in seconds; may jump
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._room = AT_ONCE
        self._since = now()

    def count(self) -> None:
        """An attempt came to nothing."""
        self._refill()
        self._room -= 1

    @property
    def room(self) -> int:
        """How many messages may be tried now, if all of them may come to nothing."""
        self._refill()
        return int(self._room) if self._room >= GROUP else 0

    @property
    def rest(self) -> float:
        """For how many seconds there is no room."""
        self._refill()
        return max(GROUP - self._room, 0.0) / RATE

    def _refill(self) -> None:
        now = self._now()
        self._room = min(AT_ONCE, self._room + max(now - self._since, 0.0) * RATE)
        self._since = now
