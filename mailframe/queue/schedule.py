"""When a message is tried again, when its sender is told of the delay, and when we give up.

Pure: a function of the times alone, so that five days of retries can be computed in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from mailframe.backoff import Backoff
from mailframe.envelope import DeliverBy
from mailframe.units import Seconds, duration_text

LAST_CALL = 60.0  # seconds before a sender's deadline, when sending it on may still be in time
LAST_CHANCES = 14400.0  # seconds after the end for mail that limits of ours keep from being tried


@attrs.frozen(kw_only=True)
class Schedule:
    """The times of the queue (RFC 5321 §4.5.4.1), all in seconds.

    :ivar retry_every: from one attempt to the next
    :ivar retry: waits that differ, in place of ``retry_every``; a route may have its own
    :ivar warn_after: from arrival to the one delay warning; 0 is never
    :ivar give_up_after: from arrival to the failure notice
    """

    retry_every: Seconds = Seconds(900.0)
    retry: Backoff | None = None
    warn_after: Seconds = Seconds(14400.0)
    give_up_after: Seconds = Seconds(432000.0)

    def __attrs_post_init__(self) -> None:
        if self.retry_every < 1:
            found = duration_text(self.retry_every)
            raise ValueError(f"'retry_every' found {found}; allowed: at least 1s")
        for key in ("warn_after", "give_up_after"):
            if self.retry is not None and getattr(self.retry, key) is not None:
                raise ValueError(
                    f"'retry' holds {key}; in [queue] it stands beside retry, not in it"
                )

    @property
    def backoff(self) -> Backoff:
        """The waits of mail whose route has none of its own."""
        return self.retry or Backoff.fixed(self.retry_every)

    @property
    def longest_wait(self) -> float:
        """No such mail waits longer for its next attempt, in seconds."""
        return self.retry_every if self.retry is None else self.retry.longest

    def times(
        self,
        since: float,
        deliver_by: DeliverBy | None = None,
        id: str = "",
        retry: Backoff | None = None,
    ) -> Times:
        """The times of one message.

        :param since: when it may be tried first, POSIX seconds: its arrival, or its release
        :param deliver_by: the deadline that its sender set (RFC 2852). With mode ``R`` the message
            is given up then, unless it is earlier; with mode ``N`` that is when the sender
            is warned, instead of after ``warn_after``
        :param id: its queue id, from which chance is drawn
        :param retry: the waits that its route asks for, and maybe a warning and an end of its own
        """
        warn_after, give_up_after = self.warn_after, self.give_up_after
        if retry is not None and retry.warn_after is not None:
            warn_after = retry.warn_after
        if retry is not None and retry.give_up_after is not None:
            give_up_after = retry.give_up_after
        warn_at = since + warn_after if warn_after > 0 else None
        give_up_at, is_deadline = since + give_up_after, False
        if deliver_by is None:
            pass
        elif deliver_by.mode == "R":
            if deliver_by.at < give_up_at:
                give_up_at, is_deadline = deliver_by.at, True
        elif deliver_by.at > since:  # else the server before us has warned already
            warn_at = deliver_by.at
        return Times(retry or self.backoff, warn_at, give_up_at, is_deadline, id)


@attrs.frozen
class Times:
    """The times of one message, in POSIX seconds.

    :ivar retry: how long it waits from one attempt to the next
    :ivar warn_at: when its sender is told of the delay; ``None`` is never
    :ivar give_up_at: when the last attempt is made
    :ivar is_deadline: it is the sender who set ``give_up_at``
    :ivar id: its queue id
    """

    retry: Backoff
    warn_at: float | None
    give_up_at: float
    is_deadline: bool
    id: str = ""

    def is_expired(self, planned: float, now: float) -> bool:
        """Whether an attempt that failed at ``now`` was the last one.

        One that was planned before the end of the time, and made after it only because the server
        was off or the clock jumped, is followed by another: nobody's mail is given up because of
        one unlucky moment. To a sender's own deadline that doesn't apply.

        :param planned: for when the attempt was planned
        """
        return self.give_up_at <= (now if self.is_deadline else min(planned, now))

    def is_out_of_chances(self, planned: float, now: float, since: float) -> bool:
        """Whether mail that limits of ours keep from being tried is given up at ``now``.

        It is not at the end of its time, for it had no last attempt then. For some hours it gets
        more chances, until it is tried or its sender must be told; but none after the sender's own
        deadline.

        :param planned: for when the attempt was planned that was not made
        :param since: when the limits kept it from being tried first
        """
        if not self.is_expired(planned, now):
            return False
        return self.is_deadline or now >= self.last_chance(since)

    def last_chance(self, since: float) -> float:
        """Until when mail is kept that limits of ours keep from being tried since a time."""
        return max(self.give_up_at, since) + LAST_CHANCES

    def are_chances_missed(self, planned: float, now: float, since: float) -> bool:
        """Whether mail that limits of ours keep from being tried is to have its last chances anew:
        some of them went by because the server was off, or the clock jumped.

        :param planned: for when the attempt was planned that was not made
        :param since: when the limits kept it from being tried first
        """
        ends = (self.give_up_at, self.last_chance(since))
        return not self.is_deadline and any(planned < end <= now for end in ends)

    def is_warning_due(self, now: float) -> bool:
        """Whether the sender is to be told at ``now`` that the message still waits."""
        return self.warn_at is not None and self.warn_at <= now

    def next_attempt(
        self, now: float, warned: bool, attempts: int = 1, retry: Backoff | None = None
    ) -> float:
        """When to try again after an attempt that failed at ``now``.

        :param warned: the sender knows of the delay
        :param attempts: how many have been made, this one included
        :param retry: the waits that a recipient's route asks for, in place of the message's
        """
        wait = (retry or self.retry).wait(max(attempts, 1), self.id)
        return self.not_after(now + wait, now, warned)

    def not_after(self, wanted: float, now: float, warned: bool) -> float:
        """When to try a message again that is wanted to be tried at some time after ``now``.

        Never later than the moment a warning is due, nor than the last attempt: both are made as
        part of an attempt, so that nobody is told of a failure that was not just seen again. Before
        a sender's own deadline there is one more, for at the deadline it is too late to send it on.
        """
        times = [wanted, self.give_up_at]
        if self.is_deadline:
            times.append(self.give_up_at - LAST_CALL)
        if not warned and self.warn_at is not None:
            times.append(self.warn_at)
        return min(time for time in times if time > now)

    def attempts(self, first: float, made: int = 0, warned: bool = False) -> Iterator[float]:
        """The attempts that are still to come if each of them fails, up to the last.

        :param first: when the next one is, POSIX seconds
        :param made: how many have been made
        :param warned: the sender knows of the delay
        """
        now = first
        while True:
            yield now
            made += 1
            if self.is_expired(now, now):
                return
            warned = warned or self.is_warning_due(now)
            now = self.next_attempt(now, warned, made)
