"""The tables of the SQLite queue: how they are made, and how those of an older version are changed.

`mailframe.queue.ledger` says what stands in them.
"""

from __future__ import annotations

import sqlite3

from twisted.logger import Logger

from mailframe.queue.seals import checksum, seal_envelope, seal_events, seal_recipients

log = Logger()

_FULL = 2
VERSION = 2
TABLES = {
    "message": """CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    due REAL,
    owner TEXT,
    next_attempt REAL NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    recipients TEXT NOT NULL
)""",
    "content": "CREATE TABLE content (key INTEGER PRIMARY KEY, octets BLOB NOT NULL)",
    "history": """CREATE TABLE history (
    key INTEGER NOT NULL,
    part INTEGER NOT NULL,
    events TEXT NOT NULL,
    PRIMARY KEY (key, part)
) WITHOUT ROWID""",
    "damaged": """CREATE TABLE damaged (
    key INTEGER PRIMARY KEY,
    found REAL NOT NULL,
    reason TEXT NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
)""",
}


def message_indexes(number: int = 0) -> tuple[str, str]:
    """The statements that make the indexes of what is due, and of what is leased.

    By the second the leases of an owner that has died are found, however long the queue is.

    :param number: how often a table was made anew
    """
    which = number or ""
    return (
        f"CREATE INDEX message_due{which} ON message (due) WHERE held = 0",
        f"CREATE INDEX message_owner{which} ON message (owner) WHERE owner IS NOT NULL",
    )


def prepare(connection: sqlite3.Connection) -> None:
    """Set a connection up; make the tables, or change them to this version, in one transaction.

    :raises sqlite3.Error: it is no database of ours, or of a later version
    """
    execute = connection.execute
    (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
    # FULL syncs the log at every commit: what commit() promises rests on this line.
    execute("PRAGMA synchronous = FULL")
    (synchronous,) = execute("PRAGMA synchronous").fetchone()
    if mode != "wal" or synchronous < _FULL:
        # As on a network file system; what another mode syncs is not what commit() promises.
        raise sqlite3.OperationalError(
            f"SQLite can't keep the queue safe here (journal_mode is {mode}, synchronous is "
            f"{synchronous}): put it on a disk of this machine"
        )
    # Who writes waits while the log is copied into the database: often and little is better for
    # those who wait than seldom and much, and takes no longer in all.
    execute("PRAGMA wal_autocheckpoint = 1000")
    execute("PRAGMA journal_size_limit = 67108864")
    if _version(connection) != VERSION:
        execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)
            if version not in (0, 1, VERSION):
                raise sqlite3.DatabaseError(
                    f"the queue's format is version {version}, this program reads {VERSION}:"
                    " start the mailframe that wrote it, or a later one"
                )
            if version == 0:
                for statement in (*TABLES.values(), *message_indexes()):
                    execute(statement)
            elif version == 1:
                _seal_all(connection)
                execute(message_indexes()[1])
            execute(f"PRAGMA user_version = {VERSION}")
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _seal_all(connection: sqlite3.Connection) -> None:
    """Change version 1, which had no checksums, to 2.

    Of a content in a file the checksum stays unknown: to read them all would take too long.
    """
    log.info("the queue is of an older version: what is in it gets checksums")
    for function in (checksum, seal_envelope, seal_events, seal_recipients):
        connection.create_function(function.__name__, -1, function)
    connection.execute(
        "UPDATE message SET envelope = seal_envelope(key, envelope, size,"
        " (SELECT checksum(octets) FROM content WHERE content.key = message.key)),"
        " recipients = seal_recipients(key, recipients, next_attempt, held, warned)"
        " WHERE key NOT IN (SELECT key FROM damaged)"
    )
    connection.execute(
        "UPDATE history SET events ="
        " iif(part = 0, seal_envelope(key, events, 0, 0), seal_events(key, events))"
    )
    connection.execute("ALTER TABLE damaged ADD COLUMN removed INTEGER NOT NULL DEFAULT 0")
