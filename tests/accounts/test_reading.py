"""Tests of mailframe.accounts.reading."""

from __future__ import annotations

import tomllib

from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.reading import (
    AccountsError,
    Contents,
    Kept,
    key_of,
    read_contents,
    write_contents,
)
from mailframe.address import Address
from mailframe.scram import ScramKeys

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("a")
KEYS = ScramKeys.derive(b"a", iterations=4096)
ADDRESSES = st.builds(
    Address,
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=8),
    st.sampled_from(["x.example", "[192.0.2.1]"]),
)


def read(text: str) -> Contents:
    return read_contents("accounts.toml", text.encode())


class ReadTests(SynchronousTestCase):
    def test_accounts_and_aliases(self) -> None:
        """The file that the documentation shows would not be understood."""
        contents = read(
            "# mine\n#\n\n"
            f'[[account]]\naddress = "Angelo@Demo.Example"\npassword = "{HASH}"\n'
            '[[alias]]\naddress = "info@demo.example"\n'
            'to = ["angelo@demo.example", "b@x.example", "b@x.example"]\n'
        )
        kept = contents.accounts[Address("Angelo", "demo.example")]
        self.assertEqual(kept, Kept(password=HASH))
        self.assertNotIn(HASH, repr(contents))
        self.assertEqual(
            contents.aliases,
            {
                Address("info", "demo.example"): (
                    Address("angelo", "demo.example"),
                    Address("b", "x.example"),
                )
            },
        )
        self.assertEqual(contents.top, "# mine\n#\n")

    def test_catch_all(self) -> None:
        """A domain's mail for nobody could not be caught, or not after the next change."""
        contents = read(
            '[[alias]]\naddress = "@Demo.Example."\nto = ["b@x.example"]\n'
            '[[alias]]\naddress = "info@demo.example"\nto = ["whoever@x.example"]\n'
        )
        self.assertEqual(contents.catch_all, {"demo.example": (Address("b", "x.example"),)})
        self.assertEqual(list(contents.aliases), [Address("info", "demo.example")])
        self.assertEqual(read_contents("", write_contents(contents)), contents)

    def test_catch_all_mistakes(self) -> None:
        """Mail for nobody would go round in circles until it is returned."""
        for text, words in [
            ('[[alias]]\naddress = "@"\nto = ["b@x.example"]', "the domain is empty"),
            ('[[alias]]\naddress = "@x"\nto = []', "at least one"),
            ('[[alias]]\naddress = "@x"\nto = ["b@y"]\n' * 2, 'two for "@x"'),
            ('[[alias]]\naddress = "@x"\nto = ["b@x"]', '"@x" leads back to itself'),
            (
                '[[alias]]\naddress = "@x"\nto = ["a@x"]\n'
                '[[alias]]\naddress = "a@x"\nto = ["nobody@x"]',
                '"a@x" leads back to itself',
            ),
        ]:
            error = self.assertRaises(AccountsError, read, text)
            self.assertIn(words, str(error))
        read('[[account]]\naddress = "b@x"\n[[alias]]\naddress = "@x"\nto = ["b+all@x"]')
        read('[[account]]\naddress = "b@x"\n[[alias]]\naddress = "@x"\nto = ["b@x"]')

    def test_empty(self) -> None:
        """A server without accounts yet would not start."""
        self.assertEqual(read("").accounts, {})

    @given(
        st.lists(ADDRESSES, max_size=4, unique_by=key_of),
        st.lists(st.tuples(ADDRESSES, st.lists(ADDRESSES, min_size=1, max_size=3, unique=True))),
    )
    @settings(deadline=None, max_examples=100)
    def test_written_is_read_back(
        self, accounts: list[Address], aliases: list[tuple[Address, list[Address]]]
    ) -> None:
        """An odd address would spoil the file for everybody, or become another's."""
        taken = {key_of(address) for address in accounts}
        chosen = {}
        for alias, targets in aliases:
            free = tuple(t for t in targets if t.domain == "[192.0.2.1]")
            if key_of(alias) not in taken and alias.domain == "x.example" and free:
                taken.add(key_of(alias))
                chosen[alias] = free
        kinds = (Kept(password=HASH, scram=KEYS), Kept(password=HASH), Kept(scram=KEYS), Kept())
        kept = dict(zip(accounts, kinds, strict=False))
        contents = Contents(accounts=kept, aliases=chosen, top="# a\n")
        octets = write_contents(contents)
        self.assertEqual(read_contents("f", octets), contents)
        tomllib.loads(octets.decode())


