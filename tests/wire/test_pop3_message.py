"""Small messages in their wire form."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.data import DataEncoder
from mailframe.wire.pop3_message import Transfer, shown_form, wire_form

PARTS = [b"\n", b".", b"\r\n", b"\r", b"a", b"\n.\n"]


class WireFormTests(SynchronousTestCase):
    """The same as piece by piece."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(PARTS), max_size=12))
    def test_as_in_pieces(self, parts: list[bytes]) -> None:
        """A small message is sent otherwise than a large one, or listed with another size."""
        stored = b"".join(parts)
        wire, size = wire_form(stored)
        encoder = DataEncoder()
        self.assertEqual(wire, encoder.encode(stored) + encoder.finish())
        lines = wire.split(b"\r\n")[:-2]
        self.assertEqual(size, sum(len(line) + 2 - line.startswith(b".") for line in lines))


class TransferTests(SynchronousTestCase):
    """Messages in pieces."""

    @settings(deadline=None, max_examples=120)
    @given(
        st.lists(st.sampled_from([*PARTS, b"Subject: \xc3\xa9\n", b"\n\n", b"\xff"]), max_size=12),
        st.sampled_from([None, 0, 1, 2]),
        st.booleans(),
        st.integers(1, 7),
    )
    def test_in_pieces(self, parts: list[bytes], lines: int | None, utf8: bool, size: int) -> None:
        """A large message is shown in another way than a small one."""
        stored = b"".join(parts)
        transfer = Transfer(lines, utf8)
        sent = b""
        for start in range(0, len(stored), size):
            sent += transfer.take(stored[start : start + size])
            if transfer.done:
                break
        sent += transfer.finish()
        self.assertEqual(sent, shown_form(wire_form(stored)[0], lines, utf8))
