"""The contracts notice what is wrong: a contract that any plugin passes protects nobody."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from random import Random
from typing import Any

import attrs
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Notice, Step
from mailframe.interfaces import Account, IContent
from mailframe.outcome import Delivered, NextHop, Redirect, Relay, Unroutable
from mailframe.queue.memory import MemoryStorage
from mailframe.reply import Reply
from mailframe.testing import contracts, fakes
from mailframe.testing.contents import FakeContent
from mailframe.testing.fake_storage import FakeStorage

OK = Reply(250, "2.0.0", "ok")


def broken(contract: type, **made: Any) -> set[str]:
    """Run a contract over something and name the tests that fail."""
    case = type("Case", (contract, SynchronousTestCase), made)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TestResult()
    suite.run(result)
    return {test.id().rpartition(".")[2] for test, _ in result.failures + result.errors}


class RoutingTests(SynchronousTestCase):
    def broken(self, answer: Any) -> set[str]:
        policy = fakes.FakeRouting()
        policy.route_trouble = answer
        return broken(contracts.RoutingPolicyContract, make_policy=lambda case: policy)

    def test_sound(self) -> None:
        """Every plugin fails."""
        self.assertEqual(self.broken(None), set())

    def test_not_a_route(self) -> None:
        """A policy that answers with nonsense, or not at all, passes."""
        self.assertIn("test_every_answer_is_a_route", self.broken("nonsense"))
        self.assertIn("test_every_answer_is_a_route", self.broken(ValueError("bug")))

    def test_reason(self) -> None:
        """A policy whose decisions can't be shown passes."""
        for reason in ("", "a sentence.", "two\nlines"):
            route = Unroutable(reason=reason, reply=Reply(550, "5.1.1", "no"))
            self.assertIn("test_every_answer_is_a_route", self.broken(route))

    def test_useless_hop(self) -> None:
        """A policy whose next hops are no endpoints passes."""
        for where in ("nonsense:1:2", "mx:UPPER.example", "mx:"):
            route = Relay(reason="r", hops=(NextHop(where=where),))
            self.assertIn("test_hops_can_be_used", self.broken(route))

    def test_positive_refusal(self) -> None:
        """A policy that refuses with 250 passes."""
        self.assertIn("test_unroutable_is_refusal", self.broken(Unroutable(reason="r", reply=OK)))

    def test_circle(self) -> None:
        """A policy that redirects in a circle passes."""
        route = Redirect(reason="r", addresses=(Address.parse("mary@here.example"),))
        self.assertIn("test_redirect_leads_elsewhere", self.broken(route))

    def test_fickle(self) -> None:
        """A policy that answers at random passes."""

        class Fickle(fakes.FakeRouting):
            calls = 0

            def route(self, sender: Any, recipient: Any, facts: Any) -> Any:
                self.calls += 1
                hop = NextHop(where=f"mx:mx{self.calls}.example")
                return succeed(Relay(reason="r", hops=(hop,)))

        fickle = Fickle()
        self.assertEqual(
            broken(contracts.RoutingPolicyContract, make_policy=lambda case: fickle),
            {"test_same_question_same_answer"},
        )

    def test_renamed_argument(self) -> None:
        """A policy that the server can't call passes."""

        class Renamed:
            def route(self, sender: Any, address: Any, facts: Any) -> Any: ...

        failed = broken(contracts.RoutingPolicyContract, make_policy=lambda case: Renamed())
        self.assertIn("test_provides_interface", failed)
        self.assertIn("test_every_answer_is_a_route", failed)


