"""The settings of one ``[[routing.rule]]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from mailframe.backoff import Backoff
from mailframe.outcome import Protocol, TlsPolicy
from mailframe.patterns import AddressPatterns
from mailframe.routing.hours import Hours
from mailframe.routing.sizes import SizeLimit
from mailframe.routing.via import MAP, MX, Via, parse_via
from mailframe.units import FilePath

ANY = ("*",)
_Names = tuple[str, ...] | None


def map_name(texts: _Names) -> str | None:
    """The map that stands in place of patterns, ``"map:name"``, or ``None``."""
    if texts is None or len(texts) != 1 or not texts[0].startswith(MAP):
        return None
    return texts[0].removeprefix(MAP)


def _patterns(_instance: object, attribute: Any, value: _Names) -> None:
    if value is None or map_name(value):
        return
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


def _logins(instance: object, attribute: Any, value: _Names) -> None:
    _patterns(instance, attribute, value)
    for text in value or ():
        if text == "<>":
            raise ValueError(
                f"'{attribute.name}' '<>' is no login; allowed: address patterns such as "
                '"*@rosse.example"'
            )


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
    :ivar recipients: patterns on the recipient; or ``map:name``: what this map has
    :ivar senders: patterns on the reverse-path; or ``map:name``
    :ivar providers: names of providers, as whose customer the client was let in
    :ivar logins: patterns on the account that the client proved to be; or ``map:name``
    :ivar servers: names of the servers that took the message; ``local``: a program on this machine
    :ivar size: limits on the message's size, all of which must hold: ``">10MB"``
    :ivar hours: times of the week, one of which it must be: ``"Mon-Fri 08:00-18:00 Europe/Rome"``
    :ivar outside_hours: ``pass``: at other times the rule is passed over; ``wait``: mail that it
        fits waits for the hours
    :ivar via: a Twisted client endpoint string or ``mx`` or ``mx:other.example``, or a list of them
        that are tried in order; or ``local``, ``redirect:address``, ``hold``, ``hold:reason`` or
        ``reject:reason``; or ``map:name``: what this map has for the recipient, being one of these
    :ivar protocol: spoken to the server
    :ivar tls: asked of the server
    :ivar login: the user name for a smarthost that wants AUTH
    :ivar password_file: the file that holds its password
    :ivar source: the name of the ``[[relay.source]]`` whose address mail goes out from
    :ivar retry: how long mail waits from one attempt to the next, in place of what ``[queue]`` says
    """

    name: str = attrs.field(default="", validator=_name)
    recipients: tuple[str, ...] = attrs.field(default=ANY, validator=_patterns)
    senders: tuple[str, ...] = attrs.field(default=ANY, validator=_patterns)
    providers: _Names = attrs.field(default=None, validator=_each(str))
    logins: _Names = attrs.field(default=None, validator=_logins)
    servers: _Names = attrs.field(default=None, validator=_each(str))
    size: _Names = attrs.field(default=None, validator=_each(SizeLimit.parse))
    hours: _Names = attrs.field(default=None, validator=_each(Hours.parse))
    outside_hours: Literal["pass", "wait"] = attrs.field(
        default="pass", validator=attrs.validators.in_(("pass", "wait"))
    )
    via: str | tuple[str, ...] = attrs.field(validator=_via)
    protocol: Protocol = attrs.field(
        default="smtp", validator=attrs.validators.in_(("smtp", "lmtp"))
    )
    tls: TlsPolicy = attrs.field(
        default="opportunistic",
        validator=attrs.validators.in_(("none", "opportunistic", "require", "verify", "dane")),
    )
    login: str | None = None
    password_file: FilePath | None = None
    source: str | None = None
    retry: Backoff | None = None

    def __attrs_post_init__(self) -> None:
        if (self.login is None) != (self.password_file is None):
            given, missing = "login", "password_file"
            if self.login is None:
                given, missing = missing, given
            raise ValueError(f"'{given}' is there without {missing}; a login needs both")
        via = parse_via(self.via)
        waits = self.outside_hours == "wait"
        if waits and self.hours is None:
            raise ValueError("'outside_hours' \"wait\" needs hours to wait for")
        for key, is_there in (("retry", self.retry is not None), ("outside_hours", waits)):
            if is_there and via.kind not in ("hops", "map"):
                raise ValueError(
                    f"'{key}' with via = \"{self._shown_via}\" is of no use: no server is asked to "
                    "take the mail"
                )
        if via.kind != "map":
            self.check(via, self._shown_via)

    def check(self, via: Via, shown: str) -> None:
        """Whether the rule's other keys go with where it sends mail.

        :param shown: ``via`` as it was written
        :raises ValueError: they don't
        """
        if self.login is not None and (via.kind != "hops" or via.uses_mx):
            why = (
                "would hand the password to whatever host DNS names; it is for an endpoint alone"
                if via.uses_mx
                else "is of no use: no server is asked to take the mail"
            )
            raise ValueError(f"'login' with via = \"{shown}\" {why}")
        if self.source is not None and (
            via.kind != "hops" or any(w.lower().startswith("unix:") for w in via.where)
        ):
            raise ValueError(
                f"'source' with via = \"{shown}\" is of no use: nothing goes out over the network"
            )
        if self.protocol == "lmtp" and (via.kind != "hops" or via.uses_mx):
            # RFC 2033 §5: LMTP is not for the port 25 of mail exchangers
            raise ValueError(f'\'protocol\' "lmtp" needs an endpoint string; found via = "{shown}"')
        if self.tls == "dane" and not (
            via.where and all(where == "mx" or where.startswith(MX) for where in via.where)
        ):
            raise ValueError(
                f'\'tls\' "dane" with via = "{shown}": TLSA records are looked up for mail '
                'exchangers alone; allowed: via = "mx" or "mx:other.example"'
            )
        if self.tls != "opportunistic" and via.kind == "redirect":
            # Else who asks for TLS there would have it sent on in clear.
            raise ValueError(
                f"'tls' with via = \"{shown}\" is of no use: the mail goes by the rule that fits "
                "the address it is redirected to; write tls in that one"
            )
        if self.tls == "verify" and any(w.lower().startswith("ssl:") for w in via.where):
            raise ValueError(
                f'\'tls\' "verify" with via = "{shown}": an ssl: endpoint verifies no '
                "certificate; write tls: instead"
            )

    @property
    def _shown_via(self) -> str:
        return self.via if isinstance(self.via, str) else ", ".join(self.via)

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps that it uses."""
        names = [map_name(texts) for texts in (self.recipients, self.senders, self.logins)]
        return tuple(name for name in (*names, parse_via(self.via).map) if name)
