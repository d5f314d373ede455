"""Covers mailframe.queue.ledger."""

from __future__ import annotations

import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.queue.ledger import Arrival, Ledger
from tests.queue.samples import JSMITH, envelope

GONE = Step(
    recipients=(QueuedRecipient(address=JSMITH, state="relayed"),),
    next_attempt=None,
    warned=False,
    events=(Event(at=5.0, kind="relayed", recipient=JSMITH),),
)


def arrival(key: int = 1, arrived: float = 0.0, content: bytes | None = b"hello\r\n") -> Arrival:
    return Arrival(key=key, envelope=envelope(arrived=arrived), size=7, content=content)


class LedgerCase(SynchronousTestCase):
    """A ledger in a folder of its own."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.ledger = Ledger(self.path)
        self.addCleanup(self.ledger.close)

    def indexed(self, statement: str) -> None:
        """Assert that a statement reads an index and scans no table."""
        plan = self.ledger.connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        for row in plan:
            self.assertNotRegex(row[3], r"SCAN (message|content|history)(?! USING)", plan)


class LedgerTests(LedgerCase):
    """The statements."""

    def test_synchronous_and_wal(self) -> None:
        """Without the full sync a power cut loses what was acknowledged."""
        for pragma, value in (("synchronous", 2), ("journal_mode", "wal")):
            (found,) = self.ledger.connection.execute(f"PRAGMA {pragma}").fetchone()
            self.assertEqual(found, value)

    def test_nothing_scans_the_queue(self) -> None:
        """Costs must not grow with the queue's length."""
        for statement in (
            "SELECT key FROM message WHERE held = 0 AND due <= 1 ORDER BY due LIMIT 5",
            "SELECT due FROM message WHERE held = 0 AND due IS NOT NULL ORDER BY due LIMIT 1",
            "UPDATE message SET owner = 'x' WHERE key = 1",
            "SELECT key FROM message WHERE key > 5 ORDER BY key LIMIT 5",
            "DELETE FROM content WHERE key IN (SELECT value FROM json_each('[1]'))",
            "DELETE FROM message WHERE key IN (SELECT value FROM json_each('[1]'))",
            "SELECT coalesce(max(part), 0) FROM history WHERE key = 1",
        ):
            self.indexed(statement)

    def test_reopening(self) -> None:
        """A restart finds the messages."""
        self.ledger.insert([arrival()])
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.assertEqual(len(self.ledger.messages(-1, 10, 0.0)), 1)

    def test_a_foreign_version(self) -> None:
        """A queue written by a later program must not be misread."""
        self.ledger.connection.execute("PRAGMA user_version = 99")
        self.assertRaises(sqlite3.DatabaseError, Ledger, self.path)

    def test_not_a_database(self) -> None:
        """A wrong path is told, not overwritten."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"this is a letter to my aunt, not a database\n" * 50)
        self.assertRaises(sqlite3.DatabaseError, Ledger, path)
        with open(path, "rb") as file:
            self.assertTrue(file.read().startswith(b"this is a letter"))

    def test_a_damaged_entry_is_set_aside(self) -> None:
        """One damaged row must not stop the others, nor be tried for ever."""
        self.ledger.insert([arrival(1), arrival(2), arrival(3)])
        self.ledger.connection.execute("UPDATE message SET envelope = '{oops' WHERE key = 2")
        claimed = self.ledger.claim("one", 1.0, 10, 300.0)
        self.assertEqual([entry.id[-1] for entry in claimed], ["1", "3"])
        self.assertEqual(self.ledger.claim("one", 1000.0, 10, 2000.0), claimed)
        (count,) = self.ledger.connection.execute("SELECT count(*) FROM damaged").fetchone()
        self.assertEqual(count, 1)
        self.ledger.remove(2, 5.0)

    def test_only_the_owner_settles(self) -> None:
        """A worker that was thought dead must not undo what its successor did."""
        self.ledger.insert([arrival()])
        self.ledger.claim("one", 1.0, 10, 300.0)
        self.assertRaises(LeaseLost, self.ledger.settle, 1, "two", GONE, [])
        self.ledger.settle(1, "one", GONE, [])
        self.assertRaises(LeaseLost, self.ledger.settle, 1, "one", GONE, [])
        kinds = [event.kind for event in self.ledger.history(1)]
        self.assertEqual(kinds, ["accepted", "authorised", "relayed"])

    def test_content_leaves_with_its_message(self) -> None:
        """The database must not grow for ever."""
        self.ledger.insert([arrival()])
        self.assertEqual(self.ledger.content(1, 0.0)[0], b"hello\r\n")
        self.ledger.claim("one", 1.0, 10, 300.0)
        self.ledger.settle(1, "one", GONE, [])
        self.assertRaises(UnknownMessage, self.ledger.content, 1, 0.0)
        (count,) = self.ledger.connection.execute("SELECT count(*) FROM content").fetchone()
        self.assertEqual(count, 0)

    def test_abandon(self) -> None:
        """What a crashed process held is due again at once, and held mail stays held."""
        self.ledger.insert([arrival(1), arrival(2)])
        self.ledger.claim("dead", 1.0, 10, 300.0)
        self.ledger.hold(2, 2.0)
        self.assertEqual(self.ledger.abandon("dead"), 2)
        self.assertEqual([e.id[-1] for e in self.ledger.claim("one", 3.0, 10, 300.0)], ["1"])

    def test_hold_retry_release_under_a_lease(self) -> None:
        """An operator's words while an attempt is under way must not leave mail stuck for ever."""
        self.ledger.insert([arrival()])
        self.ledger.claim("one", 1.0, 10, 300.0)
        self.ledger.hold(1, 2.0)
        self.ledger.retry(1, 3.0)
        self.assertEqual(self.ledger.claim("two", 4.0, 10, 600.0), [], "leased")
        self.ledger.release(1, 5.0)
        self.assertEqual(self.ledger.next_due(), 300.0)
        self.assertEqual(len(self.ledger.claim("two", 301.0, 10, 600.0)), 1)

    def test_held_when_the_lease_runs_out(self) -> None:
        """Mail that was held while it was tried by a process that died must stay held."""
        self.ledger.insert([arrival()])
        self.ledger.claim("dead", 1.0, 10, 300.0)
        self.ledger.hold(1, 2.0)
        self.assertEqual(self.ledger.claim("two", 301.0, 10, 600.0), [])
        self.assertIsNone(self.ledger.next_due())
        self.ledger.release(1, 302.0)
        self.assertEqual(len(self.ledger.claim("two", 303.0, 10, 600.0)), 1)
