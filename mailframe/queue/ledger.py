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
damaged        it is not as it was written: the reason stands in ``damaged``
gone           the rows are deleted; ``history`` has the envelope as part 0 and then what happened
=============  =========================================================================

``due`` is the one indexed column, so that claiming costs the same however long the queue is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
from twisted.logger import Logger

from mailframe.entry import Entry, Event, EventKind, QueuedRecipient, Step
from mailframe.envelope import Envelope
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.queue import codec
from mailframe.queue.beginnings import first_events
from mailframe.queue.damage import (
    CONTENT_TABLE,
    MESSAGE_TABLE,
    is_damage,
    look_through,
    message_index,
    missing_content,
    rescue,
    set_aside,
)
from mailframe.queue.ids import first_key, id_text
from mailframe.queue.seals import (
    Kept,
    checksum,
    seal,
    seal_envelope,
    seal_recipients,
    unseal,
    unseal_envelope,
    unseal_recipients,
)

log = Logger()

SCHEMA_VERSION = 2
_CONTENTS = 64  # contents in one statement
_SCHEMA = f"""
{MESSAGE_TABLE};
{message_index()};
{CONTENT_TABLE};
CREATE TABLE history (
    key INTEGER NOT NULL,
    part INTEGER NOT NULL,
    events TEXT NOT NULL,
    PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE damaged (
    key INTEGER PRIMARY KEY,
    found REAL NOT NULL,
    reason TEXT NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
);
"""
_COLUMNS = "key, envelope, size, recipients, next_attempt, held, warned"
# A lease that still runs keeps its end; one that ran out is over.
_DUE_NOW = (
    "next_attempt = :now, recipients = :recipients,"
    " due = iif(owner IS NOT NULL AND due > :now, due, :now),"
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
    :ivar checksum: of the content in a file, see `mailframe.queue.seals`
    :ivar lease: it is claimed as it arrives
    """

    key: int
    envelope: Envelope
    size: int
    content: bytes | None
    checksum: int = 0
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
        # A text that is damaged is found by its checksum, and is no reason not to read others.
        self.connection.text_factory = partial(str, encoding="utf-8", errors="replace")
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
                seal_envelope(
                    a.key,
                    codec.dump_envelope(a.envelope),
                    a.size,
                    a.checksum if a.content is None else checksum(a.content),
                ),
                seal_recipients(
                    a.key,
                    codec.dump_recipients(
                        QueuedRecipient(address=r.address) for r in a.envelope.recipients
                    ),
                    a.envelope.due,
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
            f"SELECT {_COLUMNS} FROM message WHERE held = 0 AND due <= ?"  # noqa: S608  # constant
            " AND key NOT IN (SELECT key FROM damaged) ORDER BY due LIMIT ?",
            (now, limit),
        ).fetchall()
        found = [(row[0], entry) for row in rows if (entry := self._entry(row, now)) is not None]
        leased = []
        for key, entry in found:
            if entry.held:
                set_aside(self.connection, key, now, "its marks contradict the index")
            else:
                leased.append((key, entry))
        self.connection.execute(
            "UPDATE message SET owner = ?, due = ? WHERE key IN (SELECT value FROM json_each(?))",
            (owner, until, json.dumps([key for key, _ in leased])),
        )
        return [entry for _, entry in leased]

    def _entry(self, row: _Row, now: float) -> Entry | None:
        key, envelope, size, recipients, next_attempt, held, warned = row
        try:
            kept = unseal_envelope(key, envelope)
            if kept.size != size:
                raise codec.DamagedEntry("its size is not as it was written")
            return Entry(
                id=id_text(key),
                envelope=codec.load_envelope(kept.envelope),
                size=size,
                recipients=codec.load_recipients(unseal_recipients(key, recipients, next_attempt)),
                next_attempt=next_attempt,
                held=bool(held),
                warned=bool(warned),
            )
        except (codec.DamagedEntry, TypeError, ValueError, AttributeError) as error:
            set_aside(self.connection, key, now, str(error))
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
            "SELECT due FROM message WHERE held = 0 AND due IS NOT NULL"
            " AND key NOT IN (SELECT key FROM damaged) ORDER BY due LIMIT 1"
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
            recipients = seal_recipients(
                key, codec.dump_recipients(step.recipients), step.next_attempt
            )
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
        found = self.connection.execute(
            "SELECT key, next_attempt FROM message"
            " WHERE key IN (SELECT value FROM json_each(?)) AND owner = ?",
            (json.dumps(list(messages)), owner),
        ).fetchall()
        rows = [
            (key, seal_recipients(key, codec.dump_recipients(messages[key]), next_attempt))
            for key, next_attempt in found
        ]
        self.connection.execute(
            "UPDATE message SET warned = coalesce(?2, warned), recipients = noted.text"
            " FROM (SELECT json_extract(value, '$[0]') AS key,"
            " json_extract(value, '$[1]') AS text FROM json_each(?1)) AS noted"
            " WHERE message.key = noted.key",
            (json.dumps(rows), warned),
        )
        return {key for key, _ in rows}

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
            f"SELECT {_COLUMNS} FROM message WHERE key = ?"  # noqa: S608  # constant
            " AND key NOT IN (SELECT key FROM damaged)",
            (key,),
        ).fetchone()
        return self._entry(row, now) if row else None

    def messages(self, after: int, limit: int, now: float) -> list[Entry]:
        """A page of the queue; what can't be read is not in it."""
        while True:
            rows = self.connection.execute(
                f"SELECT {_COLUMNS} FROM message WHERE key > ?"  # noqa: S608  # constant
                " AND key NOT IN (SELECT key FROM damaged) ORDER BY key LIMIT ?",
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
        """Take a message out; of one that is damaged, the row stays."""
        damaged = self.connection.execute("SELECT removed FROM damaged WHERE key = ?", (key,))
        for (removed,) in damaged.fetchall():
            if removed:
                raise UnknownMessage(id_text(key))
            self.connection.execute("UPDATE damaged SET removed = 1 WHERE key = ?", (key,))
            return
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
            try:
                if part == 0:
                    envelope = unseal_envelope(key, text).envelope
                    events.extend(first_events(codec.load_envelope(envelope)))
                else:
                    events.extend(codec.load_events(unseal(key, text)))
            except codec.DamagedEntry as error:
                log.error(
                    "a part of the history of {id} is damaged: {error}",
                    id=id_text(key),
                    error=str(error),
                )
        return events

    def content(self, key: int, now: float) -> tuple[bytes | None, Kept]:
        """The content, or ``None`` when it is in a file; and what it must be like.

        :raises UnknownMessage: the message is not in the queue
        :raises DamagedEntry: it is not as it was written; the message is set aside
        """
        try:
            row = self.connection.execute(
                "SELECT envelope, octets FROM message LEFT JOIN content USING (key)"
                " WHERE message.key = ?",
                (key,),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                set_aside(self.connection, key, now, f"its content: {error}")
            raise
        if row is None:
            raise UnknownMessage(id_text(key))
        try:
            kept = unseal_envelope(key, row[0])
            octets = row[1]
            if octets is None:
                return None, kept
            if not isinstance(octets, bytes):
                raise codec.DamagedEntry("its content is of the wrong kind")
            if len(octets) != kept.size or checksum(octets) != kept.checksum:
                raise codec.DamagedEntry("its content is not as it was written")
            return octets, kept
        except codec.DamagedEntry as error:
            set_aside(self.connection, key, now, str(error))
            raise

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
            "SELECT key, reason FROM damaged WHERE NOT removed ORDER BY key"
        ).fetchall()

    def set_aside(self, key: int, now: float, reason: str) -> None:
        """Have a message that is damaged not be tried any more."""
        set_aside(self.connection, key, now, reason)

    def look_through(self, after: int, limit: int, now: float) -> int:
        """Look at some entries for damage.

        :param after: the number behind which to begin
        :returns: behind which to go on; -1 when all were looked at
        """
        found = look_through(self, after, limit, now)
        return -1 if found is None else found

    def missing_content(self, key: int, now: float) -> None:
        """See `mailframe.queue.damage.missing_content`."""
        missing_content(self.connection, key, now)

    def rescue(self, now: float) -> None:
        """Make a damaged database readable again. :raises sqlite3.Error: that can't be done"""
        rescue(self.connection, now)

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()

    def _change(self, key: int, now: float, kind: EventKind, statement: str) -> None:
        row = self.connection.execute(
            "SELECT recipients, next_attempt FROM message WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            raise UnknownMessage(id_text(key))
        try:
            text = unseal_recipients(key, *row)
        except codec.DamagedEntry as error:
            set_aside(self.connection, key, now, str(error))
            raise UnknownMessage(id_text(key)) from error
        recipients = seal_recipients(key, text, now)
        self.connection.execute(
            f"{statement} WHERE key = :key", {"key": key, "now": now, "recipients": recipients}
        )
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
        rows = [(key, seal(key, codec.dump_events(events))) for key, events in histories if events]
        self.connection.execute(
            "INSERT INTO history (key, part, events)"
            " SELECT json_extract(value, '$[0]'), (SELECT coalesce(max(part), 0) + 1 FROM history"
            " WHERE key = json_extract(value, '$[0]')), json_extract(value, '$[1]')"
            " FROM json_each(?)",
            (json.dumps(rows),),
        )


def _operators(now: float, kind: EventKind) -> Event:
    return Event(at=now, kind=kind, reason="by an operator")
