"""A queue that lives in memory: for tests, for simulation, and for who can afford to lose mail.

It keeps every promise of `IQueueStorage` but the one that matters in production: nothing survives
the process. Plugins' tests and the virtual-time tests of the whole server run on it.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailframe.entry import Entry, Event, EventKind, Notice, QueuedRecipient, Step
from mailframe.envelope import Envelope
from mailframe.interfaces import (
    IContent,
    IDueTimes,
    IMessageSink,
    IQueueStorage,
    LeaseLost,
    Site,
    UnknownMessage,
    Waiting,
)
from mailframe.queue.beginnings import first_events
from mailframe.queue.content import BytesContent
from mailframe.queue.ids import QueueIds, id_text


@attrs.frozen(kw_only=True)
class MemorySettings:
    """``[queue] plugin = "memory"`` has no settings of its own.

    :cvar shared_by_processes: each process would have a queue of its own
    :cvar durable: whoever chose it knows that nothing is kept
    """

    shared_by_processes: ClassVar[bool] = False
    durable: ClassVar[bool] = False


@attrs.define
class _Kept:
    entry: Entry
    content: bytes
    due: float
    owner: str | None = None


@implementer(IQueueStorage, IDueTimes)
class MemoryStorage:
    """All messages in one dictionary, and a heap of when each is due.

    :param clock: tells the time of arrival, for the ids
    :param random: makes the ids
    """

    def __init__(self, *, clock: IReactorTime, random: Random) -> None:
        self._clock = clock
        self._ids = QueueIds(random)
        self._kept: dict[str, _Kept] = {}
        self._order: list[str] = []  # ids in order; those that left are dropped now and then
        self._due: list[tuple[float, str]] = []  # may hold stale pairs; checked when they come up
        self._history: dict[str, list[Event]] = {}
        self._watchers: list[Callable[[], None]] = []

    def receive(self, envelope: Envelope) -> IMessageSink:
        """Begin to keep a message."""
        return _MemorySink(self, id_text(self._ids.make(self._clock.seconds())), envelope)

    def keep(self, id: str, envelope: Envelope, content: bytes) -> None:
        """Keep a whole message; what a sink's commit does."""
        entry = Entry(
            id=id,
            envelope=envelope,
            size=len(content),
            recipients=tuple(QueuedRecipient(address=r.address) for r in envelope.recipients),
            next_attempt=envelope.due,
        )
        self._kept[id] = _Kept(entry, content, entry.next_attempt)
        bisect.insort(self._order, id)
        if len(self._order) > 2 * len(self._kept) + 64:
            self._order = sorted(self._kept)
        heapq.heappush(self._due, (entry.next_attempt, id))
        self._history[id] = list(first_events(envelope))
        self._notify()

    async def claim(self, owner: str, now: float, limit: int, until: float) -> Sequence[Entry]:
        """Lease what is due."""
        claimed: list[_Kept] = []
        while self._due and self._due[0][0] <= now and len(claimed) < limit:
            due, id = heapq.heappop(self._due)
            kept = self._kept.get(id)
            if kept is not None and kept.due == due and not kept.entry.held:
                claimed.append(kept)
        # Only now, or a lease that runs out at once would be claimed again and again.
        for kept in claimed:
            kept.owner = owner
            self._reschedule(kept, until)
        return [kept.entry for kept in claimed]

    async def renew(self, owner: str, ids: Sequence[str], until: float) -> None:
        """Prolong leases."""
        for id in ids:
            kept = self._kept.get(id)
            if kept is not None and kept.owner == owner:
                self._reschedule(kept, max(kept.due, until))

    async def next_due(self) -> float | None:
        """When something is due next."""
        while self._due:
            due, id = self._due[0]
            kept = self._kept.get(id)
            if kept is not None and kept.due == due and not kept.entry.held:
                return due
            heapq.heappop(self._due)
        return None

    async def due_after(self, due: float, id: str, limit: int) -> Sequence[Waiting]:
        """What is due after a time."""
        kept = [k for k in self._kept.values() if not k.entry.held]
        later = sorted((k.due, k.entry.id) for k in kept if (k.due, k.entry.id) > (due, id))
        return [
            Waiting(entry=self._kept[id].entry, due=due, leased=self._kept[id].owner is not None)
            for due, id in later[:limit]
        ]

    async def move(self, moves: Sequence[tuple[Waiting, float]]) -> None:
        """Have messages be due at other times."""
        for waiting, due in moves:
            kept = self._kept.get(waiting.entry.id)
            if kept is not None and kept.due == waiting.due and not kept.entry.held:
                if kept.owner is None:
                    kept.entry = attrs.evolve(kept.entry, next_attempt=due)
                self._reschedule(kept, due)
        self._notify()

    async def open(self, id: str) -> IContent:
        """Open a message's content."""
        return BytesContent(self._get(id).content)

    async def settle(self, id: str, owner: str, step: Step, notices: Sequence[Notice]) -> None:
        """Record a step."""
        kept = self._kept.get(id)
        if kept is None or kept.owner != owner:
            raise LeaseLost(id)
        self._history[id].extend(step.events)
        if step.goes_on:
            kept.entry = attrs.evolve(kept.entry, recipients=step.recipients, warned=step.warned)
        elif step.next_attempt is None:
            del self._kept[id]
        else:
            kept.entry = attrs.evolve(
                kept.entry,
                recipients=step.recipients,
                next_attempt=step.next_attempt,
                warned=step.warned,
            )
            kept.owner = None
            self._reschedule(kept, step.next_attempt)
        for notice in notices:
            self.keep(
                id_text(self._ids.make(self._clock.seconds())), notice.envelope, notice.content
            )
        if not step.goes_on and step.next_attempt is not None:
            self._notify()

    async def find(self, id: str) -> Entry | None:
        """One message."""
        kept = self._kept.get(id)
        return kept.entry if kept else None

    async def messages(self, after: str | None, limit: int) -> Sequence[Entry]:
        """A page of the queue."""
        start = 0 if after is None else bisect.bisect_right(self._order, after)
        ids = (self._order[place] for place in range(start, len(self._order)))
        present = (self._kept[id].entry for id in ids if id in self._kept)
        return list(itertools.islice(present, limit))

    async def hold(self, id: str, now: float) -> None:
        """Stop attempts."""
        kept = self._get(id)
        kept.entry = attrs.evolve(kept.entry, held=True)
        self._note(id, now, "held")

    async def release(self, id: str, now: float) -> None:
        """End a hold."""
        kept = self._get(id)
        kept.entry = attrs.evolve(kept.entry, held=False)
        self._note(id, now, "released")
        self._make_due(kept, now)

    async def retry(self, id: str, now: float) -> None:
        """Make a message due now."""
        kept = self._get(id)
        self._note(id, now, "retried")
        self._make_due(kept, now)

    async def remove(self, id: str, now: float) -> None:
        """Take a message out."""
        self._get(id)
        del self._kept[id]
        self._note(id, now, "removed")

    async def history(self, id: str) -> Sequence[Event]:
        """What happened to a message."""
        return tuple(self._history.get(id, ()))

    def watch(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when something may be due sooner."""
        self._watchers.append(callback)

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _get(self, id: str) -> _Kept:
        if id not in self._kept:
            raise UnknownMessage(id)
        return self._kept[id]

    def _make_due(self, kept: _Kept, now: float) -> None:
        kept.entry = attrs.evolve(kept.entry, next_attempt=now)
        if kept.owner is None or kept.due <= now:
            kept.owner = None
            self._reschedule(kept, now)
            self._notify()

    def _reschedule(self, kept: _Kept, due: float) -> None:
        kept.due = due
        heapq.heappush(self._due, (due, kept.entry.id))

    def _note(self, id: str, now: float, kind: EventKind) -> None:
        # A route may hold a message as well; then another event says so.
        reason = "until it is released" if kind == "held" else "by an operator"
        self._history[id].append(Event(at=now, kind=kind, reason=reason))

    def _notify(self) -> None:
        for callback in self._watchers:
            callback()


@implementer(IMessageSink)
class _MemorySink:
    def __init__(self, storage: MemoryStorage, id: str, envelope: Envelope) -> None:
        self.id = id
        self._storage = storage
        self._envelope = envelope
        self._pieces: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self._pieces.append(octets)

    async def commit(self) -> None:
        self._storage.keep(self.id, self._envelope, b"".join(self._pieces))

    def abort(self) -> None:
        self._pieces.clear()


def build(settings: MemorySettings, site: Site) -> MemoryStorage:
    """Build the part for ``[queue] plugin = "memory"``."""
    return MemoryStorage(clock=site.reactor, random=site.random)
