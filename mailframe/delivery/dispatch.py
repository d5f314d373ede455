"""One attempt at one message: route its pending recipients anew, and hand it to delivery agents.

The route is asked at every attempt, so that a changed policy moves queued mail. Recipients that go
the same way share one `Job`, so that a message crosses a link once. An attempt that finds a
redirect records just that and delivers nothing: the targets join the message as recipients of
their own, and the next attempt, which follows at once, delivers to all. What other servers get of
it is marked (`mailframe.delivery.sent_on`), and is not redirected again when it comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.delivery.sent_on import mark, marking, marks_of
from mailframe.entry import Entry, Ready
from mailframe.envelope import Client
from mailframe.expansion import LOOP
from mailframe.guard import PluginFault, as_deferred, ask, fault
from mailframe.interfaces import NOTHING_KNOWN, IContent, IDeliveryAgent, Job, Known
from mailframe.outcome import (
    Delivered,
    Hold,
    Local,
    Outcome,
    Postponed,
    Redirect,
    Refused,
    Relay,
    Route,
    Throttled,
    Tried,
    Unroutable,
)
from mailframe.reply import Reply, temporary_fault

log = Logger()

RecordReady: TypeAlias = Callable[[Mapping[int, Ready | None]], Awaitable[None]]
RecordArrived: TypeAlias = Callable[[Sequence[Tried]], Awaitable[None]]


class Routes(Protocol):
    """Answers where mail goes, and never fails: `mailframe.routing.resolution.Router`."""

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        """Where does this recipient's mail go now?"""


@attrs.frozen(kw_only=True)
class Agent:
    """A delivery agent under its name.

    :ivar seconds: how long one delivery may take
    """

    name: str
    part: IDeliveryAgent
    seconds: float


class Dispatch:
    """Makes attempts.

    :param router: asked for every pending recipient
    :param local: delivers into mailboxes here
    :param relay: delivers to other servers
    :param clock: measures how long an agent takes
    """

    def __init__(self, *, router: Routes, local: Agent, relay: Agent, clock: IReactorTime) -> None:
        self.router = router
        self.local = local
        self.relay = relay
        self._clock = clock

    async def attempt(
        self,
        entry: Entry,
        open_content: Callable[[], Awaitable[IContent]],
        record_ready: RecordReady,
        record_arrived: RecordArrived,
    ) -> Sequence[Tried]:
        """Try every pending recipient of a message once.

        What an attempt that was cut off had begun to put into a mailbox is finished there, wherever
        the recipient's mail goes by now: it may have arrived already.

        :param record_ready: as in `Job`, with places in the entry's recipients
        :param record_arrived: records what some destinations took while others are still being
            tried; raises when it can't
        :returns: one result for each pending recipient but those that were recorded already and
            those whose turn is later; or, when some are redirected, for those
        """
        envelope, now = entry.envelope, self._clock.seconds()
        routed: list[tuple[int, Route]] = []
        for index in entry.pending:
            recipient = entry.recipients[index]
            if recipient.ready is not None:
                routed.append((index, begun(recipient.ready, self.local.name)))
                continue
            if recipient.wait is not None and entry.is_waiting(index, now):
                continue
            route = await self.router.route(
                envelope.sender, recipient.address, envelope.client, now, known_of(entry, index)
            )
            routed.append((index, route))
        if len(routed) == 1 and _is_plain(routed[0][1]):
            return await self._deliver(entry, routed, open_content, record_ready)
        if any(isinstance(route, Redirect) for _, route in routed):
            routed = await _without_loops(entry, routed, open_content)
        redirected = [(i, route) for i, route in routed if isinstance(route, Redirect)]
        if redirected:
            return [Tried(index=i, route=route, outcome=None) for i, route in redirected]
        settled = [
            Tried(index=i, route=route, outcome=_unroutable(route))
            for i, route in routed
            if isinstance(route, Unroutable)
        ]
        settled += [
            Tried(index=i, route=route, outcome=None)
            for i, route in routed
            if isinstance(route, Hold)
        ]
        ways: dict[object, list[tuple[int, Route]]] = {}
        for index, route in routed:
            if isinstance(route, Local):
                ways.setdefault("local", []).append((index, route))
            elif isinstance(route, Relay) and (route.not_before or now) > now:
                settled.append(Tried(index=index, route=route, outcome=_not_open(route, now)))
            elif isinstance(route, Relay):
                way = (route.hops, route.reverse_path, _mark(entry, index))
                ways.setdefault(way, []).append((index, route))
        under_way = len(ways)

        async def deliver(way: Sequence[tuple[int, Route]]) -> Sequence[Tried]:
            nonlocal under_way
            tried = await self._deliver(entry, way, open_content, record_ready)
            under_way -= 1
            return await _recorded(tried, record_arrived) if under_way else tried

        deliveries = [deliver(way) for way in ways.values()]
        if len(deliveries) == 1:
            settled.extend(await deliveries[0])
        elif deliveries:
            # deliver turns whatever goes wrong into outcomes, so that none of these can fail.
            for tried in await gatherResults([as_deferred(d) for d in deliveries]):
                settled.extend(tried)
        return settled

    async def _deliver(
        self,
        entry: Entry,
        way: Sequence[tuple[int, Route]],
        open_content: Callable[[], Awaitable[IContent]],
        record_ready: RecordReady,
    ) -> Sequence[Tried]:
        recipients = [entry.recipients[index] for index, _ in way]
        envelope, route, size = entry.envelope, way[0][1], entry.size
        if isinstance(route, Relay):
            if route.reverse_path is not None:
                envelope = attrs.evolve(envelope, sender=route.reverse_path)
            first = _mark(entry, way[0][0])
            if first:
                size += len(first)
                open_content = marking(first, open_content)
        job = Job(
            id=entry.id,
            envelope=envelope,
            recipients=tuple(recipient.address for recipient in recipients),
            originals=tuple(entry.original(index) for index, _ in way),
            routes=tuple(route for _, route in way),
            size=size,
            attempt=max(recipient.attempts for recipient in recipients),
            ready=tuple(recipient.ready for recipient in recipients),
            open=open_content,
            record_ready=lambda ready: record_ready(
                {way[place][0]: record for place, record in ready.items()}
            ),
        )
        agent = self.local if isinstance(way[0][1], Local) else self.relay
        try:
            outcomes = await self._ask(agent, job)
        except PluginFault:
            postponed = Postponed(where="", reply=temporary_fault())
            outcomes = [postponed] * len(way)
        return [
            Tried(index=index, route=route, outcome=outcome)
            for (index, route), outcome in zip(way, outcomes, strict=True)
        ]

    async def _ask(self, agent: Agent, job: Job) -> Sequence[Outcome]:
        outcomes = await ask(
            agent.name,
            (Sequence,),
            self._clock,
            agent.seconds,
            lambda: agent.part.deliver(job=job),
        )
        if len(outcomes) != len(job.recipients):
            raise fault(
                agent.name,
                f"answered with {len(outcomes)} outcomes for {len(job.recipients)} recipients",
            )
        for outcome in outcomes:
            if not isinstance(outcome, Delivered | Postponed | Refused | Throttled):
                raise fault(agent.name, f"answered with a {type(outcome).__name__}")
        return outcomes


