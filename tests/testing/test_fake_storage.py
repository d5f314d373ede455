"""The fake storage works as the one inside it, and fails where it is told to."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Step
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, StorageFault
from mailframe.queue.memory import MemoryStorage
from mailframe.testing.contracts import QueueStorageContract
from mailframe.testing.fake_storage import FakeStorage
from mailframe.testing.network import VirtualReactor
from mailframe.testing.samples import make_envelope


class ContractTests(QueueStorageContract, SynchronousTestCase):
    def make_storage(self, clock: VirtualReactor) -> IQueueStorage:
        return FakeStorage(MemoryStorage(clock=clock, random=Random(0)))


class TroubleTests(SynchronousTestCase):
    """Each point of failure fails; a test that relies on one that doesn't proves nothing."""

    def setUp(self) -> None:
        self.storage = FakeStorage(MemoryStorage(clock=VirtualReactor(), random=Random(0)))

    def result(self, awaitable: Any) -> Any:
        return self.successResultOf(as_deferred(awaitable))

    def keep(self) -> str:
        sink = self.storage.receive(envelope=make_envelope(arrived=0.0))
        sink.write(octets=b"x")
        self.result(sink.commit())
        return sink.id

    def test_every_method(self) -> None:
        """A storage that fails while it is asked for something can't be simulated."""
        id = self.keep()
        entry = self.result(self.storage.find(id=id))
        step = Step(recipients=entry.recipients, next_attempt=None, warned=False, events=())
        calls: dict[str, Any] = {
            "claim": lambda: self.storage.claim(owner="o", now=0.0, limit=1, until=1.0),
            "renew": lambda: self.storage.renew(owner="o", ids=[id], until=1.0),
            "next_due": lambda: self.storage.next_due(),
            "open": lambda: self.storage.open(id=id),
            "settle": lambda: self.storage.settle(id=id, owner="o", step=step, notices=()),
            "find": lambda: self.storage.find(id=id),
            "messages": lambda: self.storage.messages(after=None, limit=1),
            "hold": lambda: self.storage.hold(id=id, now=0.0),
            "release": lambda: self.storage.release(id=id, now=0.0),
            "retry": lambda: self.storage.retry(id=id, now=0.0),
            "remove": lambda: self.storage.remove(id=id, now=0.0),
            "history": lambda: self.storage.history(id=id),
            "close": lambda: self.storage.close(),
        }
        for name, call in calls.items():
            setattr(self.storage, f"{name}_trouble", StorageFault(name))
            self.failureResultOf(as_deferred(call()), StorageFault)
            setattr(self.storage, f"{name}_trouble", Deferred())
            self.assertNoResult(as_deferred(call()))
            setattr(self.storage, f"{name}_trouble", None)
        self.assertEqual(self.result(self.storage.find(id=id)), entry)

    def test_receive(self) -> None:
        """A storage that takes nothing can't be simulated."""
        self.storage.receive_trouble = StorageFault("full")
        self.assertRaises(StorageFault, self.storage.receive, make_envelope())

    def test_write(self) -> None:
        """A storage that fails, or is slow, in the middle of a message can't be simulated."""
        sink = self.storage.receive(envelope=make_envelope())
        slow: Deferred[None] = Deferred()
        self.storage.write_trouble = slow
        self.assertIs(sink.write(octets=b"abc"), slow)
        self.storage.write_trouble = StorageFault("disk")
        self.assertRaises(StorageFault, sink.write, b"def")
        self.assertEqual(self.storage.sinks[0].written, 3)

    def test_commit(self) -> None:
        """A storage that can't keep a message can't be simulated."""
        sink = self.storage.receive(envelope=make_envelope())
        self.storage.commit_trouble = StorageFault("disk")
        self.failureResultOf(as_deferred(sink.commit()), StorageFault)
        self.assertIsNone(self.result(self.storage.find(id=sink.id)))

    def test_lost_answer(self) -> None:
        """A connection that breaks after the commit can't be simulated."""
        sink = self.storage.receive(envelope=make_envelope())
        self.storage.commit_trouble = StorageFault("connection lost")
        self.storage.lost_answers.add("commit")
        self.failureResultOf(as_deferred(sink.commit()), StorageFault)
        self.assertIsNotNone(self.result(self.storage.find(id=sink.id)))

    def test_read(self) -> None:
        """Content that breaks off can't be simulated."""
        content = self.result(self.storage.open(id=self.keep()))
        self.storage.read_trouble = StorageFault("disk")
        self.failureResultOf(as_deferred(content.read()), StorageFault)
        content.close()

    def test_ended_twice(self) -> None:
        """A server that both commits and aborts goes unnoticed."""
        sink = self.storage.receive(envelope=make_envelope())
        sink.abort()
        self.assertEqual(self.storage.sinks[0].ended, "aborted")
        self.assertRaises(AssertionError, sink.abort)
        self.failureResultOf(as_deferred(sink.commit()), AssertionError)
