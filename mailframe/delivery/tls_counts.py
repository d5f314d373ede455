"""How sessions fared with TLS, counted for each day and each domain's policy (RFC 8460 §4.3).

Counts are kept in memory for a few seconds, then added to a small SQLite database that all
processes of a server share. Who kills the server loses those seconds, and nothing else: counts are
no mail. Days are of UTC and kept for two weeks; what a day may hold is bounded, so that mail to
ever different domains does not fill the disk, and neither do long policies: of each its beginning
is kept.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mailframe.delivery.tls_demand import Published
from mailframe.delivery.tls_fault import TlsFault

log = Logger()

ADD_AFTER = 5.0  # seconds that counts are kept in memory
DAYS = 14  # that are kept
MAX_ROWS = 20_000  # of one day
MAX_IN_MEMORY = 2_000  # different counts
MAX_LINES = 20  # of a policy, and of the exchangers that it names
MAX_CHARACTERS = 1_000  # of each of these together, and of a reason
FILE = "tls-report.sqlite"

PolicyKind: TypeAlias = Literal["sts", "tlsa", "no-policy-found"]

_TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    day TEXT NOT NULL, kind TEXT NOT NULL, domain TEXT NOT NULL, policy TEXT NOT NULL,
    result TEXT NOT NULL, host TEXT NOT NULL, address TEXT NOT NULL, reason TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (day, kind, domain, policy, result, host, address, reason)
) WITHOUT ROWID"""
_ADD = """
INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET number = number + excluded.number"""
_ADD_TO_KNOWN = """
UPDATE sessions SET number = number + ?9 WHERE (day, kind, domain, policy, result, host, address,
reason) = (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"""

_FORGET = """
DELETE FROM sessions WHERE day NOT IN (SELECT DISTINCT day FROM sessions ORDER BY day DESC LIMIT ?)
"""


@attrs.frozen(kw_only=True)
class Counted:
    """Sessions that fared alike.

    :ivar day: ``2026-11-23``
    :ivar kind: of the policy
    :ivar domain: the policy domain: what follows ``mx:`` in the next hop
    :ivar lines: of the policy, as it was found
    :ivar mx: patterns of the exchangers' names, of MTA-STS
    :ivar result: what was wrong, as RFC 8460 §4.3 calls it; ``""`` for nothing
    :ivar host: the exchanger, where something was wrong
    :ivar address: its IP address
    :ivar reason: what was wrong, for a person
    """

    day: str
    kind: PolicyKind
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    result: str = ""
    host: str = ""
    address: str = ""
    reason: str = ""


class CountFile:
    """The database. Its methods wait for the disk: call them in a thread.

    :param folder: where it lies, ``state_dir``
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)

    def add(self, counts: Mapping[Counted, int]) -> None:
        """Add to what was counted, and forget old days.

        :raises sqlite3.Error: it can't be done; nothing was added
        """
        days = {each.day for each in counts}
        with closing(self._open()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = {day: _rows(connection, day) for day in days}
            for each, number in counts.items():
                add = _ADD if rows[each.day] < MAX_ROWS else _ADD_TO_KNOWN
                connection.execute(add, (*_key(each), number))
                rows[each.day] += 1
            connection.execute(_FORGET, (DAYS,))

    def of(self, day: str, domain: str | None = None) -> dict[Counted, int]:
        """What was counted on a day.

        :param domain: count for this domain alone
        :raises sqlite3.Error: it can't be read
        """
        if not os.path.exists(self._path):
            return {}
        question = "SELECT * FROM sessions WHERE day = ? AND domain = coalesce(?, domain)"
        with closing(self._open()) as connection:
            return dict(map(_counted, connection.execute(question, (day, domain))))

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10.0)
        try:
            os.chmod(self._path, 0o600)  # it tells whom mail goes to
            connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection


class TlsCounts:
    """Counts sessions.

    :param file: where to
    :param site: lends clock and threads
    """

    def __init__(self, file: CountFile, site: Any) -> None:
        self._file = file
        self._site = site
        self._new: Counter[Counted] = Counter()
        self._call: IDelayedCall | None = None

    def count(
        self,
        domain: str,
        published: Published | None,
        fault: TlsFault | None,
        host: str = "",
        address: str = "",
    ) -> None:
        """Count one session.

        :param domain: the policy domain
        :param published: the domain's policy, or ``None`` when it has none
        :param fault: what was wrong with TLS, or ``None``
        :param host: the exchanger
        :param address: its IP address
        """
        kind: PolicyKind = "no-policy-found" if published is None else published.kind
        counted = Counted(day=day_of(self._site.reactor.seconds()), kind=kind, domain=domain)
        if published is not None:
            counted = attrs.evolve(
                counted, lines=_beginning(published.lines), mx=_beginning(published.mx)
            )
        if fault is not None:
            reason = fault.text[:MAX_CHARACTERS]
            counted = attrs.evolve(
                counted, result=fault.kind, host=host, address=address, reason=reason
            )
        if len(self._new) < MAX_IN_MEMORY or counted in self._new:
            self._new[counted] += 1
        if self._call is None:
            self._call = self._site.reactor.callLater(ADD_AFTER, self._time_to_add)

    async def add_now(self) -> None:
        """Add what is kept in memory to the database. It does not fail."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        new, self._new = self._new, Counter()
        if not new:
            return
        try:
            await self._site.in_thread(self._file.add, new)
        except (sqlite3.Error, OSError) as error:
            log.warn("counts for TLS reports can't be kept: {error}", error=str(error))

    def _time_to_add(self) -> None:
        self._call = None
        Deferred.fromCoroutine(self.add_now())


def day_of(seconds: float) -> str:
    """The day in UTC, as ``2026-11-23``.

    :param seconds: since the epoch
    """
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _beginning(lines: tuple[str, ...]) -> tuple[str, ...]:
    """As much of a policy as is kept with each count."""
    kept: list[str] = []
    room = MAX_CHARACTERS
    for line in lines[:MAX_LINES]:
        if room <= 0:
            break
        kept.append(line[:room])
        room -= len(line)
    return tuple(kept)


def _rows(connection: sqlite3.Connection, day: str) -> int:
    number: int = connection.execute(
        "SELECT count(*) FROM sessions WHERE day = ?", (day,)
    ).fetchone()[0]
    return number


def _key(counted: Counted) -> tuple[str, ...]:
    policy = json.dumps([counted.lines, counted.mx])
    failure = counted.result, counted.host, counted.address, counted.reason
    return counted.day, counted.kind, counted.domain, policy, *failure


def _counted(row: Iterable[Any]) -> tuple[Counted, int]:
    day, kind, domain, policy, result, host, address, reason, number = row
    lines, mx = json.loads(policy)
    counted = Counted(
        day=day,
        kind=kind,
        domain=domain,
        lines=tuple(lines),
        mx=tuple(mx),
        result=result,
        host=host,
        address=address,
        reason=reason,
    )
    return counted, number
