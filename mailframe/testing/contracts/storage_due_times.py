"""What a queue storage promises that provides `mailframe.interfaces.IDueTimes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailframe.interfaces import IDueTimes, Waiting
from mailframe.testing.contracts.storage import LEASE, StorageContract
from mailframe.testing.samples import make_envelope


class DueTimesContract(StorageContract):
    """Mix into a test case beside `QueueStorageContract`."""

    def due_after(self, due: float, id: str = "", limit: int = 100) -> Sequence[Waiting]:
        """What is due after a time."""
        storage: Any = self.storage
        found: Sequence[Waiting] = self.get(storage.due_after(due=due, id=id, limit=limit))
        return found

    def move(self, *moves: tuple[Waiting, float]) -> None:
        """Have messages be due at other times."""
        storage: Any = self.storage
        self.assertIsNone(self.get(storage.move(moves=moves)))

    def test_provided(self) -> None:
        """The server does not know that messages can be moved, and leaves them waiting."""
        self.assertTrue(IDueTimes.providedBy(self.storage))

    def test_due_after(self) -> None:
        """Messages are passed over, or seen for ever, and wait until a clock is right again."""
        times = [self.now + 10, self.now + 30, self.now + 20, self.now + 20, self.now + 20]
        ids = [self.keep(make_envelope(arrived=time)) for time in times]
        in_order = sorted(zip(times, ids, strict=True))
        found = self.due_after(self.now)
        self.assertEqual([(each.due, each.entry.id) for each in found], in_order)
        self.assertFalse(any(each.leased for each in found))
        seen: list[tuple[float, str]] = []
        due, id = self.now, ""
        while page := self.due_after(due, id, limit=2):
            self.assertLessEqual(len(page), 2)
            due, id = page[-1].due, page[-1].entry.id
            seen += [(each.due, each.entry.id) for each in page]
        self.assertEqual(seen, in_order)

    def test_held(self) -> None:
        """What an operator holds back is sent."""
        id = self.keep(make_envelope(arrived=self.now + 10))
        (waiting,) = self.due_after(self.now)
        self.get(self.storage.hold(id=id, now=self.now))
        self.assertEqual(self.due_after(self.now), [])
        self.move((waiting, self.now))
        self.assertEqual(self.claimed(), [])

    def test_move(self) -> None:
        """After the clock was set back, mail waits for as long as that."""
        id = self.keep(make_envelope(arrived=self.now + 1000))
        (waiting,) = self.due_after(self.now)
        self.move((waiting, self.now + 5))
        self.assertEqual(self.get(self.storage.next_due()), self.now + 5)
        self.assertEqual(self.claimed(), [])
        (entry,) = self.claim(now=self.now + 5)
        self.assertEqual(entry.id, id)
        self.assertEqual(entry.next_attempt, self.now + 5)

    def test_move_of_leased(self) -> None:
        """What one process is delivering is delivered by another as well."""
        self.keep()
        (entry,) = self.claim("one")
        (waiting,) = self.due_after(self.now)
        self.assertEqual((waiting.leased, waiting.due), (True, self.now + LEASE))
        self.move((waiting, self.now + 9 * LEASE))
        self.assertEqual(self.claimed("two", now=self.now + 8 * LEASE), [])
        self.settle(entry, self.step(entry, next_attempt=None))
        self.assertEqual(self.queued(), [])

    def test_move_too_late(self) -> None:
        """A message that was tried meanwhile is tried again at once, or not for a day."""
        self.keep(make_envelope(arrived=self.now + 1000))
        (waiting,) = self.due_after(self.now)
        (entry,) = self.claim(now=self.now + 1000)
        self.settle(entry, self.step(entry, next_attempt=self.now + 2000))
        self.move((waiting, self.now))
        self.assertEqual(self.claimed(), [])
        self.assertEqual(self.get(self.storage.next_due()), self.now + 2000)
