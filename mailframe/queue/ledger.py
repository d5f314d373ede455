"""The tables of the SQLite queue, and every statement that touches them.

Blocking, and without any idea of threads or Twisted: `mailframe.queue.committer` runs it. A
*batch* of operations is applied in one transaction, and so shares one sync (group commit). An
operation is a callable of the `Ledger`; what it returns is its result. It either changes everything
it means to, or raises before it has changed anything.

Statements take many rows at once, as one JSON text: between two statements the interpreter may be
handed to another thread, which costs more than the statement itself.

A message's life in the tables:

=============  =========================================================================
accepted       a row in ``message`` (due as the envelope says), its content in ``content``
               (or, when large, in a file of its own that was synced before the row is)
leased         ``owner`` is set and ``due`` is when the lease runs out; a message may be
               accepted so (`mailframe.queue.first_claims`)
deferred       ``owner`` is null and ``due`` is the next attempt
held           ``held`` is set, and it is not claimed whatever ``due`` says
damaged        it can't be read: ``due`` is null, and the reason stands in ``damaged``
gone           the rows are deleted; ``history`` has the envelope as part 0 and then what happened
=============  =========================================================================

``due`` is the one indexed column, so that claiming costs the same however long the queue is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs
from twisted.logger import Logger

from mailframe.entry import Entry, Event, EventKind, QueuedRecipient, Step
from mailframe.envelope import Envelope
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.queue import codec
from mailframe.queue.beginnings import first_events
from mailframe.queue.ids import first_key, id_text

log = Logger()

SCHEMA_VERSION = 1
_CONTENTS = 64  # contents in one statement
_SCHEMA = """
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
"""
_COLUMNS = "key, envelope, size, recipients, next_attempt, held, warned"
# A lease that still runs keeps its end; one that ran out is over.
_DUE_NOW = (
    "next_attempt = :now, due = iif(owner IS NOT NULL AND due > :now, due, :now),"
    " owner = iif(owner IS NOT NULL AND due > :now, owner, NULL)"
)
_Row: TypeAlias = tuple[int, str, int, str, float, int, int]


@attrs.frozen(kw_only=True)
class Lease:
    """Who has claimed a message, and until when, POSIX seconds."""

    owner: str
    until: float


@attrs.frozen(kw_only=True)
class Arrival:
    """A message to be kept.

    :ivar content: ``None`` when it lies in a synced file already
    :ivar lease: it is claimed as it arrives
    """

    key: int
    envelope: Envelope
    size: int
    content: bytes | None
    lease: Lease | None = None


class Ledger:
    """One connection to the queue's database.

    :param path: the database file; it is created when missing
    :raises sqlite3.Error: it can't be opened or is no database of ours
    """

    def __init__(self, path: str) -> None:
        # The connection is made where the server is wired and used in the committer's thread.
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=10.0
        )
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self) -> None:
        execute = self.connection.execute
        execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit: what commit() promises rests on this line.
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA wal_autocheckpoint = 4000")
        execute("PRAGMA journal_size_limit = 67108864")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version == 0:
            execute("BEGIN IMMEDIATE")
            (version,) = execute("PRAGMA user_version").fetchone()
            if version == 0:  # nobody else was quicker
                for statement in _SCHEMA.split(";"):
                    execute(statement)
                execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            execute("COMMIT")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"the queue's format is version {version}, this program reads {SCHEMA_VERSION}"
            )

    # --- transactions ------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a batch that writes."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the batch; when this returns it would survive a power cut."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the batch."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def data_version(self) -> int:
        """Changes whenever another process has committed something."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    # --- what the runner needs -----------------------------------------------------------------

    def insert(self, arrivals: Sequence[Arrival]) -> None:
        """Keep messages."""
        rows = [
            (
                a.key,
                a.envelope.due,
                a.lease.until if a.lease else a.envelope.due,
                a.lease.owner if a.lease else None,
                a.size,
                codec.dump_envelope(a.envelope),
                codec.dump_recipients(
                    QueuedRecipient(address=r.address) for r in a.envelope.recipients
                ),
            )
            for a in arrivals
        ]
        self.connection.execute(
            "INSERT INTO message (key, next_attempt, due, owner, size, envelope, recipients)"
            " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
            " json_extract(value, '$[2]'), json_extract(value, '$[3]'),"
            " json_extract(value, '$[4]'), json_extract(value, '$[5]'),"
            " json_extract(value, '$[6]') FROM json_each(?)",
            (json.dumps(rows),),
        )
        contents = [
            value for a in arrivals if a.content is not None for value in (a.key, a.content)
        ]
        for start in range(0, len(contents), 2 * _CONTENTS):
            some = contents[start : start + 2 * _CONTENTS]
            places = ", ".join(["(?, ?)"] * (len(some) // 2))
            self.connection.execute(f"INSERT INTO content (key, octets) VALUES {places}", some)  # noqa: S608  # places

    def claim(self, owner: str, now: float, limit: int, until: float) -> list[Entry]:
        """Lease what is due; what can't be read is set aside and reported."""
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM message WHERE held = 0 AND due <= ? ORDER BY due LIMIT ?",  # noqa: S608  # constant
            (now, limit),
        ).fetchall()
        leased = [(row[0], entry) for row in rows if (entry := self._entry(row, now)) is not None]
        self.connection.execute(
            "UPDATE message SET owner = ?, due = ? WHERE key IN (SELECT value FROM json_each(?))",
            (owner, until, json.dumps([key for key, _ in leased])),
        )
        return [entry for _, entry in leased]

    def _entry(self, row: _Row, now: float) -> Entry | None:
        key, envelope, size, recipients, next_attempt, held, warned = row
        try:
            return Entry(
                id=id_text(key),
                envelope=codec.load_envelope(envelope),
                size=size,
                recipients=codec.load_recipients(recipients),
                next_attempt=next_attempt,
                held=bool(held),
                warned=bool(warned),
            )
        except (codec.DamagedEntry, TypeError, ValueError) as error:
            log.error(
                "queue entry {id} is damaged and set aside: {error!r}",
                id=id_text(key),
                error=str(error),
            )
            self.connection.execute(
                "INSERT OR REPLACE INTO damaged (key, found, reason) VALUES (?, ?, ?)",
                (key, now, str(error)),
            )
            self.connection.execute("UPDATE message SET due = NULL WHERE key = ?", (key,))
            return None

    def renew(self, owner: str, keys: Sequence[int], until: float) -> None:
        """Prolong leases."""
        self.connection.executemany(
            "UPDATE message SET due = ?1 WHERE key = ?2 AND owner = ?3 AND due IS NOT NULL",
            [(until, key, owner) for key in keys],
        )

    def next_due(self) -> float | None:
        """When something is due next."""
        row = self.connection.execute(
            "SELECT due FROM message WHERE held = 0 AND due IS NOT NULL ORDER BY due LIMIT 1"
        ).fetchone()
        return None if row is None else float(row[0])

    def settle(self, key: int, owner: str, step: Step, notices: Sequence[Arrival]) -> None:
        """Record a step and queue its notices."""
        if step.goes_on:
            if not self.note({key: step.recipients}, owner, warned=step.warned):
                raise LeaseLost(id_text(key))
            self._add_history(key, step.events)
        elif step.next_attempt is None:
            if not self.leave({key: step.events}, owner):
                raise LeaseLost(id_text(key))
        else:
            recipients = codec.dump_recipients(step.recipients)
            changed = self.connection.execute(
                "UPDATE message SET due = ?1, owner = NULL, next_attempt = ?1,"
                " warned = ?2, recipients = ?3 WHERE key = ?4 AND owner = ?5",
                (step.next_attempt, step.warned, recipients, key, owner),
            )
            if not changed.rowcount:
                raise LeaseLost(id_text(key))
            self._add_history(key, step.events)
        if notices:
            self.insert(notices)

    def note(
        self,
        messages: Mapping[int, Sequence[QueuedRecipient]],
        owner: str,
        *,
        warned: bool | None = None,
    ) -> set[int]:
        """Record how the recipients of messages stand while they are being tried.

        :param owner: who must hold the leases
        :param warned: whether the delay warning has been sent; ``None`` leaves that as it is
        :returns: which of them were there
        """
        rows = [(key, codec.dump_recipients(each)) for key, each in messages.items()]
        return {
            key
            for (key,) in self.connection.execute(
                "UPDATE message SET warned = coalesce(?3, warned), recipients = noted.text"
                " FROM (SELECT json_extract(value, '$[0]') AS key,"
                " json_extract(value, '$[1]') AS text FROM json_each(?1)) AS noted"
                " WHERE message.key = noted.key AND owner = ?2 RETURNING message.key",
                (json.dumps(rows), owner, warned),
            ).fetchall()
        }

    def give_back(self, leases: Mapping[int, str]) -> None:
        """End leases of messages that were not tried; each with its owner."""
        self.connection.executemany(
            "UPDATE message SET owner = NULL, due = next_attempt WHERE key = ? AND owner = ?",
            leases.items(),
        )

    def abandon(self, owner: str) -> int:
        """End all leases of an owner that is known to be dead; returns how many there were."""
        return self.connection.execute(
            "UPDATE message SET owner = NULL, due = next_attempt WHERE owner = ?",
            (owner,),
        ).rowcount

    # --- what an operator needs ------------------------------------------------------------------

    def find(self, key: int, now: float) -> Entry | None:
        """One message."""
        row = self.connection.execute(
            f"SELECT {_COLUMNS} FROM message WHERE key = ?",  # noqa: S608  # constant
            (key,),
        ).fetchone()
        return self._entry(row, now) if row else None

    def messages(self, after: int, limit: int, now: float) -> list[Entry]:
        """A page of the queue; what can't be read is not in it."""
        while True:
            rows = self.connection.execute(
                f"SELECT {_COLUMNS} FROM message WHERE key > ? ORDER BY key LIMIT ?",  # noqa: S608  # constant
                (after, limit),
            ).fetchall()
            entries = [entry for row in rows if (entry := self._entry(row, now)) is not None]
            # An empty page would be taken for the end of the queue.
            if entries or not rows:
                return entries
            after = rows[-1][0]

    def hold(self, key: int, now: float) -> None:
        """Stop attempts; one that is under way goes on."""
        self._change(key, now, "held", "UPDATE message SET held = 1")

    def release(self, key: int, now: float) -> None:
        """End a hold; the message is due now, unless an attempt is under way."""
        self._change(key, now, "released", f"UPDATE message SET held = 0, {_DUE_NOW}")  # noqa: S608  # constant

    def retry(self, key: int, now: float) -> None:
        """Make a message due now, unless an attempt is under way. A held one stays held."""
        self._change(key, now, "retried", f"UPDATE message SET {_DUE_NOW}")  # noqa: S608  # constant

    def remove(self, key: int, now: float) -> None:
        """Take a message out."""
        if not self.leave({key: (_operators(now, "removed"),)}, None):
            raise UnknownMessage(id_text(key))

    def history(self, key: int) -> list[Event]:
        """What happened to a message."""
        rows = self.connection.execute(
            "SELECT 0 AS part, envelope FROM message WHERE key = ?1"
            " UNION ALL SELECT part, events FROM history WHERE key = ?1 ORDER BY part",
            (key,),
        )
        events: list[Event] = []
        for part, text in rows:
            if part == 0:
                events.extend(first_events(codec.load_envelope(text)))
            else:
                events.extend(codec.load_events(text))
        return events

    def content(self, key: int) -> bytes | None:
        """The content when it is in the database; ``None`` when it is in a file.

        :raises UnknownMessage: the message is not in the queue
        """
        row = self.connection.execute(
            "SELECT octets FROM message LEFT JOIN content USING (key) WHERE message.key = ?", (key,)
        ).fetchone()
        if row is None:
            raise UnknownMessage(id_text(key))
        return None if row[0] is None else bytes(row[0])

    def forget_history(self, before: float, limit: int) -> int:
        """Delete old histories of messages that left the queue; returns how many parts went.

        :param before: POSIX seconds; of messages that arrived earlier
        """
        return self.connection.execute(
            "DELETE FROM history WHERE (key, part) IN (SELECT key, part FROM history WHERE key < ?1"
            " AND NOT EXISTS (SELECT 1 FROM message WHERE message.key = history.key) LIMIT ?2)",
            (first_key(before), limit),
        ).rowcount

    def damaged(self) -> list[tuple[int, str]]:
        """What was set aside because it can't be read, and why."""
        return self.connection.execute(
            "SELECT key, reason FROM damaged JOIN message USING (key) ORDER BY key"
        ).fetchall()

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()

    def _change(self, key: int, now: float, kind: EventKind, statement: str) -> None:
        changed = self.connection.execute(f"{statement} WHERE key = :key", {"key": key, "now": now})
        if not changed.rowcount:
            raise UnknownMessage(id_text(key))
        self._add_history(key, (_operators(now, kind),))

    def leave(self, messages: Mapping[int, Sequence[Event]], owner: str | None) -> set[int]:
        """Delete messages; of each, keep the envelope as the beginning of its history.

        :param messages: the last events of each
        :param owner: who must hold the leases; ``None`` when that doesn't matter
        :returns: which of them were there
        """
        keys = json.dumps(list(messages))
        found = {
            key
            for (key,) in self.connection.execute(
                "SELECT key FROM message WHERE key IN (SELECT value FROM json_each(?1))"
                " AND (?2 IS NULL OR owner = ?2)",
                (keys, owner),
            )
        }
        if len(found) < len(messages):
            keys = json.dumps(list(found))
        self.connection.execute(
            "INSERT INTO history (key, part, events) SELECT key, 0, envelope FROM message"
            " WHERE key IN (SELECT value FROM json_each(?))",
            (keys,),
        )
        for table in ("message", "content"):
            self.connection.execute(
                f"DELETE FROM {table} WHERE key IN (SELECT value FROM json_each(?))",  # noqa: S608  # constant
                (keys,),
            )
        self._add_histories([(key, messages[key]) for key in found])
        return found

    def _add_history(self, key: int, events: Sequence[Event]) -> None:
        self._add_histories([(key, events)])

    def _add_histories(self, histories: Sequence[tuple[int, Sequence[Event]]]) -> None:
        rows = [(key, codec.dump_events(events)) for key, events in histories if events]
        self.connection.execute(
            "INSERT INTO history (key, part, events)"
            " SELECT json_extract(value, '$[0]'), (SELECT coalesce(max(part), 0) + 1 FROM history"
            " WHERE key = json_extract(value, '$[0]')), json_extract(value, '$[1]')"
            " FROM json_each(?)",
            (json.dumps(rows),),
        )


def _operators(now: float, kind: EventKind) -> Event:
    return Event(at=now, kind=kind, reason="by an operator")
