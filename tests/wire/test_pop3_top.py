"""The beginning of a message."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.pop3_top import Top


def expected(message: bytes, lines: int) -> bytes:
    """The same with all in memory, line by line."""
    found, in_body = b"", False
    for line in message.splitlines(keepends=True) if message else []:
        if in_body and lines <= 0:
            break
        found += line
        if in_body:
            lines -= 1
        elif line.strip(b"\r\n") == b"" and line != b"\r":
            in_body = True
    return found


class TopTests(SynchronousTestCase):
    """TOP shows the header section and as many lines as were asked for."""

    def test_cuts(self) -> None:
        """A client that previews messages sees neither less nor more than it asked for."""
        for ending in (b"\n", b"\r\n"):
            message = b"A: b|C: d||1|2|3|".replace(b"|", ending)
            for lines, shown in (
                (0, b"A: b|C: d||"),
                (2, b"A: b|C: d||1|2|"),
                (9, b"A: b|C: d||1|2|3|"),
            ):
                top = Top(lines)
                self.assertEqual(top.take(message), shown.replace(b"|", ending))
                self.assertEqual(top.done, lines != 9)

    def test_no_more_once_done(self) -> None:
        """What comes after the last line wanted is not sent."""
        top = Top(0)
        top.take(b"A: b\n\n")
        self.assertEqual(top.take(b"secret"), b"")

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\n\n", b"bc"]), max_size=12),
        st.integers(0, 4),
        st.integers(1, 5),
    )
    def test_chunks(self, parts: list[bytes], lines: int, size: int) -> None:
        """The cut is the same wherever a file's pieces end."""
        message = b"".join(parts)
        top = Top(lines)
        taken = b"".join(top.take(message[i : i + size]) for i in range(0, len(message), size))
        self.assertEqual(taken, expected(message, lines))
