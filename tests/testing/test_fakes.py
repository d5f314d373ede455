"""The fakes keep the contracts of what they stand for, and fail where they are told to."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.guard import as_deferred
from mailframe.interfaces import (
    Account,
    IAccounts,
    IDeliveryAgent,
    IRelayAuthorisation,
    IRoutingPolicy,
)
from mailframe.outcome import Delivered, Local, Refused, Unroutable
from mailframe.reply import Reply
from mailframe.testing import fakes
from mailframe.testing.contents import FakeContent
from mailframe.testing.contracts import (
    AccountsContract,
    DeliveryAgentContract,
    RelayAuthorisationContract,
    RoutingPolicyContract,
)
from mailframe.testing.samples import RECIPIENT, SENDER, make_client, make_facts, make_job

MARY = Address.parse("mary@here.example")


class RoutingContractTests(RoutingPolicyContract, SynchronousTestCase):
    def make_policy(self) -> IRoutingPolicy:
        refused = Unroutable(reason="refused here", reply=Reply(550, "5.7.1", "no"))
        return fakes.FakeRouting({RECIPIENT: refused})


class AuthorisationContractTests(RelayAuthorisationContract, SynchronousTestCase):
    def make_authorisation(self) -> IRelayAuthorisation:
        return fakes.FakeAuthorisation(fakes.DENIED)


class AccountsContractTests(AccountsContract, SynchronousTestCase):
    def make_accounts(self) -> IAccounts:
        assert self.alias is not None
        return fakes.FakeAccounts({self.account: self.password}, {self.alias: (self.account,)})


class AgentContractTests(DeliveryAgentContract, SynchronousTestCase):
    def make_agent(self) -> IDeliveryAgent:
        self.agent = fakes.FakeAgent()
        return self.agent

    def delivered(self, recipient: Address) -> list[bytes]:
        return self.agent.delivered.get(recipient, [])


class TroubleTests(SynchronousTestCase):
    """Each point of failure fails; a test that relies on one that doesn't proves nothing."""

    def check(self, fake: Any, name: str, ask: Any) -> None:
        """An exception, silence and nonsense, in place of an answer that is right before."""
        right = self.successResultOf(as_deferred(ask()))
        setattr(fake, name, OSError("disk"))
        self.failureResultOf(as_deferred(ask()), OSError)
        setattr(fake, name, Deferred())
        self.assertNoResult(as_deferred(ask()))
        setattr(fake, name, "nonsense")
        self.assertEqual(self.successResultOf(as_deferred(ask())), "nonsense")
        setattr(fake, name, None)
        self.assertEqual(self.successResultOf(as_deferred(ask())), right)

    def test_routing(self) -> None:
        """A policy that fails can't be simulated."""
        fake = fakes.FakeRouting()
        facts = make_facts(local=True)
        self.check(fake, "route_trouble", lambda: fake.route(SENDER, RECIPIENT, facts))
        self.assertEqual(fake.asked[0], (SENDER, RECIPIENT, facts))
        self.assertIsInstance(
            self.successResultOf(as_deferred(fake.route(SENDER, RECIPIENT, facts))), Local
        )

    def test_authorisation(self) -> None:
        """An authorisation that fails can't be simulated."""
        fake = fakes.FakeAuthorisation()
        client = make_client()
        self.check(fake, "authorise_trouble", lambda: fake.authorise(client, SENDER, RECIPIENT))
        self.check(fake, "admit_trouble", lambda: fake.admit(client))
        self.assertEqual(fake.asked[0], (client, SENDER, RECIPIENT))
        self.assertEqual(fake.asked[-1], (client, None, None))

    def test_accounts(self) -> None:
        """Accounts that can't be read can't be simulated."""
        fake = fakes.FakeAccounts({MARY: b"secret"})
        self.check(fake, "find_trouble", lambda: fake.find(MARY))
        self.assertEqual(self.successResultOf(as_deferred(fake.find(MARY))), Account(address=MARY))
        right = UsernamePassword(b"mary@here.example", b"secret")
        self.check(fake, "login_trouble", lambda: fake.requestAvatarId(right))

    def test_agent(self) -> None:
        """A delivery that fails can't be simulated."""
        refused = Refused(where="fake", reply=Reply(550, "5.1.1", "no"))
        fake = fakes.FakeAgent({MARY: refused})

        async def opened() -> FakeContent:
            return FakeContent(b"Subject: x\r\n\r\n")

        job = make_job(
            (Local(mailbox=MARY, reason="r"), Local(mailbox=RECIPIENT, reason="r")),
            (MARY, RECIPIENT),
            opened,
            size=14,
        )
        self.check(fake, "deliver_trouble", lambda: fake.deliver(job))
        one, two = self.successResultOf(as_deferred(fake.deliver(job)))
        self.assertEqual(one, refused)
        self.assertIsInstance(two, Delivered)
        self.assertEqual(set(fake.delivered), {RECIPIENT})
