"""Durations and sizes as users write them: `mailframe.units`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.units import duration_text, parse_duration, parse_size


class DurationTests(SynchronousTestCase):
    def test_written(self) -> None:
        """A message is tried every 15 seconds instead of every 15 minutes."""
        for value, seconds in (
            ("30s", 30),
            ("15m", 900),
            ("4h", 14_400),
            ("5d", 432_000),
            ("2w", 1_209_600),
            ("250ms", 0.25),
            ("1.5h", 5400),
            (" 15 m ", 900),
            (90, 90),
            (0.5, 0.5),
            (0, 0),
        ):
            self.assertEqual(parse_duration(value), seconds, value)

    def test_refused(self) -> None:
        """A mistake in the configuration becomes a time that nobody meant."""
        for value in ("", "15", "15 minutes", "m", "-15m", "1h30m", "15M", -1, True, None, [1]):
            error = self.assertRaises(ValueError, parse_duration, value)
            self.assertIn('"15m"', str(error))

    def test_endless(self) -> None:
        """A warning has to name a day that no calendar has, and nobody gets it."""
        self.assertEqual(parse_duration("36500d"), 3_153_600_000)
        for value in ("36501d", "9" * 400 + "d", 10**30, 10**400, float("inf")):
            error = self.assertRaises(ValueError, parse_duration, value)
            self.assertIn("at most 36500d", str(error))

    def test_shown(self) -> None:
        """A person reads a number of seconds and has to divide."""
        for seconds, text in (
            (900, "15m"),
            (5400, "90m"),
            (14_400, "4h"),
            (432_000, "5d"),
            (1_209_600, "2w"),
            (90, "90s"),
            (0.5, "0.5s"),
            (0, "0s"),
        ):
            self.assertEqual(duration_text(seconds), text)

    @given(st.integers(0, 10_000_000))
    def test_round_trip(self, seconds: int) -> None:
        """What is shown means another time than what was set."""
        shown = duration_text(seconds)
        self.assertEqual(parse_duration(shown), seconds)


class SizeTests(SynchronousTestCase):
    def test_written(self) -> None:
        """A message of 20 MB is refused although 25 MB are allowed."""
        for value, octets in (
            ("25MB", 25_000_000),
            ("64KiB", 65_536),
            ("1.5MB", 1_500_000),
            ("1GB", 10**9),
            ("100B", 100),
            (" 1 KB", 1000),
            (12, 12),
            (0, 0),
        ):
            self.assertEqual(parse_size(value), octets, value)

    def test_refused(self) -> None:
        """A mistake in the configuration becomes a size that nobody meant."""
        for value in ("", "25", "25mb", "25M", "MB", "-1KB", -1, 1.5, True, None):
            error = self.assertRaises(ValueError, parse_size, value)
            self.assertIn('"25MB"', str(error))

    def test_boundless(self) -> None:
        """A number that no disk holds and SQLite can't count stops the queue when it is used."""
        self.assertEqual(parse_size("1000000GB"), 10**15)
        for value in ("1000001GB", "9" * 400 + "GB", 10**30, 10**400):
            error = self.assertRaises(ValueError, parse_size, value)
            self.assertIn("at most 1000000GB", str(error))
