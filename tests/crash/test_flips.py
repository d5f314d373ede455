"""What flipped bits do; ``python -m tests.crash flips`` flips those of a large content as well."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.seals import Kept
from tests.crash.flips import flips


class FlipTests(SynchronousTestCase):
    """A bit of an entry is flipped."""

    def tearDown(self) -> None:
        self.flushLoggedErrors()  # SQLite's, of what can't be read
        super().tearDown()

    def test_every_bit(self) -> None:
        """A message would be delivered changed, be forgotten, or take others along."""
        report = flips("1", "small")
        self.assertTrue(report.is_clean, str(report))
        self.assertGreater(min(report.flips[place] for place in ("row", "content", "index")), 100)
        self.assertGreater(report.reported, 2000)

    def test_some_of_a_large_one(self) -> None:
        """The same, where the content is in a file."""
        report = flips("1", "large", share=0.006)
        self.assertTrue(report.is_clean, str(report))
        self.assertGreater(report.flips["file"], 80)

    def test_some_of_a_leased_one(self) -> None:
        """Whom a lease belongs to has no checksum: a message whose owner is garbled would wait."""
        report = flips("1", "leased", share=0.1)
        self.assertTrue(report.is_clean, str(report))
        self.assertGreater(report.flips["owners"], 5)
        self.assertGreater(report.delivered, 50)

    def test_without_checksums(self) -> None:
        """What flips bits might flip none that matter, and nobody would know."""
        self.patch(Kept, "is_content", lambda kept, size, checksum: True)
        report = flips("1", "large", share=0.002)
        self.assertGreater(report.broken["delivered though changed"], 5)
