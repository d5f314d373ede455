"""Every seam of mailframe, and nothing else: the one page that a plugin's author reads.

Methods that return an ``Awaitable`` may return a Deferred or be coroutines, as the author likes.
Every call into a plugin has a time limit. A plugin that raises, takes too long or returns something
else than it should costs that one transaction a 4yz reply and a log line that names the plugin.

Common to all: times are POSIX seconds UTC, durations seconds, sizes octets, content is ``bytes``
with CRLF line ends, domains are lower-case A-labels, and the null reverse-path is ``None``.

A built part that also provides `twisted.application.service.IService` is started and stopped with
the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import Attribute, Interface

from mailframe.address import Address
from mailframe.entry import Entry, Event, Notice, Ready, Step
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Outcome, Route, RuleSeen, Verdict

T = TypeVar("T")


# --- values that pass through the seams -------------------------------------------------------


@attrs.frozen(kw_only=True)
class Known:
    """What is known of a message besides its envelope.

    :ivar accepted: it is in the queue; before, ``provider`` and ``size`` may be unknown
    :ivar provider: as whose customer the client was let in; ``None``: nobody's, or not known yet
    :ivar size: octets of the content, before it is accepted those that the client declared;
        ``None``: not known yet
    :ivar original: the recipient of the envelope that was redirected to the one asked for, or
        ``None`` when that is one itself
    :ivar released: an operator let the message go on that a route had held
    """

    accepted: bool = False
    provider: str | None = None
    size: int | None = None
    original: Address | None = None
    released: bool = False


NOTHING_KNOWN = Known()


@attrs.frozen(kw_only=True)
class Facts:
    """What a routing policy may know besides sender and recipient.

    :ivar local: whether the recipient's domain is one of ``local_domains``
    :ivar client: who handed the message over; ``None`` for a notice of our own
    :ivar now: POSIX seconds UTC
    :ivar known: what is known of the message besides
    """

    local: bool
    client: Client | None
    now: float
    known: Known = NOTHING_KNOWN


@attrs.frozen(kw_only=True)
class Account:
    """Somebody with a mailbox and a login here: ``address`` is both.

    :ivar reason: one clause that says how it was found, where that is not plain from the address
    """

    address: Address
    reason: str = ""


@attrs.frozen(kw_only=True)
class Alias:
    """An address that stands for others; ``addresses`` holds at least one.

    :ivar reason: as in `Account`
    """

    address: Address
    addresses: tuple[Address, ...]
    reason: str = ""


@attrs.frozen(kw_only=True)
class Job:
    """One message to hand to some of its recipients, over one route.

    :ivar id: the queue id
    :ivar envelope: as the message was accepted, with the parameters that the client gave; the
        sender is the one that the route wants to be told instead, where it wants that
    :ivar recipients: at least one
    :ivar originals: the recipient of the envelope that each of them goes back to, in the same
        order: itself, or the one that was redirected to it
    :ivar routes: the decision for each recipient, in the same order: all `Local`, or all `Relay`
        with equal ``hops`` and ``reverse_path``
    :ivar size: octets of the content
    :ivar attempt: how often delivery to the most often tried of them was tried before, from 0
    :ivar ready: for each recipient, in the same order, what an earlier attempt recorded with
        `record_ready` before it was cut off, or ``None``
    :ivar open: opens the content for reading from its start; may be called more than once
    :ivar record_ready: for agents that deliver exactly once. ``record_ready(ready)`` takes a
        mapping from places in ``recipients`` to `mailframe.entry.Ready`, or to ``None`` where a
        record is to be withdrawn, and fires when that would survive a power cut. It fails with
        `StorageFault`, or with `LeaseLost` when another process has the message now: then
        nothing was recorded, and nothing may be put into a mailbox
    """

    id: str
    envelope: Envelope
    recipients: tuple[Address, ...]
    originals: tuple[Recipient, ...]
    routes: tuple[Route, ...]
    size: int
    attempt: int
    ready: tuple[Ready | None, ...]
    open: Callable[[], Awaitable[IContent]]
    record_ready: Callable[[Mapping[int, Ready | None]], Awaitable[None]]

    @property
    def sender(self) -> Address | None:
        """The reverse-path."""
        return self.envelope.sender


@attrs.frozen(kw_only=True)
class Site:
    """What the server lends to every part it builds.

    :ivar hostname: our own name
    :ivar local_domains: the domains whose mail is delivered here
    :ivar state_dir: the absolute path of the folder for everything the server writes
    :ivar reactor: the reactor, or a clock with in-memory transports under test
    :ivar resolver: a `twisted.internet.interfaces.IResolver` for DNS questions
    :ivar in_thread: ``in_thread(function, *args)`` runs blocking work elsewhere than in the reactor
        thread and returns a Deferred of its result
    :ivar random: the source of randomness (``random.Random``)
    """

    hostname: str
    local_domains: frozenset[str]
    state_dir: str
    reactor: Any  # IReactorTCP, IReactorTime and more at once, which zope.interface cannot say
    resolver: Any  # likewise: IResolver, whose lookups return Deferreds
    in_thread: Callable[..., Deferred[Any]]
    random: Any


@attrs.frozen(kw_only=True)
class Waiting:
    """A message of the queue, and when it may be claimed.

    :ivar due: POSIX seconds; of one that is leased, when the lease runs out
    :ivar leased: somebody has it now
    """

    entry: Entry
    due: float
    leased: bool


# --- errors --------------------------------------------------------------------------------------


class StorageFault(Exception):
    """The storage could not do what was asked; nothing was changed. Answered with 451."""


class StorageFull(StorageFault):
    """There is no room for the message. Answered with 452."""


class LookupFault(Exception):
    """A map can't tell at present. ``str(error)`` says why, in one clause."""


