"""Covers mailframe.queue.schedule."""

from itertools import pairwise
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.backoff import Backoff
from mailframe.envelope import DeliverBy
from mailframe.queue.schedule import LAST_CHANCES, Schedule, Times
from mailframe.units import Seconds

HOUR = 3600.0
DAY = 24 * HOUR


class ScheduleTests(SynchronousTestCase):
    """When mail is tried again, warned of and given up."""

    def test_every_fifteen_minutes(self) -> None:
        """Without the fixed interval a user could not say when mail is tried again."""
        self.assertEqual(Schedule().times(0.0).next_attempt(1.0, False), 901.0)

    def test_five_days_of_attempts(self) -> None:
        """The attempts of five days: each quarter of an hour, and the last at the deadline."""
        times, now, attempts = Schedule().times(0.0), 0.0, [0.0]
        while not times.is_expired(now, now):
            now = times.next_attempt(now, warned=now >= 4 * HOUR)
            attempts.append(now)
        self.assertEqual(attempts, [n * 900.0 for n in range(481)])

    def test_the_last_attempt_is_at_the_deadline(self) -> None:
        """Mail must not be given up without having been tried just before."""
        schedule = Schedule(retry_every=Seconds(7 * HOUR))
        self.assertEqual(schedule.times(0.0).next_attempt(5 * DAY - HOUR, True), 5 * DAY)

    def test_an_attempt_is_made_when_the_warning_is_due(self) -> None:
        """With a long interval the sender would hear of the delay much later than configured."""
        schedule = Schedule(retry_every=Seconds(DAY), warn_after=Seconds(4 * HOUR))
        times = schedule.times(0.0)
        self.assertEqual(times.next_attempt(0.0, False), 4 * HOUR)
        self.assertEqual(times.next_attempt(4 * HOUR, True), 28 * HOUR)

    def test_warnings_can_be_switched_off(self) -> None:
        """A warn_after of 0 means never, not at once."""
        times = Schedule(warn_after=Seconds(0.0)).times(0.0)
        self.assertFalse(times.is_warning_due(4 * DAY))
        self.assertEqual(times.next_attempt(0.0, False), 900.0)

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
        attempt = schedule.times(arrived).next_attempt(now, warned)
        self.assertGreater(attempt, now)
        self.assertLessEqual(attempt, now + every)


class BackoffTests(SynchronousTestCase):
    """Waits that grow."""

    SCHEDULE = Schedule(retry=Backoff())

    def test_five_days_of_attempts(self) -> None:
        """Nobody can say when a message is tried; or warning and end are missed by a long wait."""
        attempts = list(self.SCHEDULE.times(0.0, id="0000000000001").attempts(0.0))
        self.assertEqual(attempts[-1], 5 * DAY)
        self.assertIn(4 * HOUR, attempts)
        self.assertLess(len(attempts), 50)
        waits = [later - now for now, later in pairwise(attempts)]
        self.assertLessEqual(max(waits), 4 * HOUR)
        self.assertGreaterEqual(min(waits[:-1]), 0.8 * 5 * 60)

    def test_attempts_from_the_middle(self) -> None:
        """An explanation of a message in the queue begins with its life anew."""
        times = self.SCHEDULE.times(0.0, id="0000000000001")
        all_of_them = list(times.attempts(0.0))
        self.assertEqual(list(times.attempts(all_of_them[3], made=3)), all_of_them[3:])
        late = list(times.attempts(all_of_them[20], made=20, warned=True))
        self.assertEqual(late, all_of_them[20:])

    def test_a_route_s_own(self) -> None:
        """A rule's waits end where the queue's do."""
        own = Backoff(first=Seconds(HOUR), factor=1.0, jitter=0.0)
        times = self.SCHEDULE.times(0.0)
        self.assertEqual(times.next_attempt(0.0, False, 7, own), HOUR)
        self.assertEqual(self.SCHEDULE.times(0.0, retry=own).retry, own)

    def test_a_route_s_own_end(self) -> None:
        """What is of no use tomorrow is tried for days."""
        own = Backoff(warn_after=Seconds(60.0), give_up_after=Seconds(HOUR))
        times = self.SCHEDULE.times(100.0, retry=own)
        self.assertEqual((times.warn_at, times.give_up_at), (160.0, 100.0 + HOUR))
        never = self.SCHEDULE.times(100.0, retry=Backoff(warn_after=Seconds(0.0)))
        usual = self.SCHEDULE.times(100.0)
        self.assertEqual((never.warn_at, never.give_up_at), (None, usual.give_up_at))
        error = self.assertRaises(ValueError, Schedule, retry=own)
        self.assertIn("'retry' holds warn_after; in [queue] it stands beside retry", str(error))

    def test_longest(self) -> None:
        """After a jump of the clock long waits are cut short, or those of a day stay."""
        self.assertEqual((Schedule().longest_wait, self.SCHEDULE.longest_wait), (900.0, 4 * HOUR))


