"""When it is whose turn: the next attempt of each recipient that still waits, and of the message.

The message is tried when it is the turn of the first. The others sit that attempt out
(`mailframe.entry.Wait`); nobody's turn is later than the warning or the last attempt, at which all
are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from mailframe.backoff import Backoff
from mailframe.entry import Entry, QueuedRecipient, Wait
from mailframe.outcome import Relay, Route
from mailframe.queue.schedule import Schedule, Times

SOON = 1.0  # seconds


@attrs.frozen
class Turns:
    """The turns after one attempt.

    :ivar entry: the message before it
    :ivar times: of the message
    :ivar now: when the attempt ended, POSIX seconds
    :ivar warned: the sender knows of the delay
    """

    entry: Entry
    times: Times
    now: float
    warned: bool

    def after_attempt(self, attempts: int, route: Route | None) -> float:
        """The turn of a recipient that was tried.

        :param attempts: how often
        :param route: what was followed, which may ask for waits of its own
        """
        retry = route.retry if isinstance(route, Relay) else None
        return self.times.next_attempt(self.now, self.warned, attempts, retry)

    def after_throttling(self, since: float, seconds: float) -> float:
        """The turn of a recipient that limits of ours keep from being tried.

        :param since: when they did so first
        :param seconds: until there may be room
        """
        wanted = self.now + max(seconds, SOON)
        last = max(self.times.last_chance(since), self.now + SOON)
        return self.times.not_after(min(wanted, last), self.now, self.warned)

    def of_untried(self, index: int, recipient: QueuedRecipient, route: Route | None) -> float:
        """The turn of a recipient that an attempt left out.

        :param index: its place in the recipients
        :param route: of one that is held
        """
        wait = recipient.wait
        if wait is None:
            return self.after_attempt(recipient.attempts, route)
        if self.entry.is_waiting(index, self.now):
            return self.times.not_after(wait.until, self.now, self.warned)
        return self.now + SOON  # it became its turn while others were being tried

    def after_redirects(self, index: int) -> float:
        """The turn of a recipient when others were redirected and nobody was tried: now, or as
        before."""
        if index < len(self.entry.recipients) and self.entry.is_waiting(index, self.now):
            return self.of_untried(index, self.entry.recipients[index], None)
        return self.now


class OwnTimes:
    """The times of recipients whose route has a warning or an end of its own.

    :param entry: the message
    :param schedule: the queue's
    :param usual: the times of all others

    :ivar usual: as given
    """

    def __init__(self, entry: Entry, schedule: Schedule, usual: Times) -> None:
        self.usual = usual
        self._entry = entry
        self._schedule = schedule
        self._known: dict[Backoff, Times] = {}

    def of(self, route: Route) -> Times:
        """The times of a recipient that goes that way."""
        retry = route.retry if isinstance(route, Relay) else None
        if retry is None or (retry.warn_after is None and retry.give_up_after is None):
            return self.usual
        if retry not in self._known:
            envelope = self._entry.envelope
            self._known[retry] = self._schedule.times(
                envelope.due, envelope.deliver_by, self._entry.id, retry
            )
        return self._known[retry]

    def turns(self, turns: Turns, route: Route) -> Turns:
        """The turns with the times of a recipient that goes that way."""
        times = self.of(route)
        return turns if times is self.usual else attrs.evolve(turns, times=times)


def with_waits(
    recipients: Iterable[QueuedRecipient], turns: Mapping[int, float]
) -> tuple[list[QueuedRecipient], float]:
    """The recipients with their waits, and the message's next attempt: the earliest turn.

    :param turns: of each that is pending, by its place; at least one
    """
    earliest = min(turns.values())
    found = list(recipients)
    for index, turn in turns.items():
        wait = Wait(until=turn, planned=earliest) if turn > earliest else None
        if wait != found[index].wait:
            found[index] = attrs.evolve(found[index], wait=wait)
    return found, earliest
