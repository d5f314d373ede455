"""A queue storage that works until it is told to fail, at any point and as often as wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from zope.interface import implementer

from mailframe.entry import Entry, Event, Notice, Step
from mailframe.envelope import Envelope
from mailframe.guard import as_deferred
from mailframe.interfaces import IContent, IMessageSink, IQueueStorage
from mailframe.testing.fakes import answer


@implementer(IQueueStorage)
class FakeStorage:
    """Another storage, such as `mailframe.queue.memory.MemoryStorage`, with points of failure.

    As in `mailframe.testing.fakes`, each ``…_trouble`` field is an exception, an awaitable or an
    answer of the wrong type. ``lost_answers`` holds the names of methods that do their work and
    then fail with their trouble, as when a connection to a database breaks after a commit.

    :param storage: does the work
    :ivar sinks: every message that was begun
    """

    def __init__(self, storage: IQueueStorage) -> None:
        self.storage = storage
        self.sinks: list[FakeSink] = []
        self.lost_answers: set[str] = set()
        self.receive_trouble: Exception | None = None
        self.write_trouble: Any = None
        self.commit_trouble: Any = None
        self.claim_trouble: Any = None
        self.renew_trouble: Any = None
        self.next_due_trouble: Any = None
        self.open_trouble: Any = None
        self.read_trouble: Any = None
        self.settle_trouble: Any = None
        self.find_trouble: Any = None
        self.messages_trouble: Any = None
        self.hold_trouble: Any = None
        self.release_trouble: Any = None
        self.retry_trouble: Any = None
        self.remove_trouble: Any = None
        self.history_trouble: Any = None
        self.close_trouble: Any = None

    def receive(self, envelope: Envelope) -> IMessageSink:
        """Begin to keep a message."""
        if self.receive_trouble is not None:
            raise self.receive_trouble
        sink = FakeSink(self, self.storage.receive(envelope=envelope))
        self.sinks.append(sink)
        return sink

    async def do(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do a method's work, unless there is trouble."""
        trouble = getattr(self, f"{name}_trouble")
        if trouble is None:
            return await as_deferred(work())
        if name in self.lost_answers:
            await as_deferred(work())
        return await as_deferred(answer(trouble, lambda: None))

    async def claim(self, owner: str, now: float, limit: int, until: float) -> Sequence[Entry]:
        """Lease what is due."""
        claimed: Sequence[Entry] = await self.do(
            "claim", lambda: self.storage.claim(owner=owner, now=now, limit=limit, until=until)
        )
        return claimed

    async def renew(self, owner: str, ids: Sequence[str], until: float) -> None:
        """Prolong leases."""
        await self.do("renew", lambda: self.storage.renew(owner=owner, ids=ids, until=until))

    async def next_due(self) -> float | None:
        """When something is due next."""
        due: float | None = await self.do("next_due", self.storage.next_due)
        return due

    async def open(self, id: str) -> IContent:
        """Open a message's content."""
        content = await self.do("open", lambda: self.storage.open(id=id))
        return _Content(self, content)

    async def settle(self, id: str, owner: str, step: Step, notices: Sequence[Notice]) -> None:
        """Record a step."""
        await self.do(
            "settle",
            lambda: self.storage.settle(id=id, owner=owner, step=step, notices=notices),
        )

    async def find(self, id: str) -> Entry | None:
        """One message."""
        entry: Entry | None = await self.do("find", lambda: self.storage.find(id=id))
        return entry

    async def messages(self, after: str | None, limit: int) -> Sequence[Entry]:
        """A page of the queue."""
        entries: Sequence[Entry] = await self.do(
            "messages", lambda: self.storage.messages(after=after, limit=limit)
        )
        return entries

    async def hold(self, id: str, now: float) -> None:
        """Stop attempts."""
        await self.do("hold", lambda: self.storage.hold(id=id, now=now))

    async def release(self, id: str, now: float) -> None:
        """End a hold."""
        await self.do("release", lambda: self.storage.release(id=id, now=now))

    async def retry(self, id: str, now: float) -> None:
        """Make a message due now."""
        await self.do("retry", lambda: self.storage.retry(id=id, now=now))

    async def remove(self, id: str, now: float) -> None:
        """Take a message out."""
        await self.do("remove", lambda: self.storage.remove(id=id, now=now))

    async def history(self, id: str) -> Sequence[Event]:
        """What happened to a message."""
        events: Sequence[Event] = await self.do("history", lambda: self.storage.history(id=id))
        return events

    def watch(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when something may be due sooner."""
        self.storage.watch(callback=callback)

    async def close(self) -> None:
        """Let go of everything."""
        await self.do("close", self.storage.close)


@implementer(IMessageSink)
class FakeSink:
    """A message on its way in.

    :ivar ended: ``committed``, ``aborted`` or ``""``; a second end is an error
    :ivar written: octets so far
    """

    def __init__(self, storage: FakeStorage, sink: IMessageSink) -> None:
        self.id = sink.id
        self.ended = ""
        self.written = 0
        self._storage = storage
        self._sink = sink

    def write(self, octets: bytes) -> Awaitable[None] | None:
        """Take octets. An awaitable as ``write_trouble`` is back-pressure."""
        trouble = self._storage.write_trouble
        if isinstance(trouble, Exception):
            raise trouble
        self.written += len(octets)
        wait = self._sink.write(octets=octets)
        return wait if trouble is None else trouble

    async def commit(self) -> None:
        """Keep the message."""
        self._end("committed")
        await self._storage.do("commit", self._sink.commit)

    def abort(self) -> None:
        """Forget the message."""
        self._end("aborted")
        self._sink.abort()

    def _end(self, how: str) -> None:
        if self.ended:
            raise AssertionError(f"the message was {self.ended} already")
        self.ended = how


@implementer(IContent)
class _Content:
    """Content that can fail while it is read."""

    def __init__(self, storage: FakeStorage, content: IContent) -> None:
        self._storage = storage
        self._content = content

    async def read(self) -> bytes:
        piece: bytes = await self._storage.do("read", self._content.read)
        return piece

    def close(self) -> None:
        self._content.close()
