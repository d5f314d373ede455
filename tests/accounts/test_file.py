"""Tests of mailframe.accounts.file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import attrs
from argon2 import PasswordHasher
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.accounts.file import FileAccounts, FileSettings, build
from mailframe.accounts.lookup import Lookup
from mailframe.accounts.passwords import Passwords
from mailframe.accounts.store import AccountsError, AccountStore
from mailframe.accounts.strcred_checkers import CheckerError
from mailframe.address import Address
from mailframe.credentials import IScramChecker
from mailframe.interfaces import Account, Alias, IAccounts, Site
from mailframe.scram import ScramKeys
from mailframe.testing.contracts import AccountsContract
from mailframe.units import FilePath
from tests.accounts.credentials import Proof

CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), 4096)
ANGELO = Address("angelo", "demo.example")
INFO = Address("info", "demo.example")


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        os.mkdir(folder := self.mktemp())
        self.path = os.path.abspath(os.path.join(folder, "accounts.toml"))
        self.clock = Clock()
        with AccountStore.changing(self.path, CHEAP) as store:
            store.add(ANGELO, "secret")
            store.alias(INFO, [ANGELO])
        self.said: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace") == "mailframe.accounts.file":
                self.said.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def make(self, in_thread: Callable[..., Deferred[Any]] = execute) -> FileAccounts:
        return FileAccounts(path=self.path, clock=self.clock, in_thread=in_thread, passwords=CHEAP)

    def spoil(self, text: str = "[[acount]]\n") -> None:
        with open(self.path, "w", encoding="ascii") as file:
            file.write(text)


class FindTests(FileCase):
    def test_find(self) -> None:
        """Mail for an account or alias would be refused."""
        accounts = self.make()
        verifyObject(IAccounts, accounts)
        found = self.successResultOf(accounts.find(Address("ANGELO", "demo.example")))
        self.assertEqual(found, Account(address=ANGELO))
        found = self.successResultOf(accounts.find(INFO))
        self.assertEqual(found, Alias(address=INFO, addresses=(ANGELO,)))
        for nobody in (Address("angelo", "other.example"), Address("postmaster", "demo.example")):
            self.assertIsNone(self.successResultOf(accounts.find(nobody)))

    def test_only_mail_is_looked_up_further(self) -> None:
        """Somebody could log in by a subaddress, or as whoever catches all."""
        with AccountStore.changing(self.path, CHEAP) as store:
            store.catch("demo.example", [ANGELO])
        accounts = FileAccounts(
            path=self.path,
            clock=self.clock,
            in_thread=execute,
            passwords=CHEAP,
            lookup=Lookup(subaddress="+"),
        )
        tagged = Address("angelo+x", "demo.example")
        found = self.successResultOf(accounts.find(tagged))
        assert isinstance(found, Account)
        self.assertEqual(found.address, ANGELO)
        self.assertIsInstance(
            self.successResultOf(accounts.find(Address("nobody", "demo.example"))), Alias
        )
        self.assertIsNone(self.successResultOf(accounts._find_login(tagged)))
        plain, _ = accounts.checkers()
        for name in (b"angelo+x@demo.example", b"nobody@demo.example"):
            answer = plain.requestAvatarId(UsernamePassword(name, b"secret"))
            self.failureResultOf(answer, UnauthorizedLogin)

    def test_settings(self) -> None:
        """A letter would be taken for a delimiter, and half of all names not be found."""
        error = self.assertRaises(ValueError, FileSettings, path=FilePath("x"), subaddress="+a")
        self.assertIn("'subaddress' found '+a'", error.args[0])
        FileSettings(path=FilePath("x"), subaddress="")

    def test_log_in(self) -> None:
        """An account's owner could not log in; an alias, which has no password, could."""
        checker, _ = self.make().checkers()

        def log_in(name: bytes) -> Any:
            return checker.requestAvatarId(UsernamePassword(name, b"secret"))

        self.assertEqual(self.successResultOf(log_in(b"ANGELO@demo.example")), str(ANGELO).encode())
        self.failureResultOf(log_in(b"info@demo.example"), UnauthorizedLogin)
        self.failureResultOf(log_in(b"nobody@demo.example"), UnauthorizedLogin)
        self.failureResultOf(log_in(b"nobody"), UnauthorizedLogin)

    def test_scram(self) -> None:
        """Who uses SCRAM would be shut out; an alias or nobody would be let in."""
        _, checker = self.make().checkers()
        verifyObject(IScramChecker, checker)
        self.assertEqual(checker.scram_iterations, 4096)
        keys = self.successResultOf(checker.scram_keys(b"ANGELO@demo.example"))
        self.assertEqual(ScramKeys.derive(b"secret", salt=keys.salt, iterations=4096), keys)
        for nobody in (b"info@demo.example", b"nobody@demo.example", b"nobody", b"\xff"):
            self.assertIsNone(self.successResultOf(checker.scram_keys(nobody)))
            self.failureResultOf(checker.requestAvatarId(Proof(nobody, True)), UnauthorizedLogin)
        for fits in (True, False):
            answer = checker.requestAvatarId(Proof(b"ANGELO@demo.example", fits))
            if fits:
                self.assertEqual(self.successResultOf(answer), str(ANGELO).encode())
            else:
                self.failureResultOf(answer, UnauthorizedLogin)

    def test_scram_for_all_or_none(self) -> None:
        """A client that takes the strongest mechanism would shut out those who have no keys."""
        accounts = self.make()
        _, checker = accounts.checkers()
        with open(self.path, "a", encoding="ascii") as file:
            hashed = CHEAP.hash("x")
            file.write(f'[[account]]\naddress = "old@demo.example"\npassword = "{hashed}"\n')
        self.clock.advance(1)
        accounts.find(ANGELO)
        self.assertIsNone(checker.scram_iterations)
        with AccountStore.changing(self.path, CHEAP) as store:
            store.set_password("old@demo.example", "x")
        self.clock.advance(1)
        accounts.find(ANGELO)
        self.assertEqual(checker.scram_iterations, 4096)

    def test_checkers(self) -> None:
        """Logins that something else verifies would not count, or SCRAM fail for them."""
        for checkers, offered in ((["memory:a:b"], True), (["memory:a:b", "unix"], False)):
            accounts = FileAccounts(
                path=self.path,
                clock=self.clock,
                in_thread=execute,
                passwords=CHEAP,
                checkers=checkers,
                domain="demo.example",
            )
            _, own, password, *others = accounts.checkers()
            self.assertEqual(own.scram_iterations is not None, offered)
            self.assertEqual(others[0].scram_iterations is not None, offered)
            answer = password.requestAvatarId(UsernamePassword(b"a", b"b"))
            self.assertEqual(self.successResultOf(answer), b"a@demo.example")

    def test_build(self) -> None:
        """The plugin that the configuration names could not be made."""
        site = Site(
            hostname="mx.demo.example",
            local_domains=frozenset({"demo.example"}),
            state_dir="/nowhere",
            reactor=self.clock,
            resolver=None,
            in_thread=execute,
            random=random.Random(1),
        )
        accounts = build(FileSettings(path=FilePath(self.path)), site)
        self.assertIsNotNone(self.successResultOf(accounts.find(ANGELO)))
        more = FileSettings(path=FilePath(self.path), checkers=("memory:a:b",))
        _, _, password, scram = build(more, site).checkers()
        self.assertEqual(
            self.successResultOf(password.requestAvatarId(UsernamePassword(b"a", b"b"))),
            b"a@demo.example",
        )
        # The secret can't be kept in /nowhere, which the log says; logins go on.
        self.assertIsNotNone(self.successResultOf(scram.scram_keys(b"a")))
        two = attrs.evolve(site, local_domains=frozenset({"a.example", "b.example"}))
        self.assertIn("domain: is missing", str(self.assertRaises(CheckerError, build, more, two)))
        for domain, name in (("B.example", b"a@b.example"), ("no domain", None)):
            settings = attrs.evolve(more, domain=domain)
            if name is None:
                error = self.assertRaises(CheckerError, build, settings, two)
                self.assertIn("domain: 'no domain' is no domain name", str(error))
            else:
                _, _, password, _ = build(settings, two).checkers()
                answer = password.requestAvatarId(UsernamePassword(b"a", b"b"))
                self.assertEqual(self.successResultOf(answer), name)

    def test_must_exist(self) -> None:
        """A mistyped path would leave a server that refuses all mail."""
        os.unlink(self.path)
        error = self.assertRaises(AccountsError, self.make)
        self.assertIn(f"{self.path}: does not exist; `mailframe account add", str(error))

    def test_must_be_usable(self) -> None:
        """A server would start that knows none of its users."""
        self.spoil()
        self.assertIn('did you mean "account"?', str(self.assertRaises(AccountsError, self.make)))


