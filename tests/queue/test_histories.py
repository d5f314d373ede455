"""Covers mailframe.queue.histories."""

from __future__ import annotations

from mailframe.queue.ids import first_key
from tests.queue.test_ledger import LedgerCase, arrival


class HistoryTests(LedgerCase):
    """What happened to messages."""

    def test_old_histories_are_forgotten(self) -> None:
        """The history of messages long gone must not fill the disk; that of queued ones stays."""
        old, queued = first_key(100.0), first_key(100.0) + 1
        self.ledger.insert([arrival(old), arrival(queued)])
        self.ledger.hold(queued, 1.0)
        self.ledger.remove(old, 2.0)
        self.assertEqual(self.ledger.forget_history(50.0, 100), 0)
        self.assertEqual(self.ledger.forget_history(200.0, 100), 2)
        self.assertEqual(self.ledger.history(old), [])
        self.assertEqual([e.kind for e in self.ledger.history(queued)][-1], "held")

    def test_history(self) -> None:
        """One damaged part would hide the others."""
        self.ledger.insert([arrival(2)])
        self.ledger.hold(2, 5.0)
        self.ledger.release(2, 6.0)
        self.ledger.connection.execute("UPDATE history SET events = 'oops' WHERE part = 1")
        kinds = [event.kind for event in self.ledger.history(2)]
        self.assertEqual(kinds, ["accepted", "authorised", "released"])