class UnknownMessage(LookupError):
    """No message of that id is in the queue."""


class LeaseLost(Exception):
    """The message is not leased to this owner any more: another one has it now."""


# --- the seams -----------------------------------------------------------------------------------


class IRoutingPolicy(Interface):
    """Where mail goes. Chosen by ``[routing] plugin``."""

    def route(sender: Address | None, recipient: Address, facts: Facts) -> Awaitable[Route]:
        """Where does this recipient's mail go now?

        Asked when the recipient is named (RCPT) and again before every attempt, so that a changed
        policy moves queued mail.

        :returns: `Local` with the mailbox's address, which is looked up in `IAccounts`; `Relay`,
            `Redirect`, `Hold` or `Unroutable`. An `Unroutable` with a 4yz reply means: ask again
            later. When ``facts.known.released``, never `Hold`: an operator has decided.
        """


class IRuleTable(Interface):
    """Provided besides `IRoutingPolicy` by a policy that can tell rule by rule how it decides."""

    def rules_seen(
        sender: Address | None, recipient: Address, facts: Facts
    ) -> Awaitable[Sequence[RuleSeen]]:
        """The rules in the order in which they are tried, the one that decides being the last.

        Must agree with what ``route`` answers to the same question.
        """


class IPolicyTraits(Interface):
    """Provided besides `IRoutingPolicy` by a policy whose answers depend on more than is known at
    first, or whose routes bring waits of their own."""

    asks_provider: bool = Attribute(
        "a route may be another one once it is known as whose customer the client was let in; it "
        "is asked for again then, so that a refusal is told at RCPT"
    )
    longest_wait: float = Attribute(
        "the longest wait of all `mailframe.outcome.Relay.retry`, in seconds; 0: none has any"
    )


class ILookup(Interface):
    """A map that routing rules look things up in: a file, a database, a directory."""

    def find(key: str) -> Awaitable[str | None]:
        """What the map has for a key; ``None``: nothing.

        :param key: an address as on the wire in lower case, or ``<>``, the null reverse-path
        :raises LookupFault: it can't tell at present, so the mail waits
        """


class IRelayAuthorisation(Interface):
    """Who may use which server. Chosen by ``[authorisation] plugin``. Fails closed."""

    def authorise(client: Client, sender: Address | None, recipient: Address) -> Awaitable[Verdict]:
        """May this client have us carry mail to this recipient?

        Not asked for local recipients on an ``smtp`` server: their mail is taken from anyone.
        Asked for every recipient on a ``submission`` server.
        """

    def admit(client: Client) -> Awaitable[Verdict]:
        """May this client, whose login was just proved, read its mailbox over this POP3 server?"""


