"""What a queue storage promises to the operator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mailframe.interfaces import UnknownMessage
from mailframe.testing.contracts.storage import LEASE, NO_ID, StorageContract


class OperatorContract(StorageContract):
    """Finding, holding, releasing, retrying and removing messages."""

    def test_pages(self) -> None:
        """A long queue can't be listed, or some messages are left out of the list."""
        ids = sorted(self.keep() for _ in range(25))
        self.claim(limit=5)
        self.get(self.storage.hold(id=ids[3], now=self.now))
        after: str | None = None
        listed: list[str] = []
        for _ in range(4):
            page = self.get(self.storage.messages(after=after, limit=10))
            self.assertLessEqual(len(page), 10)
            listed += [entry.id for entry in page]
            after = listed[-1] if listed else None
        self.assertEqual(listed, ids)

    def test_unknown(self) -> None:
        """A mistyped id looks like success, or like a fault of the server."""
        self.keep()
        changes: list[Callable[[str], Awaitable[object]]] = [
            lambda id: self.storage.open(id=id),
            lambda id: self.storage.hold(id=id, now=self.now),
            lambda id: self.storage.release(id=id, now=self.now),
            lambda id: self.storage.retry(id=id, now=self.now),
            lambda id: self.storage.remove(id=id, now=self.now),
        ]
        for id in NO_ID:
            for change in changes:
                self.fails(change(id), UnknownMessage)
            self.assertIsNone(self.get(self.storage.find(id=id)))
            self.assertEqual(self.history(id), [])

    def test_hold(self) -> None:
        """A message that the operator stopped is delivered."""
        id = self.keep()
        self.get(self.storage.hold(id=id, now=self.now))
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        self.assertTrue(entry.held)
        self.assertEqual(self.claimed(now=self.now + 9 * LEASE), [])
        self.assertIsNone(self.get(self.storage.next_due()))
        self.assertEqual([event.kind for event in self.history(id)][-1], "held")

    def test_release(self) -> None:
        """A message that the operator released is not delivered."""
        id = self.keep()
        self.get(self.storage.hold(id=id, now=self.now))
        self.reactor.advance(3600)
        called: list[None] = []
        self.storage.watch(callback=lambda: called.append(None))
        self.get(self.storage.release(id=id, now=self.now))
        self.reactor.advance(0)
        self.assertTrue(called)
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        self.assertFalse(entry.held)
        self.assertEqual(entry.next_attempt, self.now)
        self.assertEqual(self.claimed(), [id])
        self.assertEqual(self.history(id)[-1].kind, "released")
        self.assertEqual(self.history(id)[-1].at, self.now)

    def test_hold_under_way(self) -> None:
        """What became of an attempt that was under way is lost, and it is made again."""
        id = self.keep()
        (entry,) = self.claim()
        self.get(self.storage.hold(id=id, now=self.now))
        self.settle(entry, self.step(entry, next_attempt=self.now + 900))
        found = self.get(self.storage.find(id=id))
        assert found is not None
        self.assertTrue(found.held)
        self.assertEqual(self.claimed(now=self.now + 9 * LEASE), [])
        self.get(self.storage.release(id=id, now=self.now))
        self.assertEqual(self.claimed(), [id])

    def test_retry(self) -> None:
        """A message waits on although the operator knows that the other server is back."""
        id = self.keep()
        (entry,) = self.claim()
        self.settle(entry, self.step(entry, next_attempt=self.now + 900))
        self.assertEqual(self.claimed(), [])
        called: list[None] = []
        self.storage.watch(callback=lambda: called.append(None))
        self.get(self.storage.retry(id=id, now=self.now))
        self.reactor.advance(0)
        self.assertTrue(called)
        self.assertEqual(self.claimed(), [id])
        self.assertIn("retried", [event.kind for event in self.history(id)])

    def test_retry_of_leased(self) -> None:
        """The operator's "retry" has a message delivered twice."""
        self.keep()
        (entry,) = self.claim("one")
        self.get(self.storage.retry(id=entry.id, now=self.now))
        self.assertEqual(self.claimed("two"), [])
        self.settle(entry, self.step(entry, next_attempt=None))

    def test_held_while_leased(self) -> None:
        """A message that was held during an attempt is tried again, or never again."""
        self.keep()
        (entry,) = self.claim("one")
        self.get(self.storage.hold(id=entry.id, now=self.now))
        self.get(self.storage.retry(id=entry.id, now=self.now))
        after = self.now + LEASE + 1
        self.assertEqual(self.claimed("two", now=after), [])
        self.get(self.storage.release(id=entry.id, now=after))
        self.assertEqual(self.claimed("two", now=after), [entry.id])

    def test_remove(self) -> None:
        """A message that the operator removed is delivered, or nobody can tell who removed it."""
        id, other = self.keep(), self.keep(content=b"x" * 300_000)
        self.claim()
        for removed in (id, other):
            self.get(self.storage.remove(id=removed, now=self.now))
            self.reactor.advance(0)
            self.assertIsNone(self.get(self.storage.find(id=removed)))
            self.fails(self.storage.open(id=removed), UnknownMessage)
            self.assertEqual(self.history(removed)[-1].kind, "removed")
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.claimed("two", now=self.now + 9 * LEASE), [])
        self.assertIsNone(self.get(self.storage.next_due()))
