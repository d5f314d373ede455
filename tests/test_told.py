"""Whether messages are told of in the log: `mailframe.told`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe import told


class ToldTests(SynchronousTestCase):
    """What nobody can see is not put together, and nothing else is left out."""

    def test_levels(self) -> None:
        """The log lacks what was asked for, or each message pays for lines that nobody sees."""
        self.assertTrue(told.is_told())
        self.addCleanup(told.begin_at, "debug")
        for level, wanted in (("debug", True), ("info", True), ("warn", False), ("error", False)):
            told.begin_at(level)
            self.assertEqual(told.is_told(), wanted, level)
