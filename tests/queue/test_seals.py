"""Covers mailframe.queue.seals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.codec import DamagedEntry
from mailframe.queue.seals import (
    Kept,
    checksum,
    seal_envelope,
    seal_events,
    seal_recipients,
    unseal_envelope,
    unseal_events,
    unseal_recipients,
)

KEYS = st.integers(0, 2**63 - 1)


class SealTests(SynchronousTestCase):
    """What was sealed is found again, or known to be damaged."""

    @settings(deadline=None, max_examples=50)
    @given(KEYS, st.text(st.characters(codec="utf-8")), st.integers(0, 2**40), st.binary())
    def test_there_and_back(self, key: int, text: str, size: int, content: bytes) -> None:
        """An envelope would be changed by being kept."""
        self.assertEqual(unseal_events(key, seal_events(key, text)), text)
        sealed = seal_envelope(key, text, size, checksum(content))
        self.assertEqual(unseal_envelope(key, sealed), Kept(checksum(content), size, text))

    @settings(deadline=None, max_examples=50)
    @given(KEYS, st.text(), st.floats(0, 1e10), st.booleans(), st.booleans())
    def test_what_stands_beside_the_recipients(
        self, key: int, text: str, due: float, held: bool, warned: bool
    ) -> None:
        """A mark or a time that has changed would decide about the message."""
        sealed = seal_recipients(key, text, due, held, warned)
        self.assertEqual(unseal_recipients(key, sealed, due, int(held), int(warned)), text)
        for other in (
            (due + 1, int(held), int(warned)),
            (due, 1 - held, int(warned)),
            (due, int(held), 1 - warned),
            (str(due), int(held), int(warned)),
        ):
            self.assertRaises(DamagedEntry, unseal_recipients, key, sealed, *other)

    def test_one_for_the_other(self) -> None:
        """A row whose columns are shifted would be read as it stands, and end the whole look."""
        texts = seal_events(1, "[]"), seal_recipients(1, "[]", 0.0), seal_envelope(1, "{}", 5, 0)
        for read in (
            unseal_events,
            unseal_envelope,
            lambda key, sealed: unseal_recipients(key, sealed, 0.0, 0, 0),
        ):
            refused = 0
            for text in texts:
                try:
                    read(1, text)
                except DamagedEntry:
                    refused += 1
            self.assertEqual(refused, 2)

    def test_of_the_wrong_kind(self) -> None:
        """What is no text any more would end the look at all others."""
        self.assertRaises(DamagedEntry, unseal_events, 1, b"00000000")

    def test_an_unknown_checksum(self) -> None:
        """A large message of an older version would be taken for damaged."""
        kept = unseal_envelope(1, seal_envelope(1, "{}", 5, None))
        self.assertEqual(kept, Kept(None, 5, "{}"))

    @settings(deadline=None, max_examples=50)
    @given(KEYS, st.text(st.characters(codec="ascii")), st.data())
    def test_a_flipped_bit(self, key: int, text: str, data: st.DataObject) -> None:
        """A message would go to somebody else, with nobody knowing."""
        octets = bytearray(seal_events(key, text).encode())
        bit = data.draw(st.integers(0, 8 * len(octets) - 1))
        octets[bit // 8] ^= 1 << bit % 8
        self.assertRaises(DamagedEntry, unseal_events, key, octets.decode("utf-8", "replace"))

    @settings(deadline=None, max_examples=50)
    @given(KEYS, KEYS, st.text())
    def test_in_the_place_of_another(self, key: int, other: int, text: str) -> None:
        """A message would go to the recipients of another one."""
        if key == other:
            return
        self.assertRaises(DamagedEntry, unseal_events, other, seal_events(key, text))

    def test_piece_by_piece(self) -> None:
        """A large content would be taken for damaged."""
        self.assertEqual(checksum(b"world", checksum(b"hello ")), checksum(b"hello world"))
