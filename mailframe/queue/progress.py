"""What one attempt changes about a queued message: retry, warn, bounce and redirect as one
function.

`advance` is pure. It is given the entry, what became of each recipient that was tried, the time and
the schedule, and returns the `Step` to record together with those recipients about whom the sender
is to be told. Who makes the notices, and who records the step, is the runner's concern.

A recipient ends in exactly one of ``delivered``, ``relayed``, ``failed`` and ``redirected``. A
redirect adds its targets to the entry as recipients of their own, so that each of them settles by
itself and survives a restart; a target that is its own ancestor is a loop and fails (RFC 5321
§6.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mailframe.address import Address
from mailframe.entry import Entry, Event, EventKind, QueuedRecipient, Step
from mailframe.outcome import Delivered, Local, Outcome, Redirect, Refused, Route, Tried
from mailframe.queue.schedule import Schedule
from mailframe.reply import Reply

MAX_EXPANSION = 10_000  # recipients of one message, redirects included
LOOP = Reply(554, "5.4.6", "the address leads back to itself through redirects")
TOO_MANY = Reply(554, "5.4.6", "redirects lead to too many recipients")


@attrs.frozen(kw_only=True)
class Progress:
    """The step to record, and whom it concerns.

    :ivar failed: the recipients that failed for good in this step
    :ivar delayed: the recipients of whose delay the sender is to be told now, once for a message
    """

    step: Step
    failed: tuple[QueuedRecipient, ...]
    delayed: tuple[QueuedRecipient, ...]


def advance(entry: Entry, tried: Sequence[Tried], now: float, schedule: Schedule) -> Progress:
    """Work out what an attempt that ended at ``now`` changes.

    :param tried: at most one for each pending recipient; those not named stay as they are
    """
    recipients = list(entry.recipients)
    events: list[Event] = []
    failed: list[int] = []
    postponed: list[int] = []
    waiting: list[int] = []  # the events that tell when the next attempt is
    arrived = entry.envelope.arrived
    redirecting = {a.index for a in tried if isinstance(a.route, Redirect)}
    added = False
    for result in tried:
        index, route = result.index, result.route
        before = recipients[index]
        if before.attempts == 0 and not isinstance(route, Redirect):
            events.append(_event(now, "routed", before, route))
        if isinstance(route, Redirect):
            refusal = _redirect(recipients, index, route, redirecting)
            if refusal is None:
                added = True
                recipients[index] = attrs.evolve(
                    recipients[index], state="redirected", attempts=before.attempts + 1
                )
                events.append(_event(now, "redirected", before, route))
                continue
            outcome: Outcome = Refused(where="", reply=refusal)
        else:
            assert result.outcome is not None, "only a redirect has no outcome"
            outcome = result.outcome
        after = attrs.evolve(
            before,
            attempts=before.attempts + 1,
            last_reply=outcome.reply,
            where=outcome.where,
        )
        if isinstance(outcome, Delivered):
            local = isinstance(route, Local)
            after = attrs.evolve(after, state="delivered" if local else "relayed")
            events.append(_event(now, "delivered" if local else "relayed", before, route, outcome))
        elif isinstance(outcome, Refused):
            after = attrs.evolve(after, state="failed")
            failed.append(index)
            events.append(_event(now, "refused", before, route, outcome))
        elif schedule.is_expired(arrived, now):
            after = attrs.evolve(after, state="failed")
            failed.append(index)
            events.append(_event(now, "postponed", before, route, outcome))
            events.append(_event(now, "expired", before, route))
        else:
            postponed.append(index)
            waiting.append(len(events))
            events.append(_event(now, "postponed", before, route, outcome))
        recipients[index] = after

    warn = bool(postponed) and not entry.warned and schedule.is_warning_due(arrived, now)
    warned = entry.warned or warn
    next_attempt: float | None = None
    if any(recipient.state == "pending" for recipient in recipients):
        next_attempt = now if added else schedule.next_attempt(arrived, now, warned)
    for place in waiting:
        events[place] = attrs.evolve(events[place], next_attempt=next_attempt)
    return Progress(
        step=Step(
            recipients=tuple(recipients),
            next_attempt=next_attempt,
            warned=warned,
            events=tuple(events),
        ),
        failed=tuple(recipients[i] for i in failed),
        delayed=tuple(recipients[i] for i in postponed) if warn else (),
    )


def _redirect(
    recipients: list[QueuedRecipient], index: int, route: Redirect, redirecting: set[int]
) -> Reply | None:
    """Add the targets of a redirect; the reply with which it fails instead, or ``None``."""
    ancestors = {recipients[index].address}
    parent = recipients[index].parent
    while parent is not None:
        ancestors.add(recipients[parent].address)
        parent = recipients[parent].parent
    if any(address in ancestors for address in route.addresses):
        return LOOP
    # Somebody who already has, or will have, the message needs no second copy. A recipient that is
    # itself redirected doesn't count: two aliases of each other would make the message vanish.
    present: set[Address] = {
        recipient.address
        for i, recipient in enumerate(recipients)
        if recipient.state in ("pending", "delivered", "relayed") and i not in redirecting
    }
    wanted = [a for a in dict.fromkeys(route.addresses) if a not in present]
    if len(recipients) + len(wanted) > MAX_EXPANSION:
        return TOO_MANY
    recipients.extend(QueuedRecipient(address=address, parent=index) for address in wanted)
    return None


def _event(
    now: float,
    kind: EventKind,
    recipient: QueuedRecipient,
    route: Route,
    outcome: Outcome | None = None,
) -> Event:
    return Event(
        at=now,
        kind=kind,
        recipient=recipient.address,
        reason=route.reason,
        rule=route.rule,
        plugin=route.plugin,
        where=outcome.where if outcome else "",
        reply=outcome.reply if outcome else None,
    )
