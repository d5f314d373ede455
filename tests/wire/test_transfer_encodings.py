"""Quoted-printable and base64, piece by piece."""

from __future__ import annotations

import base64
import quopri

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.transfer_encodings import Base64, BodyEncoder, QuotedPrintable

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b".", b"=", "ü".encode(), b"x" * 40])).map(
            b"".join
        ),
    )
)


def encode(encoder: BodyEncoder, pieces: list[bytes]) -> bytes:
    """All pieces."""
    return b"".join([encoder.encode(piece) for piece in pieces]) + encoder.finish()


class EncodingTests(SynchronousTestCase):
    """Both encodings."""

    def assert_lines(self, encoded: bytes) -> None:
        self.assertTrue(encoded.isascii())
        self.assertNotIn(b"\0", encoded)
        for line in encoded.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)
            self.assertNotIn(b"\n", line)
            self.assertNotIn(b"\r", line)
            self.assertFalse(line.endswith((b" ", b"\t")))

    @settings(deadline=None, max_examples=100)
    @given(PIECES)
    def test_quoted_printable(self, pieces: list[bytes]) -> None:
        """Text would arrive as something else."""
        encoded = encode(QuotedPrintable(), pieces)
        self.assert_lines(encoded)
        self.assertEqual(quopri.decodestring(encoded.replace(b"=\r\n", b"")), b"".join(pieces))

    @settings(deadline=None, max_examples=100)
    @given(PIECES)
    def test_base64(self, pieces: list[bytes]) -> None:
        """Attachments would arrive as something else."""
        encoded = encode(Base64(), pieces)
        self.assert_lines(encoded)
        self.assertEqual(base64.b64decode(encoded), b"".join(pieces))
        self.assertEqual(encoded.split(), base64.encodebytes(b"".join(pieces)).split())

    def test_width(self) -> None:
        """Lines would be longer than 76 characters, at which some servers break them."""
        for size in range(70, 80):
            for end in (b"", b" ", b"=", b"\xff", b" \t", b"\xff x", b"=\xff=", b"x" * 76):
                encoded = encode(QuotedPrintable(), [b"x" * size + end])
                self.assert_lines(encoded)
                self.assertEqual(quopri.decodestring(encoded), b"x" * size + end)

    def test_line_ends(self) -> None:
        """Text would gain or lose a line."""
        self.assertEqual(encode(QuotedPrintable(), [b"a\r", b"\nb"]), b"a\r\nb")
        self.assertEqual(encode(QuotedPrintable(), [b"a \r\n"]), b"a=20\r\n")
        self.assertEqual(encode(QuotedPrintable(), []), b"")
        self.assertEqual(encode(Base64(), []), b"")

    def test_endless_line(self) -> None:
        """A line without end would stand whole in memory."""
        encoder = QuotedPrintable()
        encoder.encode(b"x" * 1_000_000)
        self.assertLess(len(encoder._held), 10_000)
        encoded = encode(QuotedPrintable(), [b"x" * 30_000])
        self.assert_lines(encoded)
        self.assertEqual(quopri.decodestring(encoded), b"x" * 30_000)
