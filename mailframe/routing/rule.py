"""One rule, ready to be applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from mailframe.outcome import RuleSeen
from mailframe.patterns import AddressPatterns
from mailframe.routing.conditions import (
    Condition,
    InHours,
    Logins,
    Providers,
    Question,
    Recipients,
    Senders,
    Servers,
    Size,
)
from mailframe.routing.maps import Map, MapFault
from mailframe.routing.rules import ANY, RuleSettings, map_name
from mailframe.routing.via import parse_via
from mailframe.routing.way import Way

WAITS = ", so it waits until "  # in the reason of a route that is not open yet
MAX_WAYS = 1000  # that are kept of those that a map gave


@attrs.frozen(kw_only=True)
class Weighed:
    """What a rule says of a message.

    :ivar fits: whether it decides; ``None``: that can't be told yet
    :ivar way: where it sends the mail, unless it doesn't fit
    :ivar opens: when the way opens, POSIX seconds; ``None``: it is open
    :ivar waits: the same as one clause
    """

    fits: bool | None
    way: Way | None = None
    opens: float | None = None
    waits: str = ""


_NO = Weighed(fits=False)


class Rule:
    """One rule.

    :param number: its place in the table, from 1
    :param maps: by name, those that it uses at least
    """

    def __init__(
        self, number: int, settings: RuleSettings, maps: Mapping[str, Map] | None = None
    ) -> None:
        maps = maps or {}
        self.name = settings.name or f"rule {number}"
        self._settings = settings
        patterns = None
        if map_name(settings.recipients) is None:
            patterns = AddressPatterns(settings.recipients)
        self.domains = None if patterns is None else patterns.domains
        self._conditions: tuple[Condition, ...] = tuple(_conditions(settings))
        self._hours = InHours(settings.hours or ()) if settings.outside_hours == "wait" else None
        self._lookups = tuple(_lookups(settings, maps))
        via = parse_via(settings.via)
        self._ways: dict[str, Way] = {}
        self._map = maps[via.map] if via.kind == "map" else None
        self._way = None if via.kind == "map" else Way(self.name, settings, via)
        self.asks_maps = bool(self._lookups) or self._map is not None

    def fits(self, question: Question) -> bool | None:
        """Whether it decides, as far as that can be told without its maps; ``None``: not yet."""
        result: bool | None = True
        for condition in self._conditions:
            fits = condition.fits(question)
            if fits is False:
                return False
            if fits is None:
                result = None
        return result

    async def weigh(self, question: Question) -> Weighed:
        """Whether it decides, and how.

        :raises MapFault: a map can't tell
        """
        fits, way = self.fits(question), self._way
        if fits is False:
            return _NO
        if self.asks_maps:
            for key, lookup in self._lookups:
                if await lookup.find(key, question) is None:
                    return _NO
            if self._map is not None:
                way = await self._way_of_map(question)
        if way is None or (way.via.kind == "hold" and question.facts.known.released):
            return _NO
        hours, now = self._hours, question.facts.now
        if hours is None or way.via.kind != "hops" or hours.fits(question):
            return Weighed(fits=fits, way=way)
        opens, wall = hours.opens(now)
        waits = f"{hours.told(question)}{WAITS}{wall}"
        return Weighed(fits=fits, way=way, opens=opens, waits=waits)

    async def seen(self, question: Question) -> RuleSeen:
        """How it fares with a message, in words; it agrees with `weigh`."""
        fits = self.fits(question)
        told = [c.told(question) for c in self._conditions if c.fits(question) is fits]
        if fits:
            try:
                weighed = await self.weigh(question)
                told += [await lookup.told(key, question) for key, lookup in self._lookups]
            except MapFault as fault:
                return RuleSeen(rule=self.name, matches=True, reason=str(fault))
            if weighed.fits:
                if self._map is not None:
                    told.append(await self._map.told(self._map.by, question))
                if weighed.waits:
                    told.append(weighed.waits)
                reason = "; ".join(told) or "it asks for nothing, so it matches"
                return RuleSeen(rule=self.name, matches=True, reason=reason)
            told = await self._why_not(question)
        return RuleSeen(rule=self.name, matches=False, reason=f"skipped: {told[0]}")

    async def _why_not(self, question: Question) -> list[str]:
        for key, lookup in self._lookups:
            if await lookup.find(key, question) is None:
                return [await lookup.told(key, question)]
        if self._map is not None and await self._way_of_map(question) is None:
            return [await self._map.told(self._map.by, question)]
        return ["an operator released the message"]

    async def _way_of_map(self, question: Question) -> Way | None:
        found = self._map
        assert found is not None, "asked only where via names a map"
        value = await found.find(found.by, question)
        if value is None:
            return None
        way = self._ways.get(value)
        if way is None:
            via = found.via(value, self._settings)
            if len(self._ways) >= MAX_WAYS:
                self._ways.clear()
            way = Way(self.name, self._settings, via, f' (map "{found.name}")')
            self._ways[value] = way
        return way


def _conditions(settings: RuleSettings) -> Iterable[Condition]:
    """What a rule asks, what is told in fewest steps first."""
    if settings.recipients != ANY and map_name(settings.recipients) is None:
        yield Recipients(settings.recipients)
    if settings.senders != ANY and map_name(settings.senders) is None:
        yield Senders(settings.senders)
    if settings.servers is not None:
        yield Servers(settings.servers)
    if settings.logins is not None and map_name(settings.logins) is None:
        yield Logins(settings.logins)
    if settings.providers is not None:
        yield Providers(settings.providers)
    if settings.size is not None:
        yield Size(settings.size)
    if settings.hours is not None and settings.outside_hours == "pass":
        yield InHours(settings.hours)


def _lookups(settings: RuleSettings, maps: Mapping[str, Map]) -> Iterator[tuple[str, Map]]:
    for key in ("recipient", "sender", "login"):
        name = map_name(getattr(settings, f"{key}s"))
        if name is not None:
            yield key, maps[name]
