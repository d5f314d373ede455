"""The one place that answers where mail goes: the policy's route, with accounts looked up.

A policy's `Local` only says that a mailbox is here. Whose it is, `IAccounts` knows: an account, an
alias, which becomes a `Redirect`, or nobody, which is final. Every fault of a plugin becomes an
`Unroutable` with a 4yz reply, so that nothing is lost or refused because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.envelope import Client
from mailframe.expansion import LOOP, MAX_ADDRESSES, MAX_DEPTH, TOO_MANY
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

        A redirect to an address that led to it fails as a whole, as it does in the queue
        (`mailframe.queue.progress`).

        :param known: what else is known of the message
        :returns: each address once with its route, redirects before what they lead to. Where
            redirects lead back, or too far, stands an `Unroutable` with 5.4.6
        """
        steps: dict[Address, Route] = {}
        ahead: list[tuple[Address, tuple[Address, ...]]] = [(recipient, ())]
        while ahead:
            address, path = ahead.pop()
            if address in steps:
                continue
            if len(path) > MAX_DEPTH:
                _end(steps, path[-1], f"more than {MAX_DEPTH} redirects in a row")
            elif len(steps) >= MAX_ADDRESSES:
                _end(steps, path[-1], f"more than {MAX_ADDRESSES} addresses")
                break
            else:
                if path:
                    known = attrs.evolve(known, original=known.original or recipient)
                route = await self.route(sender, address, client, now, known)
                if isinstance(route, Redirect):
                    below = (*path, address)
                    back = next((each for each in route.addresses if each in below), None)
                    if back is None:
                        ahead.extend((target, below) for target in reversed(route.addresses))
                    else:
                        route = _too_far(route, f"redirects lead back to {back}", LOOP)
                steps[address] = route
        return tuple(steps.items())

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


def _too_far(route: Route, why: str, reply: Reply) -> Unroutable:
    """A redirect that fails: by the rule that made it, as the message's history has it."""
    reason = f"{route.reason}; {why}"
    return Unroutable(reason=reason, rule=route.rule, plugin=route.plugin, reply=reply)


def _end(steps: dict[Address, Route], address: Address, why: str) -> None:
    """Have a redirect fail whose targets are too many; it may have several that are."""
    if isinstance(steps[address], Redirect):
        steps[address] = _too_far(steps[address], why, TOO_MANY)
