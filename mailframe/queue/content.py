"""Reading the content of a queued message, from memory or from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.guard import as_deferred
from mailframe.interfaces import IContent
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
    """Content in a file, read in a thread, a piece at a time."""

    def __init__(self, file: SpoolFile, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._file = file
        self._in_thread = in_thread

    async def read(self) -> bytes:
        """The next piece."""
        piece: bytes = await self._in_thread(self._file.read, PIECE)
        return piece

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


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
