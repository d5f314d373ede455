"""Tests of mailframe.routing.map_sqlite."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.interfaces import ILookup, LookupFault
from mailframe.routing import map_sqlite
from mailframe.routing.map_sqlite import SqliteMap

QUERY = "SELECT via FROM way WHERE address = ? OR address = '*' ORDER BY address DESC"


class SqliteMapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.change("CREATE TABLE way (address TEXT, via)")
        self.change("INSERT INTO way VALUES ('a@x.example', 'tcp:there:25'), ('*', NULL)")

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    def ask(self, key: str, query: str = QUERY) -> Deferred[Any]:
        made = SqliteMap(self.path, query, execute)
        verifyObject(ILookup, made)
        return Deferred.fromCoroutine(made.find(key))

    def test_found(self) -> None:
        """Ways that are kept in a database could not be used."""
        self.assertEqual(self.successResultOf(self.ask("a@x.example")), "tcp:there:25")
        self.assertIsNone(self.successResultOf(self.ask("b@x.example")))
        self.change("DELETE FROM way")
        self.assertIsNone(self.successResultOf(self.ask("a@x.example")))
        self.assertEqual(self.successResultOf(self.ask("x", "SELECT length(?)")), "1")

    def test_a_key_is_no_sql(self) -> None:
        """Who names a recipient could change the question."""
        self.assertIsNone(self.successResultOf(self.ask("x' OR '1'='1")))

    def test_nothing_is_changed(self) -> None:
        """A slip in the query would change the database with every recipient, or have all mail wait
        because it can't be changed."""
        for query in ("DELETE FROM way WHERE address = ?", "ATTACH ? AS other"):
            error = self.assertRaises(ValueError, self.ask, "a@x.example", query)
            self.assertIn("a map only reads, with SELECT", str(error))
        self.patch(map_sqlite, "_only_read", lambda *_: sqlite3.SQLITE_OK)
        asked = self.ask("a@x.example", "DELETE FROM way WHERE address = ?")
        fault = self.failureResultOf(asked, LookupFault)
        self.assertIn("readonly", str(fault.value))
        self.assertEqual(self.successResultOf(self.ask("a@x.example")), "tcp:there:25")

    def test_mistakes_at_the_start(self) -> None:
        """A server would start with a map that it can't use."""
        for query, words in [
            ("SELECT via FROM wy WHERE a = ?", "no such table: wy"),
            ("SELECT via FROM way", "a query has one ?"),
            ("SELECT ?, ?", "a query has one ?"),
            ("SELECT ?; SELECT ?", "one statement at a time"),
        ]:
            error = self.assertRaises(ValueError, SqliteMap, self.path, query, execute)
            self.assertIn(words, error.args[0])
        missing = self.path + "x"
        self.assertRaises(ValueError, SqliteMap, missing, QUERY, execute)
        self.assertFalse(os.path.exists(missing))

    def test_faults(self) -> None:
        """Mail would take another way while the database can't be read."""
        made = SqliteMap(self.path, QUERY, execute)
        os.rename(self.path, self.path + "x")
        asked = Deferred.fromCoroutine(made.find("a@x.example"))
        self.assertIn("unable to open", str(self.failureResultOf(asked, LookupFault).value))
        os.rename(self.path + "x", self.path)
        self.change("UPDATE way SET via = x'00'")
        asked = Deferred.fromCoroutine(made.find("a@x.example"))
        self.assertIn("is no text", str(self.failureResultOf(asked, LookupFault).value))

    def test_endless_query(self) -> None:
        """A thread would be lost to each recipient until none is left."""
        self.patch(map_sqlite, "MAX_SECONDS", 0.0)
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT max(i) FROM n WHERE ? != ''"
        )
        fault = self.failureResultOf(self.ask("a@x.example", endless), LookupFault)
        self.assertIn("interrupted", str(fault.value))
