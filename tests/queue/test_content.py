"""Covers mailframe.queue.content."""

import io

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.guard import as_deferred
from mailframe.interfaces import IContent
from mailframe.queue.content import PIECE, BytesContent, FileContent, beginning

OCTETS = bytes(range(256)) * 700


class ContentTests(SynchronousTestCase):
    """Reading in bounded pieces."""

    def pieces(self, content: IContent) -> list[bytes]:
        pieces = []
        while piece := self.successResultOf(as_deferred(content.read())):
            pieces.append(piece)
        self.assertEqual(self.successResultOf(as_deferred(content.read())), b"")
        content.close()
        return pieces

    def test_whole_and_bounded(self) -> None:
        """A reader gets all octets, never more at a time than was promised."""
        for content in (BytesContent(OCTETS), FileContent(io.BytesIO(OCTETS), maybeDeferred)):
            pieces = self.pieces(content)
            self.assertEqual(b"".join(pieces), OCTETS)
            self.assertLessEqual(max(map(len, pieces)), PIECE)

    def test_the_file_is_closed(self) -> None:
        """Descriptors must not leak."""
        file = io.BytesIO(OCTETS)
        FileContent(file, maybeDeferred).close()
        self.assertTrue(file.closed)

    def test_beginning(self) -> None:
        """A notice about a message of a gigabyte takes a gigabyte."""

        def read(limit: int, until: bytes | None = None) -> bytes:
            content = BytesContent(OCTETS)
            return self.successResultOf(as_deferred(beginning(content, limit, until)))

        self.assertEqual(read(10), OCTETS[:10])
        self.assertEqual(read(PIECE + 1), OCTETS[: PIECE + 1])
        self.assertEqual(read(PIECE + 1, until=b"\x10\x11"), OCTETS[:PIECE])
        self.assertEqual(read(10**9), OCTETS)
