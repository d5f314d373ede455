"""The form of messages in a Maildir."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.maildir_content import Unix, headers, was_delivered_to
from mailframe.wire.data import DataDecoder, DataEncoder

MARY = Address("mary", "here.example")


def stored(content: bytes, size: int = 1 << 20) -> tuple[bytes, Unix]:
    unix = Unix()
    pieces = [unix.convert(content[i : i + size]) for i in range(0, len(content), size)]
    return b"".join([*pieces, unix.finish()]), unix


class UnixTests(SynchronousTestCase):
    """CRLF becomes LF, and back."""

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.sampled_from([b"a", b".", b"\r\n", b"bc d", b"\r\n\r\n"]), max_size=20),
        st.integers(1, 4),
    )
    def test_round_trip(self, parts: list[bytes], size: int) -> None:
        """What is fetched is octet for octet what was sent, wherever pieces end."""
        content = b"".join(parts)
        octets, unix = stored(content, size)
        self.assertEqual(octets, stored(content)[0])
        self.assertNotIn(b"\r", octets)
        encoder, decoder = DataEncoder(), DataDecoder()
        fetched = decoder.decode(encoder.encode(octets) + encoder.finish())
        whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
        self.assertEqual(fetched, whole)
        self.assertEqual((unix.size, unix.size + unix.lines), (len(octets), len(whole)))

    def test_lone_cr_at_the_end(self) -> None:
        """A CR that nothing follows is not lost."""
        self.assertEqual(stored(b"a\r")[0], b"a\r\n")


class HeaderTests(SynchronousTestCase):
    """What we add, and what we look for."""

    def test_headers(self) -> None:
        """A reader finds the reverse-path, also the null one, and whom the message was for."""
        sender = Address("o dd", "there.example")
        self.assertEqual(
            headers(sender, MARY),
            b'Return-Path: <"o dd"@there.example>\nDelivered-To: mary@here.example\n',
        )
        self.assertTrue(headers(None, MARY).startswith(b"Return-Path: <>\n"))

    def test_loop(self) -> None:
        """A message goes round for ever, or one that doesn't is refused."""
        for section, found in (
            (b"Delivered-To: mary@here.example\r\n", True),
            (b"A: b\r\ndelivered-to:MARY@here.example \r\nC: d\r\n", True),
            (b"A: b\r\nDelivered-To: mary@here.example", True),
            (b"Delivered-To: mary@here.example.org\r\n", False),
            (b"Delivered-To: rosemary@here.example\r\n", False),
            (b"X-Delivered-To: mary@here.example\r\n", False),
            (b"Subject: Delivered-To: mary@here.example\r\n", False),
            (b"A: b\r\n\r\nDelivered-To: mary@here.example\r\n", False),
            (b"", False),
        ):
            self.assertEqual(was_delivered_to(section, MARY), found, section)

    def test_loop_is_searched_within_bounds(self) -> None:
        """A header section of megabytes costs no more than one of 64 KiB."""
        section = b"A: b\r\n" * 20_000 + b"Delivered-To: mary@here.example\r\n"
        self.assertFalse(was_delivered_to(section, MARY))
