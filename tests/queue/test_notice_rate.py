"""Covers mailframe.queue.notice_rate."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.queue import notice_rate
from mailframe.queue.notice_rate import NoticeRate

VICTIM = Address("victim", "rosse.example")
OTHER = Address("other", "rosse.example")


class RateTests(SynchronousTestCase):
    """Notices to one sender."""

    def setUp(self) -> None:
        self.rate = NoticeRate()

    def taken(self, sender: Address, now: float, times: int = 5) -> int:
        return sum([self.rate.take(sender, 3, now) for _ in range(times)])

    def test_limit(self) -> None:
        """A forged sender is flooded with notices."""
        self.assertEqual(self.taken(VICTIM, 0.0), 3)
        self.assertEqual(self.taken(VICTIM, 3599.0), 0)

    def test_an_hour_later(self) -> None:
        """Somebody whose name was forged once never hears of a failure again."""
        self.taken(VICTIM, 0.0)
        self.assertEqual(self.taken(VICTIM, 3600.0), 3)

    def test_others(self) -> None:
        """One sender's flood takes the notices away from everybody."""
        self.taken(VICTIM, 0.0)
        self.assertEqual(self.taken(OTHER, 0.0), 3)

    def test_the_clock_goes_back(self) -> None:
        """A clock that was a year ahead silences the notices for a year."""
        self.taken(VICTIM, 1e9)
        self.assertEqual(self.taken(VICTIM, 0.0), 3)

    def test_bounded(self) -> None:
        """A flood with ever other names fills the memory; or makes us forget the busiest."""
        self.patch(notice_rate, "MAX_SENDERS", 10)
        for number in range(100):
            self.rate.take(Address(f"u{number}", "rosse.example"), 3, float(number))
            self.rate.take(VICTIM, 3, float(number))
        self.assertEqual(len(self.rate), 10)
        self.assertEqual(self.taken(VICTIM, 100.0), 0)
