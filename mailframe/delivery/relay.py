"""The relay agent: hands messages to other servers, over the next hops that routing named.

A delivery goes through the hops of its route in order, and through the servers of each hop:

1. a hop that is ``mx:`` and a domain stands for the hosts that DNS names; any other is one server,
   reached over a Twisted client endpoint (`mailframe.delivery.targets`);
2. a server that can't be reached or does not let us in (greeting, EHLO, TLS, AUTH) is passed over;
3. once a server has answered to MAIL, what it says of a recipient is final for this attempt;
4. when the connection is lost before the final dot, the recipients of whom nothing final was said
   go to the next server; after the final dot none does, for the message may have been delivered;
5. servers that are in doubt come after the others (`mailframe.delivery.doubts`).

When no server is left, the remaining recipients are postponed; or refused, if every server refused
for good.

`mailframe.delivery.traffic` says whether a message may go to a hop now. Where there is no room for
it now it is sent back to the queue, to come again, and no further hop is tried: those are for when
one fails.

Connections are kept for the next message to the same hop (`mailframe.delivery.destination`). One
that its server closed in the meantime is replaced without further ado.

Cancelling a delivery breaks its connection. If some of the recipients are settled by then, the
delivery ends with what it has come to, else with the cancelling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from mailframe.clocks import Elapsed
from mailframe.delivery.addresses import is_prohibited, normal_address
from mailframe.delivery.attempt import Attempt
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.doubts import SLOW, Doubts
from mailframe.delivery.hand_over import USED_UP, hand_over
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts_upkeep import LOOK_FOR_ENDS
from mailframe.delivery.relay_settings import RelaySettings, Timeouts
from mailframe.delivery.required_tls import hop_for, reason
from mailframe.delivery.sessions import Sessions
from mailframe.delivery.targets import PlannedHop, Target, Targets
from mailframe.delivery.tls_counts import CountFile, TlsCounts
from mailframe.delivery.tls_sources import make_demands
from mailframe.delivery.traffic import PLACES, Passage, Traffic
from mailframe.interfaces import IDeliveryAgent, Job, Site
from mailframe.outcome import NextHop, Outcome, Relay, Throttled
from mailframe.reply import Reply
from mailframe.wire.sender_events import Failed

__all__ = ["PlannedHop", "RelayAgent", "RelaySettings", "Target", "Timeouts"]

STOPPING = 4.0  # seconds that deliveries under way get when the agent is stopped
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
    :param places: how many messages the queue has tried at once
    :param keeps: whether what domains publish about TLS is kept for later
    """

    def __init__(
        self,
        settings: RelaySettings,
        site: Site,
        local_addresses: Collection[str] = (),
        trust_root: Any = None,
        validating: bool = False,
        places: int = PLACES,
        keeps: bool = True,
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
        self._targets = Targets(
            site=site, lookup=lookup, port=settings.port, sources=settings.source
        )
        self._demands = make_demands(
            settings=settings, site=site, lookup=lookup, trust_root=trust_root, keeps=keeps
        )
        self._sessions = Sessions(
            settings=settings,
            site=site,
            trust_root=trust_root,
            demands=self._demands,
            counts=TlsCounts(CountFile(site.state_dir), site),
        )
        self._clock = Elapsed(site.reactor)
        self._looking: LoopingCall | None = None  # after what domains have published
        self._traffic = Traffic(settings, site, places)
        self._doubts = Doubts(self._clock)
        self._stopping = False
        self._all_done: Deferred[None] | None = None

    async def deliver(self, job: Job) -> Sequence[Outcome]:
        """See `mailframe.interfaces.IDeliveryAgent.deliver`; every route is the same `Relay`."""
        route = job.routes[0]
        assert isinstance(route, Relay)
        attempt = Attempt(job, self._site.in_thread)
        self._traffic.under_way += 1
        try:
            for hop in self._doubts.in_order(job.id, route.hops, _where):
                if self._stopping:
                    break
                await self._over(hop_for(hop, job.envelope), attempt)
                if attempt.throttled is not None or not attempt.unsettled:
                    break
        except CancelledError:
            # What was settled until now is told, lest those who have the message get it again.
            if not attempt.has_outcomes:
                raise
            attempt.passed_over("", _GIVEN_UP)
        finally:
            if self._stopping and attempt.unsettled:
                # No attempt: else mail is postponed, or returned, because of a restart of ours.
                attempt.throttled = Throttled(where="", reply=_SHUTTING_DOWN, seconds=0.0)
            self._traffic.under_way -= 1
            if not self._traffic.under_way and self._all_done is not None:
                self._all_done.callback(None)
                self._all_done = None
        return attempt.outcomes()

    def use(self, settings: RelaySettings) -> None:
        """Use other limits from now on; what was learned of the destinations stays.

        :param settings: of which those are heeded that may change (`CHANGEABLE`)
        """
        self._settings = self._settings.with_limits_of(settings)
        self._traffic.use(self._settings)

    def learned(self) -> list[dict[str, Any]]:
        """What is known of next hops; see `mailframe.delivery.live_limits`."""
        return self._traffic.learned()

    async def plan(self, route: Relay) -> tuple[PlannedHop, ...]:
        """What `deliver` would try now, hop by hop; nothing is connected to."""
        planned = []
        for hop in route.hops:
            targets = await self._targets.of(hop)
            if isinstance(targets, Reply):
                planned.append(PlannedHop(hop=hop, reply=targets))
            else:
                demands = tuple([await self._demands.of(hop, target) for target in targets])
                login = await self._sessions.login(hop)
                reply = login if isinstance(login, Reply) else None
                planned.append(PlannedHop(hop=hop, targets=targets, demands=demands, reply=reply))
        return tuple(planned)

    # --- the service -------------------------------------------------------------------------

    def startService(self) -> None:
        """Take deliveries (again)."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        self._stopping = False
        self._sessions.reopen()
        if self._demands.look_after is not None and self._looking is None:
            self._looking = LoopingCall(self._demands.look_after)
            self._looking.clock = self._clock
            self._looking.start(LOOK_FOR_ENDS, now=False)
        self._traffic.forgive()  # it may have been of our own making

    def stopService(self) -> Deferred[None]:
        """Take no more deliveries and say goodbye to the servers.

        :returns: fires when the deliveries under way are done, or broken off because their time was
            up, and every connection is closed
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        self._stopping = True
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._traffic.turn_away(_SHUTTING_DOWN)
        if self._traffic.under_way:
            done: Deferred[None] = Deferred()
            self._all_done = done
            done.addTimeout(STOPPING, self._site.reactor, onTimeoutCancel=lambda *_: None)
            await done
            self._all_done = None
        await self._sessions.close()

    # --- one delivery --------------------------------------------------------------------------

    async def _over(self, hop: NextHop, attempt: Attempt) -> None:
        """Try one hop. What could not be settled over it stays unsettled."""
        passage = await self._traffic.enter(hop, _provider(attempt.job))
        if isinstance(passage, Throttled):
            attempt.throttled = passage
        elif isinstance(passage, Reply):
            attempt.passed_over("", passage)
        else:
            try:
                await self._with(passage, hop, attempt)
            finally:
                self._keep_few(passage)
                passage.leave()

    async def _with(self, passage: Passage, hop: NextHop, attempt: Attempt) -> None:
        if passage.limits is not None and passage.limits.recipients is not None:
            attempt.limit_room(passage.limits.recipients)
        connection = passage.permit.connection
        if connection is not None and not (
            self._is_good(connection, hop, attempt)
            and await self._sessions.may_go_on(connection, hop)
        ):
            passage.drop_connection()
            await connection.quit()  # else the server would have two at once
            connection = None
        if connection is not None:
            failed = await self._hand_over(passage, connection, attempt, is_kept=True)
            if failed is None:
                return
            if not failed.untouched:
                attempt.passed_over(connection.where, failed.reply)
                passage.has_tried = True
        await self._try_servers(hop, passage, attempt)

    def _is_good(self, connection: RelayConnection, hop: NextHop, attempt: Attempt) -> bool:
        """Whether a message may go over a connection that is kept; or to another server first."""
        where = connection.where
        return where == hop.where or not self._doubts.was_in_vain(attempt.job.id, where)

    def _keep_few(self, passage: Passage) -> None:
        """Say goodbye rather than keep a connection when there are many."""
        connection = passage.permit.connection
        if (
            connection is not None
            and connection.usable
            and self._sessions.connections > self._settings.connections
        ):
            passage.drop_connection()

    async def _try_servers(self, hop: NextHop, passage: Passage, attempt: Attempt) -> None:
        began = self._clock.seconds()
        targets = await self._targets.of(hop)
        login = await self._sessions.login(hop)
        if isinstance(targets, Reply) or isinstance(login, Reply):
            reply = targets if isinstance(targets, Reply) else login
            assert isinstance(reply, Reply)
            attempt.passed_over("", reply)
            self._nobody_let_in(passage, reply, began)
            return
        why: Reply | None = None  # nobody let us in
        let_in = False
        for target in self._doubts.in_order(attempt.job.id, targets):
            again = True
            while again:  # a server that takes few messages over one connection gets another one
                if self._stopping:
                    return
                attempt.throttled = self._traffic.may_connect(passage, hop)
                if attempt.throttled is not None:
                    return
                asked = self._clock.seconds()
                connection = await self._sessions.open(
                    target, hop, login, again=partial(self._traffic.may_connect, passage, hop)
                )
                if isinstance(connection, Failed):
                    if not self._stopping:
                        self._doubts.turned_away(str(target), self._clock.seconds() - asked)
                    why = connection.reply
                    attempt.passed_over(str(target), reason(connection, attempt.job.envelope))
                    break
                let_in = True
                self._doubts.let_in(connection.where)
                passage.has_connection(connection)
                failed = await self._hand_over(passage, connection, attempt)
                if failed is None:
                    return
                again = failed.reply is USED_UP
                if again:
                    await connection.quit()  # else the server would have two at once
                    passage.has_tried = False  # it is not for a failure that there is one more
                else:
                    attempt.passed_over(connection.where, failed.reply)
        if why is not None and not let_in:
            self._nobody_let_in(passage, why, began)

    def _nobody_let_in(self, passage: Passage, reply: Reply, began: float) -> None:
        if not self._stopping:  # else it is not the server's fault
            is_slow = self._clock.seconds() - began >= SLOW
            passage.destination.nobody_let_in(reply, is_slow=is_slow)

    async def _hand_over(
        self,
        passage: Passage,
        connection: RelayConnection,
        attempt: Attempt,
        *,
        is_kept: bool = False,
    ) -> Failed | None:
        """Carry a message over a connection; why somebody is left, or ``None``."""
        failed = await hand_over(
            connection,
            attempt,
            convert=self._settings.convert_8bit,
            now=self._site.reactor.seconds(),
        )
        if failed is None or not failed.untouched:
            passage.is_used = True
        if attempt.in_trouble == connection.where:
            self._doubts.in_vain(attempt.job.id, connection.where)
        if failed is None:
            passage.destination.went_well()
            return None
        passage.drop_connection()
        is_ours = failed.stage == "idle" or failed.is_ours or self._stopping
        if not is_ours and not (is_kept and failed.untouched):
            # Not when the server tired of a connection that was kept, nor for a fault of ours.
            passage.destination.failed(failed.reply)
        if attempt.unsettled:
            return failed
        if not is_ours:
            self._doubts.in_vain(attempt.job.id, connection.where)
        return None


def _provider(job: Job) -> str | None:
    """As whose customer's a message was accepted: all its recipients came in one envelope."""
    return job.originals[0].evidence.provider


def _where(hop: NextHop) -> str:
    return hop.where


def _nothing_prohibited(_address: str) -> bool:
    return False
