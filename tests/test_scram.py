"""Keys for SCRAM-SHA-256: `mailframe.scram`."""

from __future__ import annotations

import base64

import scramp
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.scram import ITERATIONS, LEAST_ITERATIONS, ScramKeys, mac, salted_password, xor

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
# What GNU SASL derives: gsasl --mkpasswd --mechanism SCRAM-SHA-256 --password pencil
#   --iteration-count 4096 --salt W22ZaJ0SNY7soEsUEjb6gQ==
STORED_KEY = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
SERVER_KEY = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


class KeysTests(SynchronousTestCase):
    """What is kept verifies the password, and only that."""

    def test_derive(self) -> None:
        """The keys are those that other programs derive."""
        keys = ScramKeys.derive(b"pencil", salt=SALT, iterations=4096)
        self.assertEqual(keys.stored_key, base64.b64decode(STORED_KEY))
        self.assertEqual(keys.server_key, base64.b64decode(SERVER_KEY))
        theirs = scramp.ScramMechanism("SCRAM-SHA-256").make_auth_info("pencil", 4096, SALT)
        self.assertEqual(theirs, (keys.salt, keys.stored_key, keys.server_key, keys.iterations))

    def test_random_salt(self) -> None:
        """Two users with the same password can't be told."""
        one, other = (ScramKeys.derive(b"pencil") for _ in range(2))
        self.assertNotEqual(one.salt, other.salt)
        self.assertEqual((one.iterations, len(one.salt)), (ITERATIONS, 16))
        self.assertGreaterEqual(ITERATIONS, LEAST_ITERATIONS)

    def test_proof(self) -> None:
        """A proof fits its own exchange and its own password."""
        keys = ScramKeys.derive(b"pencil", salt=SALT, iterations=4096)
        client_key = mac(salted_password(b"pencil", SALT, 4096), b"Client Key")
        proof = xor(client_key, mac(keys.stored_key, b"message"))
        self.assertTrue(keys.fits(proof, b"message"))
        self.assertFalse(keys.fits(proof, b"massage"))
        self.assertFalse(keys.fits(proof[:-1], b"message"))
        self.assertEqual(keys.sign(b"message"), mac(keys.server_key, b"message"))

    def test_text(self) -> None:
        """A file with keys could not be read back."""
        text = f"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${STORED_KEY}:{SERVER_KEY}"
        keys = ScramKeys.derive(b"pencil", salt=SALT, iterations=4096)
        self.assertEqual(str(keys), text)
        self.assertEqual(ScramKeys.parse(text), keys)
        self.assertNotIn(STORED_KEY, repr(keys))
        self.assertNotIn("WG5d", repr(keys))

    def test_bad_texts(self) -> None:
        """Half a line would be taken for keys that nothing fits."""
        good = f"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${STORED_KEY}:{SERVER_KEY}"
        for text in (
            *("", good[:-1], good + "\n", good.replace("256$", "1$"), good.replace("4096", "4095")),
            *(
                good.replace("4096", "1000001"),
                good.replace("W22Z", "W2Z"),
                good.replace(":W", ":"),
            ),
            f"SCRAM-SHA-256$4096:YQ==$YQ==:{SERVER_KEY}",
            f"SCRAM-SHA-256$4096:====${STORED_KEY}:{SERVER_KEY}",
        ):
            with self.assertRaises(ValueError, msg=text):
                ScramKeys.parse(text)

    @settings(deadline=None, max_examples=100)
    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """Nothing in a file becomes a fault of ours."""
        with self.assertRaises(ValueError):
            ScramKeys.parse(text)

    def test_xor(self) -> None:
        """Leading zeros count."""
        self.assertEqual(xor(bytes(32), b"\0" * 31 + b"\1"), b"\0" * 31 + b"\1")
        self.assertEqual(xor(b"\xff" * 32, b"\xff" * 32), bytes(32))
