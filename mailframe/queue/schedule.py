"""When a message is tried again, when its sender is told of the delay, and when we give up.

Pure: a function of the times alone, so that five days of retries can be computed in a moment.
"""

from __future__ import annotations

import attrs

from mailframe.units import Seconds


@attrs.frozen(kw_only=True)
class Schedule:
    """The three times of the queue (RFC 5321 §4.5.4.1), all in seconds.

    :ivar retry_every: from one attempt to the next
    :ivar warn_after: from arrival to the one delay warning; 0 is never
    :ivar give_up_after: from arrival to the failure notice
    """

    retry_every: Seconds = Seconds(900.0)
    warn_after: Seconds = Seconds(14400.0)
    give_up_after: Seconds = Seconds(432000.0)

    def __attrs_post_init__(self) -> None:
        if self.retry_every < 1:
            raise ValueError("retry_every must be at least 1s")

    def is_expired(self, arrived: float, now: float) -> bool:
        """Whether an attempt that failed at ``now`` was the last one."""
        return now >= arrived + self.give_up_after

    def is_warning_due(self, arrived: float, now: float) -> bool:
        """Whether the sender is to be told at ``now`` that the message still waits."""
        return 0 < self.warn_after <= now - arrived

    def next_attempt(self, arrived: float, now: float, warned: bool) -> float:
        """When to try again after an attempt that failed at ``now``.

        Never later than the moment a warning is due, nor than the last attempt: both are made as
        part of an attempt, so that nobody is told of a failure that was not just seen again.
        """
        times = [now + self.retry_every]
        if not warned and self.warn_after > 0:
            times.append(arrived + self.warn_after)
        times.append(arrived + self.give_up_after)
        return min(time for time in times if time > now)
