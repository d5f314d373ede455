"""The tables of the SQLite queue, and what is done to them for each message.

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

``due`` is indexed, and the owners of leases are, so that nothing that is done for a message costs
more the longer the queue is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

import attrs
from twisted.logger import Logger

from mailframe.entry import Entry, Event, EventKind, QueuedRecipient, Step
from mailframe.envelope import Envelope
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.queue import codec
from mailframe.queue.damage import set_aside
from mailframe.queue.histories import add_histories, forget_histories
from mailframe.queue.ids import id_text
from mailframe.queue.lookups import Lookups
from mailframe.queue.schema import prepare
from mailframe.queue.seals import (
    COLUMNS,
    checksum,
    seal_envelope,
    seal_recipients,
    unseal_recipients,
)

log = Logger()

_CONTENTS = 64  # contents in one statement
# A lease that still runs keeps its end; one that ran out is over.
_DUE_NOW = (
    "due = iif(owner IS NOT NULL AND due > :now, due, :now),"
    " owner = iif(owner IS NOT NULL AND due > :now, owner, NULL)"
)


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


class Ledger(Lookups):
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
        prepare(self.connection)

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
            f"SELECT {COLUMNS} FROM message WHERE held = 0 AND due <= ?"  # noqa: S608  # constant
            " AND key NOT IN (SELECT key FROM damaged) ORDER BY due LIMIT ?",
            (now, limit),
        ).fetchall()
        found = {row[0]: entry for row in rows if (entry := self._entry(row, now)) is not None}
        leased = {key: entry for key, entry in found.items() if not entry.held}
        if len(leased) < len(found):
            log.error("the queue's index names messages that are held: it is made anew")
            self.connection.execute("REINDEX message")
        self.connection.execute(
            "UPDATE message SET owner = ?, due = ? WHERE key IN (SELECT value FROM json_each(?))",
            (owner, until, json.dumps(list(leased))),
        )
        return list(leased.values())

    def renew(self, owner: str, keys: Sequence[int], until: float) -> None:
        """Prolong leases; who saw before us that the clock jumped may have moved one further."""
        self.connection.executemany(
            "UPDATE message SET due = max(due, ?1) WHERE key = ?2 AND owner = ?3",
            [(until, key, owner) for key in keys],
        )

    def move(self, moves: Sequence[tuple[int, float, float]]) -> None:
        """Have messages be due at another time: key, when it is due, when it is to be due."""
        rows: list[tuple[float, float, str, int]] = []
        for key, was_due, due in moves:
            row = self.connection.execute(
                "SELECT owner, recipients, next_attempt, held, warned FROM message"
                " WHERE key = ? AND due = ? AND held = 0 AND key NOT IN (SELECT key FROM damaged)",
                (key, was_due),
            ).fetchone()
            if row is None:
                continue
            owner, recipients, next_attempt, held, warned = row
            if owner is None:
                text = unseal_recipients(key, recipients, next_attempt, held, warned)
                next_attempt = due
                recipients = seal_recipients(key, text, due, held, warned)
            rows.append((due, next_attempt, recipients, key))
        self.connection.executemany(
            "UPDATE message SET due = ?, next_attempt = ?, recipients = ? WHERE key = ?", rows
        )

    def settle(self, key: int, owner: str, step: Step, notices: Sequence[Arrival]) -> None:
        """Record a step and queue its notices."""
        if step.goes_on:
            if not self.note({key: step.recipients}, owner, warned=step.warned):
                raise LeaseLost(id_text(key))
            self._add_history(key, step.events)
        elif step.next_attempt is None:
            if not self.leave({key: step.events}, owner):
                raise LeaseLost(id_text(key))
        elif not self.postpone({key: step}, owner):
            raise LeaseLost(id_text(key))
        if notices:
            self.insert(notices)

    def postpone(self, messages: Mapping[int, Step], owner: str) -> set[int]:
        """End the leases of messages that wait for their next attempt, and record the steps.

        :param owner: who must hold the leases
        :returns: which of them were there
        """
        found = self.connection.execute(
            "SELECT key, held FROM message"
            " WHERE key IN (SELECT value FROM json_each(?)) AND owner = ?",
            (json.dumps(list(messages)), owner),
        ).fetchall()
        rows = []
        for key, held in found:
            step = messages[key]
            assert step.next_attempt is not None, "it waits"
            text = codec.dump_recipients(step.recipients)
            sealed = seal_recipients(key, text, step.next_attempt, held, step.warned)
            rows.append((key, step.next_attempt, int(step.warned), sealed))
        self.connection.execute(
            "UPDATE message SET due = later.due, owner = NULL, next_attempt = later.due,"
            " warned = later.warned, recipients = later.text"
            " FROM (SELECT json_extract(value, '$[0]') AS key, json_extract(value, '$[1]') AS due,"
            " json_extract(value, '$[2]') AS warned, json_extract(value, '$[3]') AS text"
            " FROM json_each(?)) AS later WHERE message.key = later.key",
            (json.dumps(rows),),
        )
        add_histories(self.connection, [(key, messages[key].events) for key, _ in found])
        return {key for key, _ in found}

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
            "SELECT key, next_attempt, held, coalesce(?, warned) FROM message"
            " WHERE key IN (SELECT value FROM json_each(?)) AND owner = ?",
            (warned, json.dumps(list(messages)), owner),
        ).fetchall()
        rows = [
            (key, seal_recipients(key, codec.dump_recipients(messages[key]), due, held, mark))
            for key, due, held, mark in found
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

    def hold(self, key: int, now: float) -> None:
        """Stop attempts; one that is under way goes on."""
        self._change(key, now, "held", held=1)

    def release(self, key: int, now: float) -> None:
        """End a hold; the message is due now, unless an attempt is under way."""
        self._change(key, now, "released", held=0, next_attempt=now)

    def retry(self, key: int, now: float) -> None:
        """Make a message due now, unless an attempt is under way. A held one stays held.

        One that was set aside is looked at anew.
        """
        self.connection.execute(
            "DELETE FROM damaged WHERE key = ? AND NOT removed"
            " AND key IN (SELECT key FROM message)",
            (key,),
        )
        self._change(key, now, "retried", next_attempt=now)

    def _change(
        self,
        key: int,
        now: float,
        kind: EventKind,
        *,
        held: int | None = None,
        next_attempt: float | None = None,
    ) -> None:
        row = self.connection.execute(
            "SELECT recipients, next_attempt, held, warned FROM message WHERE key = ?"
            " AND key NOT IN (SELECT key FROM damaged)",
            (key,),
        ).fetchone()
        if row is None:
            raise UnknownMessage(id_text(key))
        try:
            text = unseal_recipients(key, *row)
        except codec.DamagedEntry as error:
            set_aside(self.connection, key, now, str(error))
            raise UnknownMessage(id_text(key)) from error
        _, was_next, was_held, warned = row
        held = was_held if held is None else held
        self.connection.execute(
            "UPDATE message SET held = :held, recipients = :recipients,"  # noqa: S608  # constant
            f" next_attempt = :next_attempt{'' if next_attempt is None else f', {_DUE_NOW}'}"
            " WHERE key = :key",
            {
                "key": key,
                "now": now,
                "held": held,
                "next_attempt": was_next if next_attempt is None else next_attempt,
                "recipients": seal_recipients(
                    key, text, was_next if next_attempt is None else next_attempt, held, warned
                ),
            },
        )
        self._add_history(key, (_operators(now, kind),))

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

    def forget_history(self, before: float, limit: int) -> int:
        """Delete old histories of messages that left the queue; returns how many parts went.

        :param before: POSIX seconds; of messages that arrived earlier
        """
        return forget_histories(self.connection, before, limit)

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()

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
        add_histories(self.connection, [(key, messages[key]) for key in found])
        return found

    def _add_history(self, key: int, events: Sequence[Event]) -> None:
        add_histories(self.connection, [(key, events)])


def _operators(now: float, kind: EventKind) -> Event:
    # A route may hold a message as well; then another event says so.
    reason = "until it is released" if kind == "held" else "by an operator"
    return Event(at=now, kind=kind, reason=reason)
