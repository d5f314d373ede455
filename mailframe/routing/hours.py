"""Times of the week, as a routing rule names them: ``"Mon-Fri 08:00-18:00 Europe/Rome"``.

Days and zone may be left out: every day, in UTC. Begin counts as inside, the end does not. What
ends earlier than it begins goes on past midnight and belongs to the day on which it begins:
``"Fri 22:00-06:00"`` ends on Saturday. Times are those on the wall of the zone, summer time
included.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import count

import attrs

from mailframe.config_errors import nearest

ALLOWED = (
    '"08:00-18:00", "Mon-Fri 08:00-18:00" or "Sat,Sun 00:00-24:00 Europe/Rome"; UTC by default'
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIMES = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_MINUTES = 24 * 60  # of a day


@attrs.frozen(kw_only=True)
class Hours:
    """One span of time in each week. Made by `parse`.

    :ivar text: as it was written
    :ivar days: on which it begins; Monday is 0
    :ivar begin: minutes after midnight
    :ivar end: minutes after midnight, up to 1440; not after ``begin``: on the next day
    :ivar zone: whose clock is meant
    """

    text: str
    days: frozenset[int]
    begin: int
    end: int
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Read what a rule names.

        :raises ValueError: it can't be read; the message says what is allowed
        """
        words = text.split()
        days: frozenset[int] = frozenset(range(7))
        if words and not words[0][0].isdigit():
            days = _read_days(text, words.pop(0))
        times = _TIMES.fullmatch(words.pop(0)) if words else None
        if times is None or len(words) > 1:
            raise _refused(text, "it is no time of day from and to")
        first, first_minute, last, last_minute = map(int, times.groups())
        begin, end = first * 60 + first_minute, last * 60 + last_minute
        if begin >= _MINUTES or end > _MINUTES or first_minute > 59 or last_minute > 59:
            raise _refused(text, "there is no such time of day")
        if begin == end:
            raise _refused(text, "it ends when it begins; all day is 00:00-24:00")
        zone = _read_zone(text, words[0]) if words else UTC
        return cls(text=text, days=days, begin=begin, end=end, zone=zone)

    def holds(self, now: float) -> bool:
        """Whether a time lies within.

        :param now: POSIX seconds UTC
        """
        at = datetime.fromtimestamp(now, self.zone)
        minute, day = at.hour * 60 + at.minute, at.weekday()
        if self.begin < self.end:
            return self.begin <= minute < self.end and day in self.days
        if minute >= self.begin:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days

    def opens(self, now: float) -> float:
        """When it begins next.

        :param now: POSIX seconds UTC
        :returns: POSIX seconds UTC, after ``now``
        """
        today = datetime.fromtimestamp(now, self.zone).date()
        begin = time(self.begin // 60, self.begin % 60, tzinfo=self.zone)
        begins = (datetime.combine(today + timedelta(days), begin) for days in count())
        ahead = (at.timestamp() for at in begins if at.weekday() in self.days)
        # A day in spring may lack the hour in which it begins, and then the next one counts.
        return next(at for at in ahead if at > now and self.holds(at))

    def wall(self, now: float) -> str:
        """The time on the wall there, for an explanation: ``Tue 07:15 UTC``."""
        at = datetime.fromtimestamp(now, self.zone)
        return f"{_DAYS[at.weekday()].capitalize()} {at:%H:%M} {self.zone}"


def _read_days(text: str, word: str) -> frozenset[int]:
    days: set[int] = set()
    for part in word.lower().split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in _DAYS:
                meant = nearest(name, _DAYS)
                hint = f'; did you mean "{meant.capitalize()}"?' if meant else ""
                raise _refused(text, f"{name!r} is no day of the week", hint)
        begin = _DAYS.index(first)
        count = (_DAYS.index(last) - begin) % 7 if dash else 0
        days.update((begin + step) % 7 for step in range(count + 1))
    return frozenset(days)


def _read_zone(text: str, name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        meant = nearest(name, _zones())
        hint = f'; did you mean "{meant}"?' if meant else ""
        raise _refused(text, f"{name!r} is no time zone of this system", hint) from None


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _refused(text: str, why: str, hint: str = "") -> ValueError:
    return ValueError(f"{text!r} can't be used: {why}; allowed: {ALLOWED}{hint}")