class AuthorisationTests(SynchronousTestCase):
    def broken(self, authorisation: Any) -> set[str]:
        return broken(
            contracts.RelayAuthorisationContract,
            make_authorisation=lambda case: authorisation,
        )

    def test_open_relay(self) -> None:
        """An open relay passes."""
        self.assertEqual(
            self.broken(fakes.FakeAuthorisation()),
            {"test_stranger_is_denied", "test_senseless_address_is_denied"},
        )

    def test_not_a_verdict(self) -> None:
        """An authorisation that answers with nonsense passes."""
        authorisation = fakes.FakeAuthorisation(fakes.DENIED)
        authorisation.admit_trouble = True
        self.assertIn("test_every_answer_is_a_verdict", self.broken(authorisation))

    def test_denial(self) -> None:
        """An authorisation that refuses with 250, or without a word, passes."""
        for reply in (OK, Reply(550, "5.7.1", "")):
            denial = attrs.evolve(fakes.DENIED, reply=reply)
            self.assertEqual(
                self.broken(fakes.FakeAuthorisation(denial)), {"test_denial_is_a_refusal"}
            )


class AccountsTests(SynchronousTestCase):
    def broken(self, kind: type[fakes.FakeAccounts]) -> set[str]:
        def make_accounts(case: Any) -> fakes.FakeAccounts:
            return kind({case.account: case.password}, {case.alias: (case.account,)})

        return broken(contracts.AccountsContract, make_accounts=make_accounts)

    def test_everybody(self) -> None:
        """Accounts in which everybody is found pass."""

        class Everybody(fakes.FakeAccounts):
            def _find(self, address: Address) -> Account:
                return Account(address=address)

        self.assertEqual(
            self.broken(Everybody), {"test_alias", "test_nobody", "test_similar_addresses"}
        )

    def test_any_password(self) -> None:
        """Accounts that take any password pass."""

        class Trusting(fakes.FakeAccounts):
            def requestAvatarId(self, credentials: Any) -> Any:
                return succeed(credentials.username)

        self.assertEqual(self.broken(Trusting), {"test_wrong_login"})

    def test_prefix(self) -> None:
        """Accounts that compare the beginning of an address only pass."""

        class Prefix(fakes.FakeAccounts):
            def _find(self, address: Address) -> Any:
                known = {a.local_part: a for a in (*self.passwords, *self.aliases)}
                found = known.get(address.local_part)
                return super()._find(found) if found else None

        self.assertEqual(self.broken(Prefix), {"test_similar_addresses"})

    def test_no_checker(self) -> None:
        """Accounts with which nobody can log in pass."""

        class Mute(fakes.FakeAccounts):
            def checkers(self) -> Sequence[Any]:
                return ()

        class Closed(fakes.FakeAccounts):
            def requestAvatarId(self, credentials: Any) -> Any:
                return fail(UnauthorizedLogin())

        self.assertEqual(self.broken(Mute), {"test_login", "test_wrong_login"})
        self.assertEqual(self.broken(Closed), {"test_login"})


class DeliveryTests(SynchronousTestCase):
    def broken(self, agent: fakes.FakeAgent) -> set[str]:
        def delivered(case: Any, recipient: Address) -> list[bytes]:
            return agent.delivered.get(recipient, [])

        def make_agent(case: Any) -> fakes.FakeAgent:
            agent.delivered.clear()
            return agent

        return broken(contracts.DeliveryAgentContract, make_agent=make_agent, delivered=delivered)

    def test_liar(self) -> None:
        """An agent that says "delivered" and delivers nothing passes."""
        agent = fakes.FakeAgent()
        delivered = Delivered(where="nowhere", reply=OK)
        agent.deliver_trouble = [delivered, delivered]
        failed = self.broken(agent)
        self.assertLess({"test_delivers", "test_content_breaks_off"}, failed)

    def test_wrong_number(self) -> None:
        """An agent that forgets a recipient passes."""
        agent = fakes.FakeAgent()
        agent.deliver_trouble = [Delivered(where="nowhere", reply=OK)]
        self.assertIn("test_delivers", self.broken(agent))

    def test_half_a_message(self) -> None:
        """An agent that delivers what it got before the content broke off passes."""

        class Hasty(fakes.FakeAgent):
            async def _deliver(self, job: Any) -> Any:
                content = await job.open()
                octets = b""
                try:
                    while piece := await content.read():
                        octets += piece
                except OSError:
                    pass
                for recipient in job.recipients:
                    self.delivered.setdefault(recipient, []).append(octets)
                return [Delivered(where="here", reply=OK) for _ in job.recipients]

        self.assertEqual(
            self.broken(Hasty()),
            {"test_delivers", "test_content_breaks_off", "test_content_can_not_be_opened"},
        )


