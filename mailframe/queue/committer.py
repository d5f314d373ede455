"""Group commit: one thread, one transaction for whatever waits, one sync for all of it.

Operations are handed in from the reactor thread. While one batch is being synced the following ones
gather, and go together into the next: the busier the server, the more messages share a sync, and no
timer is needed. Results come back to the reactor thread, a batch at a time, after the commit.

When a batch fails, it is rolled back whole and its operations are applied one by one, each in a
transaction of its own, so that one bad operation fails alone. When the sync fails, nobody is told
that anything was kept; the connection is dropped and opened anew, for a failed sync must never be
tried again on the same descriptor.

Several processes that share a queue take turns (`mailframe.queue.turns`). A batch is taken off the
list only when its turn has come, so that it grows while another process writes.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe.interfaces import StorageFault, StorageFull
from mailframe.queue.damage import is_damage, rescue
from mailframe.queue.ledger import Ledger
from mailframe.queue.operations import ANSWERS, Operation, apply_all
from mailframe.queue.turns import NoTurn, Turn

log = Logger()

_Waiting: TypeAlias = tuple[Operation, "Deferred[Any]"]

MAX_BATCH = 1000  # operations
RESCUE_AGAIN = 60.0  # seconds; to read all of a large queue takes long


class Committer(Protocol):
    """Applies operations to a ledger, many in one transaction."""

    def write(self, operation: Operation) -> Deferred[Any]:
        """Fires with the operation's result once it would survive a power cut."""

    def read(self, operation: Operation) -> Deferred[Any]:
        """Fires with the operation's result; it changes nothing."""

    def close(self) -> Deferred[None]:
        """Fires when all that was handed in is done and the ledger is closed."""


class Batches:
    """How a batch is applied; blocking. What both committers share.

    :param open_ledger: opens the ledger; called again after a failed sync
    :param time: tells the time, POSIX seconds
    """

    def __init__(
        self, open_ledger: Callable[[], Ledger], time: Callable[[], float] = time.time
    ) -> None:
        self._open = open_ledger
        self._time = time
        self._rescued = float("-inf")
        self._ledger: Ledger | None = open_ledger()

    def apply(
        self, operations: Sequence[Operation], writes: bool, again: bool = False
    ) -> list[Any]:
        """Apply operations in one transaction.

        :param writes: whether they change anything
        :param again: the database was damaged, and has been made readable again
        :returns: a result or a `Failure` for each, in order
        """
        try:
            return self._together(operations, writes)
        except Exception as error:
            if is_damage(error) and not again and self._rescue():
                return self.apply(operations, writes, again=True)
            if len(operations) == 1:
                return [Failure(as_fault(error))]  # type: ignore[no-untyped-call]  # Twisted's
        return [result for each in operations for result in self.apply([each], writes, again)]

    def _together(self, operations: Sequence[Operation], writes: bool) -> list[Any]:
        if self._ledger is None:
            self._ledger = self._open()
        ledger = self._ledger
        try:
            if writes:
                ledger.begin()
            results = apply_all(operations, ledger)
            if writes:
                ledger.commit()
            return results
        except Exception as error:
            self._recover(ledger, error)
            raise

    def _recover(self, ledger: Ledger, error: Exception) -> None:
        try:
            ledger.rollback()
        except sqlite3.Error:
            self._drop(ledger)
            return
        if is_broken(error):
            self._drop(ledger)

    def _rescue(self) -> bool:
        """Make a damaged database readable again, once in a while; whether that was done."""
        now = self._time()
        if not 0 <= now - self._rescued < RESCUE_AGAIN:
            self._rescued = now
            try:
                self._ledger = self._ledger or self._open()
                rescue(self._ledger.connection, now)
                return True
            except sqlite3.Error as error:
                log.critical("the queue's database can't be saved: {error}", error=str(error))
        return False

    def _drop(self, ledger: Ledger) -> None:
        self._ledger = None
        try:
            ledger.close()
        except sqlite3.Error as error:
            log.error("closing the queue's database: {error!r}", error=str(error))

    def data_version(self) -> int | None:
        """Changes when another process has committed; ``None`` when it can't be told."""
        try:
            return self._ledger.data_version() if self._ledger else None
        except sqlite3.Error:
            return None

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._drop(self._ledger)


_BROKEN = (
    # input, output or sync failed
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    # It was opened while the disk was read-only, and stays so when that is over; or there is
    # another disk by now where its file was.
    sqlite3.SQLITE_READONLY,
)


