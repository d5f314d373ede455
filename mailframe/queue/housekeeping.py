"""What a queue in SQLite is tidied of now and then: dead owners, orphans, damage, old histories."""

from __future__ import annotations

from collections.abc import Callable, Container
from operator import methodcaller
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailframe.interfaces import StorageFault
from mailframe.queue.committer import Committer
from mailframe.queue.damage import look_through
from mailframe.queue.ledger import Ledger
from mailframe.queue.spool import Spool

log = Logger()

EVERY = 60.0  # seconds
LOOKS, LOOK_AT = 10, 100  # then that many entries are looked at for damage, that often
ORPHAN_AGE = 3600.0  # seconds; a content is written and published in less
FORGET = 5000  # histories at a time


class Housekeeping:
    """Tidies a queue when somebody asks for what is due.

    :param spool: the folder
    :param committer: writes and reads the database
    :param in_thread: runs blocking work elsewhere
    :param ours: the owners of this process
    :param history: how long the history of a message is kept, in seconds from its arrival
    """

    def __init__(
        self,
        *,
        spool: Spool,
        committer: Committer,
        in_thread: Callable[..., Deferred[Any]],
        ours: Container[str],
        history: float,
    ) -> None:
        self._spool = spool
        self._committer = committer
        self._in_thread = in_thread
        self._ours = ours
        self._history = history
        self._next = self._no_orphans_before = 0.0
        self._looked_through = -1

    async def tidy(self, now: float) -> None:
        """Tidy, if it is time; a fault is logged.

        :param now: POSIX seconds
        """
        if 0 < self._next - now <= EVERY:
            return
        # When it is long overdue the clock was set forward, and files that are being written look
        # old: they are left alone for a while.
        if 0 < self._next < now - ORPHAN_AGE:
            self._no_orphans_before = now + ORPHAN_AGE
        self._next = now + EVERY
        try:
            await self._take_over()
            if now >= self._no_orphans_before:
                await self._discard_orphans(now)
            await self._look_through(now)
            before = now - self._history
            await self._committer.write(lambda ledger: ledger.forget_history(before, FORGET))
        except (OSError, StorageFault):  # no reason to leave mail that is due
            log.failure("tidying up the queue is put off")

    async def _take_over(self) -> None:
        for owner in await self._in_thread(self._spool.dead_owners):
            if owner not in self._ours:
                ended = await self._committer.write(methodcaller("abandon", owner))
                log.info(
                    "took over {count} messages from {owner}, which has ended",
                    count=ended,
                    owner=owner,
                )
                await self._in_thread(self._spool.bury, owner)

    async def _discard_orphans(self, now: float) -> None:
        for key in await self._in_thread(lambda: list(self._spool.orphans(now - ORPHAN_AGE))):
            if await self._committer.read(methodcaller("find", key, now)) is None:
                await self._in_thread(self._spool.discard, key)

    async def _look_through(self, now: float) -> None:
        """Look for damage in a part of the queue, each time the next; what waits goes between."""
        for _ in range(LOOKS):

            def look(ledger: Ledger, after: int = self._looked_through) -> int:
                return look_through(ledger.connection, after, LOOK_AT, now)

            self._looked_through = await self._committer.write(look)
            if self._looked_through < 0:
                return
