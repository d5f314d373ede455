"""The routing policy by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mailframe_smarthosts.policy import SenderSettings, Smarthosts, SmarthostsSettings
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.interfaces import IRoutingPolicy
from mailframe.outcome import Local, Relay
from mailframe.testing.contracts import RoutingPolicyContract
from mailframe.testing.contracts.routing import Question
from mailframe.testing.samples import RECIPIENT, make_facts

ONE, TWO, THREE, OWN = (f"tcp:192.0.2.{number}:25" for number in (11, 12, 13, 99))
NEWS = Address.parse("weekly@newsletter.example")
SENDERS = [Address(f"user{number}", "rosse.example") for number in range(300)]


def make(*servers: str) -> Smarthosts:
    own = SenderSettings(senders=("*@newsletter.example",), servers=(OWN,))
    return Smarthosts(SmarthostsSettings(servers=servers, tls="require", sender=(own,)))


class SmarthostsTests(RoutingPolicyContract, SynchronousTestCase):
    """What mailframe asks of every routing policy, and what users ask of this one."""

    def make_policy(self) -> IRoutingPolicy:
        return make(ONE, TWO, THREE)

    def questions(self) -> Sequence[Question]:
        return [*super().questions(), (NEWS, RECIPIENT, make_facts())]

    def relay(self, policy: IRoutingPolicy, sender: Address | None) -> Relay:
        route = self.ask(policy, (sender, RECIPIENT, make_facts()))
        assert isinstance(route, Relay)
        return route

    def first(self, policy: IRoutingPolicy, sender: Address | None) -> str:
        return self.relay(policy, sender).hops[0].where

    def test_local_domain(self) -> None:
        """Mail for our own users is sent to a smarthost, which sends it back."""
        mary = Address.parse("mary@here.example")
        route = self.ask(self.make_policy(), (NEWS, mary, make_facts(local=True)))
        self.assertIsInstance(route, Local)

    def test_all_stand_in(self) -> None:
        """A smarthost that is down holds up the mail of its senders."""
        relay = self.relay(self.make_policy(), SENDERS[0])
        self.assertEqual({hop.where for hop in relay.hops}, {ONE, TWO, THREE})
        self.assertEqual({hop.tls for hop in relay.hops}, {"require"})

    def test_evenly_spread(self) -> None:
        """One smarthost does all the work."""
        policy = self.make_policy()
        shares = Counter(self.first(policy, sender) for sender in SENDERS)
        for server in (ONE, TWO, THREE):
            self.assertGreater(shares[server], 70)

    def test_only_its_own_senders_move(self) -> None:
        """A smarthost is added, and every sender's mail leaves by another address."""
        before, after = make(ONE, TWO), make(ONE, TWO, THREE)
        for sender in [*SENDERS, None]:
            if self.first(after, sender) != THREE:
                self.assertEqual(self.first(after, sender), self.first(before, sender))

    def test_order_and_case_do_not_matter(self) -> None:
        """Sorting the configuration's list moves everybody."""
        for sender in SENDERS[:20]:
            shouting = Address(sender.local_part.upper(), sender.domain)
            self.assertEqual(
                self.first(make(ONE, TWO), sender), self.first(make(TWO, ONE), shouting)
            )

    def test_exception(self) -> None:
        """The newsletter ruins the reputation of everybody else's server."""
        route = self.relay(self.make_policy(), NEWS)
        self.assertEqual([hop.where for hop in route.hops], [OWN])
        self.assertEqual(route.rule, "sender 1")

    def test_bad_settings(self) -> None:
        """A mistyped server is found out only when mail waits for it."""
        for servers in ((), ("nonsense",), ("local",), ("tcp:192.0.2.1",)):
            self.assertRaises(ValueError, SmarthostsSettings, servers=servers)
        self.assertRaises(ValueError, SenderSettings, senders=("a@b@c",), servers=(ONE,))
