"""Entities found in octets that come piece by piece."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire import mime_walker
from mailframe.wire.mime_header import Entity
from mailframe.wire.mime_walker import TooComplex, Walker


class Notes:
    """A visitor that writes down what it is told, with pieces put together."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bytes]] = []
        self.octets = b""

    def note(self, what: str, octets: bytes) -> None:
        self.octets += octets
        if self.notes and self.notes[-1][0] == what and what in ("body", "between"):
            octets = self.notes.pop()[1] + octets
        self.notes.append((what, octets))

    def entity(self, entity: Entity, header: bytes, *, whole: bool, in_signed: bool) -> None:
        kind = entity.kind + (" message" if whole else "") + (" signed" if in_signed else "")
        self.note(kind, header)

    def body(self, octets: bytes) -> None:
        self.note("body", octets)

    def body_ended(self, *, last: bool) -> None:
        self.note("last end" if last else "end", b"")

    def between(self, octets: bytes, *, in_signed: bool) -> None:
        self.note("between", octets)

    def partless(self) -> None:
        self.note("partless", b"")

    def structure(self, octets: bytes) -> None:
        self.note("structure", octets)


def walk(content: bytes, piece: int = 0) -> Notes:
    """Walk through a message that comes in pieces of a size, or whole."""
    notes = Notes()
    walker = Walker(notes)
    for start in range(0, len(content), piece or len(content) or 1):
        walker.feed(content[start : start + (piece or len(content))])
    walker.finish()
    return notes


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