class MistakeTests(SynchronousTestCase):
    def mistake(self, text: str) -> str:
        error = self.assertRaises(AccountsError, read, text)
        self.assertTrue(str(error).startswith("accounts.toml: "))
        return str(error)

    def test_not_toml(self) -> None:
        """The line of a typing error would have to be searched."""
        self.assertIn("is not TOML", self.mistake("[[account"))
        error = self.assertRaises(AccountsError, read_contents, "f", b"\xff")
        self.assertIn("is not UTF-8", str(error))

    def test_unknown_keys(self) -> None:
        """A misspelt key would be ignored, and with it what it was meant to say."""
        self.assertIn('did you mean "account"?', self.mistake("[[acount]]\n"))
        words = self.mistake(f'[[account]]\naddress="a@x.example"\npasword="{HASH}"\n')
        self.assertIn("[[account]] #1: pasword: unknown key; allowed: address, password", words)
        self.assertIn('did you mean "password"?', words)
        words = self.mistake(f'[[account]]\npassword="{HASH}"\n')
        self.assertIn("[[account]] #1: address: is missing", words)

    def test_wrong_shapes(self) -> None:
        """A value of the wrong kind would make the server fail later, at the first login."""
        for text, words in [
            ("account = 1", "account: found 1; allowed: tables in double brackets: [[account]]"),
            ("alias = [1]", "alias: found [1]; allowed: tables in double brackets"),
            ('[[alias]]\naddress="i@x.example"\nto="a@x.example"', "to: found"),
            ('[[alias]]\naddress="i@x.example"\nto=[]', "allowed: a list of mail addresses"),
            ('[[alias]]\naddress="i@x.example"\nto=[1]', "found 1; allowed: a mail address"),
            (f'[[account]]\naddress=1\npassword="{HASH}"', "address: found 1"),
            (f'[[account]]\naddress="angelo"\npassword="{HASH}"', "has no @domain"),
            (f'[[account]]\naddress="b\u212ab@x.example"\npassword="{HASH}"', "imitates ASCII"),
        ]:
            with self.subTest(text=text):
                self.assertIn(words, self.mistake(text))

    def test_password_in_clear(self) -> None:
        """A password in clear would be refused at login, or land in the log."""
        words = self.mistake('[[account]]\naddress="a@x.example"\npassword="hunter2"')
        self.assertIn("[[account]] #1: password: is no hash; allowed: an Argon2 hash", words)
        self.assertNotIn("hunter2", words)

    def test_scram(self) -> None:
        """Keys that can't be used would be found out by a user whose login fails."""
        for kept in ("hunter2", "SCRAM-SHA-256$1:YQ==$YQ==:YQ=="):
            words = self.mistake(f'[[account]]\naddress="a@x.example"\nscram="{kept}"')
            self.assertIn("[[account]] #1: scram: is not of", words)
            self.assertIn("allowed: keys for SCRAM-SHA-256, as `mailframe account passwd`", words)
            self.assertNotIn(kept, words)
        self.assertIn(
            "scram: is not of", self.mistake('[[account]]\naddress="a@x.example"\nscram=1')
        )

    def test_taken(self) -> None:
        """One of two entries for the same address would silently win."""
        account = '[[account]]\naddress="{}"\npassword="' + HASH + '"\n'
        words = self.mistake(account.format("a@x.example") + account.format("A@X.example"))
        self.assertIn('[[account]] #2: address: "A@x.example" is taken by [[account]] #1', words)
        alias = '[[alias]]\naddress="A@x.example"\nto=["b@x.example"]\n'
        words = self.mistake(account.format("a@x.example") + alias)
        self.assertIn("[[alias]] #1: address: ", words)

    def test_loops(self) -> None:
        """Mail to an alias that leads back to itself would never arrive."""
        alias = '[[alias]]\naddress="{}@x.example"\nto=["{}@x.example", "z@x.example"]\n'
        words = self.mistake(alias.format("a", "A"))
        self.assertIn('[[alias]] #1: to: "a@x.example" leads back to itself', words)
        words = self.mistake(
            alias.format("o", "a") + alias.format("a", "b") + alias.format("b", "a")
        )
        self.assertIn("2 mistakes", words)
        read(alias.format("a", "b") + alias.format("b", "c") + alias.format("d", "b"))
