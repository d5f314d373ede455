"""The runner: claims what is due, has it tried, and records what came of it.

The runner sleeps until the storage says that something may be due sooner, or until the next message
is due. Then it leases as many messages as it has room for and starts an attempt at each. An
attempt's end is one step: outcomes, the next attempt, and any notices to the sender are settled
together (`mailframe.queue.progress`), so that a crash leaves either the old state or all of the
later one.

While attempts last, their leases are renewed. How a step is recorded stands in
`mailframe.queue.recording`.

Bounded: at most ``concurrency`` messages are being tried at a time. What more is due waits in the
storage, not in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailframe.clocks import cpu_time, thread_cpu_time
from mailframe.entry import Entry, Ready, Step
from mailframe.guard import PluginFault, ask, started
from mailframe.interfaces import IContent, IQueueStorage, LeaseLost
from mailframe.outcome import Postponed, Throttled, Tried, Unroutable
from mailframe.queue.jumps import Jumps
from mailframe.queue.progress import Progress, advance
from mailframe.queue.recording import Notices, Recording
from mailframe.queue.schedule import Schedule
from mailframe.queue.standing import Standing
from mailframe.queue.turned_away import TurnedAway
from mailframe.reply import temporary_fault

log = Logger()

LEASE = 300.0  # seconds
LOOK_AT_CLOCK = 15.0  # seconds
LOOK_AFTER = 60.0  # seconds; how long to sleep at the most, or after the storage failed
ASK_AGAIN = 1.0  # seconds for which it is known when something is due, but for what we are told of


class Attempts(Protocol):
    """Tries a message once: `mailframe.delivery.dispatch.Dispatch`."""

    async def attempt(
        self,
        entry: Entry,
        open_content: Callable[[], Awaitable[IContent]],
        record_ready: Callable[[Mapping[int, Ready | None]], Awaitable[None]],
        record_arrived: Callable[[Sequence[Tried]], Awaitable[None]],
    ) -> Sequence[Tried]:
        """Try every pending recipient once."""


class QueueRunner(Service):
    """Moves the queue.

    :param storage: where the messages are
    :param storage_name: its plugin's name
    :param dispatch: makes the attempts
    :param schedule: when to try again, warn and give up; may be replaced while running
    :param notices: writes the notices
    :param clock: the time; also sleeps
    :param owner: names this runner's leases, unique among all that share the queue
    :param concurrency: how many messages may be tried at a time
    :param storage_time: how long one call into the storage may take, in seconds
    :ivar longest_wait: the longest of the waits that routes bring, in seconds
    :param in_thread: see `mailframe.interfaces.Site`; notices of many recipients are written with
        it
    """

    def __init__(
        self,
        *,
        storage: IQueueStorage,
        storage_name: str,
        dispatch: Attempts,
        schedule: Schedule,
        notices: Notices,
        clock: IReactorTime,
        owner: str,
        concurrency: int = 200,
        storage_time: float = 30.0,
        in_thread: Callable[..., Deferred[Any]] = maybeDeferred,
    ) -> None:
        self.storage = storage
        self.dispatch = dispatch
        self.schedule = schedule
        self.longest_wait = 0.0
        self.owner = owner
        self.concurrency = concurrency
        self._storage_name = storage_name
        self._storage_time = storage_time
        self._clock = clock
        self._recording = Recording(
            storage=storage,
            storage_name=storage_name,
            notices=notices,
            clock=clock,
            owner=owner,
            storage_time=storage_time,
            in_thread=in_thread,
            tries_again=lambda: bool(self.running),
        )
        self._in_flight: dict[str, Standing] = {}
        self._turning = False
        self._turn_again = False
        self._more_due = False
        self._turned_away = TurnedAway(clock.seconds, cpu_time(clock))
        self._cpu_time = thread_cpu_time(clock)
        self._asked = self._due = 0.0  # when the storage was asked what is due next, and its answer
        self._alarm: IDelayedCall | None = None
        self._renewal: LoopingCall | None = None
        self._stopped: Deferred[None] | None = None
        self._jumps = Jumps(storage=storage, ask=self._ask, clock=clock, lease=LEASE)
        self._clock_watch: LoopingCall | None = None
        self._watching = False

    @property
    def notices(self) -> Notices:
        """What writes the notices; may be replaced while running."""
        return self._recording.notices

    @notices.setter
    def notices(self, notices: Notices) -> None:
        self._recording.notices = notices

    # --- life ------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to claim."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._stopped = None
        if not self._watching:
            self._watching = True
            self.storage.watch(self.wake)
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = self._clock
        self._renewal.start(LEASE / 3, now=False)
        self._clock_watch = LoopingCall(self._watch_clock)
        self._clock_watch.clock = self._clock
        self._clock_watch.start(LOOK_AT_CLOCK, now=False)
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Claim nothing more; fires when every attempt that is under way has been recorded."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._check_stopped()
        return stopped

    def _check_stopped(self) -> None:
        if self._stopped is None or self._in_flight or self._turning or self._stopped.called:
            return
        for regular in (self._renewal, self._clock_watch):
            if regular is not None and regular.running:
                regular.stop()
        self._stopped.callback(None)

    def observe(self, callback: Callable[[Entry, Step], None]) -> None:
        """Have ``callback(entry, step)`` called after each recorded step; it decides nothing."""
        self._recording.observers.append(callback)

    # --- turns -----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due."""
        if self._turning:
            self._turn_again = True
        elif self.running and len(self._in_flight) < self.concurrency:
            if not self._turned_away.room:
                self._rest()
                return
            self._turning = True
            Deferred.fromCoroutine(self._turn()).addErrback(self._turn_failed)

    def _rest(self) -> None:
        """Go on when there is room for attempts that come to nothing."""
        due = self._clock.seconds() + self._turned_away.rest
        if self._alarm is None or self._alarm.getTime() > due:
            self._sleep_until(due)

    def _watch_clock(self) -> None:
        if self._jumps.look():
            self.wake()

    async def _turn(self) -> None:
        sleep_until = self._clock.seconds() + LOOK_AFTER
        try:
            while self.running:
                self._turn_again = False
                longest = max(self.schedule.longest_wait, self.longest_wait)
                await self._jumps.put_right(longest)
                room = self.concurrency - len(self._in_flight)
                if room <= 0:
                    break  # the end of an attempt wakes us
                room = min(room, self._turned_away.room)
                if not room:
                    self._more_due = False
                    sleep_until = min(sleep_until, self._clock.seconds() + self._turned_away.rest)
                    break
                entries = await self._claim(room)
                self._more_due = len(entries) == room
                for entry in entries:
                    self._begin(entry)
                if not (self._more_due or self._turn_again):
                    sleep_until = min(sleep_until, await self._next_due())
                    break
        except PluginFault:
            self._more_due = False
            log.error("the queue can't be read now; looking again in {s:g} s", s=LOOK_AFTER)
        finally:
            self._turning = False
        self._check_stopped()
        if self._turn_again:
            self.wake()
        elif self.running and not self._more_due:
            self._sleep_until(sleep_until)

    async def _next_due(self) -> float:
        """When to look again; under load the storage is not asked for it at each turn."""
        now = self._clock.seconds()
        if self._due > now and 0 <= now - self._asked < ASK_AGAIN:
            return min(self._due, self._asked + ASK_AGAIN)
        due = await self._ask(self.storage.next_due, float, int, type(None))
        self._asked, self._due = now, now + LOOK_AFTER if due is None else due
        return max(self._due, self._clock.seconds())

    async def _claim(self, room: int) -> Sequence[Entry]:
        now = self._clock.seconds()
        entries: Sequence[Entry] = await self._ask(
            lambda: self.storage.claim(owner=self.owner, now=now, limit=room, until=now + LEASE),
            Sequence,
        )
        return entries

    def _turn_failed(self, failure: Any) -> None:
        log.failure("a turn of the queue runner failed", failure=failure)
        if self.running:
            self._sleep_until(self._clock.seconds() + LOOK_AFTER)

    def _sleep_until(self, due: float) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        # Something that is due now but could not be claimed must not make us spin.
        delay = max(due - self._clock.seconds(), 0.05)
        self._alarm = self._clock.callLater(delay, self._alarmed)

    def _alarmed(self) -> None:
        self._alarm = None
        self.wake()

    async def _renew(self) -> None:
        if not self._in_flight:
            return
        ids = tuple(self._in_flight)
        until = self._clock.seconds() + LEASE
        try:
            await self._ask(
                lambda: self.storage.renew(owner=self.owner, ids=ids, until=until), type(None)
            )
        except PluginFault:
            log.error("the leases of {count} messages could not be renewed", count=len(ids))

    # --- one attempt -----------------------------------------------------------------------------

    def _begin(self, entry: Entry) -> None:
        under_way = self._in_flight.get(entry.id)
        if under_way is not None:
            self._claimed_twice(under_way, entry)
            return
        standing = self._in_flight[entry.id] = Standing(
            entry,
            advance=self._advance,
            write=self._recording.with_notices,
            settle=self._recording.settle,
        )
        started(self._attempt(standing))

    def _claimed_twice(self, under_way: Standing, entry: Entry) -> None:
        """Its lease ran out, as when the clock is set forward, and we have it once more.

        The attempt goes on under this lease. But if others had the message meanwhile it may record
        nothing, and the message is tried again when nobody holds it.
        """
        if entry.recipients != under_way.entry.recipients:
            under_way.lost = True
        log.warn(
            "the lease of {id} ran out during an attempt{what}",
            id=entry.id,
            what=", and others have tried it meanwhile" if under_way.lost else "",
        )

    def _ended(self, entry: Entry) -> None:
        del self._in_flight[entry.id]
        self._check_stopped()
        if not (self._more_due and self.running):
            return
        # Claim in groups: a claim for each single place that falls free costs as much as for ten.
        if self.concurrency - len(self._in_flight) >= self.concurrency // 4:
            self.wake()
            return
        now = self._clock.seconds()
        if self._alarm is None or self._alarm.getTime() > now + 0.05:
            self._sleep_until(now)

    async def _attempt(self, standing: Standing) -> None:
        """Try a message once, and record what came of it; never fails."""
        try:
            tried = await self._try(standing)
            standing.over = True
            entry = standing.entry
            progress = self._advance(entry, tried)
            step, notices = await self._recording.with_notices(entry, progress)
            await self._recording.record(standing, step, notices, progress.holds)
        except Exception:
            log.failure("attempt at {id} failed", id=standing.entry.id)
        finally:
            self._ended(standing.entry)

    async def _try(self, standing: Standing) -> Sequence[Tried]:
        entry = standing.entry
        used = self._cpu_time()
        try:
            tried = await self.dispatch.attempt(
                entry,
                lambda: self.storage.open(id=entry.id),
                standing.record_ready,
                standing.record_arrived,
            )
            if any(isinstance(each.outcome, Throttled) for each in tried):
                self._turned_away.count(self._cpu_time() - used)
            return tried
        except Exception:
            log.failure("attempt at {id} failed; it is postponed", id=entry.id)
            return _all_postponed(standing.entry)

    def _advance(self, entry: Entry, tried: Sequence[Tried]) -> Progress:
        return advance(entry, tried, self._clock.seconds(), self.schedule)

    async def _ask(self, call: Callable[[], Awaitable[Any]], *expected: type) -> Any:
        return await ask(
            self._storage_name, expected, self._clock, self._storage_time, call, (LeaseLost,)
        )


def _all_postponed(entry: Entry) -> Sequence[Tried]:
    reply = temporary_fault()
    route = Unroutable(reason="the attempt failed for a fault of ours", reply=reply)
    outcome = Postponed(where="", reply=reply)
    return [Tried(index=index, route=route, outcome=outcome) for index in entry.pending]
