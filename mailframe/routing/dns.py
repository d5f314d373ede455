"""``[routing] plugin = "dns"``: local domains here, all else to its domain's exchangers."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy, Site
from mailframe.outcome import Local, NextHop, Relay, Route

# What the reasons say behind the domain.
IS_LOCAL = " is a local domain"
TO_EXCHANGERS = " is not a local domain: to its mail exchangers"


@attrs.frozen(kw_only=True)
class DnsSettings:
    """The ``[routing]`` table: there is nothing to set."""


def build(_settings: DnsSettings, _site: Site) -> DnsRouting:
    """Make the part."""
    return DnsRouting()


@implementer(IRoutingPolicy)
class DnsRouting:
    """Routes by the recipient's domain alone (RFC 5321 §5.1)."""

    def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Deferred[Route]:
        """Where does this recipient's mail go now?"""
        return succeed(by_domain(recipient, facts, plugin="dns"))


def by_domain(recipient: Address, facts: Facts, *, plugin: str) -> Route:
    """The route where no rule says otherwise.

    :param plugin: who decides so
    """
    domain = recipient.domain
    if facts.local:
        return Local(mailbox=recipient, reason=f"{domain}{IS_LOCAL}", plugin=plugin)
    return Relay(
        hops=(NextHop(where=f"mx:{domain}"),),
        reason=f"{domain}{TO_EXCHANGERS}",
        plugin=plugin,
    )
