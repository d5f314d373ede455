"""The one place that answers where mail goes: the policy's route, with accounts looked up.

A policy's `Local` only says that a mailbox is here. Whose it is, `IAccounts` knows: an account, an
alias, which becomes a `Redirect`, or nobody, which is final. Every fault of a plugin becomes an
`Unroutable` with a 4yz reply, so that nothing is lost or refused because of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.entry import QueuedRecipient
from mailframe.envelope import Client
from mailframe.expansion import MAX_ADDRESSES, MAX_DEPTH
from mailframe.guard import PluginFault, ask, fault
from mailframe.interfaces import (
    NOTHING_KNOWN,
    Account,
    Alias,
    Facts,
    IAccounts,
    IPolicyTraits,
    IRoutingPolicy,
    IRuleTable,
    Known,
)
from mailframe.outcome import Hold, Local, NextHop, Redirect, Relay, Route, RuleSeen, Unroutable
from mailframe.redirects import Redirects, way_to
from mailframe.reply import Reply, temporary_fault

log = Logger()

_ROUTES = (Local, Relay, Redirect, Unroutable, Hold)
_FOUND = (Account, Alias, type(None))
_NOBODY = Reply(550, "5.1.1", "no such mailbox here")


class Router:
    """Asks a policy and the accounts.

    :param policy: provides `IRoutingPolicy`
    :param policy_name: its name in the configuration
    :param accounts: provides `IAccounts`
    :param accounts_name: its name in the configuration
    :param local_domains: the domains whose mail is delivered here
    :param clock: measures how long a plugin takes
    :param plugin_time: seconds that each of them may take
    :ivar asks_provider: see `IPolicyTraits`
    :ivar longest_wait: see `IPolicyTraits`
    """

    def __init__(
        self,
        *,
        policy: IRoutingPolicy,
        policy_name: str,
        accounts: IAccounts,
        accounts_name: str,
        local_domains: frozenset[str],
        clock: IReactorTime,
        plugin_time: float,
    ) -> None:
        self._policy = policy
        self._policy_name = policy_name
        self._accounts = accounts
        self._accounts_name = accounts_name
        self._local_domains = local_domains
        self._clock = clock
        self._plugin_time = plugin_time
        traits: Any = policy if IPolicyTraits.providedBy(policy) else None
        self.asks_provider: bool = traits is not None and bool(traits.asks_provider)
        self.longest_wait: float = 0.0 if traits is None else float(traits.longest_wait)

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        """Where does this recipient's mail go now? Never fails, but by being cancelled.

        :param sender: the reverse-path
        :param client: who handed the message over; ``None`` for a notice of our own
        :param now: POSIX seconds UTC
        :param known: what else is known of the message
        """
        local = recipient.domain in self._local_domains
        facts = Facts(local=local, client=client, now=now, known=known)
        try:
            route = await ask(
                self._policy_name,
                _ROUTES,
                self._clock,
                self._plugin_time,
                lambda: self._policy.route(sender, recipient, facts),
            )
            self._check(route)
            if not route.plugin:
                route = attrs.evolve(route, plugin=self._policy_name)
            if isinstance(route, Local):
                return await self._look_up(route)
            if isinstance(route, Hold):
                return await self._held(route, sender, recipient, facts)
            return route
        except PluginFault as error:
            return Unroutable(reason=error.reason, plugin=error.plugin, reply=temporary_fault())
        except CancelledError:
            raise  # nobody waits for the answer any more
        except Exception as error:
            log.failure("no route for {recipient}", recipient=recipient)
            reason = f"routing raised {type(error).__name__}"
            return Unroutable(reason=reason, plugin=self._policy_name, reply=temporary_fault())

    async def rules_seen(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> tuple[RuleSeen, ...]:
        """How each rule of the policy fares up to the one that decides, for explanation.

        :returns: empty when the policy has no table of rules, or can't tell at present
        """
        policy = self._policy
        if not IRuleTable.providedBy(policy):
            return ()
        local = recipient.domain in self._local_domains
        facts = Facts(local=local, client=client, now=now, known=known)
        try:
            seen = await ask(
                self._policy_name,
                (Sequence,),
                self._clock,
                self._plugin_time,
                lambda: policy.rules_seen(sender, recipient, facts),
            )
        except PluginFault:
            return ()
        return tuple(seen)

    async def resolve_fully(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> tuple[tuple[Address, Route], ...]:
        """Every decision on the way from a recipient to where its mail ends up, for explanation.

        Redirects are followed as in the queue, and with the same code.

        :param known: what else is known of the message
        :returns: addresses with their routes, redirects before what they lead to. Where redirects
            lead back, or too far, stands an `Unroutable` with 5.4.6; beside the redirect itself
            where that is followed on another way to the same address
        """
        recipients = [QueuedRecipient(address=recipient)]
        routes: dict[Address, Route] = {}
        steps: dict[Address, list[Route]] = {}
        pending = [0]
        while pending:
            for address in [recipients[index].address for index in pending]:
                if address not in routes:
                    routes[address] = await self.route(sender, address, client, now, known)
            known = attrs.evolve(known, original=known.original or recipient)
            redirecting = [
                index
                for index in pending
                if isinstance(routes[recipients[index].address], Redirect)
            ]
            redirects = Redirects(recipients, redirecting)
            for index in redirecting:
                address = recipients[index].address
                route = routes[address]
                assert isinstance(route, Redirect)
                reply = redirects.follow(index, route)
                if isinstance(reply, Reply):
                    route = _too_far(route, way_to(recipients, index), reply)
                    recipients[index] = attrs.evolve(recipients[index], state="failed")
                found = steps.setdefault(address, [])
                if not any(type(route) is type(each) for each in found):
                    found.append(route)
            pending = [i for i, each in enumerate(recipients) if each.state == "pending"]
            if not redirecting:
                break
        for address in (recipients[index].address for index in pending):
            steps[address] = [routes[address]]
        return tuple(_in_order(recipient, steps))

    async def _held(
        self, route: Hold, sender: Address | None, recipient: Address, facts: Facts
    ) -> Route:
        """Nothing is held that could go nowhere when it is released."""
        if facts.known.released:
            raise fault(self._policy_name, "holds again what an operator released")
        released = attrs.evolve(facts.known, released=True)
        later = await self.route(sender, recipient, facts.client, facts.now, released)
        if isinstance(later, Unroutable) and later.reply.is_permanent:
            return later
        return route

    async def _look_up(self, route: Local) -> Route:
        found = await ask(
            self._accounts_name,
            _FOUND,
            self._clock,
            self._plugin_time,
            lambda: self._accounts.find(route.mailbox),
        )
        if found is None:
            return Unroutable(
                reason=f"no such mailbox here: {route.mailbox}",
                rule=route.rule,
                plugin=self._accounts_name,
                reply=_NOBODY,
            )
        if isinstance(found, Account):
            self._need(self._accounts_name, [found.address], Address)
            if found.address == route.mailbox:
                return route
            reason = f"{route.reason}; {found.reason}" if found.reason else route.reason
            return attrs.evolve(route, mailbox=found.address, reason=reason)
        self._need(self._accounts_name, found.addresses, Address)
        return Redirect(
            addresses=tuple(found.addresses),
            reason=found.reason or f"{found.address} is an alias",
            rule="alias",
            plugin=self._accounts_name,
        )

    def _check(self, route: Route) -> None:
        """Look into what a policy answered: its type says nothing of what it holds."""
        if isinstance(route, Local):
            self._need(self._policy_name, [route.mailbox], Address)
        elif isinstance(route, Relay):
            self._need(self._policy_name, route.hops, NextHop)
            if route.reverse_path is not None:
                self._need(self._policy_name, [route.reverse_path], Address)
            if route.retry is not None:
                self._need(self._policy_name, [route.retry], Backoff)
            opens = route.not_before
            if opens is not None and not isinstance(opens, float | int):
                raise fault(self._policy_name, "answered with a not_before that is no time")
        elif isinstance(route, Redirect):
            self._need(self._policy_name, route.addresses, Address)
        elif isinstance(route, Hold):
            return
        elif not isinstance(route.reply, Reply) or route.reply.is_positive:
            raise fault(self._policy_name, "refused without a refusal to tell")

    def _need(self, plugin: str, values: Sequence[object], wanted: type) -> None:
        if not values or not all(isinstance(value, wanted) for value in values):
            raise fault(plugin, f"answered with something else than {wanted.__name__} values")


def _too_far(route: Redirect, way: Collection[Address], reply: Reply) -> Unroutable:
    """A redirect that fails: by the rule that made it, as the message's history has it.

    :param way: the addresses that led to it, and its own
    """
    back = next((each for each in route.addresses if each in way), None)
    if back is not None:
        why = f"redirects lead back to {back}"
    elif len(way) > MAX_DEPTH:
        why = f"more than {MAX_DEPTH} redirects in a row"
    else:
        why = f"more than {MAX_ADDRESSES} addresses"
    reason = f"{route.reason}; {why}"
    return Unroutable(reason=reason, rule=route.rule, plugin=route.plugin, reply=reply)


def _in_order(
    first: Address, steps: Mapping[Address, Sequence[Route]]
) -> Iterator[tuple[Address, Route]]:
    """Each redirect, and then what it leads to."""
    ahead, seen = [first], set[Address]()
    while ahead:
        address = ahead.pop()
        if address in seen:
            continue
        seen.add(address)
        for route in steps[address]:
            yield address, route
            if isinstance(route, Redirect):
                ahead.extend(reversed(route.addresses))
