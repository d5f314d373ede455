"""Covers mailframe.queue.lookups."""

from __future__ import annotations

from mailframe.queue.ledger import Ledger
from tests.queue.test_damage import DamageCase
from tests.queue.test_ledger import LedgerCase, arrival


class LookupTests(LedgerCase):
    """What is asked of the tables."""

    def test_content_in_a_file(self) -> None:
        """A large message's row says that its content lies elsewhere."""
        self.ledger.insert([arrival(content=None)])
        self.assertIsNone(self.ledger.content(1, 0.0)[0])

    def test_damaged_entries_are_listed(self) -> None:
        """An operator must be able to see what was set aside, and why, until it is removed."""
        self.ledger.insert([arrival(1), arrival(2)])
        self.ledger.connection.execute("UPDATE message SET recipients = '[{' WHERE key = 2")
        self.ledger.messages(-1, 10, 5.0)
        ((key, reason),) = self.ledger.damaged()
        self.assertEqual(key, 2)
        self.assertIn("checksum", reason)
        self.assertEqual([e.id[-1] for e in self.ledger.messages(-1, 1, 6.0)], ["1"])
        self.ledger.insert([arrival(3)])
        self.assertEqual([e.id[-1] for e in self.ledger.messages(1, 1, 6.0)], ["3"])
        self.ledger.remove(2, 6.0)
        self.assertEqual(self.ledger.damaged(), [])


class DamagedLookupTests(DamageCase):
    """What is not as it was written is in no answer."""

    def test_content(self) -> None:
        """Somebody would get a message that is not the one that was sent."""
        self.execute("UPDATE content SET octets = x'aabb' WHERE key = 2")
        self.assertRaises(ValueError, self.ledger.content, 2, 1.0)
        self.execute("UPDATE content SET octets = 'text' WHERE key = 3")
        self.assertRaises(ValueError, self.ledger.content, 3, 1.0)
        self.assertEqual(self.aside(), [2, 3])

    def test_content_is_null(self) -> None:
        """It would be taken for one in a file, be looked for there, and never be reported."""
        self.execute("PRAGMA writable_schema = ON")
        self.execute("UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL', 'BLOB')")
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.addCleanup(self.ledger.close)
        self.execute("UPDATE content SET octets = NULL WHERE key = 2")
        self.assertRaises(ValueError, self.ledger.content, 2, 1.0)
        self.assertEqual(self.aside(), [2])

    def test_what_is_no_time(self) -> None:
        """Putting the queue right after a jump of the clock would fail, again and again."""
        self.execute("UPDATE message SET due = x'0102' WHERE key = 2")
        found = self.ledger.due_after(-1.0, -1, 10, 5.0)
        self.assertEqual([each.entry.id[-1] for each in found], ["1", "3"])
        self.execute("UPDATE message SET due = x'0102'")
        self.assertEqual(self.ledger.due_after(-1.0, -1, 10, 5.0), [])
