"""What is remembered, and what is forgotten."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.remembered import Remembered


class RememberedTests(SynchronousTestCase):
    """`Remembered`."""

    def setUp(self) -> None:
        self.remembered: Remembered[str, int] = Remembered(3, 100)

    def keys(self) -> str:
        return "".join(key for key in "abcdef" if self.remembered.get(key) is not None)

    def test_most(self) -> None:
        """Mail to ever different domains would fill the memory."""
        for number, key in enumerate("abc"):
            self.remembered.put(key, number, 1)
        self.assertEqual((self.keys(), len(self.remembered)), ("abc", 3))
        self.remembered.used("a")
        self.remembered.put("d", 3, 1)
        self.assertEqual(self.keys(), "acd")
        self.remembered.put("c", 7, 1)
        self.remembered.put("e", 4, 1)
        self.assertEqual(self.keys(), "cde")
        self.assertEqual(self.remembered.get("c"), 7)

    def test_room(self) -> None:
        """Answers that are as long as can be would fill the memory, few as they are."""
        self.remembered.put("a", 1, 40)
        self.remembered.put("b", 2, 40)
        self.remembered.put("b", 2, 60)  # in place of the other
        self.assertEqual(self.keys(), "ab")
        self.remembered.put("c", 3, 10)
        self.assertEqual(self.keys(), "bc")
        self.remembered.put("d", 4, 1000)
        self.assertEqual(self.keys(), "d")
        self.remembered.put("e", 5, 100)
        self.assertEqual(self.keys(), "e")
