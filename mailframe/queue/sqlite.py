"""The default queue: a SQLite database in WAL mode, with large contents in files beside it.

Small messages lie whole in the database, so that accepting one costs a share of one sync. A content
that grows beyond ``inline`` octets while it arrives goes to a file instead
(`mailframe.queue.spool`), and memory stays bounded whatever its size. The database is touched by
one thread only (`mailframe.queue.committer`); other processes, the ``mailframe`` command among
them, may use the same queue at the same time.

A message that was just accepted is remembered for a while, so that its first delivery reads nothing
back; and as long as the runner of this process has room, it is accepted as already claimed by it
(`mailframe.queue.first_claims`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from operator import methodcaller
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mailframe.entry import Entry, Event, Notice, Step
from mailframe.envelope import Envelope
from mailframe.interfaces import (
    IContent,
    IDueTimes,
    IMessageSink,
    IQueueStorage,
    IRoom,
    Site,
    StorageFault,
    StorageFull,
    UnknownMessage,
    Waiting,
)
from mailframe.queue.committer import Committer, ThreadedCommitter
from mailframe.queue.content import BytesContent, FileContent, SealedContent
from mailframe.queue.damage import Remains, missing_content, remains, set_aside
from mailframe.queue.first_claims import FirstClaims
from mailframe.queue.housekeeping import Housekeeping
from mailframe.queue.ids import QueueIds, id_key, id_text
from mailframe.queue.ledger import Arrival, Ledger
from mailframe.queue.operations import Finish, Keep, Note, Postpone, Settle
from mailframe.queue.places import Place
from mailframe.queue.recent import RecentContents
from mailframe.queue.room import RESERVE, RESERVE_FILES, Room
from mailframe.queue.sink import Sink
from mailframe.queue.spool import Spool
from mailframe.units import FilePath, Octets, Seconds

log = Logger()

GATHER = 0.02  # seconds


@attrs.frozen(kw_only=True)
class SqliteSettings:
    """``[queue] plugin = "sqlite"``.

    :ivar path: the folder of the queue; ``queue`` in ``state_dir`` unless told otherwise
    :ivar inline: contents up to this size lie in the database, larger ones in files
    :ivar history: how long the history of a message is kept, from its arrival
    :ivar reserve: octets of the file system that are left for deliveries; when no more are free,
        messages are refused
    :ivar reserve_files: likewise, how many more files there could be
    """

    path: FilePath | None = None
    inline: Octets = Octets(65_536)
    history: Seconds = Seconds(14 * 86400.0)
    reserve: Octets = RESERVE
    reserve_files: int = attrs.field(default=RESERVE_FILES, validator=attrs.validators.ge(0))


@implementer(IQueueStorage, IRoom, IDueTimes)
class SqliteStorage:
    """The queue in a folder.

    :param spool: the folder
    :param committer: makes a committer from a function that opens the ledger and one that is to be
        called when another process changed the queue
    :param clock: tells the time for ids and housekeeping
    :param random: makes the ids
    :param in_thread: runs blocking work elsewhere
    :param gather: seconds from one call of those who watch to the next, at least
    """

    def __init__(
        self,
        *,
        spool: Spool,
        committer: Callable[[Callable[[], Ledger], Callable[[], None]], Committer],
        clock: IReactorTime,
        random: Random,
        in_thread: Callable[..., Deferred[Any]],
        settings: SqliteSettings,
        gather: float = 0.0,
    ) -> None:
        self.spool = spool
        self.settings = settings
        self.in_thread = in_thread
        self._clock = clock
        self._place = Place(spool.root, random)
        self._ids = QueueIds(random, self._place)
        self._watchers: list[Callable[[], None]] = []
        self._notify_waits = False
        self._notified = 0.0
        self._gather = gather
        self._recent = RecentContents()
        self._first = FirstClaims()
        self._alive: dict[str, int] = {}
        database = os.path.join(spool.root, "queue.db")
        self.room = Room(
            spool.root, settings.reserve, settings.reserve_files, clock=clock, in_thread=in_thread
        )
        self.committer = committer(lambda: Ledger(database), self._notify)
        self._housekeeping = Housekeeping(
            spool=spool,
            committer=self.committer,
            in_thread=in_thread,
            ours=self._alive,
            history=settings.history,
        )
        spool.sync()

    # --- arrivals --------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> IMessageSink:
        """Begin to keep a message. :raises StorageFull: there is nothing left but the reserve"""
        if not self.room.has_room():
            raise StorageFull("what room is left is kept in reserve")
        return Sink(self, self._ids.make(self._clock.seconds()), envelope)

    def has_room(self, octets: int) -> bool:
        """Whether there is room for a message."""
        return self.room.has_room(octets)

    @property
    def inline(self) -> int:
        """Contents up to this many octets go into the database."""
        return self.settings.inline

    def keep(self, arrival: Arrival) -> Deferred[None]:
        """Commit a message, remember it for its first delivery, and tell who watches."""
        if arrival.content is not None:
            # Not refused any more: all that are on their way and so small fit into the reserve.
            self.room.take(arrival.size)
        lease = self._first.lease(arrival.envelope.due, self._clock.seconds())
        if lease is not None:
            arrival = attrs.evolve(arrival, lease=lease)
        return self.committer.write(Keep(arrival)).addCallback(lambda _: self._kept(arrival))

    def _kept(self, arrival: Arrival) -> None:
        self._first.add(arrival, self._clock.seconds())
        if arrival.content is not None:
            self._recent.add(arrival.key, arrival.content)
        self._notify()

    # --- the runner ------------------------------------------------------------------------------

    async def claim(self, owner: str, now: float, limit: int, until: float) -> Sequence[Entry]:
        """Lease what is due."""
        if owner not in self._alive:
            self._alive[owner] = self.spool.show_alive(owner)
        await self._housekeeping.tidy(now)
        first = self._first
        entries = first.take(owner, now, limit)
        room, backlog = limit - len(entries), 0
        if room and (not entries or first or not first.may_do_without_looking(now)):
            entries += await self._look(owner, now, room, until)
            backlog = limit if len(entries) == limit else 0
        first.claimed(owner, now, until - now, limit - len(entries), backlog)
        return entries

    async def _look(self, owner: str, now: float, limit: int, until: float) -> list[Entry]:
        """Claim what is due and was not claimed on its arrival."""
        leases = self._first.give_back()

        def look(ledger: Ledger) -> list[Entry]:
            ledger.give_back(leases)
            return ledger.claim(owner, now, limit, until)

        found: list[Entry] = await self.committer.write(look)
        if len(found) < limit:  # else the next claim looks again, whatever arrives
            self._first.looked(now)
        return found

    async def renew(self, owner: str, ids: Sequence[str], until: float) -> None:
        """Prolong leases."""
        keys = [key for id in ids if (key := id_key(id)) is not None]
        await self.committer.write(lambda ledger: ledger.renew(owner, keys, until))

    async def next_due(self) -> float | None:
        """When something is due next."""
        due: float | None = await self.committer.read(lambda ledger: ledger.next_due())
        return self._clock.seconds() if self._first else due

    async def due_after(self, due: float, id: str, limit: int) -> Sequence[Waiting]:
        """What is due after a time."""
        leases, now = self._first.give_back(), self._clock.seconds()
        key = _key(id) if id else -1

        def look(ledger: Ledger) -> list[Waiting]:
            ledger.give_back(leases)
            return ledger.due_after(due, key, limit, now)

        found: list[Waiting] = await self.committer.write(look)
        return found

    async def move(self, moves: Sequence[tuple[Waiting, float]]) -> None:
        """Have messages be due at other times."""
        rows = [(_key(waiting.entry.id), waiting.due, due) for waiting, due in moves]
        await self.committer.write(methodcaller("move", rows))
        self._notify()

    async def open(self, id: str) -> IContent:
        """Open a message's content."""
        key = _key(id)
        recent = self._recent.get(key)
        if recent is not None:
            return BytesContent(recent)
        now = self._clock.seconds()
        octets, kept = await self.committer.read(lambda ledger: ledger.content(key, now))
        if octets is not None:
            return BytesContent(octets)

        async def damaged() -> None:
            reason = "its content, in a file of its own, is not as it was written"
            await self.committer.write(
                lambda ledger: set_aside(ledger.connection, key, now, reason)
            )

        try:
            file = await self.in_thread(self.spool.open, key)
            return SealedContent(file, self.in_thread, kept, damaged)
        except FileNotFoundError as error:
            await self.committer.write(lambda ledger: missing_content(ledger.connection, key, now))
            octets, kept = await self.committer.read(lambda ledger: ledger.content(key, now))
            if octets is None:
                raise StorageFault(f"the content of {id} is not there") from error
            return BytesContent(octets)
        except OSError as error:
            raise StorageFault(f"the content of {id} can't be read: {error.strerror}") from error

    def settle(self, id: str, owner: str, step: Step, notices: Sequence[Notice]) -> Awaitable[None]:
        """Record a step."""
        key = id_key(id)
        if key is None:
            return fail(UnknownMessage(id))
        # Not awaited: these are on the way of every message, and a coroutine has its price.
        if step.goes_on and not (notices or step.events):
            return self.committer.write(Note(key, owner, step.recipients))
        if step.next_attempt is None and not (notices or step.goes_on):
            finished = self.committer.write(Finish(key, owner, step.events))
            return finished.addCallback(lambda _: self._left(key))
        if not (notices or step.goes_on):
            postponed = self.committer.write(Postpone(key, owner, step))
            return postponed.addCallback(lambda _: self._notify())
        return self._settle(key, owner, step, notices)

    async def _settle(self, key: int, owner: str, step: Step, notices: Sequence[Notice]) -> None:
        now = self._clock.seconds()
        arrivals = [
            Arrival(
                key=self._ids.make(now),
                envelope=notice.envelope,
                size=len(notice.content),
                content=notice.content,
            )
            for notice in notices
        ]
        await self.committer.write(Settle(key, owner, step, arrivals))
        if step.next_attempt is None and not step.goes_on:
            self._left(key)
        if arrivals or not (step.goes_on or step.next_attempt is None):
            self._notify()

    def _left(self, key: int) -> None:
        """A message has left the queue: its content goes after its row, never before."""
        if not self._recent.forget(key):
            self.in_thread(self.spool.discard, key).addErrback(
                lambda failure: log.failure("discarding a content", failure=failure)
            )

    # --- the operator ----------------------------------------------------------------------------

    async def find(self, id: str) -> Entry | None:
        """One message."""
        key = id_key(id)
        if key is None:
            return None
        now = self._clock.seconds()
        entry: Entry | None = await self.committer.read(lambda ledger: ledger.find(key, now))
        return entry

    async def messages(self, after: str | None, limit: int) -> Sequence[Entry]:
        """A page of the queue."""
        key = -1 if after is None else _key(after)
        now = self._clock.seconds()
        entries: list[Entry] = await self.committer.read(
            lambda ledger: ledger.messages(key, limit, now)
        )
        return entries

    async def hold(self, id: str, now: float) -> None:
        """Stop attempts."""
        key = _key(id)
        await self._give_back(key)
        await self.committer.write(lambda ledger: ledger.hold(key, now))

    async def release(self, id: str, now: float) -> None:
        """End a hold."""
        key = _key(id)
        await self._give_back(key)
        await self.committer.write(lambda ledger: ledger.release(key, now))
        self._notify()

    async def retry(self, id: str, now: float) -> None:
        """Make a message due now."""
        key = _key(id)
        await self._give_back(key)
        await self.committer.write(lambda ledger: ledger.retry(key, now))
        self._notify()

    async def remove(self, id: str, now: float) -> None:
        """Take a message out."""
        key = _key(id)
        await self._give_back(key)
        await self.committer.write(lambda ledger: ledger.remove(key, now))
        self._left(key)

    async def _give_back(self, key: int) -> None:
        """A message that nobody has begun to try must not be tried any more as it was."""
        owner = self._first.withdraw(key)
        if owner is not None:
            await self.committer.write(methodcaller("give_back", {key: owner}))

    async def history(self, id: str) -> Sequence[Event]:
        """What happened to a message."""
        key = id_key(id)
        if key is None:
            return ()
        events: list[Event] = await self.committer.read(lambda ledger: ledger.history(key))
        return events

    async def damaged(self) -> Sequence[tuple[str, str]]:
        """The ids of what was set aside because it can't be read, each with the reason."""
        rows: list[tuple[int, str]] = await self.committer.read(methodcaller("damaged"))
        return [(id_text(key), reason) for key, reason in rows]

    async def salvage(self, id: str) -> tuple[Remains, IContent | None]:
        """What is left of a message that was set aside; its content as it stands, unchecked.

        :raises UnknownMessage: none of that id was set aside
        """
        key = _key(id)
        found: Remains | None = await self.committer.read(
            lambda ledger: remains(ledger.connection, key)
        )
        if found is None:
            raise UnknownMessage(id)
        if found.content is not None:
            return found, BytesContent(found.content)
        try:
            return found, FileContent(await self.in_thread(self.spool.open, key), self.in_thread)
        except OSError:
            return found, None

    def watch(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when something may be due sooner."""
        self._watchers.append(callback)

    async def close(self) -> None:
        """Finish what is under way, and give back what is still leased."""
        self.room.close()
        for owner in self._alive:
            try:
                await self.committer.write(methodcaller("abandon", owner))
            except StorageFault:
                log.failure("the leases of {owner} can't be given back", owner=owner)
        await self.committer.close()
        for owner, descriptor in self._alive.items():
            os.close(descriptor)
            self.spool.bury(owner)
        self._alive.clear()
        self._place.close()

    # --- within ----------------------------------------------------------------------------------

    def _notify(self) -> None:
        # A batch of commits comes back in one go: one call serves all of them.
        # And while many come, those that come shortly after each other are claimed together.
        if not self._notify_waits:
            self._notify_waits = True
            since = self._clock.seconds() - self._notified
            delay = self._gather - since if 0 <= since < self._gather else 0
            self._clock.callLater(delay, self._notify_now)

    def _notify_now(self) -> None:
        self._notify_waits = False
        self._notified = self._clock.seconds()
        for callback in self._watchers:
            callback()


def _key(id: str) -> int:
    key = id_key(id)
    if key is None:
        raise UnknownMessage(id)
    return key


def build(settings: SqliteSettings, site: Site) -> SqliteStorage:
    """Build the part for ``[queue] plugin = "sqlite"``.

    :raises OSError: the folder can't be made
    :raises sqlite3.Error: the database can't be opened
    """
    spool = Spool(settings.path or os.path.join(site.state_dir, "queue"))

    def committer(
        open_ledger: Callable[[], Ledger], on_foreign_commit: Callable[[], None]
    ) -> Committer:
        return ThreadedCommitter(
            open_ledger, site.reactor.callFromThread, on_foreign_commit, turn=spool.turn()
        )

    return SqliteStorage(
        spool=spool,
        committer=committer,
        clock=site.reactor,
        random=site.random,
        in_thread=site.in_thread,
        settings=settings,
        gather=GATHER,
    )
