"""What a power cut may leave; ``python -m tests.crash model`` looks at more."""

from __future__ import annotations

from tests.crash.model import explore
from tests.crash.needs import SharedSqliteCase


class ModelTests(SharedSqliteCase):
    """The program as it is."""

    def test_no_state_breaks_a_promise(self) -> None:
        """Mail would be lost, or come twice, when the power fails at a bad moment."""
        report = explore("1")
        self.assertTrue(report.is_clean, str(report))
        self.assertGreater(report.calls, 400)
        self.assertGreater(report.states, 1000)
