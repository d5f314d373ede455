"""What becomes of the queue when the time of day jumps.

When a message is due stands in the queue as time of day, so that it survives a restart. After the
clock was set back by a day, everything would wait for a day; after it was set forward, everything
would be due at once, the leases of messages that others are delivering among it. So, before
anything is claimed after a jump, each message is put to where it was before, counted from now:

* set forward: what was due in three minutes is due in three minutes;
* set back: nothing is due later than the longest wait takes. It can be told without knowing of the
  jump, and so it is done at every start as well, and for a while after a jump, for messages that
  were being received when it came.

What waits for longer, because its way opens in the evening or limits have no room, is asked about
once more and waits on.

Times that somebody asked for are times of day and stay: a message that its sender holds back
(RFC 4865), warnings, deadlines, the end of all attempts. A jump over that end returns no mail by
itself: as ever, there is an attempt that is planned for after it, and only that one is the last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.clocks import monotonic
from mailframe.interfaces import IDueTimes, IQueueStorage, Waiting

log = Logger()

SLACK = 5.0  # seconds; less is no jump
PAGE = 500  # messages that are looked at at a time
FOR_A_WHILE = 7200.0  # seconds; no message is received for longer

Ask = Callable[..., Awaitable[Any]]


def due_again(
    waiting: Waiting, *, before: float | None, now: float, retry: float, lease: float
) -> float | None:
    """When a message is to be due after a jump; ``None``: as it is.

    :param before: the time it would be without the jump; ``None`` when that is not known
    :param now: the time it is
    :param retry: the longest wait from one attempt to the next, seconds
    :param lease: seconds that a lease lasts
    """
    entry, due = waiting.entry, waiting.due
    longest = lease if waiting.leased else retry
    is_untried = not any(r.attempts or r.throttled is not None for r in entry.recipients)
    if not waiting.leased and is_untried and entry.envelope.not_before is not None:
        return None
    if before is not None and before < due <= now:
        return now + min(due - before, longest)
    if due > now + longest + SLACK:
        return now + lease if waiting.leased else now + (due - now) % retry
    return None


class Jumps:
    """Notices jumps, and puts the queue right before anything is claimed.

    :param storage: the queue; nothing is done to one that does not provide `IDueTimes`
    :param ask: calls the storage and waits for its answer, of one of the types named after that
    :param clock: the time of day; see `mailframe.clocks`
    :param lease: seconds that a lease lasts
    """

    def __init__(
        self, *, storage: IQueueStorage, ask: Ask, clock: IReactorTime, lease: float
    ) -> None:
        self._storage: Any = storage if IDueTimes.providedBy(storage) else None
        self._ask = ask
        self._clock = clock
        self._passes = monotonic(clock)
        self._lease = lease
        self._offset = self._difference()
        self._jumps: list[float | None] = [None]  # still to be seen to; the start may be one
        self._again_at = self._until = 0.0

    def _difference(self) -> float:
        return self._clock.seconds() - self._passes()

    def look(self) -> bool:
        """Look at the clock; whether it has jumped since."""
        jump = self._difference() - self._offset
        if abs(jump) <= SLACK:
            return False
        self._offset += jump
        now = self._clock.seconds()
        self._jumps.append(now - jump)
        self._again_at, self._until = now, now + FOR_A_WHILE
        return True

    async def put_right(self, retry: float) -> None:
        """Put the queue right, if there is anything to it. To be called before each claim.

        :param retry: the longest wait from one attempt to the next, seconds
        """
        self.look()
        while self._jumps:
            await self._put_right(self._jumps[0], retry)
            del self._jumps[0]
        now = self._clock.seconds()
        if self._again_at <= now < self._until:
            self._again_at = now + min(retry, FOR_A_WHILE / 8)
            await self._put_right(None, retry)

    async def _put_right(self, before: float | None, retry: float) -> None:
        if self._storage is None:
            return
        now = self._clock.seconds()
        is_forward = before is not None and before < now
        last = now if is_forward else float("inf")
        # Back: what is due later than that is all there is to find, and mostly nothing. To
        # look at what is due before that as well would take long at the start of a long queue.
        due, id = before if is_forward else now + max(retry, self._lease) + SLACK, ""
        moved = 0
        while True:
            page: Sequence[Waiting] = await self._ask(
                lambda due=due, id=id: self._storage.due_after(due=due, id=id, limit=PAGE), Sequence
            )
            if not page or page[0].due > last:
                break
            moves = [
                (each, at)
                for each in page
                if each.due <= last
                and (at := due_again(each, before=before, now=now, retry=retry, lease=self._lease))
                is not None
            ]
            if moves:
                moved += len(moves)
                await self._ask(lambda moves=moves: self._storage.move(moves=moves), type(None))
            due, id = page[-1].due, page[-1].entry.id
        if moved:
            log.warn("the clock jumped: {count} messages are due at another time", count=moved)