class StorageTests(SynchronousTestCase):
    def broken(self, kind: type[MemoryStorage]) -> set[str]:
        return broken(
            contracts.QueueStorageContract,
            make_storage=lambda case, clock: kind(clock=clock, random=Random(0)),
        )

    def test_no_leases(self) -> None:
        """A storage with which two processes deliver the same message passes."""

        class NoLeases(MemoryStorage):
            async def claim(self, owner: str, now: float, limit: int, until: float) -> Any:
                claimed = await super().claim(owner, now, limit, now)
                return claimed

        self.assertLess({"test_leased", "test_claimed_at_once_by_two"}, self.broken(NoLeases))

    def test_any_owner(self) -> None:
        """A storage that lets anybody settle passes."""

        class AnyOwner(MemoryStorage):
            async def settle(
                self, id: str, owner: str, step: Step, notices: Sequence[Notice]
            ) -> None:
                if id in self._kept:
                    self._kept[id].owner = owner
                await super().settle(id, owner, step, notices)

        self.assertLessEqual(
            {"test_lease_lost", "test_settle_without_lease"}, self.broken(AnyOwner)
        )

    def test_lost_notices(self) -> None:
        """A storage that forgets the notices passes."""

        class NoNotices(MemoryStorage):
            async def settle(
                self, id: str, owner: str, step: Step, notices: Sequence[Notice]
            ) -> None:
                await super().settle(id, owner, step, ())

        self.assertEqual(self.broken(NoNotices), {"test_notices"})

    def test_changed_content(self) -> None:
        """A storage that changes octets passes."""

        class Newlines(MemoryStorage):
            async def open(self, id: str) -> IContent:
                return FakeContent(self._get(id).content.replace(b"\xff", b"?"))

        self.assertIn("test_content_octet_for_octet", self.broken(Newlines))

    def test_held_is_claimed(self) -> None:
        """A storage that ignores the operator passes."""

        class NoHold(MemoryStorage):
            async def hold(self, id: str, now: float) -> None:
                self._note(id, now, "held")

        self.assertLessEqual({"test_hold", "test_hold_under_way"}, self.broken(NoHold))

    def test_eager(self) -> None:
        """A storage that shows messages before they are whole passes."""

        class Eager(FakeStorage):
            def __init__(self, **made: Any) -> None:
                super().__init__(MemoryStorage(**made))

            def receive(self, envelope: Any) -> Any:
                sink = super().receive(envelope)
                assert isinstance(self.storage, MemoryStorage)
                self.storage.keep(sink.id, envelope, b"")
                return sink

        self.assertLessEqual({"test_invisible_before_commit", "test_abort"}, self.broken(Eager))  # type: ignore[arg-type]
        # It is made in the same way.

    def test_silent(self) -> None:
        """A storage that never says that something is due passes."""

        class Silent(MemoryStorage):
            def watch(self, callback: Any) -> None:
                pass

        self.assertLessEqual({"test_watch", "test_notices", "test_retry"}, self.broken(Silent))

    def test_forgetful(self) -> None:
        """A durable storage that loses its messages in a restart passes."""
        failed = broken(
            contracts.DurableQueueStorageContract,
            make_storage=lambda case, clock: MemoryStorage(clock=clock, random=Random(0)),
            reopen=lambda case, old: MemoryStorage(clock=case.reactor, random=Random(1)),
        )
        self.assertEqual(
            failed, {"test_restart", "test_ids_after_restart", "test_leases_outlive_restart"}
        )


class NothingMadeTests(SynchronousTestCase):
    def test_says_what_to_override(self) -> None:
        """An author who forgot to make the thing under test is not told so."""
        for contract in (
            contracts.AccountsContract,
            contracts.DeliveryAgentContract,
            contracts.DurableQueueStorageContract,
            contracts.RelayAuthorisationContract,
            contracts.RoutingPolicyContract,
        ):
            self.assertTrue(broken(contract))
