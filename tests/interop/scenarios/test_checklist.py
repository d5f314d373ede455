"""Covers that what the checklist names is there."""

from __future__ import annotations

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.scenarios.checklist import EXIM, KUMOMTA, OTHERS


class ChecklistTests(SynchronousTestCase):
    """A scenario is said to be shown by a test that is gone."""

    def test_every_test_is_there(self) -> None:
        """Each scenario names tests that exist."""
        gone = []
        for scenario, tests in {**KUMOMTA, **EXIM, **OTHERS}.items():
            self.assertTrue(tests, scenario)
            for test in tests:
                try:
                    found = namedAny(test)
                except Exception:  # it can't be imported, or has no such attribute
                    found = None
                if found is None or not test.rpartition(".")[2].startswith("test_"):
                    gone.append(f"{scenario}: {test}")
        self.assertEqual(gone, [], "\n" + "\n".join(gone))