def begun(ready: Ready, plugin: str) -> Local:
    """The route of what an attempt that was cut off had begun to put into a mailbox.

    :param plugin: the delivery agent's name
    """
    return Local(
        mailbox=ready.mailbox,
        reason="an attempt that was cut off had begun to put it into this mailbox",
        plugin=plugin,
    )


def known_of(entry: Entry, index: int) -> Known:
    """What is known of a message in the queue, for one of its recipients."""
    original = entry.original(index)
    return Known(
        accepted=True,
        provider=original.evidence.provider,
        size=entry.size,
        original=None if entry.recipients[index].parent is None else original.address,
        released=entry.recipients[index].held,
    )


def _mark(entry: Entry, index: int) -> bytes:
    """What stands before the content for other servers, when it is redirected to a recipient."""
    if entry.recipients[index].parent is None:
        return b""
    return mark(entry.original(index).address)


async def _without_loops(
    entry: Entry,
    routed: Sequence[tuple[int, Route]],
    open_content: Callable[[], Awaitable[IContent]],
) -> list[tuple[int, Route]]:
    """The routes; redirects fail for whom the message was sent on before, for it has come back."""
    before = await marks_of(open_content)

    def judged(index: int, route: Route) -> Route:
        address = str(entry.recipients[index].address)
        if not isinstance(route, Redirect) or address.lower() not in before:
            return route
        reason = f"{route.reason}; it was sent on for {address} before, and has come back"
        return Unroutable(reason=reason, rule=route.rule, plugin=route.plugin, reply=LOOP)

    return [(index, judged(index, route)) for index, route in routed]


def _is_plain(route: Route) -> bool:
    """Whether a route is to be taken at once, as most are."""
    return isinstance(route, Local) or (isinstance(route, Relay) and route.not_before is None)


async def _recorded(tried: Sequence[Tried], record_arrived: RecordArrived) -> Sequence[Tried]:
    """Record what arrived; returns the results that are still to be recorded."""
    arrived = [each for each in tried if isinstance(each.outcome, Delivered)]
    if not arrived:
        return tried
    try:
        await record_arrived(arrived)
    except Exception as error:
        log.warn("what some recipients' servers took is recorded later: {error!r}", error=error)
        return tried
    return [each for each in tried if not isinstance(each.outcome, Delivered)]


def _not_open(route: Relay, now: float) -> Outcome:
    opens = route.not_before or now
    return Throttled(where="", reply=Reply(451, "4.3.0", route.reason), seconds=opens - now)


def _unroutable(route: Unroutable) -> Outcome:
    if route.reply.is_permanent:
        return Refused(where="", reply=route.reply)
    return Postponed(where="", reply=route.reply)
