"""Covers mailframe.queue.schema."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue import codec, schema
from mailframe.queue.ledger import Ledger
from mailframe.testing.samples import make_envelope
from tests.queue.test_ledger import arrival

VERSION_1 = """
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    due REAL,
    owner TEXT,
    next_attempt REAL NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    recipients TEXT NOT NULL
);
CREATE INDEX message_due ON message (due) WHERE held = 0;
CREATE TABLE content (key INTEGER PRIMARY KEY, octets BLOB NOT NULL);
CREATE TABLE history (
    key INTEGER NOT NULL,
    part INTEGER NOT NULL,
    events TEXT NOT NULL,
    PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE damaged (key INTEGER PRIMARY KEY, found REAL NOT NULL, reason TEXT NOT NULL);
PRAGMA user_version = 1;
"""
ENVELOPE = codec.dump_envelope(make_envelope())
RECIPIENTS = '[{"address":"bob@there.example"}]'
EVENTS = '[{"at":1.0,"kind":"held","reason":"by an operator"}]'


class VersionTests(SynchronousTestCase):
    """A queue that another version of the program wrote."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.older = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.older.close)
        self.older.executescript(VERSION_1)

    def put(self, key: int, *, due: float | None = 0.0, held: int = 0, inline: bool = True) -> None:
        self.older.execute(
            "INSERT INTO message VALUES (?, ?, NULL, 0.0, ?, 1, 7, ?, ?)",
            (key, due, held, ENVELOPE, RECIPIENTS),
        )
        if inline:
            self.older.execute("INSERT INTO content VALUES (?, ?)", (key, b"hello\r\n"))

    def opened(self) -> Ledger:
        ledger = Ledger(self.path)
        self.addCleanup(ledger.close)
        return ledger

    def test_version_1(self) -> None:
        """All mail that waits would be taken for damaged after an upgrade."""
        self.put(1)
        self.put(2, held=1)
        self.put(3, inline=False)
        self.older.execute("INSERT INTO history VALUES (1, 1, ?)", (EVENTS,))
        self.older.execute("INSERT INTO history VALUES (9, 0, ?)", (ENVELOPE,))
        self.older.execute("INSERT INTO history VALUES (9, 1, ?)", (EVENTS,))
        ledger = self.opened()
        entries = ledger.messages(-1, 10, 5.0)
        self.assertEqual([(e.id[-1], e.held, e.warned) for e in entries], EXPECTED)
        self.assertEqual(ledger.content(1, 5.0)[0], b"hello\r\n")
        octets, kept = ledger.content(3, 5.0)
        self.assertIsNone(octets)
        self.assertTrue(kept.is_content(7, 12345))
        self.assertFalse(kept.is_content(8, 12345))
        for key in (1, 9):
            kinds = [event.kind for event in ledger.history(key)]
            self.assertEqual(kinds, ["accepted", "authorised", "held"])
        self.assertEqual([e.id[-1] for e in ledger.claim("one", 1.0, 10, 9.0)], ["1", "3"])
        self.assertEqual(ledger.damaged(), [])

    def test_what_was_damaged_before(self) -> None:
        """A damaged entry would be sealed as if it were sound, and be delivered."""
        self.put(1)
        self.put(2, due=None)
        self.older.execute("UPDATE message SET envelope = 'oops'")
        self.older.execute("INSERT INTO damaged VALUES (2, 1.0, 'unreadable')")
        ledger = self.opened()
        self.assertEqual(ledger.claim("one", 1.0, 10, 9.0), [])
        self.assertEqual([key for key, _ in ledger.damaged()], [1, 2])
        ledger.remove(2, 5.0)
        self.assertEqual([key for key, _ in ledger.damaged()], [1])

    def test_all_or_nothing(self) -> None:
        """After a failure half of the queue would be of one version, half of the other."""
        self.put(1)

        def fails(*_: Any) -> str:
            raise ValueError("made for the test")

        self.patch(schema, "seal_recipients", fails)
        fails.__name__ = "seal_recipients"
        self.assertRaises(sqlite3.OperationalError, Ledger, self.path)
        (row,) = self.older.execute("SELECT envelope, recipients FROM message").fetchall()
        self.assertEqual(row, (ENVELOPE, RECIPIENTS))
        self.assertEqual(self.older.execute("PRAGMA user_version").fetchall(), [(1,)])

    def test_a_later_version(self) -> None:
        """A program that is too old would spoil the queue of a later one."""
        self.put(1)
        self.older.execute("PRAGMA user_version = 3")
        error = self.assertRaises(sqlite3.DatabaseError, Ledger, self.path)
        self.assertIn("version 3, this program reads 2: start the mailframe that", str(error))
        self.assertEqual(self.older.execute("SELECT count(*) FROM message").fetchall(), [(1,)])

    def test_both_at_once(self) -> None:
        """Two processes that start together on an old queue would seal everything twice."""
        self.put(1)
        first, second = self.opened(), self.opened()
        second.insert([arrival(2)])
        self.assertEqual([e.id[-1] for e in first.messages(-1, 10, 5.0)], ["1", "2"])


EXPECTED = [("1", False, True), ("2", True, True), ("3", False, True)]


class SafetyTests(SynchronousTestCase):
    """A database that would not sync what it is given."""

    def refused(self, pragma: str, answer: object) -> str:
        """What is said when SQLite answers so."""

        class Answering(sqlite3.Connection):
            def execute(self, statement: str, *args: Any) -> Any:
                if statement == pragma:
                    return super().execute("SELECT ?", (answer,))
                return super().execute(statement, *args)

        with closing(sqlite3.connect(os.path.abspath(self.mktemp()), factory=Answering)) as opened:
            error: Exception = self.assertRaises(sqlite3.OperationalError, schema.prepare, opened)
        return str(error)

    def test_no_log(self) -> None:
        """On a file system without shared memory a commit is undone by a power cut."""
        self.assertIn("journal_mode is delete", self.refused("PRAGMA journal_mode = WAL", "delete"))

    def test_no_sync(self) -> None:
        """A SQLite that was told otherwise when it was compiled loses the last messages."""
        self.assertIn("synchronous is 1", self.refused("PRAGMA synchronous", 1))

    def test_here(self) -> None:
        """Nothing can be queued at all."""
        with closing(sqlite3.connect(os.path.abspath(self.mktemp()))) as opened:
            schema.prepare(opened)
