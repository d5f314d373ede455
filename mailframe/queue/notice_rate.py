"""How many notices one sender gets within an hour.

A name that somebody forges on a flood of mail must not be answered with a flood of notices. What is
remembered is bounded: the senders who were told something longest ago are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from mailframe.address import Address

WINDOW = 3600.0  # seconds
MAX_SENDERS = 10_000  # that are remembered


class NoticeRate:
    """Counts the notices to each sender, in this process, since it started.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: OrderedDict[Address, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many senders are remembered."""
        return len(self._counts)

    def take(self, sender: Address, limit: int, now: float) -> bool:
        """May a notice be sent? If so, it is counted.

        :param limit: how many may be sent within an hour of the first
        :param now: POSIX seconds; when it jumps back, counting begins anew
        """
        with self._lock:
            since, count = self._counts.get(sender, (now, 0))
            if not since <= now < since + WINDOW:
                since, count = now, 0
            if count >= limit:
                return False
            self._counts[sender] = (since, count + 1)
            self._counts.move_to_end(sender)
            if len(self._counts) > MAX_SENDERS:
                self._counts.popitem(last=False)
            return True
