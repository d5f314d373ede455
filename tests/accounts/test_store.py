"""Tests of mailframe.accounts.store."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from unittest import mock

from argon2 import PasswordHasher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.passwords import Passwords, UnusablePassword
from mailframe.accounts.store import AccountsError, AccountStore
from mailframe.address import Address
from mailframe.interfaces import Account, Alias
from mailframe.scram import ScramKeys

CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), 4096)
ANGELO = Address("angelo", "demo.example")
INFO = Address("info", "demo.example")


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "accounts.toml")

    def load(self) -> AccountStore:
        return AccountStore.load(self.path, CHEAP)

    def refused(self, words: str, call: Callable[..., object], *args: object) -> None:
        self.assertIn(words, str(self.assertRaises(AccountsError, call, *args)))


class ChangeTests(StoreCase):
    def test_account(self) -> None:
        """An account that was added would not be there after a restart."""
        store = self.load()
        store.add("Angelo@Demo.example", "secret")
        store.save()
        again = self.load()
        own = Address("Angelo", "demo.example")
        self.assertEqual(list(again.accounts), [own])
        self.assertEqual(again.find(ANGELO), Account(address=own))
        kept = again.password_hash(ANGELO)
        assert kept is not None
        self.assertTrue(CHEAP.verify(kept, b"secret"))
        keys = again.scram_keys(ANGELO)
        assert keys is not None
        self.assertEqual(ScramKeys.derive(b"secret", salt=keys.salt, iterations=4096), keys)
        self.assertIsNone(again.find(INFO))
        self.assertIsNone(again.password_hash(INFO))
        self.assertIsNone(again.scram_keys(INFO))

    def test_catch_all(self) -> None:
        """A catch-all that was set would be lost with the next change, or take over accounts."""
        store = self.load()
        store.add(ANGELO, None)
        store.catch("demo.example", [ANGELO])
        store.save()
        again = self.load()
        self.assertEqual(again.catch_all, {"demo.example": (ANGELO,)})
        self.assertIsNone(again.find(INFO))
        self.refused("at least one address", again.catch, "demo.example", [])
        self.refused("lead back to itself", again.catch, "demo.example", [INFO])
        self.refused("lead back to itself", again.alias, INFO, ["x@demo.example", INFO])
        again.remove_catch_all("demo.example")
        again.catch("x.example", [ANGELO])
        again.save()
        self.assertEqual(self.load().catch_all, {"x.example": (ANGELO,)})
        self.refused('did you mean "@x.example"', again.remove_catch_all, "y.example")

    def test_without_password(self) -> None:
        """A user whose login is verified elsewhere would need a second password for a mailbox."""
        store = self.load()
        store.add(ANGELO, None)
        store.save()
        again = self.load()
        self.assertEqual(again.accounts, {ANGELO: None})
        self.assertEqual(again.find(ANGELO), Account(address=ANGELO))
        self.assertIsNone(again.password_hash(ANGELO))
        self.assertEqual((again.without_scram, again.scram_iterations), ([], None))

    def test_scram(self) -> None:
        """Whether SCRAM can be offered would not be known."""
        store = self.load()
        store.add(ANGELO, "secret")
        self.assertEqual((store.without_scram, store.scram_iterations), ([], 4096))
        with open(self.path, "w", encoding="ascii") as file:
            file.write(f'[[account]]\naddress = "{ANGELO}"\npassword = "{CHEAP.hash("a")}"\n')
        store = self.load()
        self.assertEqual((store.without_scram, store.scram_iterations), ([ANGELO], None))

    def test_taken(self) -> None:
        """A second account would take the first one's mailbox."""
        store = self.load()
        store.add(ANGELO, "secret")
        store.alias(INFO, [ANGELO])
        self.refused(
            "there is an account ANGELO@demo.example already", store.add, "ANGELO@demo.example", "x"
        )
        self.refused("there is an alias info@demo.example already", store.add, INFO, "x")
        self.refused("an alias needs an address of its own", store.alias, ANGELO, [INFO])

    def test_bad_password_adds_nothing(self) -> None:
        """Half an account would be left, and the file be spoilt."""
        store = self.load()
        self.assertRaises(UnusablePassword, store.add, ANGELO, "")
        self.assertEqual(store.accounts, {})
        store.save()
        self.load()

    def test_change_and_remove(self) -> None:
        """A former user could still log in."""
        store = self.load()
        store.add(ANGELO, "secret")
        before = store.password_hash(ANGELO)
        store.set_password("ANGELO@demo.example", "other")
        self.assertNotEqual(store.password_hash(ANGELO), before)
        store.remove(ANGELO)
        self.assertIsNone(store.password_hash(ANGELO))
        self.assertIsNone(store.find(ANGELO))

    def test_unknown(self) -> None:
        """A mistyped address would look as if the command had done something."""
        store = self.load()
        store.add(ANGELO, "secret")
        store.alias(INFO, [ANGELO])
        words = 'there is no account angleo@demo.example; did you mean "angelo@demo.example"?'
        self.refused(words, store.remove, "angleo@demo.example")
        self.refused(words, store.set_password, "angleo@demo.example", "x")
        said = str(self.assertRaises(AccountsError, store.remove, "nobody@demo.example"))
        self.assertTrue(said.endswith("there is no account nobody@demo.example"), said)
        self.refused('did you mean "info@demo.example"?', store.remove_alias, "inf@demo.example")
        self.refused(
            "'angelo' is not a mail address: the address has no @domain", store.remove, "angelo"
        )

    def test_alias(self) -> None:
        """Mail to a changed alias would still go to the former addresses."""
        store = self.load()
        store.alias(INFO, [ANGELO])
        store.alias("INFO@demo.example", [ANGELO, "b@x.example", ANGELO])
        store.save()
        again = self.load()
        targets = (ANGELO, Address("b", "x.example"))
        own = Address("INFO", "demo.example")
        self.assertEqual(again.aliases, {own: targets})
        self.assertEqual(again.find(INFO), Alias(address=own, addresses=targets))
        again.remove_alias(INFO)
        self.assertEqual(again.aliases, {})

    def test_bad_alias(self) -> None:
        """A file would be written that the server then refuses."""
        store = self.load()
        self.refused("at least one address", store.alias, INFO, [])
        self.refused("would lead back to itself", store.alias, INFO, [INFO])
        store.alias(INFO, ["b@demo.example"])
        self.refused("would lead back to itself", store.alias, "b@demo.example", [INFO])
        self.refused("is not a mail address", store.alias, "b@demo.example", ["nobody"])
        self.assertEqual(list(store.aliases), [INFO])


