"""``mailframe account``."""

from __future__ import annotations

from mailframe.accounts.passwords import Passwords
from mailframe.accounts.store import AccountStore
from mailframe.cli import account as account_module
from tests.cli.commands import CommandCase

ANGELO = "angelo@rosse.example"


class Accounts(CommandCase):
    """Accounts with their passwords."""

    def password_is(self, password: str, address: str = ANGELO) -> bool:
        store = AccountStore.load(self.path("accounts.toml"))
        (kept,) = [kept for own, kept in store.accounts.items() if str(own) == address]
        return Passwords().verify(kept, password.encode())

    def test_add(self) -> None:
        """Nobody could get a mailbox."""
        self.add_account()
        self.assertTrue(self.password_is("secret words"))
        document = self.document("account", "list")
        account = {"address": ANGELO, "password": True, "scram": True}
        self.assertEqual(document, {"accounts": [account], "aliases": []})
        self.assertIn("password, SCRAM", self.run_here("account", "list").stdout)

    def test_no_password(self) -> None:
        """A user whose login is verified elsewhere would need a second password for a mailbox."""
        self.run_here("account", "add", ANGELO, "--no-password")
        (account,) = self.document("account", "list")["accounts"]
        self.assertEqual(account, {"address": ANGELO, "password": False, "scram": False})
        self.assertIn("no password here", self.run_here("account", "list").stdout)
        self.run_here(
            *("account", "add", "b@rosse.example", "--no-password", "--password-stdin"), status=2
        )

    def test_password_is_not_shown(self) -> None:
        """Passwords would stand in logs and on screens."""
        result = self.run_here("account", "add", ANGELO, "--password-stdin", stdin="hidden-words\n")
        self.assertNotIn("hidden", result.output)

    def test_prompt(self) -> None:
        """A person would have to put the password into a pipe."""
        self.patch(account_module, "is_terminal", lambda: True)
        result = self.run_here("account", "add", ANGELO, stdin="prompted\nprompted\n")
        self.assertNotIn("prompted", result.output)
        self.assertTrue(self.password_is("prompted"))

    def test_no_terminal(self) -> None:
        """A script without the flag would wait for ever, or set an empty password."""
        result = self.run_here("account", "add", ANGELO, status=2, stdin="x\n")
        self.assertIn("--password-stdin", result.stderr)

    def test_twice(self) -> None:
        """A second account would take over the first one's mailbox."""
        self.add_account()
        for address in (ANGELO, "Angelo@ROSSE.example"):
            result = self.run_here("account", "add", address, "--password-stdin", status=1)
            self.assertIn("account passwd", result.stderr)

    def test_bad_addresses_and_passwords(self) -> None:
        """A slip would make an account that nobody can use."""
        for address in ("angelo", "a b@rosse.example", "@rosse.example", "x@\u212arosse.example"):
            self.run_here("account", "add", address, "--password-stdin", status=2, stdin="x\n")
        for password in ("\n", "x" * 1025 + "\n"):
            self.run_here("account", "add", ANGELO, "--password-stdin", status=2, stdin=password)
        self.assertEqual(self.document("account", "list")["accounts"], [])

    def test_other_domain(self) -> None:
        """A user would wait for mail that is delivered elsewhere."""
        result = self.run_here(
            "account", "add", "a@blu.example", "--password-stdin", stdin="secret words\n"
        )
        self.assertIn("local_domains", result.stderr)

    def test_passwd(self) -> None:
        """A password that became known could not be changed."""
        self.add_account()
        self.run_here("account", "passwd", ANGELO, "--password-stdin", stdin="other words\n")
        self.assertTrue(self.password_is("other words"))
        self.run_here("account", "passwd", "x@rosse.example", "--password-stdin", status=1)

    def test_remove(self) -> None:
        """Somebody who left could still log in."""
        self.add_account()
        self.run_here("account", "remove", ANGELO)
        self.assertEqual(self.document("account", "list")["accounts"], [])
        self.run_here("account", "remove", ANGELO, status=1)


class Aliases(CommandCase):
    """Addresses that stand for others."""

    def test_alias(self) -> None:
        """Mail for a group could not be delivered."""
        self.run_here("account", "alias", "info@rosse.example", ANGELO, "j@mindspring.com")
        document = self.document("account", "list")
        self.assertEqual(
            document["aliases"],
            [{"address": "info@rosse.example", "targets": [ANGELO, "j@mindspring.com"]}],
        )
        self.assertIn("j@mindspring.com", self.run_here("account", "list").stdout)
        self.run_here("account", "alias", "--remove", "info@rosse.example")
        self.assertEqual(self.document("account", "list")["aliases"], [])
        self.run_here("account", "alias", "--remove", "info@rosse.example", status=1)

    def test_catch_all(self) -> None:
        """Mail for nobody in particular could not be caught by a command."""
        self.add_account()
        result = self.run_here("account", "alias", "@Rosse.example", ANGELO)
        self.assertIn(f"@rosse.example stands for {ANGELO}", result.stdout)
        self.assertEqual(result.stderr, "")
        self.assertEqual(
            self.document("account", "list")["aliases"],
            [{"address": "@rosse.example", "targets": [ANGELO]}],
        )
        self.assertIn("@rosse.example", self.run_here("account", "list").stdout)
        self.run_here("account", "alias", "--remove", "@rosse.example")
        self.run_here("account", "alias", "--remove", "@rosse.example", status=1)
        self.run_here("account", "alias", "@no domain", ANGELO, status=2)
        result = self.run_here("account", "alias", "@blu.example", ANGELO)
        self.assertIn("blu.example is not one of local_domains", result.stderr)

    def test_conflicts(self) -> None:
        """Mail for an account would go to somebody else."""
        self.add_account()
        self.run_here("account", "alias", ANGELO, "j@mindspring.com", status=1)
        self.run_here("account", "alias", "info@rosse.example", ANGELO)
        result = self.run_here("account", "add", "info@rosse.example", "--password-stdin", status=1)
        self.assertIn("alias --remove", result.stderr)

    def test_circle(self) -> None:
        """Mail would go round until it is given up."""
        self.run_here("account", "alias", "a@rosse.example", "b@rosse.example")
        self.run_here("account", "alias", "b@rosse.example", "a@rosse.example", status=1)

    def test_misuse(self) -> None:
        """An alias could be emptied by a slip."""
        self.run_here("account", "alias", "info@rosse.example", status=2)
        self.run_here("account", "alias", "--remove", "info@rosse.example", ANGELO, status=2)


class Files(CommandCase):
    """Configurations and accounts files that can't be used."""

    def test_broken_configuration(self) -> None:
        """A slip in the configuration would end in a traceback."""
        self.configure("hostname ", "hostnam ")
        for arguments in (("account", "list"), ("queue", "list"), ("check",), ("trace", "x")):
            result = self.run_here(*arguments, status=2)
            self.assertIn("hostnam", result.stderr)
            self.assertNotIn("Traceback", result.output)

    def test_missing_configuration(self) -> None:
        """A user would not learn which file is looked for."""
        result = self.run_command("account", "list", "-c", "/nowhere/x.toml", status=2)
        self.assertIn("/nowhere/x.toml", result.stderr)

    def test_broken_accounts(self) -> None:
        """A slip in the accounts file would lose all accounts."""
        with open(self.path("accounts.toml"), "w") as file:
            file.write("= nonsense")
        result = self.run_here("account", "add", ANGELO, "--password-stdin", status=2, stdin="x\n")
        self.assertIn("accounts.toml", result.stderr)
