"""Covers mailframe.queue.sink."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Any

from twisted.internet.defer import Deferred

from mailframe.guard import as_deferred
from mailframe.interfaces import StorageFault, StorageFull
from mailframe.queue.ledger import Ledger
from mailframe.queue.spool import Spool
from tests.queue.samples import envelope
from tests.queue.test_sqlite import SqliteCase, make


class PressureTests(SqliteCase):
    """Large messages and slow disks."""

    def test_back_pressure(self) -> None:
        """A fast sender and a slow disk must not fill the memory."""
        slow: list[Deferred[None]] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            gate: Deferred[None] = Deferred()
            slow.append(gate)
            return gate.addCallback(lambda _: function(*args))

        storage = make(self.root, self.clock, in_thread)
        sink = storage.receive(envelope())
        waits = None
        written = 0
        while waits is None:
            waits = sink.write(octets=b"x" * 65_536)
            written += 65_536
        self.assertLess(written, 1_000_000)
        self.assertNoResult(as_deferred(waits))
        slow.pop(0).callback(None)
        self.successResultOf(as_deferred(waits))
        committed = as_deferred(sink.commit())
        while slow:
            slow.pop(0).callback(None)
        self.successResultOf(committed)
        self.assertEqual(len(self.read(sink.id)), written)

    def test_abort_while_a_write_is_under_way(self) -> None:
        """A connection lost in the middle of a large message leaves no file."""
        slow: list[Deferred[None]] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            gate: Deferred[None] = Deferred()
            slow.append(gate)
            return gate.addCallback(lambda _: function(*args))

        storage = make(self.root, self.clock, in_thread)
        sink = storage.receive(envelope())
        sink.write(octets=b"x" * 100_000)
        sink.abort()
        while slow:
            slow.pop(0).callback(None)
        self.assertEqual(self.files(), [])


class FaultTests(SqliteCase):
    """The disk fails."""

    def broken(self, code: int) -> Any:
        def raising(*args: object) -> None:
            raise OSError(code, os.strerror(code))

        return raising

    def commit_large(self) -> Deferred[Any]:
        sink = self.storage.receive(envelope())
        sink.write(octets=b"x" * 100_000)
        sink.write(octets=b"y" * 300_000)
        return as_deferred(sink.commit())

    def test_large_messages(self) -> None:
        """A full or failing disk is a fault that leaves nothing behind, and then it works again."""
        for method in ("create", "publish"):
            for code, fault in ((errno.ENOSPC, StorageFull), (errno.EIO, StorageFault)):
                real = getattr(Spool, method)
                patch = self.patch(Spool, method, self.broken(code))
                self.failureResultOf(self.commit_large(), fault)
                patch.restore()
                self.assertIs(getattr(Spool, method), real)
                self.assertEqual(self.files(), [])
        self.assertEqual(self.result(self.storage.messages(None, 10)), [])
        self.successResultOf(self.commit_large())

    def test_the_row_can_not_be_written(self) -> None:
        """A file without a row would never be delivered: the client is told to try again."""

        def broken(self: object, arrivals: object) -> None:
            raise sqlite3.OperationalError("made for the test")

        self.patch(Ledger, "insert", broken)
        self.failureResultOf(self.commit_large(), StorageFault)
        self.assertEqual(self.files(), [])
