"""Covers mailframe.server.recent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.recent import Recent, RecentHere

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class RecentContract(_Case):
    """What every `Recent` does. ``recent`` is an empty one."""

    recent: Recent

    def test_lives_for_a_window(self) -> None:
        """A guesser would be forgotten too early, or a person who mistyped never."""
        self.assertIsNone(self.recent.get(b"a", 1000.0, 100.0))
        self.recent.put(b"a", 1000.0, 3)
        for now in (1000.0, 1099.5):
            self.assertEqual(self.recent.get(b"a", now, 100.0), (1000.0, 3))
        self.assertIsNone(self.recent.get(b"b", 1000.0, 100.0))
        self.assertIsNone(self.recent.get(b"a", 1100.0, 100.0))

    def test_put_again(self) -> None:
        """Counts that don't grow, or times that don't move, are no limit."""
        for since, count in ((1000.0, 1), (1000.0, 2), (1050.0, 1)):
            self.recent.put(b"a", since, count)
            self.assertEqual(self.recent.get(b"a", 1050.0, 100.0), (since, count))
        self.assertEqual(self.recent.get(b"a", 1149.0, 100.0), (1050.0, 1))

    def test_forget(self) -> None:
        """A login that was proved would be held against its owner."""
        self.recent.put(b"a", 1000.0, 3)
        self.recent.put(b"b", 1000.0, 4)
        for _ in range(2):
            self.recent.forget(b"a")
            self.assertIsNone(self.recent.get(b"a", 1000.0, 100.0))
        self.assertEqual(self.recent.get(b"b", 1000.0, 100.0), (1000.0, 4))

    def test_clock_set_back(self) -> None:
        """A clock that was wrong for a minute would lock people out for a year."""
        self.recent.put(b"old", 1000.0, 1)
        self.recent.put(b"a", 1090.0, 3)
        self.assertIsNone(self.recent.get(b"a", 1050.0, 100.0))

    def test_any_time(self) -> None:
        """A limit would end early for times that a float holds inexactly."""
        for n in range(100):
            now = 1_790_000_000.1 + n / 7
            self.recent.put(b"a", now, 1)
            known = self.recent.get(b"a", now, 0.5)
            assert known is not None
            self.assertAlmostEqual(known[0], now, 5)


class RecentHereTests(RecentContract, SynchronousTestCase):
    """That of one process."""

    def setUp(self) -> None:
        self.here = RecentHere(3)
        self.recent = self.here

    def test_bounded(self) -> None:
        """An attacker with many addresses would fill the memory."""
        for number in range(9):
            self.here.put(b"%d" % number, 1000.0 + number, 1)
        self.assertEqual(len(self.here), 3)
        self.assertIsNone(self.here.get(b"5", 1009.0, 100.0))
        self.assertIsNotNone(self.here.get(b"6", 1009.0, 100.0))

    def test_expires(self) -> None:
        """What is over would keep its memory."""
        for key, since in ((b"a", 1000.0), (b"b", 1001.0), (b"a", 1002.0)):
            self.here.put(key, since, 1)
        self.here.get(b"x", 1101.0, 100.0)
        self.assertEqual(len(self.here), 1)
        self.here.get(b"x", 1102.0, 100.0)
        self.assertEqual(len(self.here), 0)
