"""A queued message as a value: what is kept of it, its history, and one step of its life."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.envelope import Envelope, Notify, Recipient
from mailframe.reply import Reply

RecipientState: TypeAlias = Literal["pending", "delivered", "relayed", "failed", "redirected"]
EventKind: TypeAlias = Literal[
    "accepted",
    "authorised",
    "routed",
    "delivered",
    "relayed",
    "postponed",
    "throttled",
    "refused",
    "redirected",
    "expired",
    "warned",
    "bounced",
    "notified",
    "dropped",
    "held",
    "released",
    "retried",
    "removed",
]


@attrs.frozen(kw_only=True)
class Ready:
    """A recipient's copy lies beside its mailbox, whole and synced, and is being put into it.

    Recorded before that is done, so that after a crash the agent can tell from whether the copy
    still lies there whether it was done (`mailframe.interfaces.Job.record_ready`).

    :ivar mailbox: the account whose mailbox it is
    :ivar since: POSIX seconds UTC
    :ivar where: where the copy lies and where it is to go, in the agent's own words
    """

    mailbox: Address
    since: float
    where: str


@attrs.frozen(kw_only=True)
class Wait:
    """A recipient's turn is later than the message's next attempt, which is made for others.

    :ivar until: when it is its turn, POSIX seconds UTC
    :ivar planned: the message's next attempt for which this was settled. When that was moved, as by
        an operator who wants it tried, nobody waits
    """

    until: float
    planned: float


@attrs.frozen(kw_only=True)
class QueuedRecipient:
    """Where one recipient of a queued message stands.

    :ivar address: whom the message is for
    :ivar state: ``pending`` until it is settled for good
    :ivar attempts: how often delivery was tried
    :ivar last_reply: what was said at the last attempt; before the first one what keeps it waiting,
        or ``None``
    :ivar where: the host or mailbox of the last attempt, or ``""``
    :ivar parent: the index of the recipient that was redirected to this one, or ``None``
    :ivar ready: its copy is being put into a mailbox, or was when an attempt was cut off
    :ivar held: its route held the message; when it is tried again, an operator has released it
    :ivar throttled: since when the limits of its destination or provider have kept it from being
        tried, POSIX seconds UTC, or ``None``
    :ivar wait: its turn is not yet when the message is tried next
    """

    address: Address
    state: RecipientState = "pending"
    attempts: int = 0
    last_reply: Reply | None = None
    where: str = ""
    parent: int | None = None
    ready: Ready | None = None
    held: bool = False
    throttled: float | None = None
    wait: Wait | None = None

    # These two are on the way of every message: `attrs.evolve` takes three times as long.

    def with_ready(self, ready: Ready | None) -> QueuedRecipient:
        """The same, whose copy lies ready; ``None``: none does any more."""
        return QueuedRecipient(
            address=self.address,
            state=self.state,
            attempts=self.attempts,
            last_reply=self.last_reply,
            where=self.where,
            parent=self.parent,
            ready=ready,
            held=self.held,
            throttled=self.throttled,
            wait=self.wait,
        )

    def after_attempt(
        self, state: RecipientState, reply: Reply, where: str, *, may_be_ready: bool
    ) -> QueuedRecipient:
        """The same after an attempt, from which on nobody keeps it from being tried.

        :param reply: what was said
        :param where: the host or mailbox
        :param may_be_ready: a copy that was begun to be put into a mailbox still is
        """
        return QueuedRecipient(
            address=self.address,
            state=state,
            attempts=self.attempts + 1,
            last_reply=reply,
            where=where,
            parent=self.parent,
            ready=self.ready if may_be_ready else None,
            held=self.held,
        )


@attrs.frozen(kw_only=True)
class Event:
    """One line of a message's history.

    :ivar at: POSIX seconds UTC
    :ivar kind: what happened
    :ivar recipient: whom it concerns, or ``None`` when it concerns the whole message
    :ivar reason: the decision's reason or a remark, one clause
    :ivar rule: the rule that decided, or ``""``
    :ivar plugin: the plugin that decided, or ``""``
    :ivar where: the host or mailbox, or ``""``
    :ivar reply: the reply, or ``None``
    :ivar next_attempt: when it is tried again, or ``None``
    """

    at: float
    kind: EventKind
    recipient: Address | None = None
    reason: str = ""
    rule: str = ""
    plugin: str = ""
    where: str = ""
    reply: Reply | None = None
    next_attempt: float | None = None


@attrs.frozen(kw_only=True)
class Entry:
    """A message in the queue, without its content.

    :ivar id: the queue id: 1 to 32 characters of ``a-z0-9``
    :ivar envelope: as it was accepted
    :ivar size: octets of the content, trace header included
    :ivar recipients: those of the envelope, in order, then those that redirects added
    :ivar next_attempt: POSIX seconds UTC
    :ivar held: an operator stopped it; it is not claimed until it is released
    :ivar warned: the delay warning has been sent
    """

    id: str
    envelope: Envelope
    size: int
    recipients: tuple[QueuedRecipient, ...]
    next_attempt: float
    held: bool = False
    warned: bool = False

    def with_recipients(self, recipients: tuple[QueuedRecipient, ...]) -> Entry:
        """The same, with its recipients as they stand now."""
        return Entry(
            id=self.id,
            envelope=self.envelope,
            size=self.size,
            recipients=recipients,
            next_attempt=self.next_attempt,
            held=self.held,
            warned=self.warned,
        )

    def original(self, index: int) -> Recipient:
        """The recipient of the envelope that one of the recipients goes back to.

        :param index: its place in ``recipients``; one that a redirect added goes back to the one
            that was redirected. When that one was redirected to several, its sender has been told
            of this, and is not told once more of each (RFC 3461 §5.2.7.3 c)
        """
        is_one_of_several = False
        while (parent := self.recipients[index].parent) is not None:
            is_one_of_several = is_one_of_several or self._has_sibling(index, parent)
            index = parent
        original = self.envelope.recipients[index]
        if is_one_of_several and "SUCCESS" in original.notify:
            notify: tuple[Notify, ...] = tuple(n for n in original.notify if n != "SUCCESS")
            # Nothing at all would mean that the sender did not say.
            return attrs.evolve(original, notify=notify or ("NEVER",))
        return original

    def _has_sibling(self, index: int, parent: int) -> bool:
        # Those that one redirect added stand side by side.
        return any(other.parent == parent for other in self.recipients[index + 1 : index + 2]) or (
            self.recipients[index - 1].parent == parent
        )

    def is_waiting(self, index: int, now: float) -> bool:
        """Whether the attempt that is made now is for others, and the recipient's turn is later.

        :param index: its place in ``recipients``
        :param now: POSIX seconds UTC
        """
        wait = self.recipients[index].wait
        if wait is None or wait.until <= now:
            return False
        # A storage may keep times less exactly than recipients.
        return abs(wait.planned - self.next_attempt) < 1e-3

    def next_attempt_of(self, index: int) -> float:
        """When one of the recipients is tried next, POSIX seconds UTC."""
        if self.is_waiting(index, self.next_attempt):
            wait = self.recipients[index].wait
            assert wait is not None, "it waits"
            return wait.until
        return self.next_attempt

    @property
    def pending(self) -> tuple[int, ...]:
        """The indices of the recipients that still wait."""
        return tuple(i for i, r in enumerate(self.recipients) if r.state == "pending")


@attrs.frozen(kw_only=True)
class Notice:
    """A delivery status notification to be queued, as a small message of our own.

    :ivar envelope: its sender is always the null reverse-path
    :ivar content: the whole message with CRLF line ends; bounded, for what it returns of the
        original is
    """

    envelope: Envelope
    content: bytes


@attrs.frozen(kw_only=True)
class Step:
    """What one attempt changes, or a part of it: recorded whole or not at all.

    :ivar recipients: the recipients after the step
    :ivar next_attempt: POSIX seconds UTC, or ``None`` when every recipient is settled and the
        message leaves the queue
    :ivar warned: whether the delay warning has been sent, this step included
    :ivar events: what to add to the history
    :ivar goes_on: the attempt is not over: the lease stays, and ``next_attempt`` with it
    """

    recipients: tuple[QueuedRecipient, ...]
    next_attempt: float | None
    warned: bool
    events: tuple[Event, ...]
    goes_on: bool = False
