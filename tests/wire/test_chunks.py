"""Content in chunks: `mailframe.wire.chunks`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.chunks import ChunkDecoder

OCTETS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b".", b"a", b"\xff", b"bcdefgh"]), max_size=20
).map(b"".join)


def fault_of(content: bytes, limit: int) -> str | None:
    """The first fault of a text, in the order in which its lines come; a tiny slow reference."""
    found = []
    place = 0
    for line in content.split(b"\r\n"):
        for mark in (b"\r", b"\n"):
            if mark in line:
                found.append("bare line end")
        if line.startswith(b"\0"):
            found.append("null")
        place += len(line) + 2
        if limit and len(line) + 2 * (place <= len(content)) > limit:
            found.append("line too long")
    return found[0] if found else None


def cut(octets: bytes, sizes: list[int]) -> list[bytes]:
    """The octets in pieces of these sizes; the last has the rest."""
    pieces = []
    for size in sizes:
        pieces.append(octets[:size])
        octets = octets[size:]
    return [*pieces, octets]


class ChunkTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(
        OCTETS,
        st.lists(st.integers(0, 9), max_size=6),
        st.lists(st.integers(1, 7), max_size=12),
        st.booleans(),
    )
    def test_any_cut(self, content: bytes, sizes: list[int], reads: list[int], text: bool) -> None:
        """What is kept depends on where the network cuts a message, or the client."""
        decoder = ChunkDecoder(text=text, line_limit=12)
        given_out = b""
        for chunk in cut(content, sizes):
            decoder.begin(len(chunk))
            for piece in cut(chunk + b"QUIT\r\n", reads):
                if decoder.finished:
                    break
                given_out += decoder.decode(piece)
            if chunk:
                self.assertTrue((chunk + b"QUIT\r\n").startswith(chunk + decoder.rest))
        decoder.finish()
        self.assertEqual(decoder.total, len(content))
        fault = fault_of(content, 12) if text else None
        self.assertEqual(decoder.fault is None, fault is None)
        if fault is None:
            self.assertEqual(given_out, content)
        else:
            self.assertTrue(content.startswith(given_out))

    def test_faults(self) -> None:
        """The client is told the wrong reason, and mends what is right."""
        for content, fault in (
            (b"a\rb", "bare line end"),
            (b"a\r", "bare line end"),
            (b"\0", "null"),
            (b"a\r\n\0", "null"),
            (b"a\0\r\n", None),
            (b"0123456789\r\n", None),
            (b"0123456789", None),
            (b"0123456789a\r\n", "line too long"),
            (b"0123456789abc", "line too long"),
        ):
            decoder = ChunkDecoder(text=True, line_limit=12)
            decoder.begin(len(content))
            decoder.decode(content)
            decoder.finish()
            self.assertEqual(decoder.fault, fault, content)

    def test_binary(self) -> None:
        """Binary content is changed, or refused for not being text."""
        decoder = ChunkDecoder(text=False)
        decoder.begin(5)
        self.assertEqual(decoder.decode(b"\0\r\r\n"), b"\0\r\r\n")
        self.assertFalse(decoder.finished)
        self.assertEqual(decoder.decode(b"\nNOOP"), b"\n")
        self.assertEqual(decoder.rest, b"NOOP")
        decoder.finish()
        self.assertIsNone(decoder.fault)
