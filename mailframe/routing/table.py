"""``[routing] plugin = "table"``: rules on recipient and sender, of which the first match decides.

Where no rule matches, mail for a local domain is delivered here and all other mail goes to its
domain's mail exchangers. A rule may as well send mail for a local domain elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy, Site
from mailframe.outcome import Local, NextHop, Protocol, Relay, Route, TlsPolicy, Unroutable
from mailframe.patterns import AddressPatterns
from mailframe.reply import Reply
from mailframe.routing.dns import by_domain
from mailframe.routing.via import MX, parse_via
from mailframe.units import FilePath

PLUGIN = "table"


def _patterns(_instance: object, attribute: Any, value: tuple[str, ...]) -> None:
    if not value:
        raise ValueError(f"'{attribute.name}' names no pattern, so the rule would never match")
    try:
        AddressPatterns(value)
    except ValueError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


def _via(_instance: object, attribute: Any, value: str | tuple[str, ...]) -> None:
    try:
        parse_via(value)
    except ValueError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


def _name(_instance: object, attribute: Any, value: str) -> None:
    if not (value.isprintable() and value.isascii()):
        raise ValueError(f"'{attribute.name}' found {value!r}; allowed: a name in printable ASCII")


@attrs.frozen(kw_only=True)
class RuleSettings:
    """One ``[[routing.rule]]`` table.

    :ivar name: how decisions and logs refer to it; default: ``rule 1`` and so on, by its place
    :ivar recipients: patterns on the recipient
    :ivar senders: patterns on the reverse-path
    :ivar via: a Twisted client endpoint string or ``mx`` or ``mx:other.example``, or a list of them
        that are tried in order; or ``local`` or ``reject:reason``
    :ivar protocol: spoken to the server
    :ivar tls: asked of the server
    :ivar login: the user name for a smarthost that wants AUTH
    :ivar password_file: the file that holds its password
    """

    name: str = attrs.field(default="", validator=_name)
    recipients: tuple[str, ...] = attrs.field(default=("*",), validator=_patterns)
    senders: tuple[str, ...] = attrs.field(default=("*",), validator=_patterns)
    via: str | tuple[str, ...] = attrs.field(validator=_via)
    protocol: Protocol = attrs.field(
        default="smtp", validator=attrs.validators.in_(("smtp", "lmtp"))
    )
    tls: TlsPolicy = attrs.field(
        default="opportunistic",
        validator=attrs.validators.in_(("none", "opportunistic", "require", "verify")),
    )
    login: str | None = None
    password_file: FilePath | None = None

    def __attrs_post_init__(self) -> None:
        via = parse_via(self.via)
        shown = self.via if isinstance(self.via, str) else ", ".join(self.via)
        if (self.login is None) != (self.password_file is None):
            given, missing = "login", "password_file"
            if self.login is None:
                given, missing = missing, given
            raise ValueError(f"'{given}' is there without {missing}; a login needs both")
        if self.login is not None and (via.kind != "hops" or via.uses_mx):
            why = (
                "would hand the password to whatever host DNS names; it is for an endpoint alone"
                if via.uses_mx
                else "is of no use: no server is asked to take the mail"
            )
            raise ValueError(f"'login' with via = \"{shown}\" {why}")
        if self.protocol == "lmtp" and (via.kind != "hops" or via.uses_mx):
            # RFC 2033 §5: LMTP is not for the port 25 of mail exchangers
            raise ValueError(f'\'protocol\' "lmtp" needs an endpoint string; found via = "{shown}"')
        if self.tls == "verify" and any(w.lower().startswith("ssl:") for w in via.where):
            raise ValueError(
                f'\'tls\' "verify" with via = "{shown}": an ssl: endpoint verifies no '
                "certificate; write tls: instead"
            )


def _unique_names(_instance: object, attribute: Any, value: Sequence[RuleSettings]) -> None:
    seen: set[str] = set()
    for rule in value:
        if rule.name and rule.name in seen:
            raise ValueError(f"'{attribute.name}' two rules are named {rule.name!r}")
        seen.add(rule.name)


@attrs.frozen(kw_only=True)
class TableSettings:
    """The ``[routing]`` table."""

    rule: tuple[RuleSettings, ...] = attrs.field(default=(), validator=_unique_names)


def build(settings: TableSettings, _site: Site) -> TableRouting:
    """Make the part."""
    return TableRouting(settings.rule)


@implementer(IRoutingPolicy)
class TableRouting:
    """Routes by a table of rules.

    Rules that name domains are looked up by domain, so a long table costs no more than a short one.

    :param settings: of each rule, in the order in which they are tried
    """

    def __init__(self, settings: Iterable[RuleSettings]) -> None:
        rules = [_Rule(number, each) for number, each in enumerate(settings, start=1)]
        named = {domain for rule in rules for domain in rule.recipients.domains or ()}
        self._for_any = tuple(rule for rule in rules if rule.recipients.domains is None)
        self._for_domain = {
            domain: tuple(
                rule
                for rule in rules
                if rule.recipients.domains is None or domain in rule.recipients.domains
            )
            for domain in named
        }

    def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Deferred[Route]:
        """Where does this recipient's mail go now?"""
        for rule in self._for_domain.get(recipient.domain, self._for_any):
            if rule.recipients.matches(recipient) and rule.senders.matches(sender):
                return succeed(rule.route(recipient))
        return succeed(by_domain(recipient, facts, plugin=PLUGIN))


class _Rule:
    """One rule, ready to be applied."""

    def __init__(self, number: int, settings: RuleSettings) -> None:
        self.recipients = AddressPatterns(settings.recipients)
        self.senders = AddressPatterns(settings.senders)
        self._name = settings.name or f"rule {number}"
        self._via = parse_via(settings.via)
        label = f'rule "{settings.name}"' if settings.name else self._name
        self._reason = f"{label} matches: {', '.join(self._via.where) or self._via.kind}"
        self._hops = tuple(
            NextHop(
                where=where,
                protocol=settings.protocol,
                tls=settings.tls,
                login=settings.login,
                password_file=settings.password_file,
            )
            for where in self._via.where
        )

    def route(self, recipient: Address) -> Route:
        """Where the rule sends a recipient's mail."""
        name, via = self._name, self._via
        if via.kind == "local":
            return Local(mailbox=recipient, reason=self._reason, rule=name, plugin=PLUGIN)
        if via.kind == "reject":
            reply = Reply(550, "5.7.1", via.reason)
            return Unroutable(reply=reply, reason=via.reason, rule=name, plugin=PLUGIN)
        hops = tuple(
            attrs.evolve(hop, where=MX + recipient.domain) if hop.where == "mx" else hop
            for hop in self._hops
        )
        return Relay(hops=hops, reason=self._reason, rule=name, plugin=PLUGIN)
