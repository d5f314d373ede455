"""Tests of mailframe.routing.resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.expansion import MAX_ADDRESSES, MAX_DEPTH
from mailframe.interfaces import Account, Alias, Facts, IAccounts, IRoutingPolicy, Known
from mailframe.outcome import Hold, Local, NextHop, Redirect, Relay, Unroutable
from mailframe.reply import Reply
from mailframe.routing.dns import DnsRouting
from mailframe.routing.resolution import Router
from mailframe.routing.table import RuleSettings, TableRouting

ANNA = Address("anna", "rosse.example")
INFO = Address("info", "rosse.example")
JSMITH = Address("jsmith", "mindspring.com")


@implementer(IRoutingPolicy)
class Policy:
    """Answers what it was told, and keeps what it was asked."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.asked: list[Facts] = []

    def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Any:
        self.asked.append(facts)
        return self.answer()


@implementer(IAccounts)
class Accounts:
    """Knows Anna, and whoever else it is told."""

    def __init__(self, **aliases: Sequence[str]) -> None:
        self.answer: Callable[[], Any] | None = None
        self._aliases = aliases

    def find(self, address: Address) -> Any:
        if self.answer is not None:
            return self.answer()
        targets = self._aliases.get(address.local_part)
        if targets is not None:
            addresses = tuple(map(Address.parse, targets))
            return succeed(Alias(address=address, addresses=addresses))
        known = address.local_part.lower() == "anna"
        return succeed(Account(address=ANNA) if known else None)

    def checkers(self) -> Sequence[ICredentialsChecker]:
        return ()


class RouterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def router(self, policy: Any = None, accounts: Any = None) -> Router:
        return Router(
            policy=policy or DnsRouting(),
            policy_name="dns",
            accounts=accounts or Accounts(),
            accounts_name="file",
            local_domains=frozenset({"rosse.example"}),
            clock=self.clock,
            plugin_time=30.0,
        )

    def start(self, router: Router, recipient: Address = ANNA) -> Deferred[Any]:
        return Deferred.fromCoroutine(router.route(None, recipient, None, 7.0))

    def route(self, recipient: Address, policy: Any = None, accounts: Any = None) -> Any:
        return self.successResultOf(self.start(self.router(policy, accounts), recipient))


class RouteTests(RouterCase):
    def test_account(self) -> None:
        """Mail would go into a mailbox that nobody reads, for want of the owner's spelling."""
        route = self.route(Address("ANNA", "rosse.example"))
        self.assertEqual(
            route, Local(mailbox=ANNA, reason="rosse.example is a local domain", plugin="dns")
        )

    def test_alias(self) -> None:
        """Mail to an alias would be refused."""
        route = self.route(INFO, accounts=Accounts(info=["anna@rosse.example", str(JSMITH)]))
        self.assertEqual(
            route,
            Redirect(
                addresses=(ANNA, JSMITH),
                reason="info@rosse.example is an alias",
                rule="alias",
                plugin="file",
            ),
        )

    def test_nobody(self) -> None:
        """Mail to a mistyped address would be taken, and bounce to a forged sender."""
        for recipient in (
            Address("nobody", "rosse.example"),
            Address("postmaster", "rosse.example"),
        ):
            route = self.route(recipient)
            self.assertEqual(route.reply, Reply(550, "5.1.1", "no such mailbox here"))
            self.assertEqual(route.plugin, "file")

    def test_relay(self) -> None:
        """Mail for others would be looked up among the accounts here."""
        route = self.route(JSMITH)
        self.assertEqual(route.hops, (NextHop(where="mx:mindspring.com"),))

    def test_local_outside_local_domains(self) -> None:
        """A policy could not give a mailbox to a domain that is not listed."""
        local = Local(mailbox=Address("anna", "other.example"), reason="so", plugin="mine")
        route = self.route(JSMITH, Policy(lambda: succeed(local)))
        self.assertEqual(route.mailbox, ANNA)
        self.assertEqual(route.plugin, "mine")

    def test_plugin_name_is_filled_in(self) -> None:
        """A log line would not say who decided."""
        redirect = Redirect(addresses=(JSMITH,), reason="moved")
        route = self.route(ANNA, Policy(lambda: succeed(redirect)))
        self.assertEqual(route, Redirect(addresses=(JSMITH,), reason="moved", plugin="dns"))

    def test_what_the_policy_is_told(self) -> None:
        """A policy would decide on wrong facts."""
        policy = Policy(lambda: succeed(Redirect(addresses=(JSMITH,), reason="moved")))
        client = Client(server="mx", protocol="smtp", address="192.0.2.1")
        router = self.router(policy)
        for recipient in (ANNA, JSMITH):
            self.successResultOf(Deferred.fromCoroutine(router.route(None, recipient, client, 7.0)))
        self.assertEqual(
            policy.asked,
            [Facts(local=True, client=client, now=7.0), Facts(local=False, client=client, now=7.0)],
        )

    def test_hold(self) -> None:
        """Mail that could go nowhere would be held, and bounce once it is released."""

        @implementer(IRoutingPolicy)
        class Holding:
            asked: list[Facts] = []  # noqa: RUF012  # one policy, one test

            def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Any:
                self.asked.append(facts)
                if facts.known.released:
                    return DnsRouting().route(sender, recipient, facts)
                return succeed(Hold(reason="why not", rule="odd"))

        policy = Holding()
        held = Hold(reason="why not", rule="odd", plugin="dns")
        self.assertEqual(self.route(ANNA, policy), held)
        self.assertEqual(self.route(JSMITH, policy), held)
        self.assertEqual(self.route(Address("nobody", "rosse.example"), policy).reply.code, 550)
        always = Policy(lambda: succeed(held))
        with_operator = Deferred.fromCoroutine(
            self.router(always).route(None, ANNA, None, 7.0, Known(released=True))
        )
        route = self.successResultOf(with_operator)
        self.assertIn("holds again what an operator released", route.reason)

    def test_rules_seen(self) -> None:
        """An explanation would fail with a policy that has no rules, or is broken."""
        rules = TableRouting([RuleSettings(via="mx")])

        def seen(policy: Any) -> Any:
            asked = self.router(policy).rules_seen(None, JSMITH, None, 7.0)
            return self.successResultOf(Deferred.fromCoroutine(asked))

        self.assertEqual([each.rule for each in seen(rules)], ["rule 1"])
        self.assertEqual(seen(DnsRouting()), ())
        self.patch(TableRouting, "rules_seen", lambda *_: fail(KeyError()))
        self.assertEqual(seen(rules), ())
        self.flushLoggedErrors(KeyError)

    def test_coroutine(self) -> None:
        """A policy written as a coroutine could not be used."""

        async def answer() -> Redirect:
            return Redirect(addresses=(JSMITH,), reason="moved")

        self.assertEqual(self.route(ANNA, Policy(answer)).addresses, (JSMITH,))


