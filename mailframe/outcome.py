"""Decisions as values: where mail goes, whether a client may send it, what became of an attempt.

Each carries its reason, the rule that decided and the plugin that holds the rule. Log, trace
header, ``explain``, ``trace``, console and bounce all print the same value.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.reply import Reply

Protocol: TypeAlias = Literal["smtp", "lmtp"]
TlsPolicy: TypeAlias = Literal["none", "opportunistic", "require", "verify", "dane"]


@attrs.frozen(kw_only=True)
class Decision:
    """What every decision tells of itself.

    :ivar reason: one clause a person can act on, without a final dot
    :ivar rule: the name of the rule that decided, or ``""`` where there is no table of rules
    :ivar plugin: the name of the plugin that decided, as it stands in the configuration
    """

    reason: str
    rule: str = ""
    plugin: str = ""


@attrs.frozen(kw_only=True)
class NextHop:
    """A server to hand mail to.

    :ivar where: a Twisted client endpoint string (``tcp:127.0.0.1:2600``), or ``mx:`` and a domain
        whose mail exchangers are to be looked up at the time of the attempt
    :ivar protocol: ``smtp`` or ``lmtp``
    :ivar tls: ``none``, ``opportunistic`` (STARTTLS when offered), ``require`` (STARTTLS or no
        mail), ``verify`` (as ``require``, and the certificate must be good for the host's name) or
        ``dane`` (as ``require``, and the certificate must fit the host's TLSA records)
    :ivar login: the user name for a smarthost that wants AUTH, or ``None``
    :ivar password_file: the file that holds its password, read at each attempt, or ``None``
    :ivar source: the name of the ``[[relay.source]]`` that mail goes out from, or ``None``
    """

    where: str
    protocol: Protocol = "smtp"
    tls: TlsPolicy = "opportunistic"
    login: str | None = None
    password_file: str | None = None
    source: str | None = None


@attrs.frozen(kw_only=True)
class Local(Decision):
    """Into a mailbox here. ``mailbox`` is the account's own address."""

    mailbox: Address


@attrs.frozen(kw_only=True)
class Relay(Decision):
    """To another server: ``hops`` in the order in which they are to be tried, at least one.

    :ivar reverse_path: what the server is told in place of the message's reverse-path; ``None``:
        that one itself
    :ivar retry: how long mail that goes this way waits from one attempt to the next; ``None``: as
        all the queue's
    :ivar not_before: the way opens then, POSIX seconds UTC; until then mail for it waits without
        being tried. ``None``: it is open
    """

    hops: tuple[NextHop, ...] = attrs.field(validator=attrs.validators.min_len(1))
    reverse_path: Address | None = None
    retry: Backoff | None = None
    not_before: float | None = None


@attrs.frozen(kw_only=True)
class Redirect(Decision):
    """To other addresses instead, each to be routed by itself; at least one."""

    addresses: tuple[Address, ...] = attrs.field(validator=attrs.validators.min_len(1))


@attrs.frozen(kw_only=True)
class Unroutable(Decision):
    """Nowhere: ``reply`` is 5yz when that is final and 4yz when it may change."""

    reply: Reply


@attrs.frozen(kw_only=True)
class Hold(Decision):
    """Kept in the queue until an operator releases or removes it."""


Route: TypeAlias = Local | Relay | Redirect | Unroutable | Hold


@attrs.frozen(kw_only=True)
class RuleSeen:
    """How one rule of a table fares, for an explanation.

    :ivar rule: its name
    :ivar matches: whether it decides
    :ivar reason: which of its conditions hold; or which one does not
    """

    rule: str
    matches: bool
    reason: str


@attrs.frozen(kw_only=True)
class Permit(Decision):
    """The client may. ``provider`` is whose customer it was recognised as, or ``None``."""

    provider: str | None = None


@attrs.frozen(kw_only=True)
class Deny(Decision):
    """The client may not: ``reply`` says why in words a person can act on."""

    reply: Reply
    provider: str | None = None


Verdict: TypeAlias = Permit | Deny


@attrs.frozen(kw_only=True)
class Delivered:
    """The recipient's copy is safely with the next one responsible for it.

    :ivar where: the mailbox, or the host that took it: ``"mx.example [192.0.2.1]:25"``
    :ivar reply: what the remote server said, or our own words for a local delivery
    :ivar notifies: it took over to tell the sender of what becomes of the message, where that was
        asked for (RFC 3461 §5.2.1)
    :ivar is_final: it took over for the recipient's mailbox rather than to pass the message on, and
        nobody but us tells the sender so
    :ivar knows_deadline: it offers DELIVERBY, so that it was told of a deadline (RFC 2852)
    """

    where: str
    reply: Reply
    notifies: bool = False
    is_final: bool = False
    knows_deadline: bool = False


@attrs.frozen(kw_only=True)
class Postponed:
    """Not now: a 4yz reply, a network fault or a fault of ours. To be tried again.

    :ivar where: the host or mailbox concerned, or ``""`` when none was reached
    :ivar reply: the remote reply, or a reply of our own that describes the fault
    """

    where: str
    reply: Reply


@attrs.frozen(kw_only=True)
class Refused:
    """Never: a 5yz reply, from the remote server or our own."""

    where: str
    reply: Reply


@attrs.frozen(kw_only=True)
class Throttled:
    """Not tried: the limits of its destination or its provider have no room now, or the server is
    being stopped. To be asked again.

    It is no attempt: neither the number of attempts nor the back-off counts it, and what a server
    said at the last one is kept.

    :ivar where: the destination or provider whose limits they are, or ``""``
    :ivar reply: a 4yz reply of our own that names the limit
    :ivar seconds: until there may be room, as far as the agent can tell
    """

    where: str
    reply: Reply
    seconds: float = attrs.field(validator=attrs.validators.ge(0))


Outcome: TypeAlias = Delivered | Postponed | Refused | Throttled


@attrs.frozen(kw_only=True)
class Tried:
    """What became of one recipient in one attempt.

    :ivar index: its place in the entry's recipients
    :ivar route: the decision that was followed
    :ivar outcome: what the delivery agent answered; ``None`` for a `Redirect` or `Hold`, which need
        no agent
    """

    index: int
    route: Route
    outcome: Outcome | None
