"""When a message is tried again, when its sender is told of the delay, and when we give up.

Pure: a function of the times alone, so that five days of retries can be computed in a moment.
"""

from __future__ import annotations

import attrs

from mailframe.envelope import DeliverBy
from mailframe.units import Seconds

LAST_CALL = 60.0  # seconds before a sender's deadline, when sending it on may still be in time


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

    def times(self, since: float, deliver_by: DeliverBy | None = None) -> Times:
        """The times of one message.

        :param since: when it may be tried first, POSIX seconds: its arrival, or its release
        :param deliver_by: the deadline that its sender set (RFC 2852). With mode ``R`` the message
            is given up then, unless it is earlier; with mode ``N`` that is when the sender
            is warned, instead of after ``warn_after``
        """
        warn_at = since + self.warn_after if self.warn_after > 0 else None
        give_up_at = since + self.give_up_after
        if deliver_by is None:
            pass
        elif deliver_by.mode == "R":
            if deliver_by.at < give_up_at:
                return Times(self.retry_every, warn_at, deliver_by.at, True)
        elif deliver_by.at > since:  # else the server before us has warned already
            warn_at = deliver_by.at
        return Times(self.retry_every, warn_at, give_up_at, False)


@attrs.frozen
class Times:
    """The times of one message, in POSIX seconds.

    :ivar retry_every: seconds from one attempt to the next
    :ivar warn_at: when its sender is told of the delay; ``None`` is never
    :ivar give_up_at: when the last attempt is made
    :ivar is_deadline: it is the sender who set ``give_up_at``
    """

    retry_every: float
    warn_at: float | None
    give_up_at: float
    is_deadline: bool

    def is_expired(self, planned: float, now: float) -> bool:
        """Whether an attempt that failed at ``now`` was the last one.

        One that was planned before the end of the time, and made after it only because the server
        was off or the clock jumped, is followed by another: nobody's mail is given up because of
        one unlucky moment. To a sender's own deadline that doesn't apply.

        :param planned: for when the attempt was planned
        """
        return self.give_up_at <= (now if self.is_deadline else min(planned, now))

    def is_warning_due(self, now: float) -> bool:
        """Whether the sender is to be told at ``now`` that the message still waits."""
        return self.warn_at is not None and self.warn_at <= now

    def next_attempt(self, now: float, warned: bool) -> float:
        """When to try again after an attempt that failed at ``now``.

        Never later than the moment a warning is due, nor than the last attempt: both are made as
        part of an attempt, so that nobody is told of a failure that was not just seen again. Before
        a sender's own deadline there is one more, for at the deadline it is too late to send it on.
        """
        times = [now + self.retry_every, self.give_up_at]
        if self.is_deadline:
            times.append(self.give_up_at - LAST_CALL)
        if not warned and self.warn_at is not None:
            times.append(self.warn_at)
        return min(time for time in times if time > now)
