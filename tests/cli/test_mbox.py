"""The form in which several messages stand in one file."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.cli.mbox import Quoted, from_line


def quoted(*pieces: bytes) -> bytes:
    quoting = Quoted()
    return b"".join(map(quoting.feed, pieces)) + quoting.end()


class Quoting(SynchronousTestCase):
    """`Quoted`"""

    def test_lines_like_from(self) -> None:
        """A line of a message would begin another message."""
        content = b"From a\r\n\r\nFrom b\r\n>From c\r\n>>From d\r\nFromage\r\n From e\r\n"
        self.assertEqual(
            quoted(content),
            b">From a\n\n>From b\n>>From c\n>>>From d\nFromage\n From e\n\n",
        )

    def test_long_line(self) -> None:
        """Memory would grow with a line's length; what stands in its middle would be changed."""
        long = b"x" * 65_536
        quoting = Quoted()
        self.assertEqual(quoting.feed(long), long)
        self.assertEqual(quoting.feed(b"From y\r\nFrom z"), b"From y\n")
        self.assertEqual(quoting.end(), b">From z\n\n")
        self.assertEqual(quoted(long, b"\r\nFrom z\r\n"), long + b"\n>From z\n\n")
        self.assertEqual(quoted(long), long + b"\n\n")
        self.assertEqual(quoted(long + b"\r", b"\n"), long + b"\n\n")

    def test_empty(self) -> None:
        """A message without content would swallow the next one."""
        self.assertEqual(quoted(), b"\n")

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.sampled_from([b"From ", b">", b"x", b"\r\n", b"From a\r\n"]), max_size=30))
    def test_can_be_undone(self, pieces: list[bytes]) -> None:
        """What is read back would be another message, depending on how it came in pieces."""
        whole = b"".join(pieces)
        self.assertEqual(quoted(*pieces), quoted(whole))
        lines = quoted(whole)[:-1].split(b"\n")
        self.assertFalse([line for line in lines if line.startswith(b"From ")])
        restored = [
            line[1:] if line.startswith(b">") and line.lstrip(b">").startswith(b"From ") else line
            for line in lines
        ]
        plain = whole.replace(b"\r\n", b"\n")
        self.assertEqual(b"\n".join(restored), plain + b"\n" * (plain[-1:] not in (b"\n", b"")))

    def test_from_line(self) -> None:
        """Other programs would not find where a message begins, or who sent it."""
        sender = Address.parse('"a b"@here.example')
        self.assertEqual(
            from_line(sender, 0), b'From "a_b"@here.example Thu Jan  1 00:00:00 1970\n'
        )
        self.assertEqual(from_line(None, 0)[:19], b"From MAILER-DAEMON ")
