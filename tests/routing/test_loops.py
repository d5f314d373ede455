"""Redirects of rules, aliases and catch-alls together: they end, as explain says they do."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.accounts.lookup import Lookup
from mailframe.accounts.reading import Contents, Kept
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient
from mailframe.interfaces import IAccounts
from mailframe.outcome import Delivered, Local, Redirect, Refused, Tried, Unroutable
from mailframe.queue.progress import advance
from mailframe.queue.schedule import Schedule
from mailframe.reply import Reply
from mailframe.routing.resolution import Router
from mailframe.routing.table import RuleSettings, TableRouting
from mailframe.testing.samples import make_envelope

LOCAL = "rosse.example"
NAMES = ("a", "b", "c", "a+x")
OK = Reply(250, "2.0.0", "ok")


@implementer(IAccounts)
@attrs.frozen
class Accounts:
    """Accounts as the file plugin looks them up."""

    store: AccountStore

    def find(self, address: Address) -> Any:
        lookup = Lookup(subaddress="+", postmaster=Address("a", LOCAL))
        return succeed(lookup.find(self.store, address))

    def checkers(self) -> Any:
        return ()


def local(name: str) -> Address:
    return Address(name, LOCAL)


names = st.sampled_from(NAMES)
several = st.lists(names, min_size=1, max_size=2)


class LoopTests(SynchronousTestCase):
    def router(
        self,
        accounts: set[str],
        aliases: dict[str, list[str]],
        caught: list[str],
        redirects: dict[str, str],
    ) -> Router:
        contents = Contents(
            accounts={local(name): Kept() for name in accounts},
            aliases={local(name): tuple(map(local, to)) for name, to in aliases.items()},
            catch_all={LOCAL: tuple(map(local, caught))} if caught else {},
        )
        rules = [
            RuleSettings(recipients=(f"{name}@{LOCAL}",), via=f"redirect:{to}@{LOCAL}")
            for name, to in redirects.items()
        ]
        return Router(
            policy=TableRouting(rules),
            policy_name="table",
            accounts=Accounts(AccountStore("", contents)),
            accounts_name="file",
            local_domains=frozenset({LOCAL}),
            clock=Clock(),
            plugin_time=30.0,
        )

    def settle(self, router: Router, recipient: Address) -> Entry:
        """Have the queue follow all redirects, as its runner does."""
        entry = Entry(
            id="q",
            envelope=make_envelope(recipient),
            size=1,
            recipients=(QueuedRecipient(address=recipient),),
            next_attempt=0.0,
        )
        for _ in range(50):
            tried = []
            for index in entry.pending:
                asked = router.route(None, entry.recipients[index].address, None, 0.0)
                route = self.successResultOf(Deferred.fromCoroutine(asked))
                outcome: Any = Delivered(where="", reply=OK)
                if isinstance(route, Redirect):
                    outcome = None
                elif isinstance(route, Unroutable):
                    outcome = Refused(where="", reply=route.reply)
                tried.append(Tried(index=index, route=route, outcome=outcome))
            redirected = [each for each in tried if each.outcome is None]
            step = advance(entry, redirected or tried, 0.0, Schedule()).step
            entry = attrs.evolve(entry, recipients=step.recipients)
            if step.next_attempt is None:
                return entry
        self.fail("the redirects never end")

    @given(
        st.sets(names, max_size=2),
        st.dictionaries(names, several, max_size=3),
        st.lists(names, max_size=2),
        st.dictionaries(names, names, max_size=2),
        names,
    )
    @settings(deadline=None, max_examples=150)
    def test_all_together(
        self,
        accounts: set[str],
        aliases: dict[str, list[str]],
        caught: list[str],
        redirects: dict[str, str],
        name: str,
    ) -> None:
        """A message would go round for ever; or explain promise a mailbox that gets nothing."""
        router = self.router(accounts, aliases, caught, redirects)
        entry = self.settle(router, local(name))
        got = {each.address for each in entry.recipients if each.state == "delivered"}
        asked = router.resolve_fully(None, local(name), None, 0.0)
        steps = self.successResultOf(Deferred.fromCoroutine(asked))
        explained = {
            address for address, route in steps if not isinstance(route, Redirect | Unroutable)
        }
        self.assertEqual(got, explained)
        failed = {each.address for each in entry.recipients if each.state == "failed"}
        self.assertEqual(failed, {a for a, route in steps if isinstance(route, Unroutable)})

    def test_as_far_as_the_queue_goes(self) -> None:
        """Explain would say that nobody gets what somebody does get: of two ways to an address
        the queue takes the shorter one."""
        aliases = {"a": ["b", "c"], "b": ["c"], "c": ["b", "a+x"]}
        router = self.router({"a+x"}, aliases, [], {})
        entry = self.settle(router, local("a"))
        got = [each.address for each in entry.recipients if each.state == "delivered"]
        self.assertEqual(got, [local("a+x")])
        asked = router.resolve_fully(None, local("a"), None, 0.0)
        steps = dict(self.successResultOf(Deferred.fromCoroutine(asked)))
        self.assertIsInstance(steps[local("a+x")], Local)

    def test_circle_through_all_three(self) -> None:
        """A circle of rule, alias and catch-all, each of which is well by itself, would not end."""
        router = self.router(set(), {"b": ["c"]}, ["a"], {"a": "b"})
        entry = self.settle(router, local("a"))
        self.assertEqual(
            [(each.address.local_part, each.state) for each in entry.recipients],
            [("a", "redirected"), ("b", "redirected"), ("c", "failed")],
        )
        reply = entry.recipients[-1].last_reply
        assert reply is not None
        self.assertEqual(reply.status, "5.4.6")
