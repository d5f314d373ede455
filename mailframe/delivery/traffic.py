"""Who may go where, and when: all that bounds what the relay agent has under way.

A delivery passes through these, in this order:

1. a destination that is dead turns it away with the reason (`mailframe.delivery.concurrency`);
2. a rate of its destination or its provider without room sends it back to the queue
   (`mailframe.delivery.shaping`);
3. it needs a permit of its destination, for which it may have to wait
   (`mailframe.delivery.destination`);
4. where nobody is known to answer it needs one of the places for such destinations, which are three
   quarters of all, so that the rest is left to those that are known to answer;
5. it needs a turn: what all destinations have under way together is bounded.

The queue has only so many messages tried at once. While fewer than a quarter of these places are
taken whoever waits does no harm. When more are, a line that does not move is sent back to the queue
(`mailframe.delivery.line`). So what goes to a destination that is slow or dead does not keep the
rest of the mail waiting.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from mailframe.clocks import Elapsed
from mailframe.delivery.bucket import Lent
from mailframe.delivery.concurrency import Concurrency
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.destination import Destination, Destinations, Granted, Permit
from mailframe.delivery.line import LOOK_EVERY, Line
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.shaping import HopLimits, Rates, limits_for
from mailframe.delivery.turns import Refusal, Turns
from mailframe.interfaces import Site
from mailframe.outcome import NextHop, Throttled
from mailframe.reply import Reply

PLACES = 200  # messages that the queue has tried at once
_CROWDED = Reply(451, "4.4.5", "too many destinations at once do not answer yet")
_BUSY = Reply(451, "4.4.5", "as many deliveries are under way as may be at once")


class Traffic:
    """All destinations of the relay agent.

    :param settings: the ``[relay]`` table
    :param site: what the server lends
    :param places: how many messages the queue has tried at once

    :ivar under_way: how many deliveries are
    :ivar destinations: those that are known
    :ivar rates: what they leave room for
    """

    def __init__(self, settings: RelaySettings, site: Site, places: int = PLACES) -> None:
        self._settings = settings
        self._reactor = site.reactor
        self._random = site.random
        self._clock = Elapsed(site.reactor)
        self._places = places
        self._turns = Turns(settings.connections, self._line(), _BUSY)
        self._strangers = Turns(-(-settings.connections * 3 // 4), self._line(), _CROWDED)
        self._lines: set[Destination] = set()  # in which somebody waits, or did a moment ago
        self._looking: IDelayedCall | None = None
        self._limits: dict[str, HopLimits] = {}
        self.under_way = 0
        self.destinations = Destinations(self._destination)
        self.rates = Rates(self._clock, site.random)

    def use(self, settings: RelaySettings) -> None:
        """Use other limits from now on; what was learned of the destinations stays."""
        self._settings = settings
        self._limits.clear()
        for hop, destination in self.destinations.items():
            limits = self._limits_of(hop)
            destination.use(
                first=limits.first_connections,
                most=limits.connections,
                reuse_messages=limits.reuse_messages,
            )

    # --- passing -------------------------------------------------------------------------------

    async def enter(self, hop: NextHop, provider: str | None) -> Passage | Refusal:
        """Let a delivery pass to a next hop, when it may.

        :param provider: as whose customer's the message was accepted, or ``None``
        :returns: what is to be left in the end; or why it may not pass: a `Reply` for which it may
            go to the next hop, or `Throttled`
        """
        destination = self.destinations.of(hop)
        limits = self._limits_of(hop) if self._settings.shaping else None
        if limits is not None and destination.refusal is None:
            refusal = self.rates.refusal(limits.rates, hop.where, provider)
            if refusal is not None:
                return refusal
        granted: Granted | Deferred[Granted] = destination.permit(self._is_scarce)
        if isinstance(granted, Deferred):
            granted = await granted
        if not isinstance(granted, Permit):
            return granted
        passage = Passage(traffic=self, destination=destination, permit=granted)
        try:
            why = await self._turn(passage)
            if why is None and limits is not None:
                why = self._take(passage, limits, hop.where, provider)
        except BaseException:
            passage.leave()
            raise
        if why is not None:
            passage.leave()
            return why
        return passage

    async def _turn(self, passage: Passage) -> Refusal | None:
        destination = passage.destination
        if passage.permit.connection is None and not destination.concurrency.is_known:
            why = await self._take_turn(self._strangers)
            if why is not None:
                return why
            passage.is_stranger = True
        # The turn comes last: who has one waits for no other delivery, so that none waits for ever.
        why = await self._take_turn(self._turns)
        if why is not None:
            return why
        passage.has_turn = True
        # It may have died while we waited for our turn.
        if passage.permit.connection is None and destination.concurrency.is_dead:
            return destination.concurrency.refusal
        return None

    async def _take_turn(self, turns: Turns) -> Refusal | None:
        taken = turns.take(self._is_scarce)
        if isinstance(taken, Deferred):
            self._look_later()
            return await taken
        return taken

    def _take(
        self, passage: Passage, limits: HopLimits, where: str, provider: str | None
    ) -> Refusal | None:
        taken = self.rates.take(limits.rates, where, provider)
        if isinstance(taken, Throttled):
            return taken
        passage.taken = taken
        passage.limits = limits
        return None

    def may_connect(self, passage: Passage, hop: NextHop) -> Throttled | None:
        """Whether the rate of connections has room for one; it is taken.

        After a server that failed a further one need not find room. It is taken from what comes
        next: else one server that is down would use up what its hop may get, and the others get
        nothing.
        """
        if passage.limits is None or not passage.limits.connection_rates:
            return None
        limits = passage.limits.connection_rates
        refusal = None if passage.has_tried else self.rates.refusal(limits, hop.where, None)
        if refusal is None:
            self.rates.take_ahead(limits, hop.where, None)
            passage.has_tried = True
        return refusal

    def leave(self, passage: Passage) -> None:
        """See `Passage.leave`."""
        if not passage.is_used:
            self.rates.give_back(passage.taken)
        else:
            for lent in passage.taken:
                lent.used()
        if passage.is_stranger:
            self._strangers.give_back()
        if passage.has_turn:
            self._turns.give_back()
        passage.destination.give_back(passage.permit)

    def let_in(self, passage: Passage) -> None:
        """See `Passage.let_in`."""
        if passage.is_stranger:
            passage.is_stranger = False
            self._strangers.give_back()
        passage.destination.let_in()

    # --- all together ----------------------------------------------------------------------------

    def forgive(self) -> None:
        """Forget what went wrong: it may be of our own making."""
        for destination in self.destinations:
            destination.concurrency.forgive()

    def turn_away(self, reply: Reply) -> None:
        """Those who wait for anything get the reply instead."""
        for destination in self.destinations:
            destination.turn_away(reply)
        self._strangers.turn_away(reply)
        self._turns.turn_away(reply)

    def learned(self) -> list[dict[str, Any]]:
        """What is known of each destination; see `mailframe.delivery.live_limits.LiveHop`.

        Those with trouble come first, then those that are in use. Of the rest only those are told
        of that get more or fewer connections than at the beginning.
        """
        offset = self._reactor.seconds() - self._clock.seconds()
        found = [
            self._told(hop, destination, offset)
            for hop, destination in self.destinations.items()
            if destination.is_of_interest
        ]
        return sorted(found, key=lambda each: (not each["reason"], -each["in_use"]))

    def _told(self, hop: NextHop, destination: Destination, offset: float) -> dict[str, Any]:
        concurrency, limits = destination.concurrency, self._limits_of(hop)
        rates = self.rates.room((*limits.rates, *limits.connection_rates), hop.where)
        refusal = concurrency.refusal
        return {
            "where": hop.where,
            "tls": hop.tls,
            "protocol": hop.protocol,
            "connections": concurrency.allowed,
            "most": concurrency.most,
            "in_use": destination.in_use,
            "waiting": destination.waiting,
            "left_alone_until": None if refusal is None else concurrency.dead_until + offset,
            "reason": "" if refusal is None else str(refusal),
            "rates": {str(limit): room for limit, room in rates},
        }

    @property
    def _is_scarce(self) -> bool:
        return self.under_way * 4 > self._places

    def _waits(self, destination: Destination) -> None:
        self._lines.add(destination)
        self._look_later()

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = self._reactor.callLater(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """Send back who holds a place for too long."""
        self._looking = None
        is_scarce = self._is_scarce
        for destination in tuple(self._lines):
            destination.look(is_scarce)
            if not destination.waiting:
                self._lines.discard(destination)
        self._strangers.look(is_scarce)
        self._turns.look(is_scarce)
        if self._lines or self._strangers.waiting or self._turns.waiting:
            self._look_later()

    def _line(self) -> Line:
        return Line(self._clock, self._random)

    def _limits_of(self, hop: NextHop) -> HopLimits:
        limits = self._limits.get(hop.where)
        if limits is None:
            if len(self._limits) > 10_000:
                self._limits.clear()
            limits = self._limits[hop.where] = limits_for(self._settings, hop.where)
        return limits

    def _destination(self, hop: NextHop) -> Destination:
        limits = self._limits_of(hop)
        return Destination(
            where=hop.where,
            concurrency=Concurrency(
                where=hop.where,
                first=limits.first_connections,
                most=limits.connections,
                clock=self._clock,
            ),
            line=self._line(),
            reuse_messages=limits.reuse_messages,
            keep=self._settings.reuse_idle > 0,
            line_begins=self._waits,
        )


@attrs.define(kw_only=True, eq=False)
class Passage:
    """A delivery that may go to its next hop.

    :ivar destination: of the next hop
    :ivar permit: of the destination
    :ivar limits: those in force, if any are configured
    :ivar is_used: something was sent
    :ivar is_stranger: it has a place of those for destinations that are not known to answer
    :ivar has_turn: it has a turn
    :ivar has_tried: a server was tried; a further one need not find room for its connection
    :ivar taken: from these rates room was taken
    """

    traffic: Traffic = attrs.field(repr=False)
    destination: Destination
    permit: Permit
    limits: HopLimits | None = None
    is_used: bool = False
    is_stranger: bool = False
    has_turn: bool = False
    has_tried: bool = False
    taken: tuple[Lent, ...] = ()

    def has_connection(self, connection: RelayConnection) -> None:
        """A server let us in."""
        self.destination.watch(connection)
        self.permit.connection = connection
        self.traffic.let_in(self)

    def drop_connection(self) -> None:
        """End the connection; there may be another one."""
        self.destination.drop(self.permit)

    def leave(self) -> None:
        """Give everything back. To be called once."""
        self.traffic.leave(self)
