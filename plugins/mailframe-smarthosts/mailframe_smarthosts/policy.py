"""The policy, and the settings that users write for it.

Which smarthost a sender gets is decided by rendezvous hashing: each smarthost is weighed by a hash
of its own name and the sender's address, and the heaviest wins. Every process and every restart
decides alike without remembering anything, and a smarthost that is added or taken away moves no
sender but those it gains or had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import attrs
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy, Site
from mailframe.outcome import Local, NextHop, Relay, Route, TlsPolicy
from mailframe.patterns import AddressPatterns
from mailframe.routing.via import parse_via

PLUGIN = "smarthosts"


def _servers(_instance: object, attribute: Any, value: tuple[str, ...]) -> None:
    """Refuse what the relay client could not connect to: at start-up, not when mail waits."""
    try:
        kind = parse_via(value).kind
    except ValueError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None
    if kind != "hops":
        raise ValueError(f"'{attribute.name}' names no server but {value[0]!r}")


def _patterns(_instance: object, attribute: Any, value: tuple[str, ...]) -> None:
    try:
        AddressPatterns(value)
    except ValueError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


@attrs.frozen(kw_only=True)
class SenderSettings:
    """One ``[[routing.sender]]``: senders with smarthosts of their own.

    :ivar senders: patterns on the reverse-path
    :ivar servers: Twisted client endpoint strings
    """

    senders: tuple[str, ...] = attrs.field(validator=_patterns)
    servers: tuple[str, ...] = attrs.field(validator=_servers)


@attrs.frozen(kw_only=True)
class SmarthostsSettings:
    """The ``[routing]`` table.

    :ivar servers: the smarthosts, as Twisted client endpoint strings; at least one
    :ivar tls: asked of each of them
    :ivar sender: exceptions, of which the first that matches counts
    """

    servers: tuple[str, ...] = attrs.field(validator=_servers)
    tls: TlsPolicy = "opportunistic"
    sender: tuple[SenderSettings, ...] = ()


def build(settings: SmarthostsSettings, site: Site) -> Smarthosts:
    """Make the part for ``[routing] plugin = "smarthosts"``."""
    return Smarthosts(settings)


@implementer(IRoutingPolicy)
class Smarthosts:
    """Local domains here, everything else to the smarthosts of its sender."""

    def __init__(self, settings: SmarthostsSettings) -> None:
        self._settings = settings
        self._exceptions = [
            (AddressPatterns(each.senders), each.servers) for each in settings.sender
        ]

    async def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Route:
        """Where does this recipient's mail go now?"""
        if facts.local:
            reason = f"{recipient.domain} is a local domain"
            return Local(mailbox=recipient, reason=reason, rule="local", plugin=PLUGIN)
        for number, (patterns, servers) in enumerate(self._exceptions, start=1):
            if patterns.matches(sender):
                return self._relay(sender, servers, rule=f"sender {number}")
        return self._relay(sender, self._settings.servers, rule="servers")

    def _relay(self, sender: Address | None, servers: Sequence[str], rule: str) -> Relay:
        # RFC 5321 §2.4: a local part's case may matter to its own host; a share of the load does
        # not depend on that.
        name = "<>" if sender is None else str(sender).lower()
        order = sorted(servers, key=lambda server: _weight(name, server), reverse=True)
        return Relay(
            hops=tuple(NextHop(where=server, tls=self._settings.tls) for server in order),
            reason=f"mail of {name} leaves by {order[0]}",
            rule=rule,
            plugin=PLUGIN,
        )


def _weight(sender: str, server: str) -> bytes:
    return hashlib.sha256(f"{sender}\0{server}".encode("ascii")).digest()
