"""What is done about damage to the queue's database: what is damaged is set aside, and reported.

An entry that is not as it was written (`mailframe.queue.seals`) is entered into ``damaged``, and
not tried any more. Its row is not touched: to change or delete a damaged row might damage others
beside it. Entries are looked at when they are claimed; and all are looked at in turns while the
server runs, so that one that would never be claimed, for its time is damaged, is found as well.

Where SQLite itself finds damage, or does not find what is there, a table that can't be read from
its beginning to its end is made anew from what can be; the old one is kept beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailframe.queue.ids import id_text

if TYPE_CHECKING:
    from mailframe.queue.ledger import Ledger

log = Logger()

MESSAGE_TABLE = """
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
)"""
CONTENT_TABLE = "CREATE TABLE content (key INTEGER PRIMARY KEY, octets BLOB NOT NULL)"
_TABLES = {
    "message": (
        "key, due, owner, next_attempt, held, warned, size, envelope, recipients",
        MESSAGE_TABLE,
    ),
    "content": ("key, octets", CONTENT_TABLE),
}


def message_index(number: int = 0) -> str:
    """The statement that makes the index of what is due.

    :param number: how often the table was made anew
    """
    return f"CREATE INDEX message_due{number or ''} ON message (due) WHERE held = 0"


def is_damage(error: BaseException) -> bool:
    """Whether SQLite has found the database damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT


def set_aside(connection: sqlite3.Connection, key: int, now: float, reason: str) -> None:
    """Have a message not be tried any more, until an operator removes it."""
    log.error("queue entry {id} is damaged and set aside: {error!r}", id=id_text(key), error=reason)
    connection.execute(
        "INSERT OR IGNORE INTO damaged (key, found, reason) VALUES (?, ?, ?)", (key, now, reason)
    )


# --- what is not as it was written -------------------------------------------------------------


def look_through(ledger: Ledger, after: int, limit: int, now: float) -> int | None:
    """Look at some entries, and set aside what is damaged.

    :param after: the number behind which to begin
    :returns: behind which to go on next; ``None`` when all were looked at
    :raises sqlite3.DatabaseError: the table is damaged, see `rescue`
    """
    connection = ledger.connection
    rows = connection.execute(
        "SELECT key, due, owner, next_attempt, held FROM message WHERE key > ?"
        " AND key NOT IN (SELECT key FROM damaged) ORDER BY key LIMIT ?",
        (after, limit),
    ).fetchall()
    for key, due, owner, next_attempt, held in rows:
        if ledger.find(key, now) is None:
            continue  # it is set aside now, or is gone
        if not isinstance(due, float) or held not in (0, 1):
            set_aside(connection, key, now, "its time or mark is not as it was written")
        elif owner is None and due != next_attempt:
            set_aside(connection, key, now, "its times contradict each other")
        elif held == 0 and not _is_indexed(connection, key, due):
            log.error("the queue's index does not know {id}: it is made anew", id=id_text(key))
            connection.execute("REINDEX message")
    return rows[-1][0] if len(rows) == limit else None


def _is_indexed(connection: sqlite3.Connection, key: int, due: float) -> bool:
    # The plus sign keeps the planner from looking into the table.
    found = connection.execute(
        "SELECT 1 FROM message WHERE held = 0 AND due = ? AND +key = ?", (due, key)
    )
    return found.fetchone() is not None


# --- what SQLite finds damaged -----------------------------------------------------------------


class DamagedTable(sqlite3.DatabaseError):
    """Something is in a table, and is not found there."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def missing_content(connection: sqlite3.Connection, key: int, now: float) -> None:
    """The content of a message was found neither in its table nor in a file.

    Once it is there again this does nothing; when it is nowhere, the message is set aside.

    :raises DamagedTable: it is in its table, which is to be made anew
    """
    for statement, act in (
        ("SELECT 1 FROM content WHERE key = ?", None),
        ("SELECT 1 FROM content WHERE +key = ?", DamagedTable("a content is not found by its key")),
        ("SELECT 1 FROM message WHERE key = ?", "its content is missing"),
    ):
        if connection.execute(statement, (key,)).fetchone() is not None:
            if isinstance(act, Exception):
                raise act
            if act is not None:
                set_aside(connection, key, now, act)
            return


def rescue(connection: sqlite3.Connection, now: float) -> None:
    """Make the queue readable again; blocks for as long as it takes to read all of it.

    What is damaged is read by a connection of its own: after an error in a transaction that writes,
    SQLite does nothing any more but undo it.

    :raises sqlite3.Error: that can't be done
    """
    log.critical("the queue's database is damaged; what can be read of it is saved")
    ((_, _, path),) = connection.execute("PRAGMA database_list").fetchall()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.text_factory = connection.text_factory
        keys = set(_keys(reader))
        broken = [table for table in _TABLES if not _is_in_order(reader, table)]
        if "message" not in broken and not _is_indexed_anew(connection):
            broken.append("message")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table in broken:
                _make_anew(connection, reader, table)
            saved = {key for (key,) in connection.execute("SELECT key FROM message")}
            for key in sorted(keys - saved):
                set_aside(connection, key, now, "it can't be read any more")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _is_in_order(reader: sqlite3.Connection, table: str) -> bool:
    """Whether all rows of a table can be read and found."""
    columns, _ = _TABLES[table]
    last = -1
    try:
        for key, *_ in reader.execute(f"SELECT {columns} FROM {table} NOT INDEXED"):  # noqa: S608  # constants
            if not isinstance(key, int) or key <= last:
                return False
            last = key
        return True
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False


def _is_indexed_anew(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("REINDEX message")
        return True
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False


def _make_anew(connection: sqlite3.Connection, reader: sqlite3.Connection, table: str) -> None:
    """Copy what can be read of a table: from both ends up to what can't be."""
    columns, statement = _TABLES[table]
    (number,) = connection.execute(
        "SELECT 1 + count(*) FROM sqlite_schema WHERE name GLOB '*_damaged*'"
    ).fetchone()
    connection.execute(f"ALTER TABLE {table} RENAME TO {table}_damaged{number}")
    connection.execute(statement)
    if table == "message":
        connection.execute(message_index(number))
    places = ", ".join("?" * len(columns.split(",")))
    # The reader does not see what has not been committed yet, and so the old table.
    for order in ("", "ORDER BY key DESC"):
        for row in _rows(reader, f"SELECT {columns} FROM {table} NOT INDEXED {order}"):  # noqa: S608  # as above
            connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608  # as above


def _rows(reader: sqlite3.Connection, statement: str) -> Iterator[tuple[object, ...]]:
    """What can be read, up to the first row that can't be."""
    count = 0
    try:
        for row in reader.execute(statement):
            yield row
            count += 1
    except sqlite3.DatabaseError:
        # Python reads one row ahead, and has thrown the last good one away.
        with suppress(sqlite3.DatabaseError):
            yield from reader.execute(f"{statement} LIMIT 1 OFFSET {count}").fetchall()


def _keys(connection: sqlite3.Connection) -> Iterator[int]:
    """The numbers of all messages, wherever they can be found."""
    for statement in (
        "SELECT key FROM message WHERE held = 0 AND due IS NOT NULL",  # read from the index
        "SELECT key FROM message NOT INDEXED",
        "SELECT key FROM content",
    ):
        with suppress(sqlite3.DatabaseError):
            for (key,) in connection.execute(statement):
                if isinstance(key, int):
                    yield key
