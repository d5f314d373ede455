"""Covers mailframe.queue.content."""

import os

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.files import Files
from mailframe.guard import as_deferred
from mailframe.interfaces import IContent, StorageFault
from mailframe.queue.content import PIECE, BytesContent, FileContent, SealedContent, beginning
from mailframe.queue.seals import Kept, checksum
from mailframe.queue.spool import SpoolFile

OCTETS = bytes(range(256)) * 700


class ContentTests(SynchronousTestCase):
    """Reading in bounded pieces."""

    def file(self, octets: bytes) -> SealedContent:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(octets)
        files = Files()
        self.spooled = SpoolFile(files, files.open(path, os.O_RDONLY))
        self.addCleanup(self.spooled.close)
        kept = Kept(checksum(OCTETS), len(OCTETS), "")
        return SealedContent(self.spooled, maybeDeferred, kept, self.damaged)

    async def damaged(self) -> None:
        self.told += 1

    def pieces(self, content: IContent) -> list[bytes]:
        pieces = []
        while piece := self.successResultOf(as_deferred(content.read())):
            pieces.append(piece)
        self.assertEqual(self.successResultOf(as_deferred(content.read())), b"")
        content.close()
        return pieces

    def test_whole_and_bounded(self) -> None:
        """A reader gets all octets, never more at a time than was promised."""
        for content in (BytesContent(OCTETS), self.file(OCTETS)):
            pieces = self.pieces(content)
            self.assertEqual(b"".join(pieces), OCTETS)
            self.assertLessEqual(max(map(len, pieces)), PIECE)

    def test_the_file_is_closed(self) -> None:
        """Descriptors must not leak."""
        content = self.file(OCTETS)
        content.close()
        self.assertTrue(self.spooled.closed)

    def test_a_damaged_file(self) -> None:
        """A message would be delivered that is not the one that was accepted."""
        flipped = bytearray(OCTETS)
        flipped[100_000] ^= 4
        for octets in (bytes(flipped), OCTETS[:-1], OCTETS + b"x" * PIECE, b""):
            self.told = 0
            content = self.file(octets)
            fault = None
            while fault is None:
                reading = as_deferred(content.read())
                if isinstance(reading.result, Failure):
                    fault = self.failureResultOf(reading, StorageFault)
                else:
                    self.assertNotEqual(self.successResultOf(reading), b"")
            self.assertEqual(self.told, 1)

    def test_a_damaged_file_as_it_stands(self) -> None:
        """Nobody could save what is left of a message."""
        self.file(OCTETS[:-1])
        content = FileContent(self.spooled, maybeDeferred)
        self.assertEqual(b"".join(self.pieces(content)), OCTETS[:-1])

    def test_beginning(self) -> None:
        """A notice about a message of a gigabyte takes a gigabyte."""

        def read(limit: int, until: bytes | None = None) -> bytes:
            content = BytesContent(OCTETS)
            return self.successResultOf(as_deferred(beginning(content, limit, until)))

        self.assertEqual(read(10), OCTETS[:10])
        self.assertEqual(read(PIECE + 1), OCTETS[: PIECE + 1])
        self.assertEqual(read(PIECE + 1, until=b"\x10\x11"), OCTETS[:PIECE])
        self.assertEqual(read(10**9), OCTETS)
