"""MTA-STS: what a policy asks of an exchanger."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from mailframe.clocks import Elapsed
from mailframe.delivery.addresses import is_prohibited
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts import MtaSts
from mailframe.delivery.mta_sts_cache import PolicyFiles
from mailframe.delivery.mta_sts_policy import StsPolicy
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import TlsDemand
from mailframe.delivery.tls_fault import TlsFault
from mailframe.outcome import NextHop
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.site import make_site

BLU = "blu.example"
NAME = f"_mta-sts.{BLU}"
FIRST = {"TXT": ["v=STSv1; id=1;"]}
SECOND = {"TXT": ["v=STSv1; id=2;"]}
ENFORCE = StsPolicy(mode="enforce", mx=(f"mx.{BLU}",), max_age=10 * 86_400)
TESTING = attrs.evolve(ENFORCE, mode="testing")
NONE = StsPolicy(mode="none", max_age=86_400)
FAULT = TlsFault("sts-policy-fetch-error", "the server answers 404")


class Fetches:
    """Gives what it was told, or lets wait for it."""

    def __init__(self, answer: StsPolicy | TlsFault | None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.waiting: list[Deferred[StsPolicy | TlsFault]] = []

    async def fetch(self, domain: str) -> StsPolicy | TlsFault:
        self.asked.append(domain)
        if self.answer is None:
            waiting: Deferred[StsPolicy | TlsFault] = Deferred()
            self.waiting.append(waiting)
            return await waiting
        return self.answer


class MtaStsCase(SynchronousTestCase):
    """A source with DNS, disk and HTTPS in our hands."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.advance(1_000_000)
        self.folder = self.mktemp()
        self.fetches = Fetches(ENFORCE)
        self.start()
        self.publish(FIRST)
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def start(self) -> None:
        """As after a restart."""
        self.site = make_site(state_dir=self.folder, reactor=self.reactor)
        self.resolver: FakeResolver = self.site.resolver
        lookup = Lookup(
            resolver=self.resolver,
            clock=Elapsed(self.reactor),
            seconds=30,
            hostname="mx.here.example",
            own_addresses=(),
            prohibited=is_prohibited,
            random=self.site.random,
        )
        files = PolicyFiles(self.folder)
        self.source = MtaSts(site=self.site, lookup=lookup, files=files, fetch=self.fetches)

    def publish(self, record: dict[str, Any] | None) -> None:
        self.resolver.zone.pop(NAME, None)
        if record is not None:
            self.resolver.zone[NAME] = record

    def begin(self, host: str = f"mx.{BLU}", **hop: Any) -> Deferred[TlsDemand | None]:
        endpoint = TCP4ClientEndpoint(self.reactor, "192.0.2.1", 25)
        target = Target(where=f"mx:{BLU}", host=host, endpoint=endpoint)
        wanted = NextHop(**{"where": f"mx:{BLU}", **hop})
        return Deferred.fromCoroutine(self.source.demand(wanted, target))

    def demand(self, host: str = f"mx.{BLU}", **hop: Any) -> TlsDemand | None:
        return self.successResultOf(self.begin(host, **hop))

    def in_force(self) -> StsPolicy | None:
        """What holds for the domain as far as is known in memory."""
        known = self.source.policies._known.get(BLU)
        assert known
        return known.stored.in_force(self.reactor.seconds())

    def later(self, seconds: float) -> None:
        self.reactor.advance(seconds)


class DemandTests(MtaStsCase):
    """From a policy to what is asked."""

    def test_enforce(self) -> None:
        """Mail to a domain that publishes that it has TLS could be read on its way."""
        demand = self.demand()
        assert demand
        self.assertEqual((demand.policy, demand.names), ("verify", (f"mx.{BLU}",)))
        self.assertEqual(demand.reason, "MTA-STS of blu.example, mode enforce")
        self.assertEqual((demand.refusal, demand.fault), (None, None))
        assert demand.published
        self.assertEqual(demand.published.lines, ENFORCE.lines)

    def test_not_an_exchanger(self) -> None:
        """Who forges MX records would get the mail, with a good certificate for his own name."""
        demand = self.demand("mx.evil.example")
        assert demand
        assert demand.refusal
        assert demand.fault
        self.assertEqual(
            str(demand.refusal),
            "451 4.7.5 mx.evil.example is not among the exchangers that the MTA-STS of blu.example"
            " names",
        )
        self.assertEqual(demand.fault.kind, "validation-failure")

    def test_testing(self) -> None:
        """Who tries out a policy would lose mail, or learn nothing."""
        self.fetches.answer = TESTING
        demand = self.demand("mx.evil.example")
        assert demand
        assert demand.fault
        self.assertEqual((demand.policy, demand.is_tried_out), ("opportunistic", True))
        self.assertIsNone(demand.refusal)

    def test_none(self) -> None:
        """A domain could not get rid of its policy."""
        self.fetches.answer = NONE
        self.assertIsNone(self.demand())

    def test_other_next_hops(self) -> None:
        """Mail to a smarthost would be measured by the policy of somebody else's domain."""
        for hop in (
            {"where": "tcp:192.0.2.1:25"},
            {"where": f"mx:{BLU}", "protocol": "lmtp"},
            {"where": "mx:[192.0.2.1]"},
            {"where": "mx:not a domain"},
        ):
            self.assertIsNone(self.demand(**hop))
        self.assertEqual((self.resolver.asked, self.fetches.asked), ([], []))

    def test_could_not_be_fetched(self) -> None:
        """Reports would not tell a domain that nobody can fetch its policy."""
        self.fetches.answer = FAULT
        demand = self.demand()
        assert demand
        assert demand.published
        self.assertEqual((demand.policy, demand.fault), ("opportunistic", FAULT))
        self.assertIn("could not be had: the server answers 404", demand.reason)
