"""Small messages in their wire form."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.data import DataEncoder
from mailframe.wire.pop3_message import wire_form


class WireFormTests(SynchronousTestCase):
    """The same as piece by piece."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from([b"\n", b".", b"\r\n", b"\r", b"a", b"\n.\n"]), max_size=12))
    def test_as_in_pieces(self, parts: list[bytes]) -> None:
        """A small message is sent otherwise than a large one, or listed with another size."""
        stored = b"".join(parts)
        wire, size = wire_form(stored)
        encoder = DataEncoder()
        self.assertEqual(wire, encoder.encode(stored) + encoder.finish())
        lines = wire.split(b"\r\n")[:-2]
        self.assertEqual(size, sum(len(line) + 2 - line.startswith(b".") for line in lines))
