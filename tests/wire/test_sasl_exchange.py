"""What SASL mechanisms have in common: `mailframe.wire.sasl_exchange`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl_exchange import (
    Derivation,
    Login,
    SaslError,
    decode,
    decode_initial,
    encode,
    read_name,
)


class ExchangeTests(SynchronousTestCase):
    """Octets go over the wire and come back as they were, or are refused."""

    def test_base64(self) -> None:
        """Only strict base64 is read; ``=`` is the empty initial response."""
        self.assertEqual(decode(encode(b"\0a")), b"\0a")
        self.assertEqual(decode(b""), b"")
        self.assertEqual(decode_initial(b"="), b"")
        self.assertEqual(decode_initial(b"YQ=="), b"a")
        for line in (b"=", b"a", b"YQ", b"Y Q==", b"YQ==\x00", b"\xff\xff\xff\xff"):
            with self.assertRaises(SaslError):
                decode(line)

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=60))
    def test_any_octets(self, octets: bytes) -> None:
        """A line is decoded or refused; nothing else comes out of any."""
        self.assertEqual(decode(encode(octets)), octets)
        try:
            self.assertIsInstance(decode_initial(octets), bytes)
        except SaslError as error:
            self.assertTrue(str(error).isascii())

    def test_secrets_are_not_shown(self) -> None:
        """A password never gets into a log by way of ``repr``."""
        self.assertNotIn("secret", repr(Login(authzid=b"", user=b"u", password=b"secret")))
        self.assertNotIn("secret", repr(Derivation(password=b"secret", salt=b"s", iterations=1)))

    def test_names(self) -> None:
        """A login that could pass for another is refused before anybody is asked for it."""
        self.assertEqual(read_name(b"angelo@here.example"), b"angelo@here.example")
        for name in (b"\xff", b"a\nb", "angelo\uff20here.example".encode()):
            with self.assertRaises(SaslError) as caught:
                read_name(name)
            self.assertTrue(str(caught.exception).isascii())
