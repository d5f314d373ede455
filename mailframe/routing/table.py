"""``[routing] plugin = "table"``: a table of rules, of which the first match decides.

Where no rule matches, mail for a local domain is delivered here and all other mail goes to its
domain's mail exchangers. A rule may as well send mail for a local domain elsewhere.

A rule that can't be told to match yet (`mailframe.routing.conditions`) is passed over, for the
route is asked again before each attempt. But what such a rule may take later is not refused now: a
refusal by a rule behind it is put off to the first attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from zope.interface import implementer

from mailframe.address import Address
from mailframe.config_errors import nearest
from mailframe.interfaces import Facts, IPolicyTraits, IRoutingPolicy, IRuleTable, Site
from mailframe.outcome import Relay, Route, RuleSeen, Unroutable
from mailframe.reply import temporary_fault
from mailframe.routing.conditions import Question
from mailframe.routing.dns import by_domain
from mailframe.routing.forwarding import Forwarding
from mailframe.routing.maps import Map, MapFault, MapSettings, build_maps
from mailframe.routing.rule import Rule, Weighed
from mailframe.routing.rules import RuleSettings
from mailframe.routing.srs import SrsSettings
from mailframe.routing.way import PLUGIN, Way

__all__ = ["MapSettings", "RuleSettings", "TableRouting", "TableSettings", "build"]

NO_RULE = "no rule"  # how an explanation calls what holds where none matches


def _unique_names(_instance: object, attribute: Any, value: Sequence[RuleSettings]) -> None:
    seen: set[str] = set()
    for number, rule in enumerate(value, start=1):
        name = rule.name or f"rule {number}"
        if name in seen:
            raise ValueError(f"'{attribute.name}' two rules are named {name!r}")
        seen.add(name)


def _unique_maps(_instance: object, attribute: Any, value: Sequence[MapSettings]) -> None:
    seen: set[str] = set()
    for each in value:
        if each.name in seen:
            raise ValueError(f"'{attribute.name}' two maps are named {each.name!r}")
        seen.add(each.name)


@attrs.frozen(kw_only=True)
class TableSettings:
    """The ``[routing]`` table."""

    rule: tuple[RuleSettings, ...] = attrs.field(default=(), validator=_unique_names)
    map: tuple[MapSettings, ...] = attrs.field(default=(), validator=_unique_maps)
    srs: SrsSettings | None = None

    def __attrs_post_init__(self) -> None:
        names = [each.name for each in self.map]
        for number, rule in enumerate(self.rule, start=1):
            for name in rule.maps:
                if name not in names:
                    meant = nearest(name, names)
                    hint = f'; did you mean "{meant}"?' if meant else ""
                    there = ", ".join(names) or "none"
                    raise ValueError(
                        f"'rule' {rule.name or f'rule {number}'} uses a map {name!a}, and there is "
                        f"no [[routing.map]] of that name; there are: {there}{hint}"
                    )


def build(settings: TableSettings, site: Site) -> TableRouting:
    """Make the part.

    :raises ValueError: a map or the secret of SRS can't be used
    """
    maps = build_maps(settings.map, settings.rule, site.reactor, site.in_thread)
    forwarding = None
    if settings.srs is not None:
        forwarding = Forwarding.build(settings.srs, site.local_domains)
    return TableRouting(settings.rule, maps, forwarding)


@implementer(IRoutingPolicy, IRuleTable, IPolicyTraits)
class TableRouting:
    """Routes by a table of rules.

    Rules that name domains are looked up by domain, so a long table costs no more than a short one.

    :param settings: of each rule, in the order in which they are tried
    :param maps: by name, those that the rules use at least
    :param forwarding: rewrites reverse-paths; ``None``: they stay as they are
    """

    def __init__(
        self,
        settings: Iterable[RuleSettings],
        maps: Mapping[str, Map] | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        settings = tuple(settings)
        self.asks_provider = any(rule.providers is not None for rule in settings)
        curves = [rule.retry.longest for rule in settings if rule.retry is not None]
        self.longest_wait = max(curves, default=0.0)
        self._forwarding = forwarding
        self._rules = tuple(
            Rule(number, each, maps) for number, each in enumerate(settings, start=1)
        )
        named = {domain for rule in self._rules for domain in rule.domains or ()}
        self._for_any = tuple(rule for rule in self._rules if rule.domains is None)
        self._for_domain = {
            domain: tuple(
                rule for rule in self._rules if rule.domains is None or domain in rule.domains
            )
            for domain in named
        }

    async def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Route:
        """Where does this recipient's mail go now?"""
        rules = self._for_domain.get(recipient.domain, self._for_any)
        forwarding = self._forwarding
        if forwarding is None and not rules:
            return by_domain(recipient, facts, plugin=PLUGIN)
        question = Question(sender=sender, recipient=recipient, facts=facts)
        if forwarding is None:
            return await self._decide(question, rules)
        returned = forwarding.returned(question)
        return returned or forwarding.forwarded(await self._decide(question, rules), question)

    async def _decide(self, question: Question, rules: Iterable[Rule]) -> Route:
        recipient, facts = question.recipient, question.facts
        put_off: Route | None = None  # by the first rule that may take the mail later
        for rule in rules:
            if rule.fits(question) is False:
                continue
            try:
                weighed = await rule.weigh(question)
            except MapFault as fault:
                return Unroutable(
                    reply=temporary_fault(), reason=str(fault), rule=rule.name, plugin=PLUGIN
                )
            way = weighed.way
            if way is None:
                continue
            if weighed.fits:
                route = _opening(way.route(recipient), weighed)
                refused = isinstance(route, Unroutable)
                return put_off if refused and put_off is not None else route
            if put_off is None and way.via.kind != "reject":
                put_off = _put_off(rule.name, way, question)
        return by_domain(recipient, facts, plugin=PLUGIN)

    async def rules_seen(
        self, sender: Address | None, recipient: Address, facts: Facts
    ) -> Sequence[RuleSeen]:
        """The rules in the order in which they are tried, up to the one that decides."""
        question = Question(sender=sender, recipient=recipient, facts=facts)
        seen: list[RuleSeen] = []
        returned = None if self._forwarding is None else self._forwarding.returned(question)
        if returned is not None:
            return [RuleSeen(rule=returned.rule, matches=True, reason=returned.reason)]
        for rule in self._rules:
            seen.append(await rule.seen(question))
            if seen[-1].matches:
                return seen
        domain = "local domains are delivered here" if facts.local else "to its mail exchangers"
        return [*seen, RuleSeen(rule=NO_RULE, matches=True, reason=f"no rule matches: {domain}")]


def _opening(route: Route, weighed: Weighed) -> Route:
    """The route, which may not be open yet."""
    if weighed.opens is None or not isinstance(route, Relay):
        return route
    reason = f"{route.reason}; {weighed.waits}"
    return attrs.evolve(route, not_before=weighed.opens, reason=reason)


def _put_off(name: str, way: Way, question: Question) -> Route:
    """A route for now, where a rule further up may take the mail once more is known.

    For a foreign domain it must not be that rule's own: ``via = "local"`` would have the mail taken
    from anyone (`mailframe.server.admission`), and later carried elsewhere.
    """
    facts, recipient = question.facts, question.recipient
    route = way.route(recipient) if facts.local else by_domain(recipient, facts, plugin=PLUGIN)
    reason = f"whether {name} matches is seen before the first attempt"
    return attrs.evolve(route, reason=reason, rule=name)