class IAccounts(Interface):
    """Who is this address or login? Chosen by ``[accounts] plugin``."""

    def find(address: Address) -> Awaitable[Account | Alias | None]:
        """Who is behind an address of a local domain; ``None`` when there is nobody."""

    def checkers() -> Sequence[ICredentialsChecker]:
        """The `twisted.cred` checkers for logins.

        A mechanism is offered when one of them takes its credentials: see `mailframe.credentials`.
        The avatar id that a checker returns is the account's address in normal form, as ``bytes``.
        """


class IMailUser(Interface):
    """The `twisted.cred` avatar of an SMTP client that proved its login."""

    address: Address = Attribute("the account's address")


class IContent(Interface):
    """The content of a message, read from its start to its end, once."""

    def read() -> Awaitable[bytes]:
        """The next piece: 1 to 65,536 octets, or ``b""`` at the end."""

    def close() -> None:
        """Let go of it; to be called exactly once, at the end or before it."""


class IMessageSink(Interface):
    """A message on its way into the queue. Ends with exactly one of `commit` and `abort`."""

    id: str = Attribute("the queue id the message will have")

    def write(octets: bytes) -> Awaitable[None] | None:
        """Take the next octets.

        :returns: ``None`` when more may be written at once; or an awaitable that fires when there
            is room again, until which the caller must not write
        """

    def commit() -> Awaitable[None]:
        """Fires only when the message would survive a power cut.

        :raises StorageFull: there is no room for it
        :raises StorageFault: it could not be kept; nothing of it remains
        """

    def abort() -> None:
        """Forget the message; nothing of it remains."""


class IQueueStorage(Interface):
    """Keeps messages safe. Chosen by ``[queue] plugin``.

    Knows nothing of time policy, retry or routing. Holds a bounded amount of memory whatever a
    message's size, and its cost per operation does not grow with the number of messages kept.
    """

    def receive(envelope: Envelope) -> IMessageSink:
        """Begin to keep a message. Its first attempt is due when ``envelope.due`` says.

        The storage records ``accepted`` and, for each recipient, ``authorised`` (with the evidence)
        in the message's history.
        """

    def claim(owner: str, now: float, limit: int, until: float) -> Awaitable[Sequence[Entry]]:
        """Lease messages that are due, not held and not leased, longest due first.

        :param owner: who claims, unique among all processes that share the queue
        :param now: POSIX seconds; what is due at or before it is claimed
        :param limit: how many at the most
        :param until: when the leases run out and others may claim the messages
        """

    def renew(owner: str, ids: Sequence[str], until: float) -> Awaitable[None]:
        """Prolong those of the leases that ``owner`` still has; none is shortened."""

    def next_due() -> Awaitable[float | None]:
        """When the next message that is not held is due or its lease runs out; ``None``: never."""

    def open(id: str) -> Awaitable[IContent]:
        """Open a message's content.

        :raises UnknownMessage: it is not in the queue
        """

    def settle(id: str, owner: str, step: Step, notices: Sequence[Notice]) -> Awaitable[None]:
        """Record one step, end the lease and queue the notices: all of it in one atomic step.

        When ``step.next_attempt`` is ``None`` the message leaves the queue; its history stays. When
        ``step.goes_on`` the lease stays, and the message with it. Fires only when what was recorded
        would survive a power cut.

        :raises LeaseLost: ``owner`` does not hold the lease any more; nothing was changed
        :raises StorageFault: nothing was changed
        """

    def find(id: str) -> Awaitable[Entry | None]:
        """One message of the queue."""

    def messages(after: str | None, limit: int) -> Awaitable[Sequence[Entry]]:
        """A page of the queue in the order of the ids: those greater than ``after``."""

    def hold(id: str, now: float) -> Awaitable[None]:
        """Stop attempts until `release`. :raises UnknownMessage: it is not in the queue"""

    def release(id: str, now: float) -> Awaitable[None]:
        """End a hold; the message is due now. :raises UnknownMessage: it is not in the queue"""

    def retry(id: str, now: float) -> Awaitable[None]:
        """Make the message due now, unless it is leased.

        :raises UnknownMessage: it is not in the queue
        """

    def remove(id: str, now: float) -> Awaitable[None]:
        """Take the message out of the queue without a notice.

        :raises UnknownMessage: it is not in the queue
        """

    def history(id: str) -> Awaitable[Sequence[Event]]:
        """What happened to a message, oldest first; also after it left the queue, for some days.

        Empty when nothing is known of it.
        """

    def watch(callback: Callable[[], None]) -> None:
        """Have ``callback()`` called, in the reactor thread, when something may be due sooner."""

    def close() -> Awaitable[None]:
        """Finish what is under way and let go of everything."""


