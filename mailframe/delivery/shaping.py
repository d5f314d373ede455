"""The limits in force for each next hop, and what their rates leave room for."""

from __future__ import annotations

import random as random_module
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs
from twisted.internet.interfaces import IReactorTime

from mailframe.delivery.bucket import Bucket, Lent, Rate
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.delivery.targets import endpoint_parts
from mailframe.outcome import Throttled
from mailframe.reply import Reply


@attrs.frozen(kw_only=True)
class RateLimit:
    """A rate that holds for a next hop.

    :ivar table: the name of its table
    :ivar what: ``messages`` or ``connections``
    :ivar rate: the rate
    :ivar providers: for whose messages; ``None`` for all
    :ivar by_destination: each next hop is counted by itself
    :ivar by_provider: each provider is
    """

    table: str
    what: str
    rate: Rate
    providers: frozenset[str] | None
    by_destination: bool
    by_provider: bool

    def is_for(self, provider: str | None) -> bool:
        """Whether it holds for a message.

        :param provider: as whose customer's it was accepted, or ``None``
        """
        if self.providers is None:
            return True
        return provider is not None and ("*" in self.providers or provider in self.providers)

    def __str__(self) -> str:
        """Such as ``"100/1m messages (gently)"``."""
        return f"{self.rate} {self.what} ({self.table})"


@attrs.frozen(kw_only=True)
class HopLimits:
    """The limits for one next hop by configuration.

    :ivar connections: the most it gets at once
    :ivar connections_by: the table that says so, ``""`` for ``[relay]`` itself
    :ivar first_connections: how many it gets once it lets us in
    :ivar reuse_messages: how many messages go over one connection
    :ivar reuse_messages_by: the table that says so, ``""`` likewise
    :ivar recipients: the most in one transaction, or ``None``
    :ivar recipients_by: the table that says so
    :ivar rates: of messages
    :ivar connection_rates: of connections that are opened
    """

    connections: int
    connections_by: str = ""
    first_connections: int
    reuse_messages: int
    reuse_messages_by: str = ""
    recipients: int | None = None
    recipients_by: str = ""
    rates: tuple[RateLimit, ...] = ()
    connection_rates: tuple[RateLimit, ...] = ()


def limits_for(settings: RelaySettings, where: str) -> HopLimits:
    """The limits for a next hop.

    :param where: the next hop, as routing writes it
    """
    tables = [table for table in settings.shaping if _matches(table, where)]
    connections = (settings.connections_per_destination, "")
    reuse = (settings.reuse_messages, "")
    recipients: tuple[int, str] | None = None
    for table in tables:
        if table.connections is not None and table.connections < connections[0]:
            connections = (table.connections, table.name)
        if table.reuse_messages is not None and table.reuse_messages < reuse[0]:
            reuse = (table.reuse_messages, table.name)
        if table.recipients is not None and (
            recipients is None or table.recipients < recipients[0]
        ):
            recipients = (table.recipients, table.name)
    return HopLimits(
        connections=connections[0],
        connections_by=connections[1],
        first_connections=min(settings.first_connections, connections[0]),
        reuse_messages=reuse[0],
        reuse_messages_by=reuse[1],
        recipients=None if recipients is None else recipients[0],
        recipients_by="" if recipients is None else recipients[1],
        rates=tuple(_rate(table, "messages", table.rate) for table in tables if table.rate),
        connection_rates=tuple(
            _rate(table, "connections", table.connection_rate)
            for table in tables
            if table.connection_rate
        ),
    )


def _rate(table: ShapingTable, what: str, text: str) -> RateLimit:
    return RateLimit(
        table=table.name,
        what=what,
        rate=Rate.parse(text),
        providers=None if table.providers is None else frozenset(table.providers),
        by_destination=table.destinations is not None and not table.together,
        by_provider=table.providers is not None and not table.together,
    )


def _matches(table: ShapingTable, where: str) -> bool:
    kind, host = endpoint_parts(where)
    host = host.lower()
    return any(
        pattern in ("*", where, host)
        or (pattern.startswith("*.") and kind != "unix" and host.endswith(pattern[1:]))
        for pattern in table.patterns
    )


_Key: TypeAlias = tuple[str, str, Rate, str, str]


class Rates:
    """What the rates of all next hops and providers leave room for.

    :param clock: measures
    :param random: spreads those for whom there is no room
    """

    def __init__(self, clock: IReactorTime, random: random_module.Random) -> None:
        self._clock = clock
        self._random = random
        self._buckets: OrderedDict[_Key, Bucket] = OrderedDict()  # the last used ones last

    def refusal(
        self, limits: Sequence[RateLimit], where: str, provider: str | None
    ) -> Throttled | None:
        """Why there is no room for one more, or ``None``; nothing is taken."""
        now = self._clock.seconds()
        self._forget_some(now, len(limits) + 1)
        longest, slowest = 0.0, None
        for limit, bucket in self._of(limits, where, provider):
            wait = bucket.wait(now)
            if wait > longest:
                longest, slowest = wait, (limit, bucket)
        if slowest is None:
            return None
        limit, bucket = slowest
        whose = f" for {provider}" if limit.by_provider else ""
        return Throttled(
            where=where if limit.by_destination else "",
            reply=Reply(451, "4.4.5", f"the limit {limit}{whose} has no room now"),
            seconds=max(bucket.later(now), 0.0),
        )

    def take(
        self, limits: Sequence[RateLimit], where: str, provider: str | None
    ) -> Throttled | tuple[Lent, ...]:
        """Take room for one more.

        :returns: what was taken, to be given back if it does not happen; or why there is no room
        """
        refusal = self.refusal(limits, where, provider)
        if refusal is not None:
            return refusal
        now = self._clock.seconds()
        return tuple([bucket.lend(now) for _, bucket in self._of(limits, where, provider)])

    def give_back(self, taken: Sequence[Lent]) -> None:
        """What was taken room for did not happen."""
        now = self._clock.seconds()
        for lent in taken:
            lent.give_back(now)

    def take_ahead(self, limits: Sequence[RateLimit], where: str, provider: str | None) -> None:
        """Take one more whether there is room or not: those that come next have less."""
        now = self._clock.seconds()
        for _, bucket in self._of(limits, where, provider):
            bucket.take(now)

    def room(self, limits: Sequence[RateLimit], where: str) -> Iterator[tuple[RateLimit, int]]:
        """How many there is room for at once now, for limits of a next hop whoever sends."""
        now = self._clock.seconds()
        for limit in limits:
            if not limit.by_provider:
                bucket = self._buckets.get(_key(limit, where, None))
                if bucket is not None:
                    yield limit, bucket.room(now)

    def _of(
        self, limits: Sequence[RateLimit], where: str, provider: str | None
    ) -> Iterator[tuple[RateLimit, Bucket]]:
        for limit in limits:
            if limit.is_for(provider):
                yield limit, self._bucket(limit, _key(limit, where, provider))

    def _bucket(self, limit: RateLimit, key: _Key) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(limit.rate, self._random)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def _forget_some(self, now: float, most: int) -> None:
        """Look at a few, and forget those of which nothing is taken, lest they become ever more."""
        for _ in range(min(most, len(self._buckets))):
            key, bucket = self._buckets.popitem(last=False)
            if not bucket.is_unused(now):
                self._buckets[key] = bucket


def _key(limit: RateLimit, where: str, provider: str | None) -> _Key:
    return (
        limit.table,
        limit.what,
        limit.rate,
        where if limit.by_destination else "",
        (provider or "") if limit.by_provider else "",
    )
