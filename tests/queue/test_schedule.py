"""Covers mailframe.queue.schedule."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.schedule import Schedule
from mailframe.units import Seconds

HOUR = 3600.0
DAY = 24 * HOUR


class ScheduleTests(SynchronousTestCase):
    """When mail is tried again, warned of and given up."""

    def test_every_fifteen_minutes(self) -> None:
        """Without the fixed interval a user could not say when mail is tried again."""
        self.assertEqual(Schedule().next_attempt(0.0, 1.0, False), 901.0)

    def test_five_days_of_attempts(self) -> None:
        """The attempts of five days: each quarter of an hour, and the last at the deadline."""
        schedule, now, times = Schedule(), 0.0, [0.0]
        while not schedule.is_expired(0.0, now):
            now = schedule.next_attempt(0.0, now, warned=now >= 4 * HOUR)
            times.append(now)
        self.assertEqual(times, [n * 900.0 for n in range(481)])

    def test_the_last_attempt_is_at_the_deadline(self) -> None:
        """Mail must not be given up without having been tried just before."""
        schedule = Schedule(retry_every=Seconds(7 * HOUR))
        self.assertEqual(schedule.next_attempt(0.0, 5 * DAY - HOUR, True), 5 * DAY)

    def test_an_attempt_is_made_when_the_warning_is_due(self) -> None:
        """With a long interval the sender would hear of the delay much later than configured."""
        schedule = Schedule(retry_every=Seconds(DAY), warn_after=Seconds(4 * HOUR))
        self.assertEqual(schedule.next_attempt(0.0, 0.0, False), 4 * HOUR)
        self.assertEqual(schedule.next_attempt(0.0, 4 * HOUR, True), 28 * HOUR)

    def test_warnings_can_be_switched_off(self) -> None:
        """A warn_after of 0 means never, not at once."""
        schedule = Schedule(warn_after=Seconds(0.0))
        self.assertFalse(schedule.is_warning_due(0.0, 4 * DAY))
        self.assertEqual(schedule.next_attempt(0.0, 0.0, False), 900.0)

    def test_a_zero_interval_is_refused(self) -> None:
        """The server would spin."""
        self.assertRaises(ValueError, Schedule, retry_every=Seconds(0.0))

    @given(
        st.floats(0, 1e6), st.floats(0, 1e6), st.booleans(), st.floats(1, 1e5), st.floats(0, 1e5)
    )
    def test_always_later(
        self, arrived: float, now: float, warned: bool, every: float, warn: float
    ) -> None:
        """An attempt in the past would be made at once, again and again."""
        schedule = Schedule(retry_every=Seconds(every), warn_after=Seconds(warn))
        self.assertGreater(schedule.next_attempt(arrived, now, warned), now)
        self.assertLessEqual(schedule.next_attempt(arrived, now, warned), now + every)