class FaultTests(RouterCase):
    def postponed(self, route: Any, plugin: str, words: str) -> None:
        self.assertIsInstance(route, Unroutable)
        self.assertEqual(str(route.reply), "451 4.3.0 temporary fault here, please try again later")
        self.assertEqual(route.plugin, plugin)
        self.assertIn(words, route.reason)

    def test_client_leaves(self) -> None:
        """A client that hangs up while we ask would be logged as a fault of the policy."""
        waiting: Deferred[Any] = Deferred()
        router = self.router(Policy(lambda: waiting))
        asked = Deferred.fromCoroutine(router.route(None, ANNA, None, 0.0))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_policy_raises(self) -> None:
        """A broken policy would cost mail, or the session."""

        def raises() -> Any:
            raise ZeroDivisionError

        self.postponed(self.route(ANNA, Policy(raises)), "dns", "raised ZeroDivisionError")
        failing = Policy(lambda: fail(KeyError("secret")))
        self.postponed(self.route(ANNA, failing), "dns", "raised KeyError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, KeyError)), 2)

    def test_policy_hangs(self) -> None:
        """A client would wait for ever."""
        asked = self.start(self.router(Policy(Deferred)))
        self.clock.advance(29)
        self.assertNoResult(asked)
        self.clock.advance(1)
        self.postponed(self.successResultOf(asked), "dns", "did not answer within 30 s")

    def test_policy_answers_nonsense(self) -> None:
        """What a broken policy answers would do harm further on."""
        for nonsense in [
            None,
            "mx:mindspring.com",
            Local(mailbox=cast(Any, "anna"), reason="x"),
            Relay(hops=cast(Any, ("mx:mindspring.com",)), reason="x"),
            Relay(hops=(NextHop(where="mx:x.example"),), reason="x", retry=cast(Any, "5m")),
            Relay(hops=(NextHop(where="mx:x.example"),), reason="x", not_before=cast(Any, 1j)),
            Redirect(addresses=cast(Any, ["a@b.example"]), reason="x"),
            Unroutable(reply=cast(Any, "550 no"), reason="x"),
            Unroutable(reply=Reply(250, "2.0.0", "fine"), reason="x"),
        ]:
            with self.subTest(nonsense=nonsense):
                policy = Policy(lambda nonsense=nonsense: succeed(nonsense))  # type: ignore[misc]
                refusal = isinstance(nonsense, Unroutable)
                words = "refused without a refusal" if refusal else "answered with "
                self.postponed(self.route(ANNA, policy), "dns", words)
        hops = Relay(hops=cast(Any, Odd()), reason="x")
        self.postponed(self.route(ANNA, Policy(lambda: succeed(hops))), "dns", "ZeroDivisionError")
        self.flushLoggedErrors(ZeroDivisionError)

    def test_accounts_fail(self) -> None:
        """While the directory is down, mail for its users would be refused for good."""
        accounts = Accounts()
        accounts.answer = lambda: fail(KeyError())
        self.postponed(self.route(ANNA, accounts=accounts), "file", "raised KeyError")
        self.flushLoggedErrors(KeyError)
        for nonsense in [
            "anna",
            Account(address=cast(Any, "anna")),
            Alias(address=INFO, addresses=()),
            Alias(address=INFO, addresses=cast(Any, ("anna",))),
        ]:
            accounts.answer = lambda nonsense=nonsense: succeed(nonsense)  # type: ignore[misc]
            self.postponed(self.route(ANNA, accounts=accounts), "file", "answered with")
        accounts.answer = Deferred
        asked = self.start(self.router(accounts=accounts))
        self.clock.advance(30)
        self.postponed(self.successResultOf(asked), "file", "did not answer")


class Odd(tuple):  # type: ignore[type-arg]
    """A sequence that can't be looked into."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        raise ZeroDivisionError


class ResolveFullyTests(RouterCase):
    def resolve(self, recipient: Address, **aliases: Sequence[str]) -> list[tuple[str, Any]]:
        router = self.router(accounts=Accounts(**aliases))
        steps = self.successResultOf(
            Deferred.fromCoroutine(router.resolve_fully(None, recipient, None, 7.0))
        )
        return [(str(address), route) for address, route in steps]

    def test_no_alias(self) -> None:
        """The explanation would leave out where mail ends up."""
        ((address, route),) = self.resolve(ANNA)
        self.assertEqual(address, str(ANNA))
        self.assertIsInstance(route, Local)

    def test_aliases_of_aliases(self) -> None:
        """The explanation would end at the first alias."""
        steps = self.resolve(
            INFO,
            info=["team@rosse.example", "jsmith@mindspring.com"],
            team=["anna@rosse.example", "nobody@rosse.example", "jsmith@mindspring.com"],
        )
        self.assertEqual(
            [(address, type(route)) for address, route in steps],
            [
                ("info@rosse.example", Redirect),
                ("team@rosse.example", Redirect),
                ("anna@rosse.example", Local),
                ("nobody@rosse.example", Unroutable),
                ("jsmith@mindspring.com", Relay),
            ],
        )

    def test_loop(self) -> None:
        """An explanation would never end."""
        steps = dict(self.resolve(INFO, info=["team@rosse.example"], team=["info@rosse.example"]))
        route = steps["team@rosse.example"]
        self.assertEqual(route.reply.status, "5.4.6")
        self.assertIn("lead back to info@rosse.example", route.reason)
        # The queue's history names what redirected it, and so must this.
        self.assertTrue(route.reason.startswith("team@rosse.example is an alias; "), route.reason)
        self.assertEqual((route.rule, route.plugin), ("alias", "file"))

    def test_loop_spoils_the_whole_redirect(self) -> None:
        """The explanation would name a mailbox that gets nothing from this redirect."""
        steps = dict(
            self.resolve(
                INFO, info=["team@rosse.example"], team=["anna@rosse.example", "info@rosse.example"]
            )
        )
        self.assertEqual(list(steps), ["info@rosse.example", "team@rosse.example"])
        self.assertEqual(steps["team@rosse.example"].reply.status, "5.4.6")
        ((address, route),) = self.resolve(INFO, info=["anna@rosse.example", str(INFO)])
        self.assertEqual((address, route.reply.status), (str(INFO), "5.4.6"))

    def test_several_ways_to_one_address(self) -> None:
        """Two aliases of one mailbox would look like a loop."""
        steps = self.resolve(
            INFO,
            info=["a@rosse.example", "b@rosse.example"],
            a=["anna@rosse.example"],
            b=["a@rosse.example", "anna@rosse.example"],
        )
        self.assertNotIn(Unroutable, [type(route) for _, route in steps])

    def test_depth(self) -> None:
        """A long row of redirects would be explained otherwise than it is treated."""
        row = {f"a{n}": [f"a{n + 1}@rosse.example"] for n in range(MAX_DEPTH + 5)}
        steps = self.resolve(Address("a0", "rosse.example"), **row)
        self.assertEqual(len(steps), MAX_DEPTH + 1)
        self.assertEqual(steps[-1][1].reply.status, "5.4.6")

    def test_breadth(self) -> None:
        """A huge alias would take all memory."""
        many = [f"u{n}@mindspring.com" for n in range(MAX_ADDRESSES)]
        ((_, route),) = self.resolve(INFO, info=many)
        self.assertEqual(route.reply.status, "5.4.6")
        self.assertIn(f"more than {MAX_ADDRESSES} addresses", route.reason)
        self.assertEqual(len(self.resolve(INFO, info=many[1:])), MAX_ADDRESSES)
