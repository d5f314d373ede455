"""A map that is a query to an SQLite database, which is only read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.interfaces import ILookup, LookupFault

MAX_SECONDS = 10.0  # that one query may take
_READS = (
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
)
_STEPS = 10_000  # of SQLite's virtual machine, between two looks at the time


@implementer(ILookup)
class SqliteMap:
    """The first column of the first row of a query.

    :param query: with one ``?`` for the key
    :param in_thread: see `mailframe.interfaces.Site`
    :raises ValueError: the database can't be asked that
    """

    def __init__(self, path: str, query: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._path = path
        self._query = query
        self._in_thread = in_thread
        try:
            with closing(self._open()) as connection:
                connection.set_authorizer(_only_read)
                connection.execute(f"EXPLAIN {query}", ("",))
        except sqlite3.Error as error:
            why = str(error)
            if why == "not authorized":
                why = "a map only reads, with SELECT"
            elif "number of bindings" in why:
                why = "a query has one ?, in the place of what is looked up"
            raise ValueError(f"{path} can't be asked {query!a}: {why}") from error

    async def find(self, key: str) -> str | None:
        """See `ILookup`."""
        try:
            row = await self._in_thread(self._ask, key)
        except sqlite3.Error as error:
            raise LookupFault(f"{self._path}: {error}") from error
        if row is None or row[0] is None:
            return None
        if not isinstance(row[0], str | int | float):
            raise LookupFault(f"{self._path}: the value for {key!a} is no text")
        return str(row[0])

    def _open(self) -> sqlite3.Connection:
        # Opened for each question: a file that was put in its place is seen, and no thread waits
        # for another one's.
        uri = f"{Path(self._path).as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=MAX_SECONDS)

    def _ask(self, key: str) -> Any:
        until = time.monotonic() + MAX_SECONDS
        with closing(self._open()) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            return connection.execute(self._query, (key,)).fetchone()


def _only_read(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
