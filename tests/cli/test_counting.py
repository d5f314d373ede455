"""How far long work has come, on a terminal."""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli import counting


class CountingTests(SynchronousTestCase):
    """`Counting`"""

    def setUp(self) -> None:
        self.patch(counting, "EVERY", 0.0)
        self.screen = io.StringIO()
        self.patch(sys, "stderr", self.screen)

    def test_terminal(self) -> None:
        """A user would not know whether anything goes on; or what was told would stay."""
        self.screen.isatty = lambda: True  # type: ignore[method-assign]  # as a terminal's
        count = counting.Counting("messages")
        count.add(3)
        count.add(4)
        self.assertTrue(self.screen.getvalue().endswith("\r7 messages"))
        count.end()
        self.assertTrue(self.screen.getvalue().endswith("\r\x1b[K"))

    def test_elsewhere(self) -> None:
        """A log would be full of it."""
        count = counting.Counting("messages")
        count.add(3)
        count.end()
        self.assertEqual(count.count, 3)
        self.assertEqual(self.screen.getvalue(), "")
