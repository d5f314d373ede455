"""Covers mailframe.server.tally."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.tally import Tally


class Others:
    """The other processes."""

    def __init__(self) -> None:
        self.have: Counter[str] = Counter()
        self.told: list[tuple[str, int]] = []

    def count(self, key: str) -> int:
        return self.have[key]

    def publish(self, key: str, number: int) -> None:
        self.told.append((key, number))


class TallyTests(SynchronousTestCase):
    """Counting connections."""

    def test_alone(self) -> None:
        """Who left would be counted for ever."""
        tally = Tally()
        for _ in range(2):
            tally.add("a")
        tally.add("b")
        self.assertEqual((tally.count("a"), tally.count("b"), tally.count("c")), (2, 1, 0))
        for _ in range(2):
            tally.remove("a")
        tally.remove("c")
        self.assertEqual((tally.count("a"), tally.count("c"), len(tally)), (0, 0, 1))

    def test_with_others(self) -> None:
        """With each process a client would have as many connections more."""
        others = Others()
        tally = Tally(others)
        others.have["a"] = 5
        self.assertEqual(tally.count("a"), 5)
        tally.add("a")
        tally.add("a")
        self.assertEqual(tally.count("a"), 7)
        tally.remove("a")
        tally.remove("a")
        self.assertEqual(others.told, [("a", 1), ("a", 2), ("a", 1), ("a", 0)])
