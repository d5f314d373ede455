"""How long a relay connection waits for what (RFC 5321 §4.5.3.2).

There is one delayed call per connection, not one per command: it is moved only when a deadline
comes closer, and when it fires early it is set again for what is left.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailframe.delivery.relay_settings import Timeouts
from mailframe.wire.sender_events import Stage

CLOSING = 2.0  # seconds that the server gets to answer to QUIT
LINGERING = 1.0  # seconds that the transport gets to close: TLS would wait for the server's consent


class Deadline:
    """A moment that is put off again and again, and what is done when it comes nevertheless.

    :param clock: measures
    :param missed: called when the moment has come; `set` begins anew
    """

    def __init__(self, clock: IReactorTime, missed: Callable[[], None]) -> None:
        self._clock = clock
        self._missed = missed
        self._at = 0.0
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def set(self, at: float) -> None:
        """Make it ``at``, by the clock."""
        self._at = at
        if self._timer is None:
            self._timer_at = at
            self._timer = self._clock.callLater(at - self._clock.seconds(), self._fired)
        elif at < self._timer_at:
            self._timer_at = at
            self._timer.reset(at - self._clock.seconds())

    def stop(self) -> None:
        """There is nothing to wait for any more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _fired(self) -> None:
        self._timer = None
        left = self._at - self._clock.seconds()
        if left > 0.001:
            self.set(self._at)
        else:
            self._missed()


def allowed(timeouts: Timeouts) -> dict[Stage, float]:
    """How many seconds each stage may take."""
    return {
        "greeting": timeouts.greeting,
        "hello": timeouts.command,
        "starttls": timeouts.command,
        "tls": timeouts.tls,
        "auth": timeouts.command,
        "idle": timeouts.command,
        "reset": timeouts.command,
        "mail": timeouts.command,
        "recipient": timeouts.command,
        "data": timeouts.data,
        "content": timeouts.block,
        "final": timeouts.final,
        "quit": CLOSING,
        "closed": LINGERING,
    }
