"""Covers mailframe.queue.damage; `tests.crash.test_flips` flips real bits."""

from __future__ import annotations

import sqlite3

from mailframe.interfaces import UnknownMessage
from mailframe.queue import committer
from mailframe.queue.committer import Batches
from mailframe.queue.damage import (
    DamagedTable,
    look_through,
    missing_content,
    rescue,
    set_aside,
)
from mailframe.queue.ids import id_text
from mailframe.queue.ledger import Ledger
from tests.crash.flips import beginning
from tests.queue.test_ledger import LedgerCase, arrival


class DamageCase(LedgerCase):
    """Three messages in the queue."""

    def setUp(self) -> None:
        super().setUp()
        self.ledger.insert([arrival(key) for key in (1, 2, 3)])

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.ledger.connection.execute(statement).fetchall()

    def claimed(self) -> list[str]:
        return [entry.id[-1] for entry in self.ledger.claim("one", 1.0, 10, 300.0)]

    def aside(self) -> list[int]:
        return [key for key, _ in self.ledger.damaged()]

    def look(self) -> None:
        self.assertEqual(look_through(self.ledger.connection, -1, 10, 5.0), -1)


class SetAsideTests(DamageCase):
    """An entry that is not as it was written."""

    def test_the_row_is_not_touched(self) -> None:
        """SQLite would write to a page that is damaged, and harm others on it."""
        self.execute("UPDATE message SET size = 8 WHERE key = 2")
        before = self.execute("SELECT * FROM message WHERE key = 2")
        self.assertEqual(self.claimed(), ["1", "3"])
        self.assertEqual(self.execute("SELECT * FROM message WHERE key = 2"), before)
        self.assertEqual(self.aside(), [2])

    def test_it_is_out_of_the_way(self) -> None:
        """The runner would try it again and again, and find nothing else."""
        self.execute("UPDATE message SET envelope = 'oops'")
        self.assertEqual(self.claimed(), [])
        self.assertIsNone(self.ledger.next_due())
        self.assertIsNone(self.ledger.find(2, 1.0))
        self.assertEqual(self.ledger.messages(-1, 10, 1.0), [])

    def test_removed(self) -> None:
        """An operator who has seen it would be told of it for ever."""
        self.execute("UPDATE message SET envelope = 'oops' WHERE key = 2")
        self.claimed()
        self.ledger.remove(2, 5.0)
        self.assertEqual(self.aside(), [])
        self.assertRaises(UnknownMessage, self.ledger.remove, 2, 6.0)
        self.assertIsNone(self.ledger.find(2, 7.0))

    def test_an_operator_asks_for_a_damaged_one(self) -> None:
        """A damaged entry would be sealed as if it were sound."""
        self.execute("UPDATE message SET recipients = 'oops' WHERE key = 2")
        self.assertRaises(UnknownMessage, self.ledger.retry, 2, 5.0)
        self.assertEqual(self.aside(), [2])

    def test_looked_at_anew(self) -> None:
        """Who has repaired something could not have it sent."""
        for key in (1, 2):
            self.execute(f"UPDATE message SET warned = 1 - warned WHERE key = {key}")
        self.assertEqual(self.claimed(), ["3"])
        self.execute("UPDATE message SET warned = 0 WHERE key = 2")
        self.assertRaises(UnknownMessage, self.ledger.retry, 1, 0.5)
        self.ledger.retry(2, 0.5)
        self.assertEqual(self.aside(), [1])
        self.assertEqual(self.claimed(), ["2"])

    def test_what_can_not_be_read_stays_reported(self) -> None:
        """Trying again would make the report go away, and not bring the message back."""
        set_aside(self.ledger.connection, 7, 1.0, "it can't be read any more")
        self.assertRaises(UnknownMessage, self.ledger.retry, 7, 5.0)
        self.assertEqual(self.aside(), [7])