class FileTests(StoreCase):
    def write(self, text: str) -> None:
        with open(self.path, "w", encoding="ascii") as file:
            file.write(text)

    def test_missing_gives_empty(self) -> None:
        """The first account of a server could not be added."""
        store = self.load()
        self.assertIsNone(store.read_as)
        store.save()
        self.assertIsNotNone(store.read_as)
        self.assertEqual(self.load().accounts, {})
        store.save()

    def test_unreadable(self) -> None:
        """A traceback would take the place of what is wrong."""
        self.refused("can't be read", AccountStore.load, self.folder)
        self.path = os.path.join(self.folder, "none", "accounts.toml")
        self.refused("can't be read: No such file", self.load().save)

    def test_private(self) -> None:
        """Other users of the machine could read the hashes."""
        self.load().save()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        os.chmod(self.path, 0o644)
        self.load().save()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)

    def test_owner_kept(self) -> None:
        """The command run by root would lock out the user whom the server runs as."""
        if os.geteuid() != 0:
            self.skipTest("only root can give a file away")
        self.load().save()
        os.chown(self.path, 12345, 23456)
        self.load().save()
        status = os.stat(self.path)
        self.assertEqual((status.st_uid, status.st_gid), (12345, 23456))

    def test_comments_at_the_top_are_kept(self) -> None:
        """What the operator noted at the top of the file would vanish."""
        self.write("# ours, ask Anna\n# before changing\n\n")
        store = self.load()
        store.alias(INFO, [ANGELO])
        store.save()
        with open(self.path, encoding="ascii") as file:
            self.assertTrue(
                file.read().startswith("# ours, ask Anna\n# before changing\n\n[[alias")
            )

    def test_symbolic_link(self) -> None:
        """A file kept elsewhere, under version control perhaps, would be cut off from there."""
        self.write("")
        link = os.path.join(self.folder, "link.toml")
        os.symlink("accounts.toml", link)
        with AccountStore.changing(link, CHEAP) as store:
            store.alias(INFO, [ANGELO])
        self.assertTrue(os.path.islink(link))
        self.assertEqual(list(self.load().aliases), [INFO])

    def test_edited_meanwhile(self) -> None:
        """What somebody typed into the file in the meantime would be lost."""
        self.load().save()
        store = self.load()
        self.write('[[alias]]\naddress="a@x.example"\nto=["b@x.example"]\n')
        self.refused("was changed by somebody else meanwhile", store.save)
        self.assertEqual(len(self.load().aliases), 1)

    def test_failed_write_leaves_the_old_file(self) -> None:
        """A full disk would cost all accounts."""
        with AccountStore.changing(self.path, CHEAP) as store:
            store.alias(INFO, [ANGELO])
        store = self.load()
        store.remove_alias(INFO)
        with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            self.refused("can't be written: No space left on device", store.save)
        self.assertEqual(os.listdir(self.folder), ["accounts.toml"])
        self.assertEqual(list(self.load().aliases), [INFO])

    def test_synced_before_renamed(self) -> None:
        """After a power cut the file could be empty, or the change be gone."""
        done = []
        fsync, rename = os.fsync, os.rename

        def synced(descriptor: int) -> None:
            done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
            fsync(descriptor)

        def renamed(old: str, new: str) -> None:
            done.append("rename")
            rename(old, new)

        with mock.patch("os.fsync", synced), mock.patch("os.rename", renamed):
            self.load().save()
        self.assertEqual(done, ["file", "rename", "folder"])


