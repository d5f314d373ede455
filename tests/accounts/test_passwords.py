"""Tests of mailframe.accounts.passwords."""

from __future__ import annotations

import unicodedata

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError
from argon2.low_level import Type
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.passwords import MAX_PASSWORD, Passwords, UnusablePassword, is_hash

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class PasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.passwords = Passwords(CHEAP)

    def test_right_and_wrong(self) -> None:
        """Nobody could log in, or anybody could."""
        kept = self.passwords.hash("correct horse")
        self.assertTrue(is_hash(kept))
        self.assertTrue(self.passwords.verify(kept, b"correct horse"))
        self.assertFalse(self.passwords.verify(kept, b"correct horse "))
        self.assertNotEqual(kept, self.passwords.hash("correct horse"))

    def test_unusable(self) -> None:
        """An empty password would open the mailbox; a long one would cost the server dear."""
        for password in ("", "x" * (MAX_PASSWORD + 1), "é" * 513, "a\nb", "a\0", "\udc80"):
            with self.subTest(password=password[:5]):
                error = self.assertRaises(UnusablePassword, self.passwords.hash, password)
                self.assertNotIn(password[:5] or "\0", str(error))
        longest = "x" * MAX_PASSWORD
        self.assertTrue(self.passwords.verify(self.passwords.hash(longest), longest.encode()))

    def test_unusable_is_never_hashed(self) -> None:
        """A client would choose how much work a login costs."""
        broken = "not even a hash"
        for password in (b"", b"x" * (MAX_PASSWORD + 1)):
            self.assertFalse(self.passwords.verify(broken, password))
        self.assertRaises(InvalidHashError, self.passwords.verify, broken, b"x")

    def test_unicode_forms(self) -> None:
        """A password set on one system would not be taken from another, which composes accents."""
        kept = self.passwords.hash(unicodedata.normalize("NFD", "fiancé"))
        self.assertTrue(
            self.passwords.verify(kept, unicodedata.normalize("NFC", "fiancé").encode())
        )
        self.assertFalse(self.passwords.verify(kept, b"fianc\xe9"))

    def test_decoy_costs_what_most_hashes_cost(self) -> None:
        """The time of a refusal would tell which addresses have an account."""
        dear = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1, type=Type.I)
        kept = [Passwords(CHEAP).hash("a"), dear.hash("a"), dear.hash("b")]
        decoy = self.passwords.decoy(kept)
        self.assertTrue(is_hash(decoy))
        self.assertFalse(self.passwords.verify(decoy, b"a"))
        wanted, found = extract_parameters(kept[1]), extract_parameters(decoy)
        self.assertEqual(found, wanted)

    def test_decoy_without_accounts(self) -> None:
        """A server without accounts yet would fail on every login."""
        decoy = self.passwords.decoy([])
        self.assertEqual(extract_parameters(decoy), extract_parameters(CHEAP.hash("a")))
        self.assertNotEqual(decoy, self.passwords.decoy([]))
        self.assertFalse(self.passwords.verify(decoy, b"a"))

    def test_default_parameters(self) -> None:
        """Passwords would be kept with less than argon2-cffi recommends."""
        decoy = extract_parameters(Passwords().decoy([]))
        own = PasswordHasher()
        self.assertEqual(decoy.type, Type.ID)
        self.assertEqual(
            (decoy.memory_cost, decoy.time_cost, decoy.parallelism),
            (own.memory_cost, own.time_cost, own.parallelism),
        )

    def test_is_hash(self) -> None:
        """A password in clear in the file would be taken for a hash, and no login would work."""
        good = CHEAP.hash("a")
        for text in ("", "secret", good[:20], good + "\n", "$2b$12$abc", good.replace("m=", "x=")):
            with self.subTest(text=text):
                self.assertFalse(is_hash(text))
        self.assertFalse(is_hash("$argon2id$v=19$m=8,t=1,p=1$a b$c"))
