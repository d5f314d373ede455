"""``[routing] plugin = "table"``: a table of rules, of which the first match decides.

Where no rule matches, mail for a local domain is delivered here and all other mail goes to its
domain's mail exchangers. A rule may as well send mail for a local domain elsewhere.

A rule that can't be told to match yet (`mailframe.routing.conditions`) is passed over, for the
route is asked again before each attempt. But what such a rule may take later is not refused now: a
refusal by a rule behind it is put off to the first attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy, IRuleTable, Site
from mailframe.outcome import Route, RuleSeen, Unroutable
from mailframe.routing.conditions import Question
from mailframe.routing.dns import by_domain
from mailframe.routing.rules import PLUGIN, Rule, RuleSettings

__all__ = ["RuleSettings", "TableRouting", "TableSettings", "build"]

NO_RULE = "no rule"  # how an explanation calls what holds where none matches


def _unique_names(_instance: object, attribute: Any, value: Sequence[RuleSettings]) -> None:
    seen: set[str] = set()
    for number, rule in enumerate(value, start=1):
        name = rule.name or f"rule {number}"
        if name in seen:
            raise ValueError(f"'{attribute.name}' two rules are named {name!r}")
        seen.add(name)


@attrs.frozen(kw_only=True)
class TableSettings:
    """The ``[routing]`` table."""

    rule: tuple[RuleSettings, ...] = attrs.field(default=(), validator=_unique_names)


def build(settings: TableSettings, _site: Site) -> TableRouting:
    """Make the part."""
    return TableRouting(settings.rule)


@implementer(IRoutingPolicy, IRuleTable)
class TableRouting:
    """Routes by a table of rules.

    Rules that name domains are looked up by domain, so a long table costs no more than a short one.

    :param settings: of each rule, in the order in which they are tried
    """

    def __init__(self, settings: Iterable[RuleSettings]) -> None:
        self._rules = tuple(Rule(number, each) for number, each in enumerate(settings, start=1))
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
        question = Question(sender=sender, recipient=recipient, facts=facts)
        open_rule: Rule | None = None  # the first that may take the mail once more is known
        for rule in self._for_domain.get(recipient.domain, self._for_any):
            fits = rule.fits(question)
            if fits:
                route = rule.route(recipient)
                if open_rule is not None and isinstance(route, Unroutable):
                    return _put_off(open_rule, question)
                return route
            if fits is None and rule.takes and open_rule is None:
                open_rule = rule
        return by_domain(recipient, facts, plugin=PLUGIN)

    async def rules_seen(
        self, sender: Address | None, recipient: Address, facts: Facts
    ) -> Sequence[RuleSeen]:
        """The rules in the order in which they are tried, up to the one that decides."""
        question = Question(sender=sender, recipient=recipient, facts=facts)
        seen: list[RuleSeen] = []
        for rule in self._rules:
            seen.append(rule.seen(question))
            if seen[-1].matches:
                return seen
        domain = "local domains are delivered here" if facts.local else "to its mail exchangers"
        return [*seen, RuleSeen(rule=NO_RULE, matches=True, reason=f"no rule matches: {domain}")]


def _put_off(rule: Rule, question: Question) -> Route:
    """A route for now, where a rule further up may take the mail once more is known.

    For a foreign domain it must not be that rule's own: ``via = "local"`` would have the mail taken
    from anyone (`mailframe.server.admission`), and later carried elsewhere.
    """
    facts, recipient = question.facts, question.recipient
    route = rule.route(recipient) if facts.local else by_domain(recipient, facts, plugin=PLUGIN)
    reason = f"whether {rule.name} matches is seen before the first attempt"
    return attrs.evolve(route, reason=reason, rule=rule.name)