class LockTests(StoreCase):
    def test_held_while_changing(self) -> None:
        """Of two commands at once, one would undo what the other did."""
        with AccountStore.changing(self.path, CHEAP) as store:
            store.alias(INFO, [ANGELO])
            with open(self.path, "rb") as file:
                self.assertRaises(BlockingIOError, fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.assertEqual(list(self.load().aliases), [INFO])

    def test_nothing_saved_on_error(self) -> None:
        """Half a change would be kept."""
        with self.assertRaises(RuntimeError), AccountStore.changing(self.path, CHEAP) as store:
            store.alias(INFO, [ANGELO])
            raise RuntimeError
        self.assertEqual(self.load().aliases, {})

    def test_replaced_while_waiting(self) -> None:
        """A command that waited would hold the lock of a file that is not there any more."""
        self.load().save()
        flock = fcntl.flock
        locks = []

        def slow(descriptor: int, operation: int) -> None:
            flock(descriptor, operation)
            locks.append(descriptor)
            if len(locks) == 1:
                os.unlink(self.path)
            elif len(locks) == 2:
                other = self.path + ".other"
                with open(other, "wb"):
                    os.rename(other, self.path)

        with mock.patch("fcntl.flock", slow), AccountStore.changing(self.path, CHEAP) as store:
            store.alias(INFO, [ANGELO])
        self.assertEqual(len(locks), 3)
        self.assertEqual(list(self.load().aliases), [INFO])

    def test_lock_failure(self) -> None:
        """A file system without locks would leave descriptors open, and no word why."""
        with mock.patch("fcntl.flock", side_effect=OSError(37, "No locks available")):
            self.refused("No locks available", self.load().save)