class LimitTests(SynchronousTestCase):
    """What limits of ours keep from being tried."""

    def test_chances(self) -> None:
        """Mail is returned without a last attempt, or kept for ever."""
        times = Schedule().times(0.0)
        end = 5 * DAY
        self.assertFalse(times.is_out_of_chances(end, end, since=end - DAY))
        self.assertTrue(times.is_out_of_chances(end, end + LAST_CHANCES, since=end - DAY))
        self.assertFalse(times.is_out_of_chances(end, end + LAST_CHANCES, since=end + 1))
        self.assertFalse(times.is_out_of_chances(end - 1, end + LAST_CHANCES, since=0.0))


class UnluckyMomentTests(SynchronousTestCase):
    """The clock jumps, or the server was off."""

    def test_one_more_attempt(self) -> None:
        """Mail was given up for an hour's fault, because the clock had jumped by a week."""
        times = Schedule().times(0.0)
        self.assertFalse(times.is_expired(planned=900.0, now=7 * DAY))
        again = times.next_attempt(7 * DAY, True)
        self.assertEqual(again, 7 * DAY + 900)
        self.assertTrue(times.is_expired(planned=again, now=again))

    def test_the_clock_goes_back(self) -> None:
        """An attempt that was planned by a clock that was wrong ends mail that just came."""
        self.assertFalse(Schedule().times(0.0).is_expired(planned=7 * DAY, now=900.0))


class DeadlineTests(SynchronousTestCase):
    """The sender set a deadline (RFC 2852)."""

    def times(self, at: float, mode: Literal["R", "N"], schedule: Schedule | None = None) -> Times:
        return (schedule or Schedule()).times(0.0, DeliverBy(at=at, mode=mode))

    def test_return(self) -> None:
        """A ticket arrives after the train has left."""
        times = self.times(1000.0, "R")
        self.assertEqual(times.next_attempt(0.0, False), 900.0)
        self.assertFalse(times.is_expired(900.0, 905.0))
        self.assertEqual(times.next_attempt(905.0, False), 940.0)
        self.assertEqual(times.next_attempt(945.0, False), 1000.0)
        self.assertTrue(times.is_expired(1000.0, 1001.0))
        # Also when the attempt took so long that the deadline passed meanwhile.
        self.assertTrue(times.is_expired(900.0, 1001.0))

    def test_a_return_after_we_give_up(self) -> None:
        """A sender could make the queue keep mail for thirty years."""
        times = self.times(1e9, "R")
        self.assertEqual((times.give_up_at, times.is_deadline), (5 * DAY, False))

    def test_notify(self) -> None:
        """The sender learns of the delay hours after it mattered; the mail is not given up."""
        times = self.times(1000.0, "N")
        self.assertFalse(times.is_warning_due(999.0))
        self.assertTrue(times.is_warning_due(1000.0))
        self.assertEqual(times.next_attempt(900.0, False), 1000.0)
        self.assertEqual(times.give_up_at, 5 * DAY)

    def test_notify_without_warnings(self) -> None:
        """Whoever asks is told, also where nobody else is."""
        times = self.times(1000.0, "N", Schedule(warn_after=Seconds(0.0)))
        self.assertTrue(times.is_warning_due(1000.0))

    def test_overdue_when_it_came(self) -> None:
        """Each server on the way tells the sender of the same delay once more."""
        self.assertEqual(self.times(-60.0, "N").warn_at, 4 * HOUR)
