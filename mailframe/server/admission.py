"""Admission: what is let in. Values come in, decisions go out; no transport is ever seen here.

MAIL begins a `Transaction`, RCPT asks the router and, where the mail isn't for a mailbox here, the
relay authorisation; DATA begins an `Incoming` message. Fails closed: whoever can't be judged is
told to come back later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe import guard
from mailframe.address import Address
from mailframe.envelope import Body, Client, Envelope, Notify, Recipient
from mailframe.interfaces import (
    NOTHING_KNOWN,
    IQueueStorage,
    IRelayAuthorisation,
    IRoom,
    Known,
    StorageFault,
    StorageFull,
)
from mailframe.outcome import Decision, Deny, Local, Permit, Redirect, Route, Unroutable, Verdict
from mailframe.reply import Reply, temporary_fault
from mailframe.server.incoming import FAULT, NO_ROOM, TOO_BIG, Incoming
from mailframe.server.limits import Limits
from mailframe.server.trace import USUAL, Shown
from mailframe.server.wishes import envelope_fields
from mailframe.wire.smtp_events import NO_WISHES, Wishes

log = Logger()

RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients; send the rest in another message")
CANNOT_JUDGE = Reply(451, "4.3.0", "can't decide about this recipient at present")

_NOTHING: Mapping[str, Any] = {}
_LOCAL_MAILBOX = Permit(reason="mail for a local mailbox", rule="local")
_LOCAL_DOMAIN = Permit(reason="mail for a local domain", rule="local")


class Router(Protocol):
    """What admission asks for routes: `mailframe.routing.resolution.Router`.

    :ivar asks_provider: see `mailframe.interfaces.IPolicyTraits`
    """

    asks_provider: bool

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        """Where does this recipient's mail go? Never raises."""


@attrs.define(kw_only=True)
class Transaction:
    """A mail transaction, from an accepted MAIL to DATA.

    :ivar recipients: those accepted so far, with the evidence
    :ivar asked: ``NOTIFY`` and ``ORCPT`` of those that came with one of them
    :ivar wishes: fields of the envelope beside sender and body
    :ivar known: what is known of the message before it comes
    """

    client: Client
    sender: Address | None
    body: Body
    recipients: dict[Address, Permit] = attrs.field(factory=dict)
    asked: dict[Address, tuple[tuple[Notify, ...], str | None]] = attrs.field(factory=dict)
    wishes: Mapping[str, Any] = _NOTHING
    known: Known = NOTHING_KNOWN


