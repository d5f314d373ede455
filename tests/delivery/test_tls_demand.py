"""What is asked of TLS with one server, and who has the last word."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import Published, StrictHop, TlsDemand, TlsDemands
from mailframe.delivery.tls_fault import TlsFault
from mailframe.outcome import NextHop, TlsPolicy
from mailframe.reply import Reply

REASON = "MTA-STS of blu.example, mode enforce"


class Source:
    """Always says the same, and counts how often."""

    def __init__(self, answer: TlsDemand | None) -> None:
        self.answer = answer
        self.asked = 0

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        self.asked += 1
        return self.answer


def make_target(**changes: Any) -> Target:
    reactor: Any = MemoryReactorClock()
    values = {
        "where": "mx:blu.example",
        "host": "mx.blu.example",
        "endpoint": TCP4ClientEndpoint(reactor, "192.0.2.1", 25),
        **changes,
    }
    return Target(**values)


class DemandsTests(SynchronousTestCase):
    """Routes and sources together."""

    def of(self, tls: TlsPolicy, *answers: TlsDemand | None, **target: Any) -> TlsDemand:
        demands = TlsDemands([Source(answer) for answer in answers])
        hop = NextHop(where="mx:blu.example", tls=tls)
        return self.successResultOf(Deferred.fromCoroutine(demands.of(hop, make_target(**target))))

    def test_route_alone(self) -> None:
        """Where no domain publishes anything the route's wish would not be done."""
        for policy in ("none", "opportunistic", "require", "verify"):
            demand = self.of(policy, None)
            self.assertEqual(demand.policy, policy)
            self.assertEqual(demand.names, ("mx.blu.example",) if policy == "verify" else ())
            self.assertEqual(demand.may_go_clear, policy in ("none", "opportunistic"))
            self.assertEqual(demand.wish, policy)

    def test_local(self) -> None:
        """Mail over a UNIX socket would wait for a TLS that the server does not have."""
        self.assertEqual(self.of("verify", is_local=True).policy, "none")

    def test_endpoint_that_verifies(self) -> None:
        """A certificate for no name would do for a server with TLS from the beginning."""
        demand = self.of("opportunistic", is_verified=True, is_tls=True)
        self.assertEqual(demand.names, ("mx.blu.example",))

    def test_source_is_stronger(self) -> None:
        """Mail to a domain that publishes that it has TLS could be read by anybody in between."""
        asked = TlsDemand(policy="verify", names=("mx.blu.example",), reason=REASON)
        for policy in ("opportunistic", "require"):
            self.assertIs(self.of(policy, None, asked), asked)

    def test_the_first_source_wins(self) -> None:
        """DANE would be lost where a domain has MTA-STS as well."""
        dane = TlsDemand(policy="dane", tlsa=("record",), reason="DANE")
        sts = TlsDemand(policy="verify", reason=REASON)
        demand = self.of("opportunistic", dane, sts)
        self.assertIs(demand, dane)
        self.assertEqual((demand.wish, demand.may_go_clear), ("verify", False))

    def test_any_certificate_is_not_enough(self) -> None:
        """Records that are of no use would switch MTA-STS off: anybody's certificate would do."""
        dane = TlsDemand(policy="require", reason="DANE: none of them usable")
        enforced = TlsDemand(policy="verify", names=("mx.blu.example",), reason=REASON)
        refused = attrs.evolve(enforced, refusal=Reply(451, "4.7.5", "not in the policy"))
        for sts in (enforced, refused):
            for policy in ("opportunistic", "require"):
                self.assertIs(self.of(policy, dane, sts), sts)
        tried = attrs.evolve(enforced, policy="opportunistic", is_tried_out=True)
        for other in (tried, None):
            self.assertIs(self.of("opportunistic", dane, other), dane)

    def test_verify_is_not_weakened(self) -> None:
        """The operator asks for a certificate of an authority and would get any other."""
        dane = TlsDemand(policy="dane", tlsa=("record",), reason="DANE")
        demand = self.of("verify", dane)
        self.assertEqual((demand.policy, demand.names), ("verify", ("mx.blu.example",)))
        self.assertEqual(demand.reason, "the route asks for it, besides DANE")
        weak = TlsDemand(policy="opportunistic", reason="testing")
        self.assertEqual(self.of("require", weak).policy, "require")

    def test_tried_out(self) -> None:
        """Reports would say that all is well with a certificate that nobody looked at."""
        tried = TlsDemand(
            policy="opportunistic", names=("mx.blu.example",), reason="testing", is_tried_out=True
        )
        for policy, is_tried_out in (("require", True), ("verify", False)):
            demand = self.of("require" if policy == "require" else "verify", tried)
            self.assertEqual((demand.policy, demand.is_tried_out), (policy, is_tried_out))
            self.assertEqual(demand.names, ("mx.blu.example",))

    def test_refusal(self) -> None:
        """A server that the domain does not call its own would get the mail."""
        refusal = Reply(451, "4.7.5", "not in the policy")
        asked = TlsDemand(policy="verify", reason=REASON, refusal=refusal)
        for policy in ("opportunistic", "require", "verify"):
            self.assertIs(self.of(policy, asked).refusal, refusal)

    def test_strict(self) -> None:
        """A message that demands TLS would go to whoever gets his name into the MX records."""
        source = Source(None)
        demands = TlsDemands([source])

        def of(where: str = "mx:blu.example", **target: Any) -> TlsDemand:
            hop = StrictHop(where=where, tls="verify")
            return self.successResultOf(
                Deferred.fromCoroutine(demands.of(hop, make_target(**target)))
            )

        refusal = of().refusal
        assert refusal
        self.assertEqual((refusal.code, refusal.status), (550, "5.7.10"))
        for more in (
            {"is_genuine": True},  # DNSSEC, which need not vouch for the address
            {"host": "blu.example"},  # there is no MX record
            {"where": "mx:[192.0.2.1]", "host": "192.0.2.1"},
            {"where": "tcp:mx.blu.example:25"},
        ):
            demand = of(**more)
            self.assertEqual((demand.policy, demand.refusal), ("verify", None))
        published = Published(kind="sts", domain="blu.example")
        source.answer = TlsDemand(policy="verify", reason="x", published=published)
        self.assertIsNone(of().refusal)
        source.answer = attrs.evolve(source.answer, policy="opportunistic")
        self.assertEqual((of().policy, of().refusal), ("verify", None))
        fault = TlsFault("sts-policy-fetch-error", "no answer")
        source.answer = attrs.evolve(source.answer, fault=fault)
        refusal = of().refusal
        assert refusal
        self.assertEqual((refusal.code, refusal.status), (454, "4.7.10"))
        source.answer = TlsDemand(policy="opportunistic", reason="x", doubt="DNS failed")
        refusal = of().refusal
        assert refusal
        self.assertEqual((refusal.code, refusal.status), (454, "4.7.10"))
        self.assertIn("DNS failed", str(refusal))
        source.answer = TlsDemand(policy="dane", tlsa=("record",), reason="DANE")
        demand = of(is_genuine=True, tlsa_bases=("mx.blu.example",))
        self.assertEqual((demand.policy, demand.refusal), ("dane", None))

    def test_strict_shares_nothing(self) -> None:
        """It would go over a connection of somebody who is content with less."""
        values: dict[str, Any] = {"where": "mx:blu.example", "tls": "verify"}
        self.assertNotEqual(StrictHop(**values), NextHop(**values))
        self.assertEqual(StrictHop(**values), StrictHop(**values))

    def test_operators_word(self) -> None:
        """Nobody could send to a domain whose TLS is broken but whose policy says otherwise."""
        asked = TlsDemand(policy="verify", reason=REASON)
        demand = self.of("none", asked)
        self.assertEqual((demand.policy, demand.refusal), ("none", None))
        self.assertEqual(demand.reason, f"the route asks for it, against {REASON}")
        weak = TlsDemand(policy="opportunistic", reason="testing")
        self.assertEqual(self.of("none", weak).reason, "the route asks for it")
