"""Where mail for an address ends up, by the code that routes and relays it; nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mailframe.address import Address
from mailframe.assembly import Parts
from mailframe.cli.limits import InForce
from mailframe.delivery.live_limits import read_live
from mailframe.delivery.relay import RelayAgent
from mailframe.delivery.required_tls import hop_for
from mailframe.delivery.shaping import limits_for
from mailframe.delivery.targets import PlannedHop
from mailframe.documents import Document, decision_document, route_document, rules_document
from mailframe.envelope import Client, Envelope
from mailframe.interfaces import Known
from mailframe.outcome import NextHop, Redirect, Relay, Route, RuleSeen, Unroutable
from mailframe.routing.resolution import Router


@attrs.frozen(kw_only=True)
class Destination:
    """Where mail for one address goes, after all aliases.

    :ivar planned: what the relay agent would do, when it is elsewhere
    :ivar limits: those of each of its next hops
    :ivar rules: how the rules of the routing table fare
    """

    address: Address
    route: Route
    planned: tuple[PlannedHop, ...] = ()
    limits: tuple[InForce, ...] = ()
    rules: tuple[RuleSeen, ...] = ()

    @property
    def is_reachable(self) -> bool:
        """Whether mail would get there, as far as can be told without trying."""
        if isinstance(self.route, Unroutable):
            return self.route.reply.is_temporary
        return not self.planned or any(
            each.reply is None or each.reply.is_temporary for each in self.planned
        )

    def document(self) -> Document:
        """What ``--json`` shows of its route."""
        document = route_document(self.route, self.planned)
        for shown, limits in zip(document["hops"], self.limits, strict=True):
            shown["limits"] = limits.document()
        return document


@attrs.frozen(kw_only=True)
class Followed:
    """Every decision on the way from one address to where its mail ends up.

    :ivar route: the first decision
    :ivar aliases: each redirection on the way, with the address it is for
    :ivar rules: for each address, how the rules of the routing table fare
    :ivar destinations: where it ends
    """

    route: Route
    aliases: tuple[tuple[Address, Redirect], ...]
    rules: Mapping[Address, tuple[RuleSeen, ...]]
    destinations: tuple[Destination, ...]

    @property
    def is_reachable(self) -> bool:
        """Whether no part of the mail would bounce."""
        return all(destination.is_reachable for destination in self.destinations)

    @classmethod
    def at_once(cls, address: Address, route: Route) -> Followed:
        """Where nothing is to be asked."""
        there = Destination(address=address, route=route)
        return cls(route=route, aliases=(), rules={}, destinations=(there,))

    def documents(self) -> Document:
        """What ``--json`` shows of it."""
        own = [each.document() for each in self.destinations if each.route is self.route]
        return {
            "route": own[0] if own else route_document(self.route),
            "aliases": [
                {
                    "address": str(address),
                    "addresses": [str(target) for target in redirect.addresses],
                    **decision_document(redirect),
                    "rules": rules_document(self.rules[address]),
                }
                for address, redirect in self.aliases
            ],
            "destinations": [
                {
                    "address": str(each.address),
                    "route": each.document(),
                    "rules": rules_document(each.rules),
                }
                for each in self.destinations
            ],
        }


class Follower:
    """Follows addresses to where their mail ends up.

    :param parts: accounts and routing
    """

    def __init__(self, parts: Parts) -> None:
        self.router: Router = parts.router()
        self._clock = parts.site.reactor
        relay = parts.relay_agent(keeps=False).part
        assert isinstance(relay, RelayAgent)
        self._relay = relay
        self._settings = parts.settings.relay
        self._live = read_live(parts.settings.state_dir)

    async def follow(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        known: Known,
        envelope: Envelope | None = None,
    ) -> Followed:
        """Have every decision taken.

        :param envelope: of a message in the queue
        """
        now = self._clock.seconds()
        steps = await self.router.resolve_fully(sender, recipient, client, now, known)
        destinations: list[Destination] = []
        rules: dict[Address, tuple[RuleSeen, ...]] = {}
        redirected = attrs.evolve(known, original=known.original or recipient)
        for address, route in steps:
            about = known if address == recipient else redirected
            seen = await self.router.rules_seen(sender, address, client, now, about)
            rules[address] = seen
            if not isinstance(route, Redirect):
                planned = await self._plan(route, envelope)
                destinations.append(
                    Destination(
                        address=address,
                        route=route,
                        planned=planned,
                        limits=tuple(self._limits(each.hop, known.provider) for each in planned),
                        rules=seen,
                    )
                )
        return Followed(
            route=steps[0][1],
            aliases=tuple((each, route) for each, route in steps if isinstance(route, Redirect)),
            rules=rules,
            destinations=tuple(destinations),
        )

    async def _plan(self, route: Route, envelope: Envelope | None) -> tuple[PlannedHop, ...]:
        if not isinstance(route, Relay):
            return ()
        if envelope is not None:
            hops = tuple(hop_for(hop, envelope) for hop in route.hops)
            route = attrs.evolve(route, hops=hops)
        return await self._relay.plan(route)

    def _limits(self, hop: NextHop, provider: str | None) -> InForce:
        """Those in force for a message; rates that are for other providers' customers are not."""
        limits = limits_for(self._settings, hop.where)
        rates = tuple(rate for rate in limits.rates if rate.is_for(provider))
        asked = (hop.where, hop.tls, hop.protocol)
        return InForce(
            limits=attrs.evolve(limits, rates=rates),
            live=[each for each in self._live if (each.where, each.tls, each.protocol) == asked],
        )
