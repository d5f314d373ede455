"""TLSA records as anybody may publish them."""

from __future__ import annotations

from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.tlsa import MOST, Tlsa, read_all, usable
from tests.delivery.chains import Party, party

DIGEST, LONG_DIGEST = b"x" * 32, b"x" * 64


@lru_cache(maxsize=1)
def server() -> Party:
    """Any server."""
    return party("mx.blu.example")


class ReadingTests(SynchronousTestCase):
    """From octets to records."""

    def test_read(self) -> None:
        """A record would be taken for another."""
        record = Tlsa.read(b"\3\1\1" + DIGEST)
        self.assertEqual(record, Tlsa(3, 1, 1, DIGEST))
        self.assertEqual(str(Tlsa(3, 1, 1, b"\xab")), "3 1 1 ab")
        self.assertEqual(read_all([b"", b"\3\1\1", b"\3\1\1x"]), (Tlsa(3, 1, 1, b"x"),))

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=80))
    def test_anything(self, octets: bytes) -> None:
        """Whoever publishes nonsense could break the delivery."""
        for record in usable(read_all([octets])):
            self.assertIn(record.usage, (2, 3))
            self.assertFalse(record.fits(server().certificate))

    def test_usable(self) -> None:
        """A record that nothing can fit would keep mail from being sent, or anything would do."""
        good = [
            Tlsa(3, 1, 1, DIGEST),
            Tlsa(3, 0, 2, LONG_DIGEST),
            Tlsa(2, 0, 1, DIGEST),
            server().tlsa(2, 0, 0),
            server().tlsa(3, 1, 0),
        ]
        bad = [
            Tlsa(0, 1, 1, DIGEST),  # PKIX-TA
            Tlsa(1, 1, 1, DIGEST),  # PKIX-EE
            Tlsa(4, 1, 1, DIGEST),
            Tlsa(255, 1, 1, DIGEST),
            Tlsa(3, 2, 1, DIGEST),
            Tlsa(3, 1, 3, DIGEST),
            Tlsa(3, 1, 1, DIGEST[1:]),
            Tlsa(3, 1, 2, DIGEST),
            Tlsa(3, 1, 0, DIGEST),
            Tlsa(2, 0, 0, DIGEST),
        ]
        for record in good:
            self.assertEqual(usable([record]), (record,))
        self.assertEqual(usable(bad), ())

    def test_certificate_of_no_version(self) -> None:
        """Whoever publishes an odd certificate could break the delivery."""
        version = b"\xa0\x03\x02\x01"
        octets = server().der
        self.assertIn(version + b"\x02", octets)
        odd = octets.replace(version + b"\x02", version + b"\x07", 1)
        for usage in (2, 3):
            self.assertFalse(Tlsa(usage, 0, 0, odd).is_usable)

    def test_stronger_digest(self) -> None:
        """A digest that can be forged would do although a better one is published."""
        weak, strong, other = (
            Tlsa(3, 1, 1, DIGEST),
            Tlsa(3, 1, 2, LONG_DIGEST),
            Tlsa(2, 1, 1, DIGEST),
        )
        self.assertEqual(usable([weak, strong, other]), (strong, other))
        bad = Tlsa(3, 1, 2, DIGEST)
        self.assertEqual(usable([weak, bad]), (weak,))

    def test_very_many(self) -> None:
        """One host's records would keep us busy."""
        records = [Tlsa(3, 1, 1, bytes([number]) * 32) for number in range(200)]
        self.assertEqual(len(usable(records)), MOST)


class FittingTests(SynchronousTestCase):
    """Records and certificates."""

    def test_each_kind(self) -> None:
        """A server that does as it says would get no mail, or one that does not would."""
        other = party("mx.blu.example")
        for selector in (0, 1):
            for matching in (0, 1, 2):
                record = server().tlsa(3, selector, matching)
                self.assertTrue(record.fits(server().certificate))
                self.assertFalse(record.fits(other.certificate))

    def test_same_key(self) -> None:
        """Who renews a certificate and keeps its key would get no mail."""
        renewed = party("mx.blu.example", key=server().key)
        self.assertTrue(server().tlsa(3, 1, 1).fits(renewed.certificate))
        self.assertFalse(server().tlsa(3, 0, 1).fits(renewed.certificate))
