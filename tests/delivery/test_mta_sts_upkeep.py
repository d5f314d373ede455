"""When policies of MTA-STS are asked for, and how long they hold."""

from __future__ import annotations

import attrs

from mailframe.delivery import mta_sts_upkeep
from mailframe.delivery.mta_sts_cache import PolicyFiles, Stored
from mailframe.delivery.mta_sts_upkeep import LOOK_AGAIN, LOOK_FOR_ENDS, NOT_AGAIN, REFRESH
from mailframe.delivery.tls_demand import TlsDemand
from tests.delivery.test_mta_sts import (
    BLU,
    ENFORCE,
    FAULT,
    FIRST,
    NAME,
    NONE,
    SECOND,
    TESTING,
    MtaStsCase,
)


class KeepingTests(MtaStsCase):
    """When policies are asked for, and how long they hold."""

    def test_without_policy(self) -> None:
        """Each message to a domain without policy would cost a question to DNS."""
        self.publish(None)
        for _ in range(3):
            self.assertIsNone(self.demand())
        self.assertEqual(self.resolver.asked, [(NAME, "TXT")])
        self.assertEqual(self.fetches.asked, [])

    def test_asked_once(self) -> None:
        """Each message to a domain with a policy would fetch it."""
        for _ in range(50):
            self.demand()
            self.later(LOOK_AGAIN + 1)
        self.assertEqual(self.fetches.asked, [BLU])

    def test_restart(self) -> None:
        """After a restart the policy would be forgotten, when HTTPS is cut off."""
        self.demand()
        self.fetches.answer = FAULT
        self.start()  # and there is no record either
        demand = self.demand()
        assert demand
        self.assertEqual(demand.policy, "verify")

    def test_record_gone(self) -> None:
        """Who can hold back an answer of DNS could read the mail (RFC 8461 §5.1)."""
        self.demand()
        for change in (None, {"TXT": ["v=STSv1; id=1;", "v=STSv1; id=2;"]}):
            self.publish(change)
            self.later(3601)
            self.assertIsNotNone(self.demand())
        self.resolver.servfail.add(NAME)
        self.later(3601)
        self.assertIsNotNone(self.demand())
        self.later(ENFORCE.max_age)  # now it has run out
        demand = self.demand()
        assert demand
        self.assertTrue(demand.may_go_clear)
        self.assertEqual(self.fetches.asked, [BLU])

    def test_refreshed_without_record(self) -> None:
        """Who can hold back one answer of DNS long enough could read the mail (RFC 8461 §10.2)."""
        self.demand()
        self.publish(None)
        for _ in range(12):
            self.later(REFRESH + 1)
            self.demand()
        self.assertEqual(self.fetches.asked, [BLU] * 13)
        self.resolver.servfail.add(NAME)
        self.fetches.answer = NONE
        self.later(REFRESH + 1)
        self.demand()
        self.assertIsNone(self.demand())
        self.later(NONE.max_age // 2)  # the end of it
        self.assertIsNone(self.demand())
        self.assertEqual(self.fetches.asked, [BLU] * 14)

    def test_doubt(self) -> None:
        """A message that demands TLS would go back to its sender because a name server failed."""
        self.resolver.servfail.add(NAME)
        demand = self.demand()
        assert demand
        self.assertEqual(
            (demand.policy, demand.published, demand.fault), ("opportunistic",) + (None,) * 2
        )
        self.assertEqual(
            demand.doubt,
            "whether blu.example has an MTA-STS policy can't be told now: DNS failed (SERVFAIL) for"
            " _mta-sts.blu.example",
        )
        self.assertIn(demand.doubt, demand.reason)
        self.resolver.servfail.clear()
        self.publish(None)
        self.later(3601)
        self.assertIsNone(self.demand())

    def test_new_policy(self) -> None:
        """A domain with other exchangers would get no mail until the old policy has run out."""
        self.demand()
        self.publish(SECOND)
        self.fetches.answer = TESTING
        self.later(3601)
        demand = self.demand()
        assert demand
        self.assertTrue(demand.is_tried_out)

    def test_new_policy_not_to_be_had(self) -> None:
        """Who can break HTTPS could read the mail; or the server would be asked all the time."""
        self.demand()
        self.publish(SECOND)
        self.fetches.answer = FAULT
        self.later(3601)
        for _ in range(3):
            demand = self.demand()
            assert demand
            self.assertEqual(demand.policy, "verify")
            self.later(LOOK_AGAIN + 1)
        self.assertEqual(self.fetches.asked, [BLU] * 2)
        self.later(NOT_AGAIN)
        self.demand()
        self.assertEqual(self.fetches.asked, [BLU] * 3)

    def test_failing_at_first(self) -> None:
        """A server that has no policy for us would be asked for each message."""
        self.fetches.answer = FAULT
        for _ in range(4):
            self.demand()
            self.later(LOOK_AGAIN + 1)
        self.start()
        self.publish(FIRST)
        self.demand()
        self.assertEqual(self.fetches.asked, [BLU])
        self.later(NOT_AGAIN)
        self.fetches.answer = ENFORCE
        demand = self.demand()
        assert demand
        self.assertEqual((demand.policy, demand.fault), ("verify", None))

    def test_given_up(self) -> None:
        """A domain that has taken its record back would be told of faults for ever."""
        self.fetches.answer = FAULT
        self.demand()
        self.publish(None)
        self.later(3601)
        self.assertIsNone(self.demand())

    def test_refreshed(self) -> None:
        """Who hinders us from fetching just at the end of a policy would be rid of it."""
        self.demand()
        self.later(REFRESH + 1)
        self.fetches.answer = None
        demand = self.demand()  # nobody waits for it
        assert demand
        self.assertEqual(self.fetches.asked, [BLU] * 2)
        self.assertIsNotNone(self.demand())
        self.fetches.waiting[0].callback(ENFORCE)
        self.later(ENFORCE.max_age - 1)
        self.assertEqual(self.in_force(), ENFORCE)

    def test_short_policies(self) -> None:
        """A policy that holds a day, as some large domains have, would be fetched again only when
        it has run out: who hinders us just then could read the mail (RFC 8461 §10.2).
        """
        for age, where in ((REFRESH, BLU), (REFRESH, "other.example"), (20_000, BLU)):
            self.fetches.answer = attrs.evolve(ENFORCE, max_age=int(age))
            self.publish(SECOND if self.fetches.asked else FIRST)
            self.later(REFRESH)
            self.demand()
            began = len(self.fetches.asked)
            for _ in range(100):
                self.later(LOOK_FOR_ENDS)
                self.assertIsNotNone(self.in_force())
                self.demand(where=f"mx:{where}")
            fetched = len(self.fetches.asked) - began
            self.assertLessEqual(abs(fetched - 100 * LOOK_FOR_ENDS / (age / 2)), 6)
            self.fetches.answer = FAULT  # it holds nevertheless
            self.later(age * 0.4)
            demand = self.demand()
            assert demand
            self.assertEqual(demand.policy, "verify")

    def test_where_no_mail_goes(self) -> None:
        """A policy would run out between two messages, and the second be anybody's to read."""
        self.demand()
        for _ in range(30):
            self.later(86_400)
            self.demand(where="mx:other.example")
        self.assertIsNotNone(self.in_force())
        self.assertIn(len(self.fetches.asked), (4, 5))  # each time shortly before it ends
        for _ in range(30):  # but not for ever
            self.later(86_400)
            self.demand(where="mx:other.example")
        self.assertIsNone(self.in_force())

    def test_where_no_mail_goes_at_all(self) -> None:
        """On a server that is idle for days policies would run out unseen."""
        self.demand()
        for _ in range(25 * 24):
            self.later(LOOK_FOR_ENDS)
            self.source.policies.look_after()
        self.assertIsNotNone(self.in_force())
        self.assertIn(len(self.fetches.asked), (3, 4))

    def test_ends_can_not_be_looked_for(self) -> None:
        """A mistake of ours would hold up mail that has nothing to do with it."""
        self.patch(PolicyFiles, "expiring", lambda *_: 1 / 0)
        self.later(LOOK_AGAIN)
        self.assertIsNotNone(self.demand())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_another_process(self) -> None:
        """Each process of a server would fetch each policy."""
        PolicyFiles(self.folder).write(
            Stored(domain=BLU, id="1", policy=TESTING, fetched=self.reactor.seconds())
        )
        demand = self.demand()
        assert demand
        self.assertTrue(demand.is_tried_out)
        self.assertEqual(self.fetches.asked, [])

    def test_another_process_had_it(self) -> None:
        """One process that can't fetch a policy would take it from those that could."""
        self.fetches.answer = None
        held = self.begin()
        had = Stored(domain=BLU, id="1", policy=ENFORCE, fetched=self.reactor.seconds() + 5)
        PolicyFiles(self.folder).write(had)
        self.later(10)
        self.fetches.waiting[0].callback(FAULT)
        self.successResultOf(held)
        for _ in range(2):
            demand = self.demand()
            assert demand
            self.assertEqual(demand.policy, "verify")
            self.start()
        self.assertEqual(
            PolicyFiles(self.folder).read(BLU),
            attrs.evolve(had, failed=self.reactor.seconds(), fault=FAULT),
        )

    def test_another_process_forgot(self) -> None:
        """A policy would end because another process knows of nothing but its own failure."""
        self.demand()
        self.later(100)
        failed = Stored(domain=BLU, failed=self.reactor.seconds(), fault=FAULT)
        self.patch(PolicyFiles, "read", lambda *_: failed)
        self.later(LOOK_AGAIN)
        demand = self.demand()
        assert demand
        self.assertEqual(demand.policy, "verify")

    def test_disk_full(self) -> None:
        """A full disk would have mail go out in clear."""
        self.patch(PolicyFiles, "write", self.fail_to_write)
        for _ in range(2):
            self.assertIsNotNone(self.demand())
            self.later(3601)
        self.assertEqual(self.fetches.asked, [BLU])

    @staticmethod
    def fail_to_write(_files: PolicyFiles, _stored: Stored) -> None:
        raise OSError("no room")

    def test_bounded(self) -> None:
        """Mail to ever different domains would fill the memory."""
        self.patch(mta_sts_upkeep, "MAX_KNOWN", 10)
        self.start()
        for number in range(20):
            self.demand(where=f"mx:{number}.example")
        self.assertEqual(len(self.source.policies._known), 10)
        exchangers = tuple(f"mx.{number}.{BLU}" for number in range(1000))
        self.fetches.answer = attrs.evolve(ENFORCE, mx=exchangers)  # as many as there may be
        self.patch(mta_sts_upkeep, "MAX_OCTETS", 300_000)
        self.start()
        for number in range(8):
            self.resolver.zone[f"_mta-sts.{number}.example"] = FIRST
            self.assertIsNotNone(self.demand(where=f"mx:{number}.example"))
        self.assertIn(len(self.source.policies._known), (2, 3, 4))

    def test_not_to_be_read_now(self) -> None:
        """A process without free descriptors would send in clear, and forget the policy."""
        self.demand()
        self.fetches.answer = FAULT
        self.start()
        self.publish(FIRST)
        read = PolicyFiles.read
        patch = self.patch(PolicyFiles, "read", self.fail_to_read)
        self.assert_refused(self.demand())
        patch.restore()
        demand = self.demand()
        assert demand
        self.assertEqual(demand.policy, "verify")
        self.assertIsNone(demand.refusal)
        self.patch(PolicyFiles, "read", self.fail_to_read)
        self.publish(SECOND)
        self.later(3601)
        self.assertEqual(self.demand(), demand)  # it is in memory
        self.fetches.answer = TESTING
        self.later(NOT_AGAIN)
        self.demand()
        stored = read(PolicyFiles(self.folder), BLU)
        assert stored
        self.assertEqual(stored.policy, ENFORCE)

    @staticmethod
    def fail_to_read(_files: PolicyFiles, _domain: str) -> None:
        raise OSError("too many open files")

    def assert_refused(self, demand: TlsDemand | None) -> None:
        assert demand
        assert demand.refusal
        self.assertTrue(str(demand.refusal).startswith("451 4.7.5 whether blu.example has an"))
        self.assertIsNone(demand.fault)  # it is ours, and nothing to tell the domain of

    def test_end(self) -> None:
        """Between the end of a policy and the next look mail would go out in clear."""
        self.fetches.answer = attrs.evolve(ENFORCE, max_age=90)
        self.demand()
        self.later(61)
        self.demand()
        self.later(30)
        self.assertIsNotNone(self.demand())
        self.assertEqual(self.fetches.asked, [BLU] * 2)

    def test_a_fault_of_ours(self) -> None:
        """A mistake of ours would hold mail up for ever."""
        self.patch(PolicyFiles, "read", lambda *_: 1 / 0)
        self.assert_refused(self.demand())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
