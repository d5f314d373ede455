"""Covers mailframe.queue.content."""

import io

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.guard import as_deferred
from mailframe.interfaces import IContent
from mailframe.queue.content import PIECE, BytesContent, FileContent

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
