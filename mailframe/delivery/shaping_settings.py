"""The tables ``[[relay.shaping]]``: limits for some destinations and for some providers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from mailframe.address import AddressError, normal_domain
from mailframe.delivery.bucket import Rate

_ALLOWED = '"*", "example.com", "*.example.com", "mx:example.com", "tcp:127.0.0.1:2600"'
_LIMITS = ("connections", "rate", "connection_rate", "recipients", "reuse_messages")


def _is_rate(_table: Any, field: attrs.Attribute[Any], text: str | None) -> None:
    if text is not None:
        try:
            Rate.parse(text)
        except ValueError as error:
            raise ValueError(f"'{field.name}' must be {error}") from None


def _are_destinations(
    _table: Any, field: attrs.Attribute[Any], texts: Sequence[str] | None
) -> None:
    if texts == ():
        raise ValueError(f"'{field.name}' is empty, so nothing would match; allowed: {_ALLOWED}")
    for text in texts or ():
        try:
            parse_destination(text)
        except ValueError as error:
            raise ValueError(f"'{field.name}' {error}") from None


def _are_names(_table: Any, field: attrs.Attribute[Any], texts: Sequence[str] | None) -> None:
    if texts == ():
        raise ValueError(f"'{field.name}' is empty, so nothing would match")


def parse_destination(text: str) -> str:
    """A pattern in normal form: ``*``, a domain, ``*.`` and a domain, or an endpoint string.

    :raises ValueError: it is none of these; the message says what is allowed
    """
    if text == "*":
        return text
    try:
        if text.startswith("mx:"):
            return "mx:" + normal_domain(text[3:])
        if ":" in text and not text.startswith("["):
            return text
        if text.startswith("*."):
            return "*." + normal_domain(text[2:])
        return normal_domain(text)
    except AddressError as error:
        raise ValueError(
            f"names {text!r}, which is no destination: {error}; allowed: {_ALLOWED}"
        ) from None


_at_least_one = attrs.validators.optional(attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class ShapingTable:
    """One table. All that match a message hold together.

    :ivar name: how explanations, replies and log lines call it
    :ivar destinations: patterns on the next hop: its domain, the domains below one, or what routing
        writes in ``via``; ``None`` for all
    :ivar providers: whose customers' messages it is for; ``*`` for every provider, ``None`` for all
        messages
    :ivar connections: to each next hop at once
    :ivar rate: messages, such as ``100/1m``: to each next hop by itself where ``destinations`` are
        named, for each provider by itself where ``providers`` are
    :ivar connection_rate: connections that are opened, counted likewise
    :ivar together: what the table is for is counted together
    :ivar recipients: of one transaction
    :ivar reuse_messages: over one connection
    """

    name: str
    destinations: tuple[str, ...] | None = attrs.field(default=None, validator=_are_destinations)
    providers: tuple[str, ...] | None = attrs.field(default=None, validator=_are_names)
    connections: int | None = attrs.field(default=None, validator=_at_least_one)
    rate: str | None = attrs.field(default=None, validator=_is_rate)
    connection_rate: str | None = attrs.field(default=None, validator=_is_rate)
    together: bool = False
    recipients: int | None = attrs.field(default=None, validator=_at_least_one)
    reuse_messages: int | None = attrs.field(default=None, validator=_at_least_one)

    def __attrs_post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError("'name' must be a name, by which replies and log lines call the table")
        given = [limit for limit in _LIMITS if getattr(self, limit) is not None]
        if not given:
            raise ValueError(f"sets no limit; allowed: {', '.join(_LIMITS)}")
        if self.providers is not None:
            for limit in given:
                if limit != "rate":
                    raise ValueError(
                        f"'{limit}' can't be kept for some providers: their messages share "
                        "connections; such a table sets a rate only"
                    )
        if self.together and self.rate is None and self.connection_rate is None:
            raise ValueError("'together' is about rates, and the table sets none")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The destinations in normal form."""
        return (
            ("*",)
            if self.destinations is None
            else tuple(map(parse_destination, self.destinations))
        )

    def share(self, parts: int) -> ShapingTable:
        """What one of several processes may do of it."""

        def rate(text: str | None) -> str | None:
            return None if text is None else str(Rate.parse(text).share(parts))

        return attrs.evolve(
            self,
            connections=None if self.connections is None else -(-self.connections // parts),
            rate=rate(self.rate),
            connection_rate=rate(self.connection_rate),
        )
