"""The demonstration that ``make run`` serves."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

from argon2 import PasswordHasher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts import passwords as passwords_module
from mailframe.accounts.passwords import Passwords
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.cli import demo


class Demo(SynchronousTestCase):
    """Written once, whatever happened before."""

    def setUp(self) -> None:
        self.folder = os.path.join(self.mktemp(), "demo")
        # hashing that takes long on purpose would make the tests slow and show nothing more
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords_module, "PasswordHasher", quick)

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def content(self) -> dict[str, str]:
        """All that was written."""
        names = ("mailframe.toml", "accounts.toml", "README")
        return {name: open(self.path(name)).read() for name in names}

    def assert_can_log_in(self) -> None:
        """The passwords in README are those of the accounts."""
        store = AccountStore.load(self.path("accounts.toml"))
        kept = demo._read_passwords(self.path("README"))
        self.assertEqual(sorted(kept), ["angelo@demo.example", "jsmith@demo.example"])
        for address, kept_hash in store.accounts.items():
            self.assertTrue(Passwords().verify(kept_hash, kept[str(address)].encode()))

    def test_first_use(self) -> None:
        """Nobody could log in to the demonstration."""
        passwords = demo.prepare(self.folder)
        assert passwords is not None
        self.assertEqual(len(set(passwords.values())), 2)
        self.assert_can_log_in()
        self.assertEqual(stat.S_IMODE(os.stat(self.path("README")).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("mail")).st_mode), 0o700)

    def test_postmaster(self) -> None:
        """Mail to the one address that every server must have would be refused."""
        demo.prepare(self.folder)
        store = AccountStore.load(self.path("accounts.toml"))
        postmaster, angelo = (Address(name, "demo.example") for name in ("postmaster", "angelo"))
        self.assertEqual(dict(store.aliases), {postmaster: (angelo,)})
        store.remove_alias(postmaster)
        store.add(postmaster, "secret words")
        store.save()
        demo.prepare(self.folder)
        store = AccountStore.load(self.path("accounts.toml"))
        self.assertEqual(dict(store.aliases), {})

    def test_later_uses_change_nothing(self) -> None:
        """Every start would change the passwords or undo what a user configured."""
        demo.prepare(self.folder)
        with open(self.path("mailframe.toml"), "a") as file:
            file.write("# mine\n")
        before = self.content()
        self.assertIsNone(demo.prepare(self.folder))
        self.assertEqual(self.content(), before)

    def test_half_written(self) -> None:
        """A first start that was interrupted would leave a folder that can't be used."""
        for missing in (
            ["mailframe.toml"],
            ["accounts.toml"],
            ["accounts.toml", "mailframe.toml"],
            ["README"],
            ["README", "accounts.toml", "mailframe.toml"],
        ):
            demo.prepare(self.folder)
            for name in missing:
                os.unlink(self.path(name))
            demo.prepare(self.folder)
            self.assert_can_log_in()
            self.assertTrue(os.path.exists(self.path("mailframe.toml")))

    def test_damaged_readme(self) -> None:
        """The folder could not be used after a power cut that left an empty README."""
        demo.prepare(self.folder)
        with open(self.path("README"), "w"):
            pass
        self.assertIsNotNone(demo.prepare(self.folder))
        self.assert_can_log_in()

    def test_lines_read_the_password(self) -> None:
        """The lines to copy would not log in."""
        passwords = demo.prepare(self.folder)
        assert passwords is not None
        lines = demo.lines(self.folder)
        for password in passwords.values():
            self.assertNotIn(password, lines)
        start = lines.index("$(") + 2
        command = lines[start : lines.index(")", start)]
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        self.assertEqual(shown.stdout.strip(), passwords["angelo@demo.example"])

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = demo.main(list(arguments))
        return status, out.getvalue(), err.getvalue()

    def test_passwords_are_printed_once(self) -> None:
        """A later start would show passwords to whoever looks at the screen."""
        status, out, _ = self.run_main(self.folder)
        self.assertEqual(status, 0)
        passwords = demo._read_passwords(self.path("README"))
        for password in passwords.values():
            self.assertIn(password, out)
        status, out, _ = self.run_main(self.folder)
        self.assertEqual(status, 0)
        for password in passwords.values():
            self.assertNotIn(password, out)
        self.assertIn("pop3://127.0.0.1:2110/1", out)

    def test_misuse(self) -> None:
        """A wrong call would end in a traceback."""
        self.assertEqual(self.run_main()[0], 2)
        with open(self.mktemp(), "w") as file:
            blocked = file.name
        status, _, err = self.run_main(blocked)
        self.assertEqual(status, 2)
        self.assertIn(blocked, err)

    def test_module(self) -> None:
        """``make run`` would fail."""
        done = subprocess.run(
            [sys.executable, "-m", "mailframe.cli.demo", self.folder],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