def is_broken(error: Exception) -> bool:
    """Whether a connection is of no use any more, and another one is to be opened."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN


def as_fault(error: Exception) -> Exception:
    """The error in the words of the storage interface."""
    if isinstance(error, ANSWERS):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        fault: StorageFault = StorageFull("no room left for the queue's database")
    else:
        fault = StorageFault(f"{type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


class InlineCommitter:
    """Applies each operation at once, where it is called: for tests, which have no thread."""

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._batches = Batches(open_ledger)

    def write(self, operation: Operation) -> Deferred[Any]:
        """Apply a change."""
        return _fired(self._batches.apply([operation], writes=True)[0])

    def read(self, operation: Operation) -> Deferred[Any]:
        """Read something."""
        return _fired(self._batches.apply([operation], writes=False)[0])

    def close(self) -> Deferred[None]:
        """Close the ledger."""
        self._batches.close()
        return _fired(None)


class ThreadedCommitter:
    """Applies operations in a thread of its own.

    :param open_ledger: opens the ledger
    :param call_from_thread: ``reactor.callFromThread``
    :param on_foreign_commit: called in the reactor thread when another process changed the queue
    :param look_every: how often that is looked for while nothing else happens, in seconds
    :param turn: held while a batch is written
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        call_from_thread: Callable[..., object],
        on_foreign_commit: Callable[[], None],
        look_every: float = 0.5,
        turn: Turn | None = None,
    ) -> None:
        self._batches = Batches(open_ledger)
        self._turn: Turn = turn or NoTurn()
        self._call_from_thread = call_from_thread
        self._on_foreign_commit = on_foreign_commit
        self._look_every = look_every
        self._writes: list[_Waiting] = []
        self._reads: list[_Waiting] = []
        self._condition = threading.Condition(threading.Lock())
        self._closed: Deferred[None] | None = None
        self._thread = threading.Thread(target=self._run, name="mailframe-queue", daemon=True)
        self._thread.start()

    def write(self, operation: Operation) -> Deferred[Any]:
        """Hand in a change."""
        return self._hand_in(self._writes, operation)

    def read(self, operation: Operation) -> Deferred[Any]:
        """Hand in a question."""
        return self._hand_in(self._reads, operation)

    def _hand_in(self, waiting: list[_Waiting], operation: Operation) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        with self._condition:
            if self._closed is not None:
                deferred.errback(StorageFault("the queue is closed"))
                return deferred
            waiting.append((operation, deferred))
            self._condition.notify()
        return deferred

    def close(self) -> Deferred[None]:
        """Finish what was handed in, then end the thread."""
        with self._condition:
            if self._closed is None:
                self._closed = Deferred()
                self._condition.notify()
            return self._closed

    def _run(self) -> None:
        version = self._batches.data_version()
        while True:
            with self._condition:
                if not (self._writes or self._reads or self._closed):
                    self._condition.wait(self._look_every)
                waiting = bool(self._writes)
                reads, self._reads[:MAX_BATCH] = self._reads[:MAX_BATCH], []
                closed = self._closed
            if waiting:
                self._write_batch()
            if reads:
                self._read_batch(reads)
            if not (waiting or reads):
                if closed is not None:
                    self._batches.close()
                    self._turn.close()
                    self._call_from_thread(closed.callback, None)
                    return
                seen = self._batches.data_version()
                if seen != version:
                    version = seen
                    self._call_from_thread(self._on_foreign_commit)

    def _write_batch(self) -> None:
        with self._turn:
            with self._condition:
                batch, self._writes[:MAX_BATCH] = self._writes[:MAX_BATCH], []
            # Withdrawn is what was cancelled before its batch began.
            batch = [waiting for waiting in batch if not waiting[1].called]
            if not batch:
                return
            results = self._batches.apply([operation for operation, _ in batch], writes=True)
        self._call_from_thread(_fire, [deferred for _, deferred in batch], results)

    def _read_batch(self, batch: list[_Waiting]) -> None:
        results = self._batches.apply([operation for operation, _ in batch], writes=False)
        self._call_from_thread(_fire, [deferred for _, deferred in batch], results)


def _fire(deferreds: list[Deferred[Any]], results: list[Any]) -> None:
    for deferred, result in zip(deferreds, results, strict=True):
        deferred.callback(result)  # a Failure makes it an errback


def _fired(result: Any) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(result)
    return deferred