class WalkerTests(SynchronousTestCase):
    """`Walker`."""

    def found(self, content: bytes) -> list[tuple[str, bytes]]:
        notes = walk(content).notes
        for piece in (1, 2, 3, 7):
            self.assertEqual(walk(content, piece).notes, notes)
        return [note for note in notes if note[1] or note[0].endswith("end")]

    def test_plain(self) -> None:
        """A message of one part would be taken for something else."""
        self.assertEqual(
            self.found(b"A: b\r\n\r\n--b\r\nx\r\n"),
            [
                ("leaf message", b"A: b\r\n"),
                ("structure", b"\r\n"),
                ("body", b"--b\r\nx\r\n"),
                ("last end", b""),
            ],
        )
        self.assertEqual(self.found(b"A: b"), [("leaf message", b"A: b\r\n"), ("last end", b"")])
        self.assertEqual(self.found(b""), [("last end", b"")])
        self.assertEqual(
            self.found(b"\r\nx"), [("structure", b"\r\n"), ("body", b"x"), ("last end", b"")]
        )

    def test_parts(self) -> None:
        """Parts would begin or end at the wrong octet."""
        self.assertEqual(
            self.found(
                MIXED
                + b"pre\r\n--b \t\r\n\r\none\r\n\r\n--b\r\nX: y\r\n--bb\r\n\r\n--c\r\n--b--\r\npost"
            ),
            [
                ("multipart message", MIXED[:-2]),
                ("structure", b"\r\n"),
                ("between", b"pre"),
                ("structure", b"\r\n--b \t\r\n"),
                ("structure", b"\r\n"),
                ("body", b"one\r\n"),
                ("end", b""),
                ("structure", b"\r\n--b\r\n"),
                ("leaf", b"X: y\r\n--bb\r\n"),
                ("structure", b"\r\n"),
                ("body", b"--c"),
                ("end", b""),
                ("structure", b"\r\n--b--\r\n"),
                ("between", b"post"),
            ],
        )

    def test_parts_without_an_empty_line(self) -> None:
        """The next part would be taken for the header of the one before."""
        self.assertEqual(
            self.found(MIXED + b"--b\r\nX: y\r\n--b\r\n--b--")[2:],
            [
                ("structure", b"--b\r\n"),
                ("leaf", b"X: y\r\n"),
                ("end", b""),
                ("structure", b"--b\r\n"),
                ("end", b""),
                ("structure", b"--b--"),
            ],
        )

    def test_nested(self) -> None:
        """A part of an outer level would be taken for one of an inner level."""
        inner = MIXED.replace(b"=b", b"=i").replace(b"mixed", b"signed")
        content = (
            MIXED
            + b"--b\r\n"
            + inner
            + b"--i\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
            + b"S: t\r\n\r\ny\r\n--i--\r\n--b--"
        )
        self.assertEqual(
            [note for note in self.found(content) if note[0] not in ("structure", "end")],
            [
                ("multipart message", MIXED[:-2]),
                ("multipart", inner[:-2]),
                ("body", b"x"),
                ("message", b"Content-Type: message/rfc822\r\n"),
                ("leaf message", b"S: t\r\n"),
                ("body", b"y\r\n--i--"),
            ],
        )
        self.assertIn(("leaf signed", b""), walk(content).notes)

    def test_digest(self) -> None:
        """The header of a message within a digest would be taken for text."""
        content = MIXED.replace(b"mixed", b"digest") + b"--b\r\n\r\nS: t\r\n\r\nx\r\n--b--"
        self.assertIn(("leaf message", b"S: t\r\n"), self.found(content))

    def test_ends_like_a_delimiter(self) -> None:
        """A boundary that ends in two hyphens would end the message early."""
        content = MIXED.replace(b"=b", b"=b--") + b"--b--\r\n\r\nx\r\n--b----\r\n"
        self.assertIn(("body", b"x"), self.found(content))

    def test_bounds(self) -> None:
        """A message could be made that takes for ever, or all memory."""
        part = b"--b\r\n\r\n"
        for content in (
            MIXED + part * (mime_walker.MAX_ENTITIES + 1),
            b"X: y\r\n" * (mime_walker.MAX_HEADER // 6 + 1),
            b"x" * (mime_walker.MAX_HEADER + 1),
            b"".join(
                b"Content-Type: multipart/x; boundary=%d\r\n\r\n--%d\r\n" % (n, n)
                for n in range(mime_walker.MAX_DEPTH + 1)
            ),
            b"Content-Type: message/rfc822\r\n\r\n" * (mime_walker.MAX_ENTITIES + 1),
        ):
            with self.assertRaises(TooComplex):
                walk(content)

    def test_memory(self) -> None:
        """A body could be made that stands whole in memory."""
        for line in (b"--", b"\r\n--", b"--b", b"\r", b"-", b"\n"):
            walker = Walker(Notes())
            walker.feed(MIXED + line)
            for _ in range(20):
                walker.feed(b"x" * 10_000)
                self.assertLess(len(walker._buffer), 2_000)

    def test_time(self) -> None:
        """A message could be made whose time grows with the square of its size."""
        for unit in (b"\r\n--", b"\r\n--b x", b"--", b"\r", b"\r\n", b"\r\n--b", b"-"):
            took = []
            for size in (50_000, 200_000):
                content = MIXED + unit * (size // len(unit))
                began = time.process_time()
                try:
                    walk(content, 65_536)
                except TooComplex:
                    break
                took.append(time.process_time() - began)
            if len(took) == 2 and took[1] > 0.1:
                self.assertLess(took[1] / took[0], 12, unit)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.sampled_from(
                [
                    *(MIXED, b"Content-Type: message/rfc822\r\n\r\n", b"X: y\r\n", b"\r\n"),
                    *(b"--b", b"--b--", b"--", b"-", b"x", b"\r", b"\n"),
                ]
            ),
            max_size=25,
        ).map(b"".join),
        st.integers(1, 9),
    )
    def test_anything(self, content: bytes, piece: int) -> None:
        """How the network or the disk cuts a message would change it; or octets would be lost."""
        whole, cut = walk(content), walk(content, piece)
        self.assertEqual(whole.notes, cut.notes)
        self.assertIn(whole.octets, (content, content + b"\r\n"))