class ChangedFileTests(FileCase):
    def change(self) -> Address:
        other = Address("jsmith", "demo.example")
        with AccountStore.changing(self.path, CHEAP) as store:
            store.add(other, "secret")
        return other

    def test_read_again(self) -> None:
        """A new account would not work before a restart."""
        accounts = self.make()
        other = self.change()
        self.assertIsNone(self.successResultOf(accounts.find(other)))
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(accounts.find(other)), Account(address=other))

    def test_answers_wait_for_it(self) -> None:
        """A replaced password would open the mailbox once more, hours later."""
        threads: list[tuple[Deferred[Any], Callable[[], Any]]] = []

        def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            deferred: Deferred[Any] = Deferred()
            threads.append((deferred, lambda: function(*args)))
            return deferred

        accounts = self.make(in_thread)
        other = self.change()
        self.clock.advance(1)
        first, second, given_up = (accounts.find(other) for _ in range(3))
        self.assertNoResult(first)
        given_up.addErrback(lambda _: None).cancel()
        ((deferred, work),) = threads
        deferred.callback(work())
        for each in (first, second):
            self.assertEqual(self.successResultOf(each), Account(address=other))
        self.clock.advance(1)
        self.successResultOf(accounts.find(other))
        self.assertEqual(len(threads), 1)

    def test_clock_set_back(self) -> None:
        """After the clock is set back, changes would go unnoticed until it has caught up."""
        self.clock.advance(1000)
        accounts = self.make()
        other = self.change()
        self.clock.rightNow = 0.0
        self.assertIsNotNone(self.successResultOf(accounts.find(other)))

    def test_broken_file_keeps_the_old_accounts(self) -> None:
        """A typing error in the file would lock out everybody, or fill the log."""
        accounts = self.make()
        self.spoil()
        for _ in range(3):
            self.clock.advance(1)
            self.assertIsNotNone(self.successResultOf(accounts.find(ANGELO)))
        (said,) = self.said
        self.assertIn("accounts stay as they were", said)
        self.assertIn('did you mean "account"?', said)
        self.spoil("")
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(accounts.find(ANGELO)))
        self.assertIn("read again", self.said[-1].replace(repr(self.path) + " ", ""))

    def test_missing_file_keeps_the_old_accounts(self) -> None:
        """An editor that replaces the file in two steps would lock out everybody."""
        accounts = self.make()
        os.rename(self.path, self.path + ".away")
        for _ in range(2):
            self.clock.advance(1)
            self.assertIsNotNone(self.successResultOf(accounts.find(ANGELO)))
        (said,) = self.said
        self.assertIn("does not exist any more", said)
        os.rename(self.path + ".away", self.path)
        self.clock.advance(1)
        self.assertIsNotNone(self.successResultOf(accounts.find(ANGELO)))

    def test_could_not_be_read_for_a_while(self) -> None:
        """After `chmod`, or once there are descriptors again, the old accounts would stay in force:
        mail to those that were added would be refused; or the log be filled meanwhile."""
        accounts = self.make()
        other = self.change()
        with mock.patch(
            "mailframe.accounts.store.open", create=True, side_effect=PermissionError(13, "no")
        ):
            for _ in range(3):
                self.clock.advance(1)
                self.assertIsNone(self.successResultOf(accounts.find(other)))
        self.assertEqual(len(self.said), 1)
        self.clock.advance(1)
        self.assertIsNotNone(self.successResultOf(accounts.find(other)))

    def test_thread_fault(self) -> None:
        """A fault while reading would leave every question without an answer."""

        def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            return execute(lambda: 1 // 0)

        accounts = self.make(in_thread)
        self.change()
        self.clock.advance(1)
        self.assertIsNotNone(self.successResultOf(accounts.find(ANGELO)))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class FileContractTests(AccountsContract, SynchronousTestCase):
    """Everything that the server relies upon, SCRAM included."""

    def make_accounts(self) -> IAccounts:
        os.mkdir(folder := self.mktemp())
        path = os.path.abspath(os.path.join(folder, "accounts.toml"))
        with AccountStore.changing(path, CHEAP) as store:
            store.add(self.account, self.password.decode())
            assert self.alias is not None
            store.alias(self.alias, [self.account])
        return FileAccounts(path=path, clock=self.reactor, in_thread=execute, passwords=CHEAP)
