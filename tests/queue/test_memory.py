"""Covers mailframe.queue.memory."""

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.guard import as_deferred
from mailframe.queue.memory import MemoryStorage
from mailframe.testing.contracts import QueueStorageContract
from tests.queue.samples import envelope, write


class MemoryContractTests(QueueStorageContract, SynchronousTestCase):
    """The memory storage keeps every promise of the storage interface."""

    def make_storage(self, clock: Clock) -> MemoryStorage:
        return MemoryStorage(clock=clock, random=Random(1))


class MemoryTests(SynchronousTestCase):
    """What only this storage could get wrong."""

    def test_the_order_is_compacted(self) -> None:
        """A long simulation must not gather the ids of messages long gone."""
        clock = Clock()
        storage = MemoryStorage(clock=clock, random=Random(1))
        for _ in range(500):
            sink = write(storage.receive(envelope()), b"x")
            self.successResultOf(as_deferred(sink.commit()))
            self.successResultOf(as_deferred(storage.remove(sink.id, 0.0)))
        self.assertLess(len(storage._order), 200)
