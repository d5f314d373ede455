"""Content as BDAT chunks."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sender_chunks import ChunkEncoder

PIECES = st.lists(st.lists(st.sampled_from([b"\r", b"\n", b".", b"x"])).map(b"".join))


def parse(wire: bytes) -> tuple[list[int], bytes]:
    """The sizes of the chunks, and what they hold; the last of them has to be marked."""
    sizes, content = [], b""
    while True:
        match = re.match(rb"BDAT ([0-9]+)( LAST)?\r\n", wire)
        assert match, wire
        size = int(match[1])
        sizes.append(size)
        content += wire[match.end() : match.end() + size]
        wire = wire[match.end() + size :]
        if match[2]:
            assert not wire
            return sizes, content


def encode(pieces: list[bytes], *, binary: bool) -> bytes:
    """The pieces as they go over the wire."""
    encoder = ChunkEncoder(binary=binary)
    return b"".join([encoder.encode(piece) for piece in pieces]) + encoder.finish()


class ChunkEncoderTests(SynchronousTestCase):
    """`ChunkEncoder`."""

    def test_pieces(self) -> None:
        """The end of the content would not be marked, or octets be lost."""
        for pieces, sizes in (
            ([], [0]),
            ([b""], [0]),
            ([b"ab"], [2]),
            ([b"ab", b"", b"c", b"d"], [2, 1, 1]),
        ):
            self.assertEqual(parse(encode(pieces, binary=True)), (sizes, b"".join(pieces)))

    @settings(deadline=None, max_examples=100)
    @given(PIECES)
    def test_binary(self, pieces: list[bytes]) -> None:
        """Octets would be changed in content that is to go through as it is."""
        self.assertEqual(parse(encode(pieces, binary=True))[1], b"".join(pieces))

    @settings(deadline=None, max_examples=150)
    @given(PIECES)
    def test_text(self, pieces: list[bytes]) -> None:
        """A receiver could see a line end, and so the end of a message, where we saw none."""
        _, content = parse(encode(pieces, binary=False))
        self.assertEqual(
            content, re.sub(rb"\r\n|\r|\n", b"\r\n", b"".join(pieces)), b"|".join(pieces)
        )