class IRoom(Interface):
    """Provided besides `IQueueStorage` by a storage that can tell whether it is full.

    So a client is told at once, instead of after it has sent its message.
    """

    def has_room(octets: int) -> bool:
        """Whether a message may be begun, of so many octets as far as that is known; at once."""


class IDueTimes(Interface):
    """Provided besides `IQueueStorage` by a storage in which messages can be put to other times.

    So it is done when the time of day has jumped; without it they stay where they are.
    """

    def due_after(due: float, id: str, limit: int) -> Awaitable[Sequence[Waiting]]:
        """Messages that are not held, in the order of when they are due and of their ids.

        :param due: POSIX seconds; those that are due later, or then and with a greater id
        :param id: an id, or ``""``, which is before all
        :param limit: how many at the most
        """

    def move(moves: Sequence[tuple[Waiting, float]]) -> Awaitable[None]:
        """Have messages be due at other times; of a leased one, it is the lease that is moved.

        :param moves: with what `due_after` gave; those that are due otherwise by now stay so
        """


class IDeliveryAgent(Interface):
    """Hands a message over: into mailboxes here (``[delivery] plugin``) or to another server."""

    def deliver(job: Job) -> Awaitable[Sequence[Outcome]]:
        """Hand this message to these recipients.

        :returns: one `Delivered`, `Postponed`, `Refused` or `Throttled` for each recipient, in
            their order
        """


class IMailboxStore(Interface):
    """Provided besides `IDeliveryAgent` by an agent whose mailboxes POP3 can read."""

    def open_mailbox(mailbox: Address) -> Awaitable[IMailboxPOP3]:
        """Open and lock an account's mailbox.

        :raises MailboxInUse: another session has it
        """


class IPop3Mailbox(Interface):
    """What a mailbox may provide besides `IMailboxPOP3`, so that a large one is served fast.

    Without it, the methods of `IMailboxPOP3` are used for each message. Indices are from 0, and
    always of messages that there are.
    """

    sizes: Sequence[int] = Attribute("octets of each message, every line ended by CRLF")

    def fetch(index: int) -> bytes | Awaitable[bytes | Any]:
        """Read a message.

        :returns: where it is small, its octets in wire form: CRLF line ends, dots stuffed and the
            terminating line (RFC 1939 §3), at once when they are there already; else an open file
            of the message as it is stored, which the caller closes
        :raises FileNotFoundError: it is not there any more
        """

    def uidls() -> Awaitable[Sequence[bytes]]:
        """The unique ids of all messages (RFC 1939 §7)."""

    def remove(indices: Sequence[int]) -> Awaitable[None]:
        """Remove messages, durably; an error when some are still there."""


class MailboxInUse(Exception):
    """Another session holds the mailbox's lock (RFC 1939 §3); RFC 2449 §8.1.1 calls it IN-USE."""


class IPart(Interface):
    """What a drop-in module in ``twisted/plugins/`` offers: names only, nothing heavy imported.

    `mailframe.plugin.Part` provides it.
    """

    seam: str = Attribute(
        "the configuration table it serves: routing, authorisation, accounts, queue or delivery"
    )
    name: str = Attribute('what users write as ``plugin = "…"``')
    help: str = Attribute("one line for ``mailframe plugins``")
    settings: str = Attribute("dotted path of the attrs class of its settings, ``module:Class``")
    builds: str = Attribute(
        "dotted path of a callable, ``module:name``, called as ``builds(settings, site)`` with an "
        "instance of the settings class and a `Site`; it returns the part"
    )
