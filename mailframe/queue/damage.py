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
from typing import Any

import attrs
from twisted.logger import Logger

from mailframe.queue.codec import DamagedEntry
from mailframe.queue.ids import id_text
from mailframe.queue.schema import TABLES, message_indexes
from mailframe.queue.seals import COLUMNS, unseal_row

log = Logger()

_KEYS = {"history": ("key", "part")}  # of the others it is the number alone


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


@attrs.frozen(kw_only=True)
class Remains:
    """What is left of a message that was set aside, as it stands.

    :ivar reason: why it was set aside
    :ivar envelope: sealed, see `mailframe.queue.seals`; ``None`` when it can't be read
    :ivar recipients: likewise
    :ivar content: ``None`` when it can't be read, or is in a file
    """

    reason: str
    envelope: str | None = None
    recipients: str | None = None
    content: bytes | None = None


def remains(connection: sqlite3.Connection, key: int) -> Remains | None:
    """What is left of a message; ``None`` when none of that number was set aside."""
    row = connection.execute("SELECT reason FROM damaged WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    found: dict[str, Any] = {}
    for column, table in (("envelope, recipients", "message"), ("octets", "content")):
        with suppress(sqlite3.DatabaseError):
            found[table] = connection.execute(
                f"SELECT {column} FROM {table} WHERE key = ?",  # noqa: S608  # constants
                (key,),
            ).fetchone()
    envelope, recipients = found.get("message") or (None, None)
    (content,) = found.get("content") or (None,)
    return Remains(
        reason=row[0],
        envelope=None if envelope is None else str(envelope),
        recipients=None if recipients is None else str(recipients),
        content=content.encode() if isinstance(content, str) else content,
    )


# --- what is not as it was written -------------------------------------------------------------


def look_through(connection: sqlite3.Connection, after: int, limit: int, now: float) -> int:
    """Look at some entries, and set aside what is damaged.

    :param after: the number behind which to begin
    :returns: behind which to go on next; -1 when all were looked at
    :raises sqlite3.DatabaseError: the table is damaged, see `rescue`
    """
    rows = connection.execute(
        f"SELECT {COLUMNS}, due, owner FROM message WHERE key > ?"  # noqa: S608  # constant
        " AND key NOT IN (SELECT key FROM damaged) ORDER BY key LIMIT ?",
        (after, limit),
    ).fetchall()
    for *row, due, owner in rows:
        key, *_, next_attempt, held, _ = row
        try:
            unseal_row(tuple(row))
            if not isinstance(due, float) or (owner is None and due != next_attempt):
                raise DamagedEntry("its times contradict each other")
        except DamagedEntry as error:
            set_aside(connection, key, now, str(error))
            continue
        if not held and not _is_indexed(connection, key, due):
            log.error("the queue's index does not know {id}: it is made anew", id=id_text(key))
            connection.execute("REINDEX message")
    return int(rows[-1][0]) if len(rows) == limit else -1


def _is_indexed(connection: sqlite3.Connection, key: int, due: float) -> bool:
    # Said this way it is looked for in the index: not in the table, nor among all due at that time.
    found = connection.execute(
        "SELECT 1 FROM message WHERE held = 0 AND due = ?1 AND key BETWEEN ?2 AND ?2", (due, key)
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

    def is_there(query: str) -> bool:
        return connection.execute(query, (key,)).fetchone() is not None

    if is_there("SELECT 1 FROM content WHERE key = ?"):
        return
    if is_there("SELECT 1 FROM content WHERE +key = ?"):  # by reading all
        raise DamagedTable("a content is not found by its number")
    if is_there("SELECT 1 FROM message WHERE key = ?"):
        set_aside(connection, key, now, "its content is missing")


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
        broken = [table for table in TABLES if not _is_in_order(reader, table)]
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
    """Whether all rows of a table can be read, and stand where they belong."""
    width = len(_KEYS.get(table, "1"))
    last: tuple[int, ...] = ()
    try:
        for row in reader.execute(_all_of(table)):
            key = row[:width]
            if not all(isinstance(part, int) for part in key) or key <= last:
                return False
            last = key
        return True
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False


def _all_of(table: str, order: str = "") -> str:
    # By the index it might not find all. Of these tables the first columns are the key.
    plain = "" if table == "history" else "NOT INDEXED"
    keys = ", ".join(f"{key} {order}" for key in _KEYS.get(table, ("key",)))
    return f"SELECT * FROM {table} {plain} ORDER BY {keys}"  # noqa: S608  # constants


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
    (number,) = connection.execute(
        "SELECT 1 + count(*) FROM sqlite_schema WHERE name GLOB '*_damaged*'"
    ).fetchone()
    connection.execute(f"ALTER TABLE {table} RENAME TO {table}_damaged{number}")
    connection.execute(TABLES[table])
    if table == "message":
        for statement in message_indexes(number):
            connection.execute(statement)
    # The reader does not see what has not been committed yet, and so the old table.
    for order in ("ASC", "DESC"):
        for row in _rows(reader, _all_of(table, order)):
            places = ", ".join("?" * len(row))
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
