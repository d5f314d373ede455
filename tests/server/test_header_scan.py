"""The header section as it streams by: `mailframe.server.header_scan`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.server.header_scan import LOOP, TOO_LARGE, HeaderScan, with_blank_line


def scan(*chunks: bytes, size: int = 1000, hops: int = 3) -> tuple[Reply | None, bool]:
    """The verdict about a message in chunks, and whether the section's end was seen."""
    header = HeaderScan(max_size=size, max_hops=hops)
    for chunk in chunks:
        refusal = header.scan(chunk)
        if refusal or header.ended:
            return refusal, header.ended
    return None, header.ended


class HeaderScanTests(SynchronousTestCase):
    """Loops are broken, and messages that don't loop are let through."""

    HOP = b"Received: from a by b;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n"

    def cuts(self, message: bytes) -> list[tuple[bytes, ...]]:
        """The message whole, in two chunks everywhere, and in single octets."""
        halves = [(message[:cut], message[cut:]) for cut in range(1, len(message))]
        return [(message,), *halves, tuple(bytes([octet]) for octet in message)]

    def test_loop(self) -> None:
        """A message that passed too many servers is refused, however it is cut."""
        for chunks in self.cuts(self.HOP.upper() + b"Subject: x\r\n" + self.HOP * 2 + b"\r\nbody"):
            self.assertEqual(scan(*chunks)[0], LOOP)

    def test_few_hops(self) -> None:
        """Fields in the body or in a continuation line are not hops."""
        message = (
            self.HOP * 2
            + b"X: a\r\n Received: b\r\nNot-Received: c\r\nX-Received: d\r\n\r\n"
            + self.HOP * 5
        )
        for chunks in self.cuts(message):
            self.assertEqual(scan(*chunks), (None, True))

    def test_no_blank_line(self) -> None:
        """A message that is no more than text has no header section to be too large."""
        for line in (
            b"just text without a colon\r\n",
            b"From a@x.example\r\n",
            b": x\r\n",
            b"\r\n",
        ):
            for chunks in self.cuts(line + self.HOP * 4):
                self.assertEqual(scan(*chunks), (None, True), chunks)

    def test_too_large(self) -> None:
        """A header section without end is refused, whatever its lines are like."""
        for line, count in ((b"X-Field: some text\r\n", 100), (b"X: " + b"y" * 500, 3)):
            chunks = [line] * count
            self.assertEqual(scan(*chunks)[0], TOO_LARGE)
            self.assertEqual(scan(b"".join(chunks))[0], TOO_LARGE)
        self.assertEqual(scan(b"X: " + b"y" * 990 + b"\r\n\r\nbody"), (None, True))

    def test_long_body(self) -> None:
        """The size of the body doesn't count, also when it comes with the header section."""
        self.assertEqual(scan(b"X: y\r\n\r\n" + b"z" * 5000), (None, True))

    def test_memory(self) -> None:
        """A field without end is not kept."""
        header = HeaderScan(max_size=10**9, max_hops=3)
        header.scan(b"X: ")
        for _ in range(100):
            header.scan(b"y" * 1000)
        self.assertLess(len(header._tail), 300)

    def test_cut_before_a_distant_colon(self) -> None:
        """Where a message is cut decides what counts as its header."""
        for line in (b"X" + b" " * 400 + b": y\r\n", b"X" * 190 + b" " * 15 + b": y\r\n"):
            message = line + self.HOP * 3 + b"\r\n"
            for chunks in self.cuts(message)[:500]:
                self.assertEqual(scan(*chunks)[0], scan(message)[0], chunks)

    def test_separated(self) -> None:
        """A header section that ends otherwise is kept as it is."""
        for message, separated in (
            (b"A: b\r\n\r\nbody\r\n", True),
            (b"\r\nbody\r\n", True),
            (b"A: b\r\n c\r\n\r\n", True),
            (b"A: b\r\nbody\r\n\r\n", False),
            (b" b\r\n\r\n", False),
            (b"\tb\r\nA: b\r\n\r\n", False),
        ):
            for chunks in self.cuts(message):
                header = HeaderScan(max_size=1000, max_hops=3)
                for chunk in chunks:
                    if not header.ended:
                        header.scan(chunk)
                self.assertEqual((header.ended, header.separated), (True, separated), chunks)

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(
            st.sampled_from([b"Received: x\r\n", b"A: b\r\n", b" c\r\n", b"\r\n", b"text\r\n"])
        ),
        st.data(),
    )
    def test_chunks_do_not_matter(self, lines: list[bytes], data: st.DataObject) -> None:
        """The verdict is the same however the message is cut."""
        message = b"".join(lines)
        hops = 0
        for index, line in enumerate(lines):
            if b":" not in line and (line[:1] != b" " or index == 0):
                break
            hops += line.startswith(b"Received:")
        chunks = []
        left = message
        while left:
            cut = data.draw(st.integers(1, len(left)))
            chunks.append(left[:cut])
            left = left[cut:]
        expected = LOOP if hops >= 3 else None
        # The last line of all is never looked at: a message ends in a body, or has no loop to fear.
        self.assertEqual(scan(*chunks, b"\r\n")[0], expected)


class BlankLineTests(SynchronousTestCase):
    def test_inserted(self) -> None:
        """What follows a line that is no field is header to one program and body to the next."""
        for header, body in (
            (b"A: b\r\n", b"text\r\nB: c\r\n\r\n"),
            (b"A: b\r\n c\r\n", b"From x\r\nB: c\r\n"),
            (b"", b">From x\r\nB: c\r\n"),
            (b"", b" continues what stands before the message\r\nB: c\r\n"),
            (b"", b"\tthe same"),
            (b"A: b\r\n", b"unfinished"),
            (b"A: b\r\n", b"X" * 300 + b": c\r\n"),
        ):
            self.assertEqual(with_blank_line(header + body), header + b"\r\n" + body)

    def test_not_inserted(self) -> None:
        """A proper message is changed, and its signature with it."""
        for message in (
            b"",
            b"\r\n",
            b"\r\n body\r\n",
            b"A: b\r\n",
            b"A: b\r\n\r\nbody\r\n",
            b"A: b\r\n \r\n c\r\n\r\nbody\r\n",
            b"X" * 150 + b": c\r\n\r\n",
        ):
            self.assertEqual(with_blank_line(message), message)
