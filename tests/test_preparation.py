"""Logins and passwords in their one form: `mailframe.preparation`."""

from __future__ import annotations

import scramp
import scramp.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.preparation import UnusableText, login_name, password_for_scram, saslprep


class LoginNameTests(SynchronousTestCase):
    """No login passes for another one."""

    def test_normal_form(self) -> None:
        """One login is the same whichever way its letters were composed."""
        composed = "ang\xe9lo@demo.example".encode()
        for name in (composed, "ange\u0301lo@demo.example".encode()):
            self.assertEqual(login_name(name), composed)
        self.assertEqual(login_name(b"Angelo@Demo.Example"), b"Angelo@Demo.Example")
        self.assertEqual(login_name("stra\xdfe@x".encode()), "stra\xdfe@x".encode())

    def test_imitations(self) -> None:
        """Fullwidth signs, the Kelvin sign, ligatures and what can't be seen are refused."""
        for name in (
            *("a\uff20x.example", "a@x\uff0eexample", "b\u212ab@x", "o\ufb03ce@x", "\u2126@x"),
            *("a\u202eb@x", "a\u200bb@x", "a\x7fb\xe9", "a\n", "\xe9\0", "a\u2028b", "\ufeffa"),
        ):
            with self.assertRaises(UnusableText, msg=repr(name)) as caught:
                login_name(name.encode())
            self.assertTrue(str(caught.exception).isascii())
        with self.assertRaises(UnusableText):
            login_name(b"\xff")

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=12) | st.text(max_size=6).map(lambda t: t.encode(errors="replace")))
    def test_stable(self, octets: bytes) -> None:
        """What was prepared once is not changed by preparing it again."""
        try:
            name = login_name(octets)
        except UnusableText:
            return
        self.assertEqual(login_name(name), name)


class SaslprepTests(SynchronousTestCase):
    """A password is hashed here as clients hash it."""

    def test_rfc_4013(self) -> None:
        """The examples of RFC 4013 §3."""
        for text, prepared in (
            ("I\xadX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\xaa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(saslprep(text), prepared)
        for text in ("\x07", "\u0627\x31", "\u0221", "a\u0627", "\u0627a\u0627", "\ue000"):
            with self.assertRaises(UnusableText):
                saslprep(text)
        self.assertEqual(saslprep("\u0627\u0628"), "\u0627\u0628")
        self.assertEqual(saslprep("a\xa0b"), "a b")

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=6))
    def test_against_scramp(self, text: str) -> None:
        """Another implementation prepares the same texts to the same end."""
        try:
            expected = scramp.utils.saslprep(text)
        except scramp.ScramException:
            expected = None
        try:
            prepared = saslprep(text)
        except UnusableText:
            prepared = None
        self.assertEqual(prepared, expected)

    def test_passwords(self) -> None:
        """A password that SASLprep can't prepare can be used all the same."""
        self.assertEqual(password_for_scram("\u2168".encode()), b"IX")
        self.assertEqual(
            password_for_scram("\U0001f600e\u0301".encode()), "\U0001f600\xe9".encode()
        )
        self.assertEqual(password_for_scram(b"\xff"), b"\xff")
        self.assertEqual(password_for_scram("\xad".encode()), "\xad".encode())