class Admission:
    """The rules for what one or more listening servers let into the queue."""

    def __init__(
        self,
        *,
        hostname: str,
        storage: IQueueStorage,
        storage_name: str,
        router: Router,
        authorisation: IRelayAuthorisation,
        authorisation_name: str,
        limits: Limits,
        clock: IReactorTime,
        local_domains: frozenset[str] = frozenset(),
    ) -> None:
        """
        :param hostname: our own name, for the trace header
        :param storage: where accepted messages are kept
        :param storage_name: its name in the configuration, for log and fault
        :param router: says where a recipient's mail goes
        :param authorisation: says who may have us carry mail elsewhere
        :param authorisation_name: its name in the configuration
        :param clock: ``seconds()`` are POSIX seconds UTC
        :param local_domains: domains of ours: mail for them is taken from anyone also when the
            routing policy sends it on to another server
        """
        self.limits = limits
        self._hostname = hostname
        self._storage = storage
        self._storage_name = storage_name
        self._has_room = storage.has_room if IRoom.providedBy(storage) else None
        self._router = router
        self._authorisation = authorisation
        self._authorisation_name = authorisation_name
        self._clock = clock
        self._local_domains = local_domains

    def mail(
        self,
        client: Client,
        sender: Address | None,
        size: int | None,
        body: Body,
        wishes: Wishes = NO_WISHES,
    ) -> Transaction | Reply:
        """MAIL: may this client begin a transaction?

        :param size: the octets it declared, or ``None``
        :param wishes: what else it asks for
        :returns: the transaction, or a refusal
        """
        limit = self.limits.message_size
        if size is not None and 0 < limit < size:
            log.info(
                "refused MAIL from {sender} by {address} on {server}: declared {size} octets",
                sender=sender,
                address=client.address,
                server=client.server,
                size=size,
            )
            return TOO_BIG
        if self._has_room is not None and not self._has_room(size or 0):
            return NO_ROOM
        transaction = Transaction(client=client, sender=sender, body=body)
        if size is not None:
            transaction.known = Known(size=size)
        if wishes is not NO_WISHES:
            transaction.wishes = envelope_fields(wishes, self._clock.seconds())
        return transaction

    async def recipient(
        self,
        transaction: Transaction,
        recipient: Address,
        notify: tuple[Notify, ...] = (),
        orcpt: str | None = None,
    ) -> Reply:
        """RCPT: is mail to this recipient taken? Named twice, it is kept once.

        :param notify: see `Recipient`
        :param orcpt: see `Recipient`
        """
        accepted = transaction.recipients
        if recipient in accepted:
            return RECIPIENT_OK
        if len(accepted) >= self.limits.recipients:
            return TOO_MANY_RECIPIENTS
        client = transaction.client
        known = transaction.known
        _, verdict = await self.judge(client, transaction.sender, recipient, known)
        if isinstance(verdict, Permit):
            accepted[recipient] = verdict
            if notify or orcpt:
                transaction.asked[recipient] = notify, orcpt
            return RECIPIENT_OK
        # A refusal that says 2yz would be taken for permission.
        reply = CANNOT_JUDGE if verdict.reply.is_positive else verdict.reply
        log.info(
            "refused recipient {recipient} of {sender} by {address} on {server}: {reason} "
            "(rule {rule!r}, plugin {plugin!r}); told {reply}",
            recipient=recipient,
            sender=transaction.sender,
            address=client.address,
            server=client.server,
            login=client.login,
            reason=verdict.reason,
            rule=verdict.rule,
            plugin=verdict.plugin,
            reply=reply,
        )
        return reply

    async def judge(
        self,
        client: Client,
        sender: Address | None,
        recipient: Address,
        known: Known = NOTHING_KNOWN,
    ) -> tuple[Route, Verdict]:
        """The two decisions about a recipient: where its mail goes, and whether it is taken.

        A recipient without a route is refused with the route's own reply. Where the route depends
        on whose customer the client is, it is asked for once more when that is known.

        :param known: what is known of the message before it comes
        """
        route = await self._router.route(sender, recipient, client, self._clock.seconds(), known)
        if isinstance(route, Unroutable):
            return route, _denied(route, route.reply)
        if client.protocol != "submission":
            if isinstance(route, Local) or (isinstance(route, Redirect) and route.rule == "alias"):
                return route, _LOCAL_MAILBOX
            if recipient.domain in self._local_domains:
                return route, _LOCAL_DOMAIN
        try:
            verdict = await guard.ask(
                self._authorisation_name,
                (Permit, Deny),
                self._clock,
                self.limits.plugin_time,
                lambda: self._authorisation.authorise(client, sender, recipient),
            )
        except guard.PluginFault as fault:
            return route, Deny(reason=fault.reason, plugin=fault.plugin, reply=CANNOT_JUDGE)
        router = self._router
        if router.asks_provider and isinstance(verdict, Permit) and verdict.provider is not None:
            known = attrs.evolve(known, provider=verdict.provider)
            now = self._clock.seconds()
            route = await router.route(sender, recipient, client, now, known)
            if isinstance(route, Unroutable):
                denied = _denied(route, route.reply)
                return route, attrs.evolve(denied, provider=verdict.provider)
        return route, verdict

    def begin(self, transaction: Transaction, *, shown: Shown = USUAL) -> Incoming | Reply:
        """DATA: begin to keep the message, which has at least one recipient.

        :param shown: what the trace header tells of the client
        :returns: what takes the content, or a refusal
        """
        recipients = [
            Recipient(address=address, evidence=evidence)
            for address, evidence in transaction.recipients.items()
        ]
        for index, recipient in enumerate(recipients if transaction.asked else ()):
            notify, orcpt = transaction.asked.get(recipient.address, ((), None))
            recipients[index] = attrs.evolve(recipient, notify=notify, orcpt=orcpt)
        envelope = Envelope(
            sender=transaction.sender,
            recipients=tuple(recipients),
            client=transaction.client,
            arrived=self._clock.seconds(),
            body=transaction.body,
            **transaction.wishes,
        )
        try:
            sink = self._storage.receive(envelope)
        except StorageFull:
            return NO_ROOM
        except StorageFault as fault:
            log.error(
                "storage {storage} can't take a message: {reason!r}",
                storage=self._storage_name,
                reason=str(fault),
            )
            return FAULT
        except Exception:
            log.failure("storage {storage} failed", storage=self._storage_name)
            return temporary_fault()
        return Incoming(
            envelope=envelope,
            client=transaction.client,
            storage=self._storage,
            sink=sink,
            hostname=self._hostname,
            storage_name=self._storage_name,
            limits=self.limits,
            clock=self._clock,
            shown=shown,
        )


def _denied(decision: Decision, reply: Reply) -> Deny:
    return Deny(reason=decision.reason, rule=decision.rule, plugin=decision.plugin, reply=reply)
