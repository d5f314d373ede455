"""Content on the wire: `mailframe.wire.data`.

``MAILFRAME_LONG=1`` tries all strings up to length 8 instead of 6.
"""

from __future__ import annotations

import itertools
import os
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.data import DataDecoder, DataEncoder

LONGEST = 8 if os.environ.get("MAILFRAME_LONG") else 6


def slow_decode(stream: bytes) -> tuple[bytes | None, bytes | None]:
    """What RFC 5321 §4.5.2 and our rules make of what follows DATA, line by line.

    :returns: the content, ``None`` when it has a fault; and the rest, ``None`` before the end
    """
    lines = []
    rest: bytes | None = None
    remaining = stream
    while True:
        line, found, remaining = remaining.partition(b"\r\n")
        if not found:
            break
        if line == b".":
            rest = remaining
            break
        lines.append(line)
    if rest is None:
        return None, None
    for line in lines:
        if b"\r" in line or b"\n" in line or re.match(rb"\.?\0", line):
            return None, rest
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines), rest


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

    def test_exhaustive(self) -> None:
        """No short string at all smuggles a command, whole or in two segments."""
        tail = b"\r\n.\r\nQUIT\r\n"
        for size in range(LONGEST + 1):
            for letters in itertools.product(b"\r\n.\0a", repeat=size):
                stream = bytes(letters) + tail
                expected = slow_decode(stream)
                self.assertEqual(fast_decode(stream)[:2], expected, stream)
                for cut in range(1, len(stream) - 6):
                    found = fast_decode(stream[:cut], stream[cut:])[:2]
                    self.assertEqual(found, expected, (stream, cut))

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
        self.assertEqual(fast_decode(*chunks)[:2], slow_decode(stream))

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

    def test_exhaustive(self) -> None:
        """No content at all ends early or loses a line at any receiver, in any two chunks."""
        for size in range(LONGEST + 1):
            for letters in itertools.product(b"\r\n.a", repeat=size):
                content = bytes(letters)
                whole = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
                if whole and not whole.endswith(b"\r\n"):
                    whole += b"\r\n"
                for cut in range(size + 1):
                    wire = self.encode(content[:cut], content[cut:])
                    self.assertEqual(slow_decode(wire), (whole, b""), (content, cut))

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
