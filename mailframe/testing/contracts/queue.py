"""What the server relies upon in a queue storage, whole."""

from __future__ import annotations

from mailframe.interfaces import IQueueStorage
from mailframe.testing.contracts.storage_arrivals import ArrivalContract
from mailframe.testing.contracts.storage_leases import LeaseContract
from mailframe.testing.contracts.storage_operator import OperatorContract


class QueueStorageContract(ArrivalContract, LeaseContract, OperatorContract):
    """Mix into a test case that says how an empty storage is made."""


class DurableQueueStorageContract(QueueStorageContract):
    """As well for a storage whose messages outlive the process: say how it is opened again."""

    def reopen(self, storage: IQueueStorage) -> IQueueStorage:
        """Another storage over the same messages, with other randomness; ``storage`` was closed."""
        raise AssertionError("override reopen()")

    def restart(self) -> None:
        """End the storage and open it again."""
        self.get(self.storage.close())
        self.storage = self.reopen(self.storage)

    def test_restart(self) -> None:
        """Mail is lost when the server is restarted."""
        small, large = self.keep(), self.keep(content=b"x" * 300_000)
        entries = [self.get(self.storage.find(id=id)) for id in (small, large)]
        histories = [self.history(id) for id in (small, large)]
        self.restart()
        self.assertEqual([self.get(self.storage.find(id=id)) for id in (small, large)], entries)
        self.assertEqual([self.history(id) for id in (small, large)], histories)
        self.assertEqual(self.content(large), b"x" * 300_000)
        self.assertEqual(set(self.claimed()), {small, large})

    def test_ids_after_restart(self) -> None:
        """After a restart a message replaces an older one."""
        before = {self.keep() for _ in range(5)}
        self.restart()
        after = {self.keep() for _ in range(5)}
        self.assertEqual(len(before | after), 10)
        self.assertEqual(set(self.queued()), before | after)

    def test_leases_outlive_restart(self) -> None:
        """The messages of a server that was restarted wait for ever, or a step is lost."""
        id = self.keep()
        (entry,) = self.claim("one")
        self.settle(entry, self.step(entry, next_attempt=self.now + 900, warned=True))
        self.restart()
        found = self.get(self.storage.find(id=id))
        assert found is not None
        self.assertTrue(found.warned)
        self.assertEqual(found.next_attempt, self.now + 900)
        self.assertEqual(self.claimed("two"), [])
        self.assertEqual(self.claimed("two", now=self.now + 900), [id])

    def test_uncommitted_is_gone(self) -> None:
        """Half a message shows up after a restart."""
        sink = self.storage.receive(envelope=self.envelope())
        wait = sink.write(octets=b"x" * 300_000)
        if wait is not None:
            self.get(wait)
        sink.abort()
        self.reactor.advance(0)
        self.restart()
        self.assertEqual(self.queued(), [])
