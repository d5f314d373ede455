"""What happened lately, by key: since when, and how often.

`Recent` is what the limits on logins count with. A server in one process counts in a dictionary,
`RecentHere`; several processes count together in `mailframe.workers.shared`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Recent(Protocol):
    """Entries that all live equally long, from their first time on."""

    def get(self, key: bytes, now: float, window: float) -> tuple[float, int] | None:
        """Since when and how often it happened.

        :param now: POSIX seconds
        :param window: the seconds that an entry lives
        :returns: ``None`` when it did not, not lately, or in a time to come: the clock was set
            back, which must lock out nobody
        """

    def put(self, key: bytes, since: float, count: int) -> None:
        """Remember that it happened."""

    def forget(self, key: bytes) -> None:
        """Count from nothing again."""


class RecentHere:
    """What happened in this process."""

    def __init__(self, capacity: int) -> None:
        """:param capacity: how many entries there may be; beyond it the oldest go"""
        self._capacity = capacity
        # The oldest first. A plain dict takes ever longer to find its first entry, the more of the
        # first ones are deleted.
        self._entries: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def get(self, key: bytes, now: float, window: float) -> tuple[float, int] | None:
        """See `Recent`."""
        entries = self._entries
        while entries:
            oldest = next(iter(entries))
            if now - window < entries[oldest][0] <= now:
                break
            entries.popitem(last=False)
        known = entries.get(key)
        return None if known is None or known[0] > now else known

    def put(self, key: bytes, since: float, count: int) -> None:
        """See `Recent`."""
        entries = self._entries
        known = entries.get(key)
        if known is not None and known[0] != since:
            del entries[key]
        entries[key] = since, count
        if len(entries) > self._capacity:
            entries.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """See `Recent`."""
        self._entries.pop(key, None)
