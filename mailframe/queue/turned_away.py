"""How many attempts may come to nothing because limits of ours leave no room for them.

Such an attempt is no attempt: it costs time, and moves nothing. A message has to be tried before it
shows that there is no room for it, and those behind it may go elsewhere. So there have to be such
attempts, but not as many as there can be: while a thousand messages a second come in for one
destination that can't follow, a server that tries each of them at once does little else.

So there are many as long as the process has little else to do, and few while it has.
"""

from __future__ import annotations

from collections.abc import Callable

# What waits for one destination that can't follow is tried once before what is behind it: a backlog
# of so many is passed without a pause, and a larger one at the rate. A quarter of a thousand take a
# sixth of the time there is.
RATE = 250.0  # a second
AT_ONCE = 1500.0  # before that counts
BUSY_RATE = 40.0  # the same while there is other work
BUSY_AT_ONCE = 50.0
GROUP = 20.0  # so many at least are allowed at a time: to claim one by one costs more
BUSY = 0.2  # the part of the time that other work takes of a CPU; more, and the process is busy
COST = 0.001  # seconds of a CPU that one of these attempts takes at the most
# How often the time that such an attempt takes until it has come to nothing is in what it takes in
# all: it is claimed and recorded as well.
WHOLE = 3
LOOK = 0.05  # seconds for which it is measured
CALM = 1.0  # seconds for which it must not have been busy: who waits for a disk is not at leisure
# Seconds for which there may be no room at the most, however many came to nothing. Those that were
# tried while there was nothing else to do would else have to be made up for: for an hour after ten
# minutes of them, during which no other mail is tried either.
LONGEST_REST = 1.0


class TurnedAway:
    """Counts them.

    :param now: tells the time, in seconds; may jump
    :param cpu_time: tells how many seconds of CPU time the process has used
    """

    def __init__(
        self, now: Callable[[], float], cpu_time: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._now = now
        self._cpu_time = cpu_time
        self._idle = _Bucket(RATE, AT_ONCE, now())
        self._busy = _Bucket(BUSY_RATE, BUSY_AT_ONCE, now())
        self._was_busy = float("-inf")  # when it was last found busy
        self._looked, self._used, self._in_vain = now(), cpu_time(), 0.0

    def count(self, cpu_time: float) -> None:
        """An attempt came to nothing.

        :param cpu_time: seconds of CPU time until it had; may be more, where it had to wait
        """
        # A fixed cost would hide the other work of a process that makes them for less, and all the
        # more the more it makes: it would never be found busy.
        self._in_vain += min(cpu_time * WHOLE, COST)
        now = self._now()
        for bucket in (self._idle, self._busy):
            bucket.refill(now)
            bucket.take()

    @property
    def room(self) -> int:
        """How many messages may be tried now, if all of them may come to nothing."""
        room = min(bucket.room for bucket in self._buckets())
        return int(room) if room >= GROUP else 0

    @property
    def rest(self) -> float:
        """For how many seconds there is no room."""
        return max(max(GROUP - bucket.room, 0.0) / bucket.rate for bucket in self._buckets())

    def _buckets(self) -> tuple[_Bucket, ...]:
        now = self._now()
        self._look(now)
        self._idle.refill(now)
        self._busy.refill(now)
        is_busy = 0 <= now - self._was_busy < CALM
        return (self._idle, self._busy) if is_busy else (self._idle,)

    def _look(self, now: float) -> None:
        """See what the process has been doing besides."""
        passed = now - self._looked
        if 0 <= passed < LOOK:
            return
        used = self._cpu_time()
        if used - self._used - self._in_vain > BUSY * passed > 0:
            self._was_busy = now
        self._looked, self._used, self._in_vain = now, used, 0.0


class _Bucket:
    """Fills steadily up to a limit.

    :param rate: by how much in a second
    :ivar room: what is in it; less than nothing when more was taken, within limits
    """

    def __init__(self, rate: float, limit: float, now: float) -> None:
        self.rate = rate
        self.room = limit
        self._limit = limit
        self._since = now

    def take(self) -> None:
        """Take one out, there or not."""
        self.room = max(self.room - 1, GROUP - self.rate * LONGEST_REST)

    def refill(self, now: float) -> None:
        """Let it fill until now; nothing is added when the clock was set back."""
        self.room = min(self._limit, self.room + max(now - self._since, 0.0) * self.rate)
        self._since = now
