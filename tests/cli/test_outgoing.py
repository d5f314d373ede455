"""A message from standard input on its way into the queue."""

from __future__ import annotations

import io
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.cli.headers import MAX_HEADER
from mailframe.cli.outgoing import BadHeader, Outgoing, TooLarge, missing_fields, read_message


def read(octets: bytes, limit: int = 10**9, dot_ends: bool = False) -> Outgoing:
    """Read a message from memory."""
    return read_message(io.BytesIO(octets).readline, limit=limit, dot_ends=dot_ends)


def whole(message: Outgoing, added: bytes = b"") -> bytes:
    """The message as it would be queued."""
    return b"".join(message.pieces(b"Received: x\r\n", added))


class Reading(SynchronousTestCase):
    """Line ends, limits and the end of the message."""

    def test_line_ends(self) -> None:
        """A bare CR or LF in the queue could end a message early at the next server."""
        message = read(b"A: b\n\nlf\ncrlf\r\ncr\rend")
        self.assertEqual(whole(message), b"Received: x\r\nA: b\r\n\r\nlf\r\ncrlf\r\ncr\r\nend\r\n")

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"\r\n", b"."]), max_size=12), st.data())
    def test_pieces_make_no_difference(self, parts: list[bytes], data: st.DataObject) -> None:
        """Where a pipe happens to cut the message would change it."""
        octets = b"A: b\n\n" + b"".join(parts)
        cut = data.draw(st.integers(min_value=0, max_value=len(octets)))
        pieces = iter([piece for piece in (octets[:cut], octets[cut:]) if piece])
        message = read_message(lambda _: next(pieces, b""), limit=10**6)
        queued = whole(message)
        self.assertEqual(queued, whole(read(octets)))
        self.assertIsNone(re.search(rb"\r(?!\n)|(?<!\r)\n", queued))
        self.assertTrue(queued.endswith(b"\r\n"))
        self.assertEqual(message.size, len(queued) - len(b"Received: x\r\n"))

    def test_too_large(self) -> None:
        """One program could fill the queue with a message without end."""
        with self.assertRaises(TooLarge):
            read(b"A: b\n\n" + b"x" * 100, limit=100)

    def test_dot(self) -> None:
        """A message with a line of one dot would be cut when it comes from a program."""
        text = b"A: b\n\nfirst\n.\nsecond\n"
        self.assertIn(b"second", whole(read(text)))
        self.assertNotIn(b"second", whole(read(text, dot_ends=True)))

    def test_mbox_line(self) -> None:
        """A message out of an mbox file would lose its header."""
        message = read(b"From a@b.example Mon Jan  1 00:00:00 2024\nSubject: x\n\nhello\n")
        self.assertTrue(message.has("subject"))
        self.assertNotIn(b"From a@b", whole(message))

    def test_body(self) -> None:
        """Eight-bit octets would be sent to a server that was told there are none."""
        self.assertEqual(read(b"A: b\n\nascii\n").body, "7BIT")
        self.assertEqual(read("A: b\n\nJ\u00f6rg\n".encode()).body, "8BITMIME")
        self.assertEqual(read(b"A: b\n\n" + b"x" * 998 + b"\n").body, "7BIT")
        self.assertEqual(read(b"A: b\n\n\xff" + b"x" * 998 + b"\nx\n").body, "BINARYMIME")
        self.assertEqual(read(b"A: b\n\n\0\n\xff\n").body, "BINARYMIME")
        self.assertEqual(read(b"A: b\n\n" + b"x" * 100_000).body, "BINARYMIME")

    def test_long_header(self) -> None:
        """Fields beyond what is examined would be taken for the body, blind copies among them."""
        many = b"".join(b"X-%d: y\r\n" % n for n in range(MAX_HEADER // 6))
        for header in (
            many,
            b"X: " + b"a" * 2 * MAX_HEADER + b"\n",
            b"X: a\n" + b" b\n" * MAX_HEADER,
        ):
            with self.assertRaises(BadHeader):
                read(header + b"\nbody\n")

    def test_long_body_without_empty_line(self) -> None:
        """A message that is no header at all would be refused for its length."""
        self.assertEqual(read(b"hello there\n" * 100_000).fields, ())


class Writing(SynchronousTestCase):
    """What becomes of the header."""

    def test_blind_copies_are_not_shown(self) -> None:
        """Every recipient would see to whom a blind copy went."""
        message = read(
            b"To: a@b.example\nBcc: c@d.example,\n e@f.example\nSubject: x\n\nBcc: stays\n"
        )
        self.assertEqual(
            whole(message, b"Date: now\r\n"),
            b"Received: x\r\nTo: a@b.example\r\nSubject: x\r\nDate: now\r\n\r\nBcc: stays\r\n",
        )

    def test_message_without_header(self) -> None:
        """The first line of the text would become a part of the header."""
        self.assertEqual(
            whole(read(b"hello there\n"), b"Date: now\r\n"),
            b"Received: x\r\nDate: now\r\n\r\nhello there\r\n",
        )
        self.assertEqual(whole(read(b"")), b"Received: x\r\n\r\n")

    def added(self, text: bytes, full_name: str = "") -> bytes:
        return missing_fields(
            read(text),
            sender=Address("angelo", "demo.example"),
            full_name=full_name,
            date="Tue, 14 Nov 2023 22:13:20 +0000",
            message_id="<1@demo.example>",
        )

    def test_missing_fields(self) -> None:
        """Other servers refuse mail without From, Date or Message-ID."""
        self.assertEqual(
            self.added(b"Subject: x\n\n"),
            b"From: angelo@demo.example\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
            b"Message-ID: <1@demo.example>\r\n",
        )

    def test_present_fields_stay(self) -> None:
        """A message would have two dates."""
        self.assertEqual(self.added(b"from: a\ndate: b\nMESSAGE-id: c\n\n"), b"")

    def test_full_name(self) -> None:
        """A name with a comma or an umlaut would make the field unreadable."""
        self.assertIn(b'From: "Rosse, Angelo" <angelo@demo', self.added(b"\n", "Rosse, Angelo"))
        self.assertIn(b"From: =?utf-8?", self.added(b"\n", "J\u00f6rg"))
