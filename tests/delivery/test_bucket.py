"""Rates."""

from __future__ import annotations

import heapq
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.bucket import Bucket, Rate
from mailframe.delivery.promises import APART, LATEST, LONGEST, SOONEST, Promises
from mailframe.queue.turned_away import BUSY_RATE


class RateTests(SynchronousTestCase):
    """`Rate`."""

    def test_read(self) -> None:
        """A limit would be another than the one that was written."""
        self.assertEqual(Rate.parse("100/1m"), Rate(100, 60.0))
        self.assertEqual(Rate.parse(" 2000 / 12h "), Rate(2000, 43200.0))
        self.assertEqual(Rate.parse("5/s"), Rate(5, 1.0))
        self.assertEqual(str(Rate.parse("100/60s")), "100/1m")
        for text in (
            "",
            "100",
            "/1m",
            "0/1m",
            "-1/1m",
            "1.5/1m",
            "10/0s",
            "10/x",
            "10/1m/2",
            "٣/1m",
        ):
            with self.assertRaises(ValueError, msg=text) as caught:
                Rate.parse(text)
            self.assertIn("such as", str(caught.exception))

    def test_share(self) -> None:
        """Several processes would send several times what is allowed, or nothing."""
        self.assertEqual(Rate(100, 60.0).share(8), Rate(12, 60.0))
        self.assertEqual(Rate(2, 60.0).share(8), Rate(1, 60.0))


class BucketTests(SynchronousTestCase):
    """`Bucket`."""

    @given(
        count=st.integers(1, 200),
        seconds=st.sampled_from([1.0, 60.0, 3600.0]),
        pauses=st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=300),
    )
    @settings(deadline=None, max_examples=60)
    def test_never_more(self, count: int, seconds: float, pauses: list[float]) -> None:
        """A receiver that counts would block us."""
        bucket = Bucket(Rate(count, seconds), random.Random(1))
        now, sent = 0.0, []
        for pause in pauses:
            now += pause * seconds / count
            if bucket.wait(now) <= 0:
                bucket.take(now)
                sent.append(now)
        for number in range(count, len(sent)):
            self.assertGreaterEqual(sent[number] - sent[number - count], seconds * (1 - 1e-9))

    @given(count=st.integers(1, 100))
    @settings(deadline=None, max_examples=30)
    def test_everybody_in_the_end(self, count: int) -> None:
        """Mail would wait for ever, or much longer than the rate asks."""
        bucket = Bucket(Rate(count, 60.0), random.Random(1))
        now = 1000.0
        for _ in range(3 * count):
            wait = bucket.wait(now)
            now += wait
            self.assertLess(bucket.wait(now), 1e-6)
            bucket.take(now)
        self.assertLessEqual(now - 1000.0, 3 * 60.0 / 0.94)

    def test_come_again(self) -> None:
        """All that wait would come at once, again and again, each time in vain."""
        bucket = Bucket(Rate(60, 60.0), random.Random(1))
        while not bucket.wait(0.0):
            bucket.take(0.0)
        times = [bucket.later(0.0) for _ in range(300)]
        self.assertGreaterEqual(times[0], bucket.wait(0.0))
        self.assertEqual(times, sorted(times))
        self.assertAlmostEqual(times[-1] - times[0], 299 * 60 / 58, places=6)

    def test_given_back(self) -> None:
        """Messages that could not be sent would use up the rate of those that can."""
        bucket = Bucket(Rate(40, 60.0), random.Random(1))
        self.assertEqual(bucket.room(5.0), 2)
        self.assertTrue(bucket.is_unused(5.0))
        bucket.lend(5.0).used()
        lent = bucket.lend(5.0)
        self.assertEqual(bucket.room(5.0), 0)
        self.assertGreater(bucket.wait(5.0), 0)
        self.assertFalse(bucket.is_unused(5.0))
        lent.give_back(5.0)
        self.assertEqual(bucket.wait(5.0), 0)
        self.assertEqual(bucket.room(5.0), 1)

    def test_given_back_late(self) -> None:
        """Room that has come back by itself comes back once more: two go out where one may."""
        bucket = Bucket(Rate(10, 60.0), random.Random(1))
        never_sent = bucket.lend(0.0)
        self.assertEqual(bucket.wait(60.0), 0)
        bucket.take(60.0)
        never_sent.give_back(61.0)
        self.assertAlmostEqual(bucket.wait(61.0), 5.0)

    @given(
        count=st.sampled_from([1, 7, 40, 100]),
        steps=st.lists(
            st.tuples(st.floats(0, 2, allow_nan=False), st.sampled_from([0, 0, 0, 2, 4])),
            min_size=20,
            max_size=100,
        ),
    )
    @settings(deadline=None, max_examples=80)
    def test_never_more_though_given_back(self, count: int, steps: list[tuple[float, int]]) -> None:
        """A receiver that counts would block us, because others are dead."""
        bucket = Bucket(Rate(count, 60.0), random.Random(1))
        alone = Bucket(Rate(count, 60.0), random.Random(1))  # of those that are never given back
        now, sent, lent = 0.0, [], []
        for pause, later in steps:
            now += pause * 60.0 / count
            while lent and lent[0][0] <= now:
                heapq.heappop(lent)[2].give_back(now)
            if bucket.wait(now) > 0:
                continue
            taken = bucket.lend(now)
            if later:
                heapq.heappush(lent, (now + (later - 1) * 60.0 / count, id(taken), taken))
            else:
                taken.used()
                sent.append(now)
                self.assertLess(alone.wait(now), 1e-6)
                alone.take(now)
        for number in range(count, len(sent)):
            self.assertGreaterEqual(sent[number] - sent[number - count], 60.0 * (1 - 1e-9))


class PromisesTests(SynchronousTestCase):
    """`Promises`."""

    def test_one_after_the_other(self) -> None:
        """Those who are sent back would all come at once, or never."""
        promises = Promises(random.Random(1))
        times = [promises.next(100.0, 100.0, 2.0) for _ in range(1000)]
        self.assertEqual(times[0], 2.0)
        self.assertEqual(Promises(random.Random(1)).next(0.0, 0.0, 0.1), SOONEST)
        near = [time for time in times if time < LATEST / 2]
        self.assertEqual(near, sorted(near))
        self.assertLessEqual(max(times), LATEST + 1000 * APART)
        late = times[len(near) + 300 :]
        self.assertGreaterEqual(min(late), LATEST / 2)
        self.assertGreater(len(set(late)), 100)
        self.assertEqual(promises.next(5000.0, 5010.0, 2.0), 12.0)

    def test_a_large_backlog(self) -> None:
        """More come again than can be tried in vain: all other mail waits behind them for ever."""
        promises = Promises(random.Random(1))
        backlog = [0.0] * 50_000  # when each is due
        for now in range(6000):
            for _ in range(int(BUSY_RATE)):
                if backlog[0] > now:
                    break
                heapq.heapreplace(backlog, now + promises.next(now, now, 1.0))
            if now > 4500:
                self.assertGreater(backlog[0], now - 5)

    def test_no_more_than_that(self) -> None:
        """Mail for a destination that has room again is not tried for a day."""
        promises = Promises(random.Random(1))
        self.assertLessEqual(max(promises.next(0.0, 0.0, 1.0) for _ in range(500_000)), LONGEST)
        self.assertLessEqual(max(promises.next(LONGEST, LONGEST, 1.0) for _ in range(800)), LATEST)
