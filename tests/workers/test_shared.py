"""Covers mailframe.workers.shared."""

from __future__ import annotations

import os
from array import array

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.connections import Connections
from mailframe.server.limits import Limits
from mailframe.server.login_delays import LoginDelays
from mailframe.server.login_failures import LoginFailures
from mailframe.workers.shared import Shared, SharedRecent, Slots
from tests.server.test_connections import FakeConnection
from tests.server.test_recent import RecentContract

SECRET = bytes(16)
PLACE = 8 * 3  # words


def slots(places: int) -> Slots:
    """An empty table."""
    return Slots(memoryview(array("Q", bytes(places * PLACE * 8))), SECRET)


class SharedRecentTests(RecentContract, SynchronousTestCase):
    """Memory that others write too."""

    def setUp(self) -> None:
        self.slots = slots(1)
        self.recent = SharedRecent(self.slots)

    def test_who_matters_stays(self) -> None:
        """A guesser would begin anew by filling the table with names that are tried once."""
        self.recent.put(b"guesser", 1000.0, 9)
        for n in range(100):
            self.recent.put(b"%d" % n, 1001.0 + n, 1)
        self.assertEqual(self.recent.get(b"guesser", 1200.0, 900.0), (1000.0, 9))
        self.assertIsNotNone(self.recent.get(b"99", 1200.0, 900.0), "the youngest of the others")

    def test_what_is_over_makes_room(self) -> None:
        """Old attackers would keep the memory from what happens now."""
        for n in range(8):
            self.recent.put(b"%d" % n, 1000.0, 20)
        self.recent.get(b"x", 1100.0, 100.0)
        for n in range(8):
            self.recent.put(b"new %d" % n, 1100.0, 1)
        for n in range(8):
            self.assertIsNotNone(self.recent.get(b"new %d" % n, 1100.0, 100.0))

    def test_before_1970(self) -> None:
        """A test's clock begins at 0, and the window before it."""
        self.recent.put(b"a", 0.0, 1)
        self.assertIsNone(self.recent.get(b"b", 0.0, 100.0))
        self.recent.put(b"a", 5.0, 1)
        self.assertIsNotNone(self.recent.get(b"a", 10.0, 100.0))

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(0, 40)), max_size=60)
    )
    def test_like_a_dictionary(self, steps: list[tuple[int, int, int]]) -> None:
        """With room for all, it must say what a dictionary would."""
        recent, model = SharedRecent(slots(64)), dict[bytes, tuple[float, int]]()
        now = 1000.0
        for name, count, passed in steps:
            now += passed
            key = b"%d" % name
            if count:
                recent.put(key, now, count)
                model[key] = now, count
            else:
                recent.forget(key)
                model.pop(key, None)
            for each, known in list(model.items()):
                if known[0] <= now - 100:
                    del model[each]
            for each in range(31):
                key = b"%d" % each
                self.assertEqual(recent.get(key, now, 100.0), model.get(key))


class SharedTests(SynchronousTestCase):
    """Two workers, each with its own view of the memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)
        self.shared = [Shared(2)]
        self.shared.append(Shared(2, os.dup(self.shared[0].descriptor)))
        for each in self.shared:
            self.addCleanup(each.close)
        self.records = [each.records(n) for n, each in enumerate(self.shared, 1)]

    def failures(self) -> list[LoginFailures]:
        limits = Limits(login_failures_per_address=3, login_failures_per_login=3)
        return [
            LoginFailures(limits=limits, clock=self.clock, records=each) for each in self.records
        ]

    def test_failed_logins(self) -> None:
        """With each process an attacker would have as many guesses more."""
        one, other = self.failures()
        one.failed("192.0.2.1", b"a@here.example")
        one.failed("192.0.2.1", b"b@here.example")
        self.assertIsNone(other.beyond("192.0.2.1", b"x"))
        other.failed("192.0.2.1", b"a@here.example")
        for each in (one, other):
            self.assertEqual(each.beyond("192.0.2.1", b"x"), "login_failures_per_address")
        one.failed("192.0.2.2", b"A@HERE.example")
        for each in (one, other):
            self.assertEqual(
                each.beyond("192.0.2.9", b"a@here.example"), "login_failures_per_login"
            )
        self.clock.advance(900)
        for each in (one, other):
            self.assertIsNone(each.beyond("192.0.2.1", b"a@here.example"))

    def test_proved_login(self) -> None:
        """Its owner would be locked out by what other processes counted."""
        one, other = self.failures()
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            one.failed(address, b"a@here.example")
        other.succeeded(b"a@here.example")
        self.assertIsNone(one.beyond("192.0.2.9", b"a@here.example"))

    def test_a_worker_that_has_ended(self) -> None:
        """A guesser would have to crash a worker only; or nobody could come in after a crash."""
        failures, _ = self.failures()
        for number in range(3):
            failures.failed("192.0.2.1", b"%d" % number)
        tally, other = (each.tally("mx") for each in self.records)
        tally.add("192.0.2.1")
        self.assertEqual(other.count("192.0.2.1"), 1)
        self.shared[1].ended(1)
        self.assertEqual(other.count("192.0.2.1"), 0)
        self.assertIsNotNone(self.failures()[1].beyond("192.0.2.1", b"x"))

    def test_login_delay(self) -> None:
        """A client that asks every second would be told to wait by every other answer only."""
        one, other = (
            LoginDelays(seconds=60.0, clock=self.clock, records=each) for each in self.records
        )
        one.opened("mary@here.example")
        self.clock.advance(20)
        self.assertAlmostEqual(other.left("mary@here.example"), 40, 3)
        self.clock.advance(40)
        self.assertEqual(other.left("mary@here.example"), 0)

    def test_connections(self) -> None:
        """With each process a client would have as many connections more."""
        limits = Limits(connections_per_address=2, connections_per_network=3)
        one, other = (
            Connections[FakeConnection](
                server="mx", limits=limits, clock=self.clock, tally=each.tally("mx")
            )
            for each in self.records
        )
        first, second = FakeConnection(), FakeConnection()
        self.assertIsNone(one.arrived(first, "192.0.2.1"))
        self.assertIsNone(other.arrived(second, "192.0.2.1"))
        refused = FakeConnection()
        self.assertEqual(one.arrived(refused, "192.0.2.1"), "connections_per_address")
        one.left(refused, "192.0.2.1")
        self.assertIsNone(other.arrived(FakeConnection(), "192.0.2.2"))
        self.assertEqual(one.arrived(refused, "192.0.2.3"), "connections_per_network")
        one.left(refused, "192.0.2.3")
        other.left(second, "192.0.2.1")
        self.assertIsNone(one.arrived(FakeConnection(), "192.0.2.1"))

    def test_servers_apart(self) -> None:
        """Who reads mail would be kept from sending it."""
        pop, mx = self.records[0].tally("pop"), self.records[1].tally("mx")
        pop.add("192.0.2.1")
        self.assertEqual(
            (mx.count("192.0.2.1"), self.records[1].tally("pop").count("192.0.2.1")), (0, 1)
        )

    def test_names_are_not_kept(self) -> None:
        """Who gets at the memory would learn who logs in from where."""
        one, _ = self.failures()
        one.failed("192.0.2.1", b"a@here.example")
        octets = bytes(self.shared[0]._memory)
        self.assertNotIn(b"192.0.2.1", octets)
        self.assertNotIn(b"here.example", octets)
        self.assertNotEqual(octets[:16], bytes(16), "the hashes could be foreseen")
