"""The contents of just accepted messages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.recent import RecentContents


class RecentContentsTests(SynchronousTestCase):
    """What is kept in memory, and what no longer."""

    def test_bounded(self) -> None:
        """A burst of mail filled the memory."""
        recent = RecentContents(limit=100)
        for key in range(5):
            recent.add(key, b"x" * 40)
        self.assertEqual(
            [recent.get(key) is not None for key in range(5)], [False] * 3 + [True] * 2
        )

    def test_forgotten_makes_room(self) -> None:
        """What was delivered long ago kept what just came from being remembered."""
        recent = RecentContents(limit=100)
        recent.add(1, b"x" * 60)
        self.assertTrue(recent.forget(1))
        self.assertFalse(recent.forget(1))
        recent.add(2, b"x" * 40)
        recent.add(3, b"x" * 60)
        self.assertEqual(
            (recent.get(1), recent.get(2), recent.get(3)), (None, b"x" * 40, b"x" * 60)
        )

    def test_too_large_for_all(self) -> None:
        """One content larger than all that may be kept stayed in memory for ever."""
        recent = RecentContents(limit=100)
        recent.add(1, b"x" * 101)
        self.assertEqual(recent.get(1), None)
