"""Covers mailframe.backoff."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.backoff import MAX_FACTOR, MAX_JITTER, Backoff
from mailframe.units import Seconds

MINUTE = 60.0


class BackoffTests(SynchronousTestCase):
    """How long mail waits."""

    def test_ever_longer(self) -> None:
        """A server that is off for days is asked every five minutes, for each message."""
        curve = Backoff(jitter=0.0)
        waits = [curve.wait(attempts, "a") / MINUTE for attempts in range(1, 9)]
        self.assertEqual(waits, [5, 10, 20, 40, 80, 160, 240, 240])

    def test_the_longest_is_no_power_of_the_factor(self) -> None:
        """Waits stop to grow one step too early."""
        curve = Backoff(first=Seconds(10.0), factor=3.0, longest=Seconds(100.0), jitter=0.0)
        self.assertEqual([curve.wait(n, "") for n in range(1, 6)], [10, 30, 90, 100, 100])

    def test_fixed(self) -> None:
        """The usual quarter of an hour is not one."""
        curve = Backoff.fixed(900.0)
        self.assertEqual({curve.wait(n, "a") for n in (1, 2, 500)}, {900.0})

    def test_chance(self) -> None:
        """All that failed in one moment comes back in one moment."""
        curve = Backoff(jitter=0.2)
        waits = [curve.wait(1, f"{n:013}") for n in range(1000)]
        self.assertGreater(len(set(waits)), 990)
        self.assertGreaterEqual(min(waits), 240.0)
        self.assertLessEqual(max(waits), 300.0)
        self.assertLess(abs(sum(waits) / len(waits) - 270.0), 3.0)

    def test_chance_is_the_same_everywhere(self) -> None:
        """An explanation shows times that don't come true."""
        self.assertEqual(Backoff().wait(3, "0000000000001"), Backoff().wait(3, "0000000000001"))
        self.assertAlmostEqual(Backoff().wait(3, "0000000000001"), 1165.18, places=2)

    def test_mistakes(self) -> None:
        """A curve that makes the server spin, or that nobody meant, is taken."""
        for changes, told in (
            ({"first": 0.5}, "'first' found 0.5s; allowed: at least 1s"),
            ({"factor": 0.5}, "'factor' found 0.5"),
            ({"factor": 1e9}, "'factor' found 1e+09"),
            ({"first": 8 * 3600.0}, "longest (4h) is shorter than first (8h)"),
            ({"jitter": 0.6}, "'jitter' found 0.6"),
            ({"jitter": -0.1}, "'jitter' found -0.1"),
            ({"jitter": float("nan")}, "'jitter' found nan"),
        ):
            error = self.assertRaises(ValueError, Backoff, **changes)
            self.assertIn(told, str(error))

    @settings(deadline=None)
    @given(
        st.floats(1, 1e5),
        st.floats(1, MAX_FACTOR),
        st.floats(0, 1e6),
        st.floats(0, MAX_JITTER),
        st.integers(1, 10**9),
        st.text(max_size=5),
    )
    def test_bounds(
        self, first: float, factor: float, more: float, jitter: float, attempts: int, seed: str
    ) -> None:
        """A wait is longer than the longest, shrinks from one attempt to the next, or overflows."""
        curve = Backoff(
            first=Seconds(first), factor=factor, longest=Seconds(first + more), jitter=jitter
        )
        wait = curve.wait(attempts, seed)
        self.assertLessEqual(wait, curve.longest)
        self.assertGreaterEqual(wait, first * (1 - jitter))
        steady = Backoff(first=curve.first, factor=factor, longest=curve.longest, jitter=0.0)
        self.assertLessEqual(steady.wait(attempts, seed), steady.wait(attempts + 1, seed))
