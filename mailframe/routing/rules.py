"""One ``[[routing.rule]]``: its settings, and the rule made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from mailframe.address import Address, AddressError
from mailframe.outcome import (
    Hold,
    Local,
    NextHop,
    Protocol,
    Redirect,
    Relay,
    Route,
    RuleSeen,
    TlsPolicy,
    Unroutable,
)
from mailframe.patterns import AddressPattern, AddressPatterns
from mailframe.reply import Reply
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
from mailframe.routing.hours import Hours
from mailframe.routing.sizes import SizeLimit
from mailframe.routing.via import MX, Via, parse_via
from mailframe.units import FilePath

PLUGIN = "table"
_NO_TARGET = Reply(550, "5.1.3", "this recipient's mail can't be redirected")
_ITSELF = Reply(554, "5.4.6", "the address is redirected to itself")
ANY = ("*",)
_Names = tuple[str, ...] | None


def _patterns(_instance: object, attribute: Any, value: tuple[str, ...]) -> None:
    if not value:
        raise ValueError(f"'{attribute.name}' names no pattern, so the rule would never match")
    try:
        AddressPatterns(value)
    except ValueError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


def _each(check: Callable[[str], object]) -> Any:
    """A validator that reads every text of a list, where there is one."""

    def validate(_instance: object, attribute: Any, value: _Names) -> None:
        if value is not None and not value:
            raise ValueError(f"'{attribute.name}' names nothing, so the rule would never match")
        for text in value or ():
            try:
                check(text)
            except ValueError as error:
                raise ValueError(f"'{attribute.name}' {error}") from None

    return validate


def _login(text: str) -> None:
    if AddressPattern.parse(text).text == "<>":
        raise ValueError("'<>' is no login; allowed: address patterns such as \"*@rosse.example\"")


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
    :ivar providers: names of providers, as whose customer the client was let in
    :ivar logins: patterns on the account that the client proved to be
    :ivar servers: names of the servers that took the message; ``local``: a program on this machine
    :ivar size: limits on the message's size, all of which must hold: ``">10MB"``
    :ivar hours: times of the week, one of which it must be: ``"Mon-Fri 08:00-18:00 Europe/Rome"``
    :ivar via: a Twisted client endpoint string or ``mx`` or ``mx:other.example``, or a list of them
        that are tried in order; or ``local``, ``redirect:address``, ``hold``, ``hold:reason`` or
        ``reject:reason``
    :ivar protocol: spoken to the server
    :ivar tls: asked of the server
    :ivar login: the user name for a smarthost that wants AUTH
    :ivar password_file: the file that holds its password
    """

    name: str = attrs.field(default="", validator=_name)
    recipients: tuple[str, ...] = attrs.field(default=ANY, validator=_patterns)
    senders: tuple[str, ...] = attrs.field(default=ANY, validator=_patterns)
    providers: _Names = attrs.field(default=None, validator=_each(str))
    logins: _Names = attrs.field(default=None, validator=_each(_login))
    servers: _Names = attrs.field(default=None, validator=_each(str))
    size: _Names = attrs.field(default=None, validator=_each(SizeLimit.parse))
    hours: _Names = attrs.field(default=None, validator=_each(Hours.parse))
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


class Rule:
    """One rule, ready to be applied.

    :param number: its place in the table, from 1
    """

    def __init__(self, number: int, settings: RuleSettings) -> None:
        self.name = settings.name or f"rule {number}"
        recipients = Recipients(settings.recipients)
        self.domains = recipients.patterns.domains
        self._conditions: tuple[Condition, ...] = tuple(_conditions(settings, recipients))
        self._via = parse_via(settings.via)
        label = f'rule "{settings.name}"' if settings.name else self.name
        shown = (*self._via.where, *(f"redirect to {each.text}" for each in self._via.targets))
        self._reason = f"{label} matches: {', '.join(shown) or _kind(self._via)}"
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

    @property
    def takes(self) -> bool:
        """Whether it sends mail somewhere, instead of refusing it."""
        return self._via.kind != "reject"

    @property
    def holds(self) -> bool:
        """Whether it keeps mail in the queue until an operator lets it go."""
        return self._via.kind == "hold"

    def fits(self, question: Question) -> bool | None:
        """Whether it decides about a message; ``None``: that can't be told yet."""
        if self.holds and question.facts.known.released:
            return False
        result: bool | None = True
        for condition in self._conditions:
            fits = condition.fits(question)
            if fits is False:
                return False
            if fits is None:
                result = None
        return result

    def seen(self, question: Question) -> RuleSeen:
        """How it fares with a message, in words."""
        if self.holds and question.facts.known.released:
            reason = "skipped: an operator released the message"
            return RuleSeen(rule=self.name, matches=False, reason=reason)
        fits = self.fits(question)
        told = [c.told(question) for c in self._conditions if c.fits(question) is fits]
        matched = "; ".join(told) or "it asks for nothing, so it matches"
        reason = matched if fits else f"skipped: {told[0]}"
        return RuleSeen(rule=self.name, matches=fits is True, reason=reason)

    def route(self, recipient: Address) -> Route:
        """Where it sends a recipient's mail."""
        name, via = self.name, self._via
        if via.kind == "local":
            return Local(mailbox=recipient, reason=self._reason, rule=name, plugin=PLUGIN)
        if via.kind == "reject":
            reply = Reply(550, "5.7.1", via.reason)
            return Unroutable(reply=reply, reason=via.reason, rule=name, plugin=PLUGIN)
        if via.kind == "hold":
            return Hold(reason=self._reason, rule=name, plugin=PLUGIN)
        if via.kind == "redirect":
            return self._redirect(recipient)
        hops = tuple(
            attrs.evolve(hop, where=MX + recipient.domain) if hop.where == "mx" else hop
            for hop in self._hops
        )
        return Relay(hops=hops, reason=self._reason, rule=name, plugin=PLUGIN)

    def _redirect(self, recipient: Address) -> Route:
        try:
            addresses = tuple(
                dict.fromkeys(target.address(recipient) for target in self._via.targets)
            )
        except AddressError as error:
            reason = f"{self._reason}, and for {recipient} that is none: {error}"
            return Unroutable(reply=_NO_TARGET, reason=reason, rule=self.name, plugin=PLUGIN)
        if recipient in addresses:
            reason = f"{self._reason}, and that is the recipient itself"
            return Unroutable(reply=_ITSELF, reason=reason, rule=self.name, plugin=PLUGIN)
        return Redirect(addresses=addresses, reason=self._reason, rule=self.name, plugin=PLUGIN)


def _kind(via: Via) -> str:
    return f"{via.kind}: {via.reason}" if via.reason else via.kind


def _conditions(settings: RuleSettings, recipients: Recipients) -> Iterable[Condition]:
    """What a rule asks, what is told in fewest steps first."""
    if settings.recipients != ANY:
        yield recipients
    if settings.senders != ANY:
        yield Senders(settings.senders)
    if settings.servers is not None:
        yield Servers(settings.servers)
    if settings.logins is not None:
        yield Logins(settings.logins)
    if settings.providers is not None:
        yield Providers(settings.providers)
    if settings.size is not None:
        yield Size(settings.size)
    if settings.hours is not None:
        yield InHours(settings.hours)