class LookThroughTests(DamageCase):
    """What would never be claimed is found as well."""

    def test_nothing_is_wrong(self) -> None:
        """Sound messages would be set aside."""
        self.ledger.hold(1, 5.0)
        self.ledger.claim("one", 1.0, 1, 300.0)
        self.look()
        self.assertEqual(self.aside(), [])

    def test_times(self) -> None:
        """A message whose time is damaged would wait for ever, and nobody would know."""
        for statement in (
            "UPDATE message SET due = 9e99 WHERE key = 1",
            "UPDATE message SET next_attempt = 9e99, due = 9e99 WHERE key = 2",
            "UPDATE message SET held = 7 WHERE key = 3",
        ):
            self.execute(statement)
        self.look()
        self.assertEqual(self.aside(), [1, 2, 3])

    def test_marks(self) -> None:
        """What an operator holds would be sent, or a sender never be told of a delay."""
        self.ledger.hold(1, 0.0)
        self.execute("UPDATE message SET held = 0 WHERE key = 1")
        self.execute("UPDATE message SET warned = 1 WHERE key = 2")
        self.assertEqual(self.claimed(), ["3"])
        self.assertEqual(self.aside(), [1, 2])

    def test_the_index_names_what_is_held(self) -> None:
        """What an operator holds would be sent."""
        self.execute("PRAGMA writable_schema = ON")
        self.execute("UPDATE sqlite_schema SET sql = replace(sql, 'held = 0', 'held >= 0')")
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.ledger.hold(2, 0.0)  # and stays in the index
        self.execute("PRAGMA writable_schema = ON")
        self.execute("UPDATE sqlite_schema SET sql = replace(sql, 'held >= 0', 'held = 0')")
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.addCleanup(self.ledger.close)
        self.assertEqual(self.claimed(), ["1", "3"])
        self.assertEqual(self.aside(), [])
        self.assertEqual(self.execute("SELECT key FROM message WHERE held = 0 AND due <= 1"), [])

    def test_the_index(self) -> None:
        """A message that the index does not know would never be claimed."""
        self.execute("PRAGMA writable_schema = ON")
        self.execute("UPDATE sqlite_schema SET sql = replace(sql, 'held = 0', 'held = 5')")
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.execute("REINDEX message")  # an empty one
        self.execute("PRAGMA writable_schema = ON")
        self.execute("UPDATE sqlite_schema SET sql = replace(sql, 'held = 5', 'held = 0')")
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self.addCleanup(self.ledger.close)
        self.assertEqual(self.claimed(), [])
        self.look()
        self.assertEqual(self.claimed(), ["1", "2", "3"])

    def test_in_turns(self) -> None:
        """A long queue would be looked at in one go, and nothing could be written meanwhile."""
        self.assertEqual(look_through(self.ledger.connection, -1, 2, 5.0), 2)
        self.assertEqual(look_through(self.ledger.connection, 2, 2, 5.0), -1)


class RescueTests(DamageCase):
    """Where SQLite itself finds damage."""

    def spoil(self, text: bytes, octets: bytes) -> None:
        """Overwrite the beginning of the row in which a text stands."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.ledger.close()
        with open(self.path, "r+b") as file:
            before = file.read()
            file.seek(beginning(before, before.index(text)))
            file.write(octets)
        self.ledger = Ledger(self.path)
        self.addCleanup(self.ledger.close)

    def test_a_row_that_can_not_be_read(self) -> None:
        """The whole queue would stand still because of one message."""
        ((envelope,),) = self.execute("SELECT envelope FROM message WHERE key = 2")
        self.spoil(str(envelope).encode(), b"\xff\xff\xff\x7f")
        batches = Batches(lambda: Ledger(self.path))
        self.addCleanup(batches.close)
        ((entries),) = batches.apply([lambda ledger: ledger.messages(-1, 10, 5.0)], writes=False)
        self.assertEqual([entry.id[-1] for entry in entries], ["1", "3"])
        self.assertIn(id_text(2), [id_text(key) for key in self.aside()])

    def test_the_history(self) -> None:
        """No message could leave the queue any more: what was sent would be sent again."""
        for key in (1, 2, 3):
            self.ledger.hold(key, 5.0)
        ((text,),) = self.execute("SELECT events FROM history WHERE key = 3")
        self.spoil(str(text).encode(), b"\xff\xff\xff\x7f")
        batches = Batches(lambda: Ledger(self.path))
        self.addCleanup(batches.close)
        batches.apply([lambda ledger: ledger.leave({3: ()}, None)], writes=True)
        self.assertEqual(len(self.ledger.messages(-1, 10, 5.0)), 2)
        for key in (1, 2):
            self.assertEqual(self.ledger.history(key)[-1].kind, "held")

    def test_only_once_in_a_while(self) -> None:
        """A server would do nothing but read its queue."""
        now = [100.0]
        batches = Batches(lambda: Ledger(self.path), lambda: now[0])
        self.addCleanup(batches.close)
        rescued: list[float] = []
        self.patch(committer, "rescue", lambda connection, time: rescued.append(time))

        def damaged(ledger: Ledger) -> None:
            raise DamagedTable("made for the test")

        for now[0] in (100.0, 120.0, 170.0):
            batches.apply([damaged], writes=True)
        self.assertEqual(rescued, [100.0, 170.0])

    def test_it_can_not_be_saved(self) -> None:
        """Who waits would never be told."""

        def fails(connection: sqlite3.Connection, now: float) -> None:
            raise sqlite3.DatabaseError("made for the test")

        self.patch(committer, "rescue", fails)

        def damaged(ledger: Ledger) -> None:
            raise DamagedTable("made for the test")

        batches = Batches(lambda: Ledger(self.path))
        self.addCleanup(batches.close)
        (result,) = batches.apply([damaged], writes=True)
        self.assertIn("made for the test", result.getErrorMessage())

    def test_nothing_is_wrong(self) -> None:
        """Sound messages would be lost when something else is damaged."""
        rescue(self.ledger.connection, 5.0)
        self.assertEqual(self.claimed(), ["1", "2", "3"])
        self.assertEqual(self.aside(), [])

    def test_a_content_that_is_nowhere(self) -> None:
        """The message would be tried for days, and its sender not told why."""
        self.execute("DELETE FROM content WHERE key = 2")
        missing_content(self.ledger.connection, 2, 5.0)
        missing_content(self.ledger.connection, 3, 5.0)
        missing_content(self.ledger.connection, 99, 5.0)
        self.assertEqual(self.aside(), [2])
