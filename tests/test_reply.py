"""Replies as values: `mailframe.reply`."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import MAX_LINE, Reply, temporary_fault


class ReplyTests(SynchronousTestCase):
    def test_encode(self) -> None:
        """A client misses the end of a reply, or its status code."""
        self.assertEqual(Reply(250, "2.0.0", "ok").encode(), b"250 2.0.0 ok\r\n")
        self.assertEqual(Reply(220, None, "mx ESMTP").encode(), b"220 mx ESMTP\r\n")
        self.assertEqual(
            Reply(550, "5.1.1", ("no such", "user")).encode(),
            b"550-5.1.1 no such\r\n550 5.1.1 user\r\n",
        )
        self.assertEqual(Reply(354, None, ()).encode(), b"354 \r\n")

    def test_shown_on_one_line(self) -> None:
        """A reply takes several lines in a log or a table."""
        self.assertEqual(str(Reply(550, "5.1.1", ("no such", "user"))), "550 5.1.1 no such user")
        self.assertEqual(str(Reply(250, None, "")), "250")

    def test_kinds(self) -> None:
        """A message that could be tried again bounces, or one that can't is tried for days."""
        for code, kind in ((250, "positive"), (354, "positive"), (451, "temporary")):
            self.check_kind(code, kind)
        for code, kind in ((499, "temporary"), (500, "permanent"), (599, "permanent")):
            self.check_kind(code, kind)

    def check_kind(self, code: int, kind: str) -> None:
        reply = Reply(code, None, "x")
        shown = {
            "positive": reply.is_positive,
            "temporary": reply.is_temporary,
            "permanent": reply.is_permanent,
        }
        self.assertEqual([name for name, is_it in shown.items() if is_it], [kind])

    def test_no_reply(self) -> None:
        """A plugin makes a reply that no client understands, or that says two things."""
        for code, status in (
            (199, None),
            (600, None),
            (250, "250"),
            (250, "1.0.0"),
            (550, "5.1"),
            (550, "5.1.1\r\n250 ok"),
            (550, "5.1.1000"),
            (550, ""),
        ):
            self.assertRaises(ValueError, Reply, code, status, "x")

    def test_control_characters(self) -> None:
        """A plugin's or a remote server's text breaks a line, and what follows is a reply too."""
        reply = Reply(550, "5.0.0", ("no\r\n250 ok", "\x1b[2J", "gr\u00fc\u00dfe\u2028"))
        self.assertEqual(reply.text, ("no??250 ok", "?[2J", "gr??e?"))

    def test_fault(self) -> None:
        """A fault of ours makes a message bounce."""
        self.assertEqual(temporary_fault().code, 451)
        self.assertEqual(temporary_fault("later").encode(), b"451 4.3.0 later\r\n")

    @given(
        st.integers(200, 599),
        st.none() | st.sampled_from(["2.0.0", "4.3.0", "5.123.999"]),
        st.text(max_size=2000) | st.lists(st.text(max_size=700), max_size=4),
    )
    @settings(max_examples=150, deadline=None)
    def test_every_line_fits(self, code: int, status: str | None, text: Any) -> None:
        """A long text makes a line that the client's buffer does not hold, or loses its end."""
        reply = Reply(code, status, text)
        lines = reply.encode().split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        prefix = f"{status} ".encode() if status else b""
        for line in lines:
            self.assertLessEqual(len(line) + 2, MAX_LINE)
            self.assertRegex(line, rb"\A[\x20-\x7e]+\Z")
        self.assertEqual({line[3:4] for line in lines[:-1]} | {b"-"}, {b"-"})
        self.assertEqual(lines[-1][3:4], b" ")
        for line in lines:
            self.assertTrue(line[4:].startswith(prefix))
        said = b"".join(line[4 + len(prefix) :] for line in lines)
        self.assertEqual(said, "".join(reply.text).encode("ascii"))
