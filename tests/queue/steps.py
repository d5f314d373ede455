"""Steps of a message through the queue, for the tests of what comes of each attempt."""

from __future__ import annotations

import attrs

from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient
from mailframe.envelope import DeliverBy, Notify
from mailframe.outcome import (
    Delivered,
    Outcome,
    Postponed,
    Redirect,
    Refused,
    Route,
    Throttled,
    Tried,
)
from mailframe.queue.asked import Action
from mailframe.queue.progress import Progress, Step
from mailframe.reply import Reply
from tests.queue.samples import LATER, NEVER, OK, RELAY

DELIVERED = Delivered(where="mary@demo.example", reply=OK)
POSTPONED = Postponed(where="mx.example [192.0.2.1]:25", reply=LATER)
FULL = Reply(451, "4.7.1", "no more than 10 messages a minute go to mx.example")
THROTTLED = Throttled(where="mx.example", reply=FULL, seconds=60.0)
REFUSED = Refused(where="mx.example [192.0.2.1]:25", reply=NEVER)


def tried(index: int, outcome: Outcome, route: Route = RELAY) -> Tried:
    return Tried(index=index, route=route, outcome=outcome)


def redirect(index: int, *addresses: Address) -> Tried:
    route = Redirect(addresses=addresses, reason="an alias", rule="alias", plugin="file")
    return Tried(index=index, route=route, outcome=None)


def told(result: Progress, action: Action) -> tuple[QueuedRecipient, ...]:
    """The recipients of whom the sender is told."""
    return tuple(result.step.recipients[i] for i in result.notices.get(action, ()))


def after(before: Entry, step: Step) -> Entry:
    assert step.next_attempt is not None
    return attrs.evolve(
        before, recipients=step.recipients, next_attempt=step.next_attempt, warned=step.warned
    )


def asking(
    message: Entry, *notifies: tuple[Notify, ...], deliver_by: DeliverBy | None = None
) -> Entry:
    """The same message, as of a sender who asks for notices, in the order of the recipients."""
    recipients = tuple(
        attrs.evolve(recipient, notify=notify)
        for recipient, notify in zip(message.envelope.recipients, notifies, strict=True)
    )
    carried = attrs.evolve(message.envelope, recipients=recipients, deliver_by=deliver_by)
    return attrs.evolve(message, envelope=carried)
