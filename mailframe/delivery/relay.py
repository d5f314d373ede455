"""The relay agent: hands messages to other servers, over the next hops that routing named.

A delivery goes through the hops of its route in order, and through the servers of each hop:

1. a hop that is ``mx:`` and a domain stands for the hosts that DNS names; any other is one server,
   reached over a Twisted client endpoint (`mailframe.delivery.targets`);
2. a server that can't be reached or does not let us in (greeting, EHLO, TLS, AUTH) is passed over;
3. once a server has answered to MAIL, what it says of a recipient is final for this attempt;
4. when the connection is lost before the final dot, the recipients of whom nothing final was said
   go to the next server; after the final dot none does, for the message may have been delivered.

When no server is left, the remaining recipients are postponed; or refused, if every server refused
for good.

A hop that let nobody in is left alone for a minute: its messages are answered at once, so that they
do not take the places of those that go elsewhere.

Connections are kept for the next message to the same hop (`mailframe.delivery.destination`). One
that its server closed in the meantime is replaced without further ado. What all hops have under way
together is bounded: before anything is looked up or connected to, a delivery waits for its turn.

Cancelling a delivery breaks its connection. If some of the recipients are settled by then, the
delivery ends with what it has come to, else with the cancelling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from mailframe.clocks import Elapsed
from mailframe.delivery.addresses import is_prohibited, normal_address
from mailframe.delivery.attempt import Attempt
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.destination import Destination, Permit, Refusals, Turns
from mailframe.delivery.hand_over import USED_UP, hand_over
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.relay_settings import RelaySettings, Timeouts
from mailframe.delivery.required_tls import hop_for, reason
from mailframe.delivery.sessions import Sessions
from mailframe.delivery.targets import PlannedHop, Target, Targets
from mailframe.delivery.tls_sources import make_demands
from mailframe.interfaces import IDeliveryAgent, Job, Site
from mailframe.outcome import NextHop, Outcome, Relay
from mailframe.reply import Reply
from mailframe.wire.sender_events import Failed

__all__ = ["PlannedHop", "RelayAgent", "RelaySettings", "Target", "Timeouts"]

STOPPING = 4.0  # seconds that deliveries under way get when the agent is stopped
SLOW = 5.0  # seconds; a next hop that takes longer to let nobody in is left alone for a while
_GIVEN_UP = Reply(451, "4.4.7", "the attempt took too long")
_SHUTTING_DOWN = Reply(451, "4.3.2", "the server is shutting down")


@implementer(IDeliveryAgent)
class RelayAgent(Service):
    """Delivers to other servers over SMTP and LMTP.

    :param settings: the ``[relay]`` table
    :param site: what the server lends
    :param local_addresses: IP addresses at which a server of ours listens on the relay's port: an
        exchanger that has one of them is ourselves (RFC 5321 §5.1)
    :param trust_root: whom ``tls = "verify"`` trusts; by default the platform's authorities
    :param validating: the site's resolver validates DNSSEC, and nobody can change its answers
    """

    def __init__(
        self,
        settings: RelaySettings,
        site: Site,
        local_addresses: Collection[str] = (),
        trust_root: Any = None,
        validating: bool = False,
    ) -> None:
        self._settings = settings
        self._site = site
        lookup = Lookup(
            resolver=site.resolver,
            clock=Elapsed(site.reactor),
            seconds=settings.timeouts.lookup,
            hostname=site.hostname,
            own_addresses=[normal_address(address) for address in local_addresses],
            prohibited=_nothing_prohibited if settings.allow_private else is_prohibited,
            random=site.random,
            validating=validating and settings.dane is not False,
        )
        self._targets = Targets(site=site, lookup=lookup, port=settings.port, sources=settings.source)
        self._demands = make_demands(settings=settings, site=site, lookup=lookup)
        self._sessions = Sessions(
            settings=settings, site=site, trust_root=trust_root, demands=self._demands
        )
        self._turns = Turns(settings.connections)
        self._refusals = Refusals(Elapsed(site.reactor))
        self._destinations: dict[NextHop, Destination] = {}
        self._under_way = 0
        self._stopping = False
        self._all_done: Deferred[None] | None = None

    async def deliver(self, job: Job) -> Sequence[Outcome]:
        """See `mailframe.interfaces.IDeliveryAgent.deliver`; every route is the same `Relay`."""
        route = job.routes[0]
        assert isinstance(route, Relay)
        attempt = Attempt(job, self._site.in_thread)
        self._under_way += 1
        try:
            for hop in route.hops:
                if self._stopping:
                    attempt.passed_over("", _SHUTTING_DOWN)
                    break
                await self._over(hop_for(hop, job.envelope), attempt)
                if not attempt.unsettled:
                    break
        except CancelledError:
            # What was settled until now is told, lest those who have the message get it again.
            if not attempt.has_outcomes:
                raise
            attempt.passed_over("", _GIVEN_UP)
        finally:
            self._under_way -= 1
            if not self._under_way and self._all_done is not None:
                self._all_done.callback(None)
                self._all_done = None
        return attempt.outcomes()

    async def plan(self, route: Relay) -> tuple[PlannedHop, ...]:
        """What `deliver` would try now, hop by hop; nothing is connected to."""
        planned = []
        for hop in route.hops:
            targets = await self._targets.of(hop)
            if isinstance(targets, Reply):
                planned.append(PlannedHop(hop=hop, reply=targets))
            else:
                demands = [await self._demands.of(hop, target) for target in targets]
                planned.append(PlannedHop(hop=hop, targets=targets, demands=tuple(demands)))
        return tuple(planned)

    # --- the service -------------------------------------------------------------------------

    def startService(self) -> None:
        """Take deliveries (again)."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        self._stopping = False
        self._sessions.reopen()
        self._refusals.clear()  # they may be of our own making

    def stopService(self) -> Deferred[None]:
        """Take no more deliveries and say goodbye to the servers.

        :returns: fires when the deliveries under way are done, or broken off because their time was
            up, and every connection is closed
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for destination in tuple(self._destinations.values()):
            destination.turn_away(_SHUTTING_DOWN)
        self._turns.turn_away(_SHUTTING_DOWN)
        if self._under_way:
            done: Deferred[None] = Deferred()
            self._all_done = done
            done.addTimeout(STOPPING, self._site.reactor, onTimeoutCancel=lambda *_: None)
            await done
            self._all_done = None
        await self._sessions.close()

    # --- one delivery --------------------------------------------------------------------------

    async def _over(self, hop: NextHop, attempt: Attempt) -> None:
        """Try one hop. What could not be settled over it stays unsettled."""
        refusal = self._refusals.of(hop)
        if refusal is not None:
            attempt.passed_over("", refusal)
            return
        destination = self._destination(hop)
        permit = await destination.permit()
        if isinstance(permit, Reply):
            attempt.passed_over("", permit)
            return
        # The turn comes last: who has one waits for no other delivery, so that none waits for ever.
        try:
            why = await self._turns.take()
            if why is not None:
                attempt.passed_over("", why)
                return
            try:
                await self._with_permit(hop, destination, permit, attempt)
            finally:
                self._keep_few(permit)
                self._turns.give_back()
        finally:
            destination.give_back(permit)

    async def _with_permit(
        self, hop: NextHop, destination: Destination, permit: Permit, attempt: Attempt
    ) -> None:
        connection = permit.connection
        if connection is not None:
            failed = await self._hand_over(connection, attempt)
            if failed is None:
                return
            if not failed.untouched:
                attempt.passed_over(connection.where, failed.reply)
            permit.connection = None
            connection.quit()
        refusal = self._refusals.of(hop)  # it may have come while we waited for our turn
        if refusal is not None:
            attempt.passed_over("", refusal)
            return
        await self._try_servers(hop, destination, permit, attempt)

    def _keep_few(self, permit: Permit) -> None:
        """Say goodbye rather than keep a connection when there are many."""
        connection = permit.connection
        if (
            connection is not None
            and connection.usable
            and self._sessions.connections > self._settings.connections
        ):
            connection.quit()
            permit.connection = None

    async def _try_servers(
        self, hop: NextHop, destination: Destination, permit: Permit, attempt: Attempt
    ) -> None:
        began = self._site.reactor.seconds()
        targets = await self._targets.of(hop)
        login = await self._sessions.login(hop)
        if isinstance(targets, Reply) or isinstance(login, Reply):
            reply = targets if isinstance(targets, Reply) else login
            assert isinstance(reply, Reply)
            attempt.passed_over("", reply)
            self._nobody_let_in(hop, destination, reply, began)
            return
        why: Reply | None = None  # nobody let us in
        let_in = False
        for target in targets:
            if self._stopping:
                return attempt.passed_over("", _SHUTTING_DOWN)
            again = True
            while again:  # a server that takes few messages over one connection gets another one
                connection = await self._sessions.open(target, hop, login)
                if isinstance(connection, Failed):
                    why = connection.reply
                    attempt.passed_over(str(target), reason(connection, attempt.job.envelope))
                    break
                let_in = True
                self._refusals.forget(hop)
                destination.watch(connection)
                permit.connection = connection
                failed = await self._hand_over(connection, attempt)
                if failed is None:
                    return
                again = failed.reply is USED_UP
                if not again:
                    attempt.passed_over(connection.where, failed.reply)
                permit.connection = None
                connection.quit()
        if why is not None and not let_in:
            self._nobody_let_in(hop, destination, why, began)

    def _nobody_let_in(
        self, hop: NextHop, destination: Destination, reply: Reply, began: float
    ) -> None:
        # A hop that refuses at once holds nobody up, and is to be tried whenever it is asked for.
        is_slow = self._site.reactor.seconds() - began >= SLOW
        if destination.nobody_let_in(reply) and is_slow:
            self._refusals.add(hop, reply)

    async def _hand_over(self, connection: RelayConnection, attempt: Attempt) -> Failed | None:
        return await hand_over(
            connection,
            attempt,
            convert=self._settings.convert_8bit,
            now=self._site.reactor.seconds(),
        )

    # --- connections -----------------------------------------------------------------------------

    def _destination(self, hop: NextHop) -> Destination:
        destination = self._destinations.get(hop)
        if destination is None:
            destination = self._destinations[hop] = Destination(
                limit=self._settings.connections_per_destination,
                reuse_messages=self._settings.reuse_messages,
                keep=self._settings.reuse_idle > 0,
                forget=lambda: self._forget(hop),
            )
        return destination

    def _forget(self, hop: NextHop) -> None:
        self._destinations.pop(hop, None)


def _nothing_prohibited(_address: str) -> bool:
    return False
