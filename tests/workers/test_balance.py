"""Covers mailframe.workers.balance."""

from __future__ import annotations

import os

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.workers.balance import ABSENT, Balance, Counts


@attrs.define
class Client:
    """A connection."""

    connected: int = 1


class CountsTests(SynchronousTestCase):
    """The memory that processes share."""

    def test_shared(self) -> None:
        """Each process must see what the others write."""
        one = Counts(3)
        other = Counts(3, os.dup(one.descriptor))
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.assertEqual(other.least(), 0, "nobody serves")
        one.set(3, 7)
        self.assertEqual(other.least(), 7)
        other.set(1, 4)
        self.assertEqual(one.least(), 4)
        one.set(1, ABSENT)
        self.assertEqual(other.least(), 7)


class BalanceTests(SynchronousTestCase):
    """Who takes the next client."""

    def workers(self, count: int) -> list[Balance]:
        counts = Counts(count)
        self.addCleanup(counts.close)
        return [Balance(counts, number) for number in range(1, count + 1)]

    def test_alone(self) -> None:
        """As long as no other serves, nobody is left to wait for one."""
        one, other = self.workers(2)
        one.begin()
        for _ in range(50):
            self.assertFalse(one.is_ahead())
            one.took(Client())
        other.begin()
        self.assertTrue(one.is_ahead())
        self.assertFalse(other.is_ahead())

    def test_clients_that_leave(self) -> None:
        """Only who is still there counts."""
        one, other = self.workers(2)
        one.begin()
        other.begin()
        clients = [Client() for _ in range(5)]
        for client in clients:
            one.took(client)
        self.assertTrue(one.is_ahead())
        for client in clients[1:]:
            client.connected = 0
        self.assertFalse(one.is_ahead())

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 3), max_size=200))
    def test_even(self, order: list[int]) -> None:
        """Whoever comes to run first, the clients must be spread about evenly."""
        workers = self.workers(4)
        taken = [0, 0, 0, 0]
        for worker in workers:
            worker.begin()
        for number in order:
            if not workers[number].is_ahead():
                workers[number].took(Client())
                taken[number] += 1
        self.assertLessEqual(max(taken), min(taken) * 8 / 7 + 3)
