"""Covers mailframe.queue.room."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from mailframe.guard import as_deferred
from mailframe.interfaces import IRoom, StorageFull
from mailframe.queue.room import LOOK_EVERY, RESERVE, RESERVE_FILES, Free, Room, free_at
from tests.queue.samples import envelope, write
from tests.queue.test_sqlite import SqliteCase, make

KB = 1000


class RoomTests(SynchronousTestCase):
    """A disk of which 100 KB and 10 files are kept in reserve."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.free = Free(octets=1000 * KB, files=100)
        self.looks = 0
        self.fault: OSError | None = None
        self.said: list[str] = []
        for level in ("info", "error", "failure"):
            self.patch(
                Logger, level, lambda _log, text, *_, level=level, **fields: self.said.append(level)
            )

    def look(self, folder: str) -> Free:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.free

    def room(self, in_thread: Callable[..., Deferred[Any]] = maybeDeferred) -> Room:
        room = Room("/x", 100 * KB, 10, clock=self.clock, in_thread=in_thread, look=self.look)
        self.addCleanup(room.close)
        return room

    def later(self, seconds: float = LOOK_EVERY) -> None:
        self.clock.advance(seconds)

    def test_reserve(self) -> None:
        """Deliveries stop as well when the disk is full, and nothing gives room back any more."""
        room = self.room()
        self.assertTrue(room.has_room())
        self.assertTrue(room.has_room(899 * KB))
        self.assertFalse(room.has_room(901 * KB))
        for free in (Free(100 * KB, 100), Free(1000 * KB, 10), Free(0, 0)):
            self.free = free
            self.later()
            room.has_room()
            self.assertFalse(room.has_room(), free)
        self.free = Free(101 * KB, math.inf)
        self.later()
        self.assertTrue(room.has_room())

    def test_cost(self) -> None:
        """Each message pays for a look at the disk."""
        room = self.room()
        for _ in range(1000):
            room.has_room()
        self.assertEqual(self.looks, 1)
        self.later()
        for _ in range(1000):
            room.has_room()
        self.assertEqual(self.looks, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_between_looks(self) -> None:
        """A burst of messages takes the whole reserve before anybody looks again."""
        room = self.room()
        for _ in range(8):
            self.assertTrue(room.has_room(100 * KB))
            room.take(100 * KB)
        self.assertFalse(room.has_room(100 * KB))
        self.assertTrue(room.has_room(99 * KB))
        for _ in range(82):
            room.take(0)
        self.assertFalse(room.has_room())
        self.later()
        room.has_room()
        self.assertTrue(room.has_room(899 * KB))  # what had been taken was given back

    def test_said_once(self) -> None:
        """The log fills the disk with lines about the disk that is full."""
        room = self.room()
        self.free = Free(0, 0)
        for _ in range(10):
            self.later()
            room.has_room()
        self.assertEqual(self.said, ["error"])
        self.free = Free(1000 * KB, 100)
        for _ in range(10):
            self.later()
            room.has_room()
        self.assertEqual(self.said, ["error", "info"])

    def test_resumes_by_itself(self) -> None:
        """Mail is refused until somebody restarts the server, or tries in vain once more."""
        room = self.room()
        self.free = Free(0, 100)
        self.later()
        room.has_room()
        self.free = Free(1000 * KB, 100)
        self.later()
        self.assertTrue(room.has_room())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_at_the_start(self) -> None:
        """The start is as good a time to find a full disk as any."""
        self.free = Free(0, 0)
        room = self.room()
        self.assertFalse(room.has_room())
        self.assertEqual(self.said, ["error"])
        room.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_while_it_looks(self) -> None:
        """A server that was stopped goes on looking at its disk."""
        gate: Deferred[None] = Deferred()
        room = self.room(lambda look, folder: gate.addCallback(lambda _: look(folder)))
        self.free = Free(0, 0)
        self.later()
        room.has_room()
        room.close()
        gate.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """A network disk that hangs stops the server, or takes all its threads."""
        waiting: list[Deferred[Any]] = []

        def in_thread(*_: object) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        room = self.room(in_thread)
        for _ in range(10):
            self.later()
            self.assertTrue(room.has_room())
        self.assertEqual(len(waiting), 1)

    def test_hangs_when_short(self) -> None:
        """The same while nothing is taken."""
        self.free = Free(0, 0)
        waiting: list[Deferred[Any]] = []

        def in_thread(*_: object) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        room = self.room(in_thread)
        for _ in range(10):
            self.later()
            self.assertFalse(room.has_room())
        self.assertEqual(len(waiting), 1)

    def test_can_not_be_told(self) -> None:
        """A disk that can't be asked for a moment is taken for a full one."""
        room = self.room()
        self.fault = OSError(errno.EIO, "x")
        for _ in range(10):
            self.later()
            self.assertTrue(room.has_room())
        self.assertEqual(self.said, ["failure"])
        self.fault = None
        self.free = Free(0, 0)
        self.later()
        room.has_room()
        self.assertFalse(room.has_room())

    def test_clock_set_back(self) -> None:
        """For as long as the clock was set back, nobody looks at the disk."""
        room = self.room()
        self.clock.rightNow -= 500
        room.has_room()
        self.assertEqual(self.looks, 2)


class FreeTests(SynchronousTestCase):
    """What the system tells."""

    def test_here(self) -> None:
        """Every message is refused, or none."""
        free = free_at(".")
        self.assertGreater(free.octets, 0)
        self.assertGreater(free.files, 0)
        self.assertRaises(OSError, free_at, "/nowhere/at/all")

    def test_without_a_limit_of_files(self) -> None:
        """On btrfs, which has no such limit, every message is refused."""
        fields = (4096, 4096, 10, 8, 7, 0, 0, 0, 0, 255)
        self.patch(os, "statvfs", lambda _folder: os.statvfs_result(fields))
        self.assertEqual(free_at("."), Free(7 * 4096, math.inf))


class StorageTests(SqliteCase):
    """The queue asks before it begins to keep a message."""

    def full(self, octets: float = 0, files: float = 0) -> None:
        self.storage.room._saw(Free(octets, files))
        self.addCleanup(self.storage.room.close)

    def test_refused(self) -> None:
        """A message is taken that there may be no room for."""
        self.assertTrue(IRoom.providedBy(self.storage))
        self.assertTrue(self.storage.has_room(0))
        self.full()
        self.assertFalse(self.storage.has_room(0))
        self.assertRaises(StorageFull, self.storage.receive, envelope())

    def test_small_messages_are_counted(self) -> None:
        """A burst of small messages takes the whole reserve."""
        self.full(RESERVE + 1000, math.inf)
        sink = self.storage.receive(envelope())
        write(sink, b"x" * 2000)
        self.successResultOf(as_deferred(sink.commit()))
        self.assertFalse(self.storage.has_room(0))

    def test_large_messages_stop_in_time(self) -> None:
        """A message that did not declare its size fills the disk."""
        self.full(RESERVE + 300_000, RESERVE_FILES + 5)
        sink = self.storage.receive(envelope())
        for _ in range(10):
            room = sink.write(octets=b"x" * 65_536)
            if room is not None:
                self.successResultOf(as_deferred(room))
        self.failureResultOf(as_deferred(sink.commit()), StorageFull)
        self.assertEqual(self.files(), [])

    def test_deliveries_go_on(self) -> None:
        """What would give room back is refused for want of room."""
        sink = self.storage.receive(envelope())
        write(sink, b"hello")
        self.successResultOf(as_deferred(sink.commit()))
        self.full()
        now = self.clock.seconds()
        (entry,) = self.successResultOf(as_deferred(self.storage.claim("a", now, 1, now + 60)))
        self.assertEqual(entry.id, sink.id)
        self.successResultOf(as_deferred(self.storage.remove(sink.id, now)))

    def test_no_reserve(self) -> None:
        """Who wants none can't switch it off."""
        self.successResultOf(as_deferred(self.storage.close()))
        self.storage = make(self.root, self.clock, reserve=0, reserve_files=0)
        self.full(5000, 1)
        self.assertTrue(self.storage.has_room(4000))
