"""How long a client has to wait until it may log in to its mailbox again (RFC 2449 §6.5)."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.interfaces import IReactorTime

MAX_ENTRIES = 100_000  # mailboxes that are remembered


class LoginDelays:
    """When each mailbox was opened last."""

    def __init__(self, *, seconds: float, clock: IReactorTime) -> None:
        """:param seconds: that have to pass between two logins; 0 for none"""
        self._seconds = seconds
        self._clock = clock
        # The oldest first. A plain dict takes ever longer to find its first entry, the more of the
        # first ones are deleted.
        self._opened: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many mailboxes are remembered."""
        return len(self._opened)

    def left(self, mailbox: str) -> float:
        """Seconds that are left until the mailbox may be opened; 0 when it may be now."""
        now = self._clock.seconds()
        while self._opened:
            oldest = next(iter(self._opened))
            # Also what lies ahead: the clock was set back, which must lock out nobody.
            if now - self._seconds < self._opened[oldest] <= now:
                break
            self._opened.popitem(last=False)
        opened = self._opened.get(mailbox)
        return 0.0 if opened is None else max(0.0, opened + self._seconds - now)

    def opened(self, mailbox: str) -> None:
        """The mailbox was opened just now."""
        if self._seconds <= 0:
            return
        self._opened.pop(mailbox, None)
        self._opened[mailbox] = self._clock.seconds()
        if len(self._opened) > MAX_ENTRIES:
            self._opened.popitem(last=False)
