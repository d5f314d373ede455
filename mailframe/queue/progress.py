"""What one attempt changes about a queued message: retry, warn, bounce and redirect as one
function.

`advance` is pure. It is given the entry, what became of each recipient that was tried, the time and
the schedule, and returns the `Step` to record together with those recipients about whom the sender
is to be told. Who makes the notices, and who records the step, is the runner's concern.

A recipient ends in exactly one of ``delivered``, ``relayed``, ``failed`` and ``redirected``. A
redirect adds its targets to the entry as recipients of their own, so that each of them settles by
itself and survives a restart; a target that is its own ancestor is a loop and fails (RFC 5321
§6.3).

A failure is told to the sender, or its history says why not: nothing fails in silence.

Each recipient has its own turn, by how often it was tried, by what its route asks for, or by when
there may be room within the limits of its destination. The message's next attempt is the earliest
of them, and those whose turn is later sit it out (`mailframe.entry.Wait`). A recipient that the
limits kept from being tried costs no attempt; its history says so once, until it is tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mailframe.entry import (
    Entry,
    Event,
    EventKind,
    QueuedRecipient,
    RecipientState,
    Step,
)
from mailframe.outcome import (
    Delivered,
    Hold,
    Local,
    Outcome,
    Postponed,
    Redirect,
    Refused,
    Route,
    Throttled,
    Tried,
)
from mailframe.queue.asked import Action, is_asked
from mailframe.queue.schedule import Schedule, Times
from mailframe.queue.waits import OwnTimes, Turns, with_waits
from mailframe.redirects import Redirects
from mailframe.reply import Reply


@attrs.frozen(kw_only=True)
class Progress:
    """The step to record, and whom it concerns.

    :ivar notices: of what the sender is to be told: for each action the places of the recipients in
        ``step.recipients``, at least one. Empty for a null reverse-path, whatever happened
    :ivar holds: nobody is left but those whose route holds the message: it is to be held
    :ivar give_up_at: until when recipients are tried whose route has an end of its own, POSIX
        seconds, by their places; only of those about whom the sender is told
    """

    step: Step
    notices: Mapping[Action, tuple[int, ...]]
    holds: bool = False
    give_up_at: Mapping[int, float] = attrs.field(factory=dict)


def advance(entry: Entry, tried: Sequence[Tried], now: float, schedule: Schedule) -> Progress:
    """Work out what an attempt that ended at ``now`` changes.

    :param tried: at most one for each pending recipient; those not named stay as they are
    """
    attempt = _Attempt(entry, now, {t.index for t in tried if isinstance(t.route, Redirect)})
    for each in tried:
        attempt.settle(each)
    return attempt.progress(schedule)


def times_of(entry: Entry, schedule: Schedule) -> Times:
    """The times of a queued message; they count from the moment it could be tried first."""
    return schedule.times(entry.envelope.due, entry.envelope.deliver_by, entry.id)


class _Attempt:
    """The state of an entry while the results of an attempt are applied to it."""

    def __init__(self, entry: Entry, now: float, redirecting: set[int]) -> None:
        self.entry = entry
        self.now = now
        self.recipients = list(entry.recipients)
        self.events: list[Event] = []
        self.notices: dict[Action, list[int]] = {}
        self._redirects = Redirects(self.recipients, redirecting)
        self._redirected = False  # and so nobody else was tried
        # With the place of their events; of those throttled what was answered, and mostly no event.
        self._postponed: list[tuple[int, Route, int]] = []
        self._throttled: list[tuple[int, Route, Throttled, int | None]] = []
        self._held: dict[int, Hold] = {}
        self._give_up_at: dict[int, float] = {}

    def settle(self, tried: Tried) -> None:
        """Apply one result."""
        index, route = tried.index, tried.route
        before = self.recipients[index]
        if isinstance(route, Hold):
            self._held[index] = route
            self._change(index, wait=None)
            return
        if isinstance(route, Redirect):
            refusal = self._redirect(index, route)
            if refusal is None:
                return
            outcome: Outcome = Refused(where="", reply=refusal)
        else:
            if before.attempts == 0 and before.throttled is None:
                self._tell("routed", before, route)
            assert tried.outcome is not None, "only a redirect has no outcome"
            outcome = tried.outcome
            if isinstance(outcome, Throttled):
                self._throttle(index, route, outcome)
                return
        state: RecipientState = "pending"
        kind: EventKind = "postponed"
        if isinstance(outcome, Delivered):
            state = kind = "delivered" if isinstance(route, Local) else "relayed"
        elif isinstance(outcome, Refused):
            state, kind = "failed", "refused"
        self.recipients[index] = before.after_attempt(
            state, outcome.reply, outcome.where, may_be_ready=isinstance(outcome, Postponed)
        )
        if state == "failed":
            self._redirects.failed(index)
        self._tell(kind, before, route, outcome)
        if isinstance(outcome, Delivered):
            self._arrived(index, isinstance(route, Local), outcome)
        elif isinstance(outcome, Refused):
            self._failed(index)
        else:
            self._postponed.append((index, route, len(self.events) - 1))

    def _throttle(self, index: int, route: Route, outcome: Throttled) -> None:
        before, place = self.recipients[index], None
        if before.attempts == 0:  # else it shows what a server said
            self._change(index, last_reply=outcome.reply, where=outcome.where)
        if before.throttled is None:
            self._change(index, throttled=self.now)
            place = len(self.events)
            self._tell("throttled", before, route, outcome)
        self._throttled.append((index, route, outcome, place))

    def _change(self, index: int, **changes: Any) -> None:
        self.recipients[index] = attrs.evolve(self.recipients[index], **changes)

    def progress(self, schedule: Schedule) -> Progress:
        """What all the results come to."""
        next_attempt: float | None = None
        if self._is_pending:
            next_attempt = self._wait(schedule)
        holds = self._hold()
        return Progress(
            step=Step(
                recipients=tuple(self.recipients),
                next_attempt=next_attempt,
                warned=self._warned,
                events=tuple(self.events),
            ),
            notices={action: tuple(indices) for action, indices in self.notices.items()},
            holds=holds,
            give_up_at=self._give_up_at,
        )

    def _hold(self) -> bool:
        """Hold the message, unless there are others that are tried again."""
        waiting = {i for i, each in enumerate(self.recipients) if each.state == "pending"}
        if not waiting or waiting != set(self._held):
            return False
        for index, route in self._held.items():
            self._change(index, held=True)
            self._tell("held", self.recipients[index], route)
        return True

    @property
    def _is_pending(self) -> bool:
        return any(recipient.state == "pending" for recipient in self.recipients)

    @property
    def _warned(self) -> bool:
        return self.entry.warned or "delayed" in self.notices

    def _wait(self, schedule: Schedule) -> float | None:
        """Give up, or warn, as it is time for; when to try again."""
        times = times_of(self.entry, schedule)
        own = OwnTimes(self.entry, schedule, times)
        planned = self.entry.next_attempt
        left = []
        for each in self._postponed:
            index, route, _ = each
            if own.of(route).is_expired(planned, self.now):
                self._give_up(index, route)
            else:
                left.append(each)
        self._postponed = left
        waiting = [(index, route) for index, route, _ in left]
        for index, route, outcome, _ in self._throttled:
            limits = own.of(route)
            if limits.are_chances_missed(planned, self.now, self._throttled_since(index)):
                self._change(index, throttled=self.now)
            if limits.is_out_of_chances(planned, self.now, self._throttled_since(index)):
                self._give_up(index, route, outcome)
            elif not limits.is_expired(planned, self.now):
                waiting.append((index, route))
        if not self.entry.warned:
            self._warn(waiting, own)
        return self._take_turns(times, own) if self._is_pending else None

    def _warn(self, waiting: Sequence[tuple[int, Route]], own: OwnTimes) -> None:
        """Tell of the delay when that is due, of all who wait: a message is warned of once."""
        if not any(own.of(route).is_warning_due(self.now) for _, route in waiting):
            return
        for index, route in waiting:
            times = own.of(route)
            if times.warn_at is not None and self._ask("delayed", index) and times is not own.usual:
                self._give_up_at[index] = times.give_up_at
        if "delayed" not in self.notices:
            return
        asked = {index for index, *_ in (*self._postponed, *self._throttled)}
        for index, recipient in enumerate(self.recipients):  # also of those who sat it out
            if recipient.state == "pending" and recipient.wait is not None and index not in asked:
                self._ask("delayed", index)

    def _give_up(self, index: int, route: Route, outcome: Outcome | None = None) -> None:
        self._change(index, state="failed")
        self._tell("expired", self.recipients[index], route, outcome)
        self._failed(index)

    def _take_turns(self, times: Times, own: OwnTimes) -> float:
        """Settle when it is the turn of each recipient that is left; the earliest."""
        if not (self._postponed or self._throttled or self._held or self._redirected) and not any(
            recipient.wait is not None for recipient in self.recipients
        ):
            # The others are still being tried, and of thousands this would be asked thousands of
            # times.
            return times.next_attempt(self.now, self._warned)
        all_turns = Turns(self.entry, times, self.now, self._warned)
        turns: dict[int, float] = {}
        places: dict[int, int | None] = {}
        for index, route, place in self._postponed:
            attempts, places[index] = self.recipients[index].attempts, place
            turns[index] = own.turns(all_turns, route).after_attempt(attempts, route)
        for index, route, outcome, told in self._throttled:
            since, places[index] = self._throttled_since(index), told
            turns[index] = own.turns(all_turns, route).after_throttling(since, outcome.seconds)
        for index, recipient in enumerate(self.recipients):
            if recipient.state != "pending":
                turns.pop(index, None)
            elif index not in turns and self._redirected:
                turns[index] = all_turns.after_redirects(index)
            elif index not in turns:
                turns[index] = all_turns.of_untried(index, recipient, self._held.get(index))
        self.recipients, earliest = with_waits(self.recipients, turns)
        for index, turn in turns.items():
            told = places.get(index)
            if told is not None:
                self.events[told] = attrs.evolve(self.events[told], next_attempt=turn)
        return earliest

    def _throttled_since(self, index: int) -> float:
        since = self.recipients[index].throttled
        assert since is not None, "it is throttled"
        return since

    # --- what the sender is told -----------------------------------------------------------------

    def _ask(self, action: Action, index: int) -> bool:
        """Have a notice written if the sender wants one; whether it is."""
        if self.entry.envelope.sender is None:
            return False
        if not is_asked(action, self.entry.original(index)):
            return False
        self.notices.setdefault(action, []).append(index)
        return True

    def _failed(self, index: int) -> None:
        if self._ask("failed", index):
            return
        reason = (
            "the reverse-path is null, so nobody is told"
            if self.entry.envelope.sender is None
            else "the sender asked not to be told (NOTIFY)"
        )
        address = self.recipients[index].address
        self.events.append(Event(at=self.now, kind="dropped", recipient=address, reason=reason))

    def _arrived(self, index: int, local: bool, outcome: Delivered) -> None:
        if local or outcome.is_final:
            self._ask("delivered", index)
        elif outcome.notifies or not self._ask("relayed", index):
            self._trace(index, outcome)

    def _trace(self, index: int, outcome: Delivered) -> None:
        """Tell of a server on the way of a message with a deadline.

        With ``T`` each server tells that it has passed the message on (RFC 2852 §4), with ``N`` the
        last one that knows of the deadline (§4.1.4.2).
        """
        envelope = self.entry.envelope
        deadline, original = envelope.deliver_by, self.entry.original(index)
        if deadline is None or envelope.sender is None or "NEVER" in original.notify:
            return
        if deadline.trace or (deadline.mode == "N" and not outcome.knows_deadline):
            self.notices.setdefault("relayed", []).append(index)

    def _redirect(self, index: int, route: Redirect) -> Reply | None:
        """Follow a redirect; the reply with which it fails instead, or ``None``."""
        before = self.recipients[index]
        self._redirected = True
        added = self._redirects.follow(index, route)
        if isinstance(added, Reply):
            return added
        self._tell("redirected", before, route)
        if added != 1:  # else what becomes of that one is told (RFC 3461 §5.2.7.2)
            self._ask("expanded", index)
        return None

    def _tell(
        self,
        kind: EventKind,
        recipient: QueuedRecipient,
        route: Route,
        outcome: Outcome | None = None,
    ) -> None:
        self.events.append(
            Event(
                at=self.now,
                kind=kind,
                recipient=recipient.address,
                reason=route.reason,
                rule=route.rule,
                plugin=route.plugin,
                where=outcome.where if outcome else "",
                reply=outcome.reply if outcome else None,
            )
        )
