"""Reading the content of a queued message, from memory or from a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.guard import as_deferred
from mailframe.interfaces import IContent, StorageFault
from mailframe.queue.seals import Kept, checksum
from mailframe.queue.spool import SpoolFile

PIECE = 65_536  # octets; the most that one read gives


@implementer(IContent)
class BytesContent:
    """Content that is in memory anyway."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    async def read(self) -> bytes:
        """The next piece."""
        piece = self._octets[self._at : self._at + PIECE]
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Let go of it."""
        self._octets = b""


@implementer(IContent)
class FileContent:
    """Content in a file as it stands, read in a thread, a piece at a time."""

    def __init__(self, file: SpoolFile, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._file = file
        self._in_thread = in_thread

    async def read(self) -> bytes:
        """The next piece."""
        piece: bytes = await self._in_thread(self._read)
        return piece

    def _read(self) -> bytes:
        return self._file.read(PIECE)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class SealedContent(FileContent):
    """Content in a file, and nothing but what was written to it.

    That is known at its end only. As nobody takes a message for whole before that, one that is
    damaged is not delivered.

    :param kept: what it must be like
    :param damaged: called when it is not
    """

    def __init__(
        self,
        file: SpoolFile,
        in_thread: Callable[..., Deferred[Any]],
        kept: Kept,
        damaged: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(file, in_thread)
        self._kept = kept
        self._damaged = damaged
        self._size = 0
        self._checksum = 0

    async def read(self) -> bytes:
        """The next piece. :raises StorageFault: the content is damaged"""
        piece = await super().read()
        is_longer = self._size > self._kept.size
        if is_longer or (not piece and not self._kept.is_content(self._size, self._checksum)):
            await self._damaged()
            raise StorageFault("the content is not as it was written")
        return piece

    def _read(self) -> bytes:
        piece = super()._read()
        self._size += len(piece)
        self._checksum = checksum(piece, self._checksum)
        return piece


async def beginning(content: IContent, limit: int, until: bytes | None = None) -> bytes:
    """Read a content from its start.

    :param limit: how many octets at the most
    :param until: octets at which reading ends as well; they are in what is returned
    """
    octets = b""
    while len(octets) < limit and (until is None or until not in octets):
        piece = await as_deferred(content.read())
        if not piece:
            break
        octets += piece
    return octets[:limit]
