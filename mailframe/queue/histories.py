"""What happened to the messages of the SQLite queue, kept for a while after they have left it.

Blocking, as is all of `mailframe.queue.ledger`. Nothing is decided by a history: a part of one that
is damaged is left out and reported.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from twisted.logger import Logger

from mailframe.entry import Event
from mailframe.queue import codec
from mailframe.queue.beginnings import first_events
from mailframe.queue.ids import first_key, id_text
from mailframe.queue.seals import seal_events, unseal_envelope, unseal_events

log = Logger()


def add_histories(
    connection: sqlite3.Connection, histories: Sequence[tuple[int, Sequence[Event]]]
) -> None:
    """Write down what happened to messages, behind what is there."""
    rows = [
        (key, seal_events(key, codec.dump_events(events))) for key, events in histories if events
    ]
    connection.execute(
        "INSERT INTO history (key, part, events)"
        " SELECT json_extract(value, '$[0]'), (SELECT coalesce(max(part), 0) + 1 FROM history"
        " WHERE key = json_extract(value, '$[0]')), json_extract(value, '$[1]')"
        " FROM json_each(?)",
        (json.dumps(rows),),
    )


def read_history(connection: sqlite3.Connection, key: int) -> list[Event]:
    """What happened to a message, in order."""
    rows = connection.execute(
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
                events.extend(codec.load_events(unseal_events(key, text)))
        except codec.DamagedEntry as error:
            log.error(
                "a part of the history of {id} is damaged: {error}",
                id=id_text(key),
                error=str(error),
            )
    return events


def forget_histories(connection: sqlite3.Connection, before: float, limit: int) -> int:
    """Delete old histories of messages that left the queue; returns how many parts went.

    :param before: POSIX seconds; of messages that arrived earlier
    """
    return connection.execute(
        "DELETE FROM history WHERE (key, part) IN (SELECT key, part FROM history WHERE key < ?1"
        " AND NOT EXISTS (SELECT 1 FROM message WHERE message.key = history.key) LIMIT ?2)",
        (first_key(before), limit),
    ).rowcount
