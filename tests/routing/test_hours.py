"""Tests of mailframe.routing.hours."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.routing.hours import Hours

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def at(text: str, zone: str = "UTC") -> float:
    """POSIX seconds of a time in the week that begins on Monday, 2026-03-02: ``Tue 07:15``."""
    day, time = text.split()
    hour, minute = map(int, time.split(":"))
    return datetime(2026, 3, 2 + DAYS.index(day), hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


class HoldsTests(SynchronousTestCase):
    def check(self, text: str, inside: list[str], outside: list[str], zone: str = "UTC") -> None:
        hours = Hours.parse(text)
        for each in inside:
            self.assertTrue(hours.holds(at(each, zone)), (text, each))
        for each in outside:
            self.assertFalse(hours.holds(at(each, zone)), (text, each))

    def test_times(self) -> None:
        """Mail would take the night's way by day."""
        self.check(
            "08:00-18:00", ["Mon 08:00", "Sun 17:59"], ["Mon 07:59", "Mon 18:00", "Sun 00:00"]
        )
        self.check("00:00-24:00", ["Mon 00:00", "Sun 23:59"], [])

    def test_days(self) -> None:
        """Mail would take the working day's way on Sunday."""
        self.check("Mon-Fri 08:00-18:00", ["Mon 09:00", "Fri 17:00"], ["Sat 09:00", "Sun 09:00"])
        self.check("Sat,sun 08:00-18:00", ["Sat 09:00", "Sun 09:00"], ["Fri 09:00", "Mon 09:00"])
        self.check("Fri-Mon 08:00-18:00", ["Fri 09:00", "Sun 09:00", "Mon 09:00"], ["Tue 09:00"])

    def test_past_midnight(self) -> None:
        """The second half of a night would be missed, or belong to another day."""
        self.check(
            "Fri 22:00-06:00",
            ["Fri 22:00", "Fri 23:59", "Sat 00:00", "Sat 05:59"],
            ["Fri 21:59", "Sat 06:00", "Fri 05:00", "Sat 22:00"],
        )
        self.check("Sun 22:00-06:00", ["Mon 05:00"], ["Sun 05:00"])

    def test_zone(self) -> None:
        """Offices in Rome would open an hour late."""
        text = "Mon-Fri 08:00-18:00 Europe/Rome"
        self.check(text, ["Mon 07:00", "Mon 16:59"], ["Mon 06:59", "Mon 17:00"])
        self.check(text, ["Mon 08:00"], ["Mon 07:59"], zone="Europe/Rome")
        self.assertEqual(Hours.parse(text).wall(at("Tue 07:15")), "Tue 08:15 Europe/Rome")
        self.assertEqual(Hours.parse("08:00-18:00 utc").wall(at("Tue 07:15")), "Tue 07:15 UTC")

    def test_summer_time(self) -> None:
        """Offices would open an hour late in summer."""
        hours = Hours.parse("08:00-18:00 Europe/Rome")
        summer = datetime(2026, 7, 1, 6, 0, tzinfo=UTC).timestamp()
        self.assertTrue(hours.holds(summer))
        self.assertFalse(hours.holds(summer - 60))

    MINUTES = st.integers(0, 24 * 60 - 1)

    @given(st.sets(st.sampled_from(DAYS), min_size=1), MINUTES, MINUTES, st.integers(0, 7 * 1440))
    @settings(deadline=None, max_examples=300)
    def test_against_minutes(self, days: set[str], begin: int, end: int, minute: int) -> None:
        """Some minute of the week would belong to no day, or to two."""
        if begin == end:
            return
        text = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
        hours = Hours.parse(f"{','.join(sorted(days))} {text}")
        length = (end - begin) % 1440
        wanted = {
            (DAYS.index(day) * 1440 + begin + step) % (7 * 1440)
            for day in days
            for step in range(length)
        }
        self.assertEqual(hours.holds(at("Mon 00:00") + minute * 60 + 59), minute % 10080 in wanted)


class OpensTests(SynchronousTestCase):
    """When hours begin next."""

    def test_next(self) -> None:
        """Mail that waits for the evening is tried all day, or only tomorrow."""
        hours = Hours.parse("Mon-Fri 19:00-07:00")
        for now, opens in (
            ("Mon 07:00", "Mon 19:00"),
            ("Mon 18:59", "Mon 19:00"),
            ("Sun 12:00", "Mon 19:00"),
        ):
            weekday = at(now) - (7 * 86400 if now.startswith("Sun") else 0)
            self.assertEqual(hours.opens(weekday), at(opens), now)
        self.assertEqual(hours.opens(at("Sat 07:00")), at("Mon 19:00") + 7 * 86400)

    def test_zone(self) -> None:
        """It opens by the wrong clock."""
        hours = Hours.parse("08:00-18:00 Europe/Rome")
        self.assertEqual(hours.opens(at("Mon 00:00")), at("Mon 07:00"))

    def test_an_hour_that_spring_takes(self) -> None:
        """Mail waits for a moment that never comes, or for one that has been."""
        hours = Hours.parse("02:00-03:00 Europe/Rome")
        night = datetime(2026, 3, 28, 12, 0, tzinfo=UTC).timestamp()
        opens = hours.opens(night)
        self.assertTrue(hours.holds(opens))
        self.assertEqual(
            datetime.fromtimestamp(opens, UTC).isoformat(), "2026-03-30T00:00:00+00:00"
        )

    @given(
        st.sets(st.sampled_from(DAYS), min_size=1),
        st.integers(0, 1439),
        st.integers(1, 1440),
        st.floats(0, 2e9),
        st.sampled_from(["", " Europe/Rome", " America/New_York", " Australia/Lord_Howe"]),
    )
    @settings(deadline=None, max_examples=200)
    def test_holds_then(self, days: set[str], begin: int, end: int, now: float, zone: str) -> None:
        """The mail is tried, and the hours have not begun."""
        if begin == end:
            return
        text = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}{zone}"
        hours = Hours.parse(f"{','.join(sorted(days))} {text}")
        opens = hours.opens(now)
        self.assertGreater(opens, now)
        self.assertLess(opens, now + 15 * 86400)
        self.assertTrue(hours.holds(opens))


class ParseTests(SynchronousTestCase):
    def test_mistakes(self) -> None:
        """A rule would hold at other times than its author meant."""
        for text, words in [
            ("", "no time of day"),
            ("Mon", "no time of day"),
            ("8-18", "no time of day"),
            ("08:00-18:00 UTC x", "no time of day"),
            ("24:00-06:00", "no such time"),
            ("08:60-18:00", "no such time"),
            ("08:00-24:01", "no such time"),
            ("08:00-08:00", "all day is 00:00-24:00"),
            ("Mo-Fri 08:00-18:00", 'did you mean "Mon"?'),
            ("Mon-Xyz 08:00-18:00", "'xyz' is no day"),
            ("08:00-18:00 Europe/Roma", 'did you mean "Europe/Rome"?'),
            ("08:00-18:00 ../../etc/passwd", "no time zone"),
        ]:
            error = self.assertRaises(ValueError, Hours.parse, text)
            self.assertIn(words, error.args[0])
            self.assertIn("allowed: ", error.args[0])

    @given(st.text(max_size=40))
    @settings(deadline=None, max_examples=200)
    def test_anything(self, text: str) -> None:
        """A slip in the file would end in a traceback."""
        with contextlib.suppress(ValueError):
            Hours.parse(text)
