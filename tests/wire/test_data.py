"""Content on the wire: `mailframe.wire.data`; all short strings are in `test_data_exhaustive`."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.data import DataDecoder, DataEncoder
from tests.wire.reference import read_data


def fast_decode(*chunks: bytes, limit: int = 0) -> tuple[bytes | None, bytes | None, str | None]:
    """What `DataDecoder` makes of the same in chunks."""
    decoder = DataDecoder(limit)
    content = b""
    for position, chunk in enumerate(chunks):
        content += decoder.decode(chunk)
        if decoder.finished:
            rest = decoder.rest + b"".join(chunks[position + 1 :])
            return (None if decoder.fault else content), rest, decoder.fault
    return None, None, decoder.fault


class DecoderTests(SynchronousTestCase):
    """The end of a message is where the sender's own server put it, and nowhere else."""

    def test_smuggling(self) -> None:
        """The sequences of published attacks end nothing, and make the message refused."""
        for sequence in (
            b"\n.\n",
            b"\r.\r",
            b"\r.\n",
            b"\n.\r",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
        ):
            stream = b"Subject: x\r\n\r\nhello" + sequence + b"MAIL FROM:<>\r\n.\r\nQUIT\r\n"
            for cut in range(len(stream)):
                content, rest, fault = fast_decode(stream[:cut], stream[cut:])
                self.assertIsNone(content, sequence)
                self.assertEqual(rest, b"QUIT\r\n", (sequence, cut))
                self.assertIn(fault, ("bare line end", "null"))

    def test_null_elsewhere(self) -> None:
        """NUL inside a line is content like any other (RFC 5321 §4.1.1.4)."""
        self.assertEqual(fast_decode(b"a\0.b\r\n.\r\n"), (b"a\0.b\r\n", b"", None))

    def test_line_limit(self) -> None:
        """A line of the limit is taken, a longer one refused; the stuffed dot doesn't count."""
        for octets, good in (
            (b"12345678\r\n", True),
            (b"123456789\r\n", False),
            (b".12345678\r\n", True),
            (b".123456789\r\n", False),
            (b"short\r\n" * 5 + b"12345678\r\n" + b"1\r\n", True),
            (b"short\r\n" * 5 + b"123456789\r\n" + b"1\r\n", False),
        ):
            stream = octets + b".\r\n"
            for cut in range(len(stream)):
                content, rest, fault = fast_decode(stream[:cut], stream[cut:], limit=10)
                self.assertEqual(rest, b"")
                self.assertEqual(content is not None, good, (stream, cut))
                self.assertEqual(fault, None if good else "line too long")
            singly = (bytes([octet]) for octet in stream)
            self.assertEqual(fast_decode(*singly, limit=10)[0] is not None, good)

    def test_worse_fault_wins(self) -> None:
        """A long line does not hide that a smuggling attempt follows."""
        stream = (b"x" * 20 + b"\r\n", b"y\nz\r\n.\r\n")
        self.assertEqual(fast_decode(*stream, limit=10), (None, b"", "bare line end"))

    @settings(deadline=None, max_examples=150)
    @given(st.binary(max_size=200) | st.text("\r\n.\0a").map(str.encode), st.data())
    def test_random_chunks(self, octets: bytes, data: st.DataObject) -> None:
        """However content is cut, the decoder sees the same."""
        stream = octets + b"\r\n.\r\nNOOP\r\n"
        chunks = []
        left = stream
        while left:
            cut = data.draw(st.integers(1, len(left)))
            chunks.append(left[:cut])
            left = left[cut:]
        expected = read_data(stream)
        assert expected is not None
        self.assertEqual(fast_decode(*chunks)[:2], (expected.content, expected.rest))

    def test_cost_is_linear(self) -> None:
        """A message of dots or of line ends costs no more than others: nothing is kept back."""
        for octets in (b"\r\n" * 50_000, b"\r\n.." * 25_000, b"." * 100_000):
            decoder = DataDecoder(0)
            given = sum(len(decoder.decode(octets)) for _ in range(10))
            self.assertGreater(given, len(octets) * 10 * 0.7)


class EncoderTests(SynchronousTestCase):
    """What we send has one meaning for every receiver."""

    def encode(self, *chunks: bytes) -> bytes:
        """The wire form of content in chunks."""
        encoder = DataEncoder()
        return b"".join(map(encoder.encode, chunks)) + encoder.finish()

    def test_examples(self) -> None:
        """Dots are stuffed on every line, the first included; the last line is completed."""
        self.assertEqual(self.encode(), b".\r\n")
        self.assertEqual(self.encode(b".a\r\n..\r\nb"), b"..a\r\n...\r\nb\r\n.\r\n")
        self.assertEqual(self.encode(b"a\r\n"), b"a\r\n.\r\n")
        self.assertEqual(self.encode(b"a\n.b\rc\r\r\n"), b"a\r\n..b\r\nc\r\n\r\n.\r\n")
        self.assertEqual(self.encode(b"a\r", b"\n.", b"b"), b"a\r\n..b\r\n.\r\n")
        self.assertEqual(self.encode(b"a\r", b""), b"a\r\n.\r\n")
        self.assertEqual(self.encode(b"\r", b"\r", b".\r\n"), b"\r\n\r\n..\r\n.\r\n")

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.binary(max_size=50)))
    @example([b"\r\n", b".", b"\r\n"])
    def test_round_trip(self, chunks: list[bytes]) -> None:
        """Our own receiver reads what our own sender sends."""
        chunks = [re.sub(rb"[\r\n\0]+", b"\r\n", chunk) for chunk in chunks]
        content = b"".join(chunks)
        wire = self.encode(*chunks)
        if content and not content.endswith(b"\r\n"):
            content += b"\r\n"
        self.assertEqual(fast_decode(wire), (content, b"", None))
