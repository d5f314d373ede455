"""Who waits for policies of MTA-STS, and what becomes of him."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mailframe.delivery import mta_sts_upkeep
from mailframe.delivery.mta_sts_cache import Stored
from mailframe.delivery.mta_sts_upkeep import LOOK_AGAIN, NOT_AGAIN, REFRESH, WAIT
from mailframe.delivery.tls_demand import TlsDemand
from tests.delivery.test_mta_sts import (
    BLU,
    ENFORCE,
    FAULT,
    FIRST,
    MtaStsCase,
)


class WaitingTests(MtaStsCase):
    """Those who wait for a policy."""

    def setUp(self) -> None:
        super().setUp()
        self.fetches.answer = None

    def test_together(self) -> None:
        """A hundred messages to one domain would fetch its policy a hundred times."""
        deliveries = [self.begin() for _ in range(3)]
        self.assertEqual(self.fetches.asked, [BLU])
        self.assertNoResult(deliveries[2])
        self.fetches.waiting[0].callback(ENFORCE)
        for delivery in deliveries:
            demand = self.successResultOf(delivery)
            assert demand
            self.assertEqual(demand.policy, "verify")
        self.assertEqual(self.source.policies._waiting, {})

    def test_not_for_ever(self) -> None:
        """A server that does not answer would keep the mail of its domain."""
        delivery = self.begin()
        self.later(WAIT)
        self.assertIn("being fetched for the first time", self.refusal(delivery))
        self.fetches.waiting.pop().callback(FAULT)  # it does not take any longer than that
        delivery = self.begin()
        demand = self.successResultOf(delivery)
        assert demand
        self.assertEqual((demand.policy, demand.fault), ("opportunistic", FAULT))
        self.later(NOT_AGAIN + 1)
        delivery = self.begin()
        self.later(WAIT)
        self.assertEqual(self.successResultOf(delivery), demand)
        self.fetches.waiting[0].callback(ENFORCE)
        demand = self.demand()  # what came too late serves the next
        assert demand
        self.assertEqual(demand.policy, "verify")

    def refusal(self, delivery: Deferred[TlsDemand | None]) -> str:
        demand = self.successResultOf(delivery)
        assert demand
        assert demand.refusal
        self.assertEqual((demand.refusal.code, demand.refusal.status), (451, "4.7.5"))
        return str(demand.refusal)

    def take_all_turns(self) -> None:
        for number in range(25):
            self.resolver.zone[f"_mta-sts.{number}.example"] = FIRST
            self.begin(where=f"mx:{number}.example")

    def test_turn_does_not_come(self) -> None:
        """Who has many web servers that never answer could have others' mail go out in clear."""
        self.take_all_turns()
        for _ in range(2):
            delivery = self.begin()
            self.later(WAIT)
            self.assertNotIn(BLU, self.fetches.asked)
            self.assertIn("being fetched for the first time", self.refusal(delivery))
        while self.fetches.waiting:
            answer = ENFORCE if self.fetches.asked[-1] == BLU else FAULT
            self.fetches.waiting.pop().callback(answer)
        demand = self.demand()
        assert demand
        self.assertEqual(demand.policy, "verify")
        self.assertEqual(self.source.policies._fetching, {})

    def test_line_is_full(self) -> None:
        """Mail to ever different domains would fill the memory, or go out in clear."""
        self.patch(mta_sts_upkeep, "MAX_FETCHES", 25)
        self.take_all_turns()
        self.assertIn("too many others", self.refusal(self.begin()))
        self.assertEqual(len(self.source.policies._waiting), 25)
        while self.fetches.waiting:
            self.fetches.waiting.pop().callback(FAULT)
        delivery = self.begin()
        self.fetches.waiting[0].callback(ENFORCE)
        self.assertIsNotNone(self.successResultOf(delivery))

    def test_policy_holds_while_the_line_is_full(self) -> None:
        """Mail to a domain whose policy is known would wait behind others' web servers."""
        self.fetches.answer = ENFORCE
        first = self.demand()
        assert first
        self.fetches.answer = None
        self.later(REFRESH + 1)
        self.take_all_turns()
        self.assertEqual(self.demand(), first)  # it is to be fetched again, and has no turn
        self.later(LOOK_AGAIN + 1)
        self.assertEqual(self.demand(), first)
        self.start()
        self.publish(FIRST)
        self.patch(mta_sts_upkeep, "MAX_FETCHES", 5)
        self.take_all_turns()
        self.assertEqual(self.demand(), first)
        self.assertNotIn(BLU, self.source.policies._fetching)
        self.later(WAIT)

    def test_fetch_breaks(self) -> None:
        """A mistake of ours would have mail go out in clear, or take a policy out of force."""
        delivery = self.begin()
        self.fetches.waiting.pop().errback(ZeroDivisionError())
        self.assertIn("something went wrong here", self.refusal(delivery))
        self.fetches.answer = ENFORCE
        first = self.demand()
        assert first
        self.assertIsNone(first.refusal)
        self.fetches.answer = None
        self.later(REFRESH + 1)
        self.assertEqual(self.demand(), first)
        self.fetches.waiting.pop().errback(ZeroDivisionError())
        self.assertEqual(self.demand(), first)
        self.later(LOOK_AGAIN + 1)
        self.assertEqual(self.demand(), first)
        self.assertEqual(len(self.fetches.waiting), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_slow_disk(self) -> None:
        """Mail would go out in clear while nobody knows whether it may."""
        reading: Deferred[Stored | None] = Deferred()
        self.patch(type(self.site), "in_thread", lambda *_: reading)
        delivery = self.begin()
        self.later(WAIT)
        demand = self.successResultOf(delivery)
        assert demand
        self.assertIsNotNone(demand.refusal)
        reading.errback(OSError("x"))

    def test_one_gives_up(self) -> None:
        """A delivery that is cancelled would take the policy from the others."""
        one, other = self.begin(), self.begin()
        one.cancel()
        self.failureResultOf(one)
        self.fetches.waiting[0].callback(ENFORCE)
        self.assertIsNotNone(self.successResultOf(other))

    def test_neighbours(self) -> None:
        """A domain whose server does not answer would hold up mail to the others."""
        held = self.begin()
        self.assertIsNone(self.demand(where="mx:rosso.example"))
        self.assertNoResult(held)
        self.fetches.waiting[0].callback(FAULT)
        self.assertIsNotNone(self.successResultOf(held))

    def test_not_too_many(self) -> None:
        """Mail to many domains would open any number of connections."""
        held = []
        for number in range(30):
            self.resolver.zone[f"_mta-sts.{number}.example"] = FIRST
            held.append(self.begin(where=f"mx:{number}.example"))
        self.assertEqual(len(self.fetches.asked), 20)
        while self.fetches.waiting:
            self.fetches.waiting.pop().callback(FAULT)
        self.assertEqual(len(self.fetches.asked), 30)
        for each in held:
            self.successResultOf(each)

    def test_turns_of_those_that_failed(self) -> None:
        """Domains with servers that never answer would hold up all others' mail, ever again."""
        for number in range(30):
            self.resolver.zone[f"_mta-sts.{number}.example"] = FIRST
        held = [self.begin(where=f"mx:{number}.example") for number in range(30)]
        while self.fetches.waiting:
            self.fetches.waiting.pop().callback(FAULT)
        self.later(NOT_AGAIN + 1)
        held += [self.begin(where=f"mx:{number}.example") for number in range(30)]
        self.assertEqual(len(self.fetches.waiting), 5)
        self.begin()
        self.assertEqual(self.fetches.asked[-1], BLU)
        while self.fetches.waiting:
            self.fetches.waiting.pop().callback(ENFORCE)
        self.assertEqual(len(self.fetches.asked), 61)
        for each in held:
            self.successResultOf(each)
