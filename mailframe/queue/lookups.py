"""What can be asked of the tables of the SQLite queue; `mailframe.queue.ledger` changes them.

What is not as it was written is not in any answer: it is set aside (`mailframe.queue.damage`).
"""

from __future__ import annotations

import sqlite3

from mailframe.entry import Entry, Event
from mailframe.interfaces import UnknownMessage, Waiting
from mailframe.queue import codec
from mailframe.queue.damage import set_aside
from mailframe.queue.histories import read_history
from mailframe.queue.ids import id_text
from mailframe.queue.seals import COLUMNS, Kept, Row, checksum, unseal_envelope, unseal_row


class Lookups:
    """Questions to the queue's database.

    :ivar connection: to it
    """

    connection: sqlite3.Connection

    def find(self, key: int, now: float) -> Entry | None:
        """One message."""
        row = self.connection.execute(
            f"SELECT {COLUMNS} FROM message WHERE key = ?"  # noqa: S608  # constant
            " AND key NOT IN (SELECT key FROM damaged)",
            (key,),
        ).fetchone()
        return self._entry(row, now) if row else None

    def messages(self, after: int, limit: int, now: float) -> list[Entry]:
        """A page of the queue; what can't be read is not in it."""
        while True:
            rows = self.connection.execute(
                f"SELECT {COLUMNS} FROM message WHERE key > ?"  # noqa: S608  # constant
                " AND key NOT IN (SELECT key FROM damaged) ORDER BY key LIMIT ?",
                (after, limit),
            ).fetchall()
            entries = [entry for row in rows if (entry := self._entry(row, now)) is not None]
            # An empty page would be taken for the end of the queue.
            if entries or not rows:
                return entries
            after = rows[-1][0]

    def next_due(self) -> float | None:
        """When something is due next."""
        row = self.connection.execute(
            "SELECT due FROM message WHERE held = 0 AND due IS NOT NULL"
            " AND key NOT IN (SELECT key FROM damaged) ORDER BY due LIMIT 1"
        ).fetchone()
        return None if row is None else float(row[0])

    def due_after(self, due: float, key: int, limit: int, now: float) -> list[Waiting]:
        """What is due after a time, or then and with a greater key; what is held is not in it."""
        while True:
            rows = self.connection.execute(
                f"SELECT {COLUMNS}, due, owner IS NOT NULL FROM message"  # noqa: S608  # constant
                " WHERE held = 0 AND (due, key) > (?, ?) AND key NOT IN (SELECT key FROM damaged)"
                " ORDER BY due, key LIMIT ?",
                (due, key, limit),
            ).fetchall()
            # What is no time comes last; looking through the queue finds it.
            rows = [row for row in rows if isinstance(row[-2], float)]
            found = [
                Waiting(entry=entry, due=row[-2], leased=bool(row[-1]))
                for row in rows
                if (entry := self._entry(row[:-2], now)) is not None
            ]
            # Nothing would be taken for the end; what is damaged is passed over from now on.
            if found or not rows:
                return found

    def content(self, key: int, now: float) -> tuple[bytes | None, Kept]:
        """The content, or ``None`` when it is in a file; and what it must be like.

        :raises UnknownMessage: the message is not in the queue
        :raises DamagedEntry: it is not as it was written; the message is set aside
        """
        row = self.connection.execute(
            "SELECT envelope, octets, content.key FROM message LEFT JOIN content USING (key)"
            " WHERE message.key = ?",
            (key,),
        ).fetchone()
        if row is None:
            raise UnknownMessage(id_text(key))
        envelope, octets, found = row
        try:
            kept = unseal_envelope(key, envelope)
            if found is None:
                return None, kept
            if isinstance(octets, bytes) and kept.is_content(len(octets), checksum(octets)):
                return octets, kept
            raise codec.DamagedEntry("its content is not as it was written")
        except codec.DamagedEntry as error:
            set_aside(self.connection, key, now, str(error))
            raise

    def history(self, key: int) -> list[Event]:
        """What happened to a message."""
        return read_history(self.connection, key)

    def damaged(self) -> list[tuple[int, str]]:
        """What was set aside because it can't be read, and why."""
        return self.connection.execute(
            "SELECT key, reason FROM damaged WHERE NOT removed ORDER BY key"
        ).fetchall()

    def data_version(self) -> int:
        """Changes whenever another process has committed something."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _entry(self, row: Row, now: float) -> Entry | None:
        key, _, size, _, next_attempt, held, warned = row
        try:
            envelope, recipients = unseal_row(row)
            return Entry(
                id=id_text(key),
                envelope=codec.load_envelope(envelope),
                size=size,
                recipients=codec.load_recipients(recipients),
                next_attempt=next_attempt,
                held=bool(held),
                warned=bool(warned),
            )
        except codec.DamagedEntry as error:
            set_aside(self.connection, key, now, str(error))
            return None
