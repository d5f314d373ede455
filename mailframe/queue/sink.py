"""One message on its way into the SQLite queue: in memory, or in a file once it is large."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from mailframe.envelope import Envelope
from mailframe.interfaces import IMessageSink, StorageFault, StorageFull
from mailframe.queue.ids import id_text
from mailframe.queue.ledger import Arrival
from mailframe.queue.room import Room
from mailframe.queue.seals import checksum
from mailframe.queue.spool import Spool, SpoolFile

log = Logger()

WRITE_AT = 262_144  # octets gathered before a thread writes them to a file


class Keeper(Protocol):
    """What a sink needs of its storage: `mailframe.queue.sqlite.SqliteStorage`."""

    spool: Spool
    room: Room
    in_thread: Callable[..., Deferred[Any]]

    @property
    def inline(self) -> int:
        """Contents up to this many octets go into the database."""

    def keep(self, arrival: Arrival) -> Deferred[None]:
        """Commit a message; fires when it would survive a power cut."""


@implementer(IMessageSink)
class Sink:
    """One message.

    :param storage: the queue it goes into
    :param key: its id, as a number
    :param envelope: what is known of it besides its content
    """

    def __init__(self, storage: Keeper, key: int, envelope: Envelope) -> None:
        self.id = id_text(key)
        self._storage = storage
        self._key = key
        self._envelope = envelope
        self._size = 0
        self._checksum = 0  # of what was written to a file
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._file: SpoolFile | None = None
        self._writing: Deferred[None] | None = None
        self._fault: Exception | None = None
        self._ended = False

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Take the next octets."""
        self._size += len(octets)
        if self._fault is not None:
            return None  # commit() tells; what is still coming goes nowhere
        self._pieces.append(octets)
        self._gathered += len(octets)
        if self._size <= self._storage.inline:
            return None
        if self._writing is None and (self._gathered >= WRITE_AT or self._file is None):
            self._flush()
        if self._writing is not None and self._gathered >= WRITE_AT:
            room: Deferred[None] = Deferred()
            self._writing.chainDeferred(room)
            return room
        return None

    def _flush(self) -> Deferred[None]:
        """Have a thread write what was gathered; fires when it is done, with or without success."""
        pieces, self._pieces, gathered, self._gathered = self._pieces, [], self._gathered, 0
        writing: Deferred[None]
        if self._storage.room.has_room(gathered):
            self._storage.room.take(gathered)
            writing = self._storage.in_thread(self._write_pieces, pieces)
        else:
            writing = fail(OSError(errno.ENOSPC, "what room is left is kept in reserve"))
        self._writing = writing

        def done(result: Any) -> None:
            self._writing = None
            if result is not None:
                self._fault = result.value
                self._pieces.clear()
            if self._ended:
                self._discard()

        writing.addBoth(done)
        return writing

    def _write_pieces(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = self._storage.spool.create(self._key)
        octets = memoryview(b"".join(pieces))
        self._checksum = checksum(octets, self._checksum)
        while octets:
            octets = octets[self._file.write(octets) :]

    def commit(self) -> Awaitable[None]:
        """Fires when it would survive a power cut."""
        if self._size <= self._storage.inline:
            return self._keep(b"".join(self._pieces))
        return self._commit_file()

    async def _commit_file(self) -> None:
        await self._publish()
        try:
            await self._keep(None)
        except StorageFault:
            self._discard()
            raise

    def _keep(self, content: bytes | None) -> Deferred[None]:
        self._ended = True
        return self._storage.keep(
            Arrival(
                key=self._key,
                envelope=self._envelope,
                size=self._size,
                content=content,
                checksum=self._checksum,
            )
        )

    async def _publish(self) -> None:
        try:
            if self._writing is not None:
                waited: Deferred[None] = Deferred()
                self._writing.chainDeferred(waited)
                await waited
            if self._fault is None:
                await self._flush()
            if self._fault is not None:
                raise self._fault
            await self._storage.in_thread(self._storage.spool.publish, self._key, self._file)
        except OSError as error:
            self._ended = True
            self._discard()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("no room left for the content of a message") from error
            raise StorageFault(f"{type(error).__name__}: {error.strerror}") from error

    def abort(self) -> None:
        """Forget it."""
        self._ended = True
        self._pieces.clear()
        if self._writing is None:
            self._discard()

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._storage.in_thread(self._storage.spool.discard, self._key).addErrback(
                lambda failure: log.failure("discarding a content", failure=failure)
            )
