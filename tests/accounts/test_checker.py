"""Tests of mailframe.accounts.checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.accounts.checker import AT_ONCE, Argon2Checker, Login
from mailframe.accounts.passwords import Passwords
from mailframe.address import Address

PASSWORDS = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
ANGELO = Address("Angelo", "demo.example")
HASH = PASSWORDS.hash("secret")
DECOY = PASSWORDS.decoy([HASH])


def find(address: Address | None) -> Deferred[Login]:
    if address is not None and str(address).lower() == "angelo@demo.example":
        return succeed(Login(address=ANGELO, hash=HASH))
    return succeed(Login(address=None, hash=DECOY))


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.verified: list[str] = []
        self.checker = self.make(execute)

    def make(self, in_thread: Callable[..., Deferred[Any]]) -> Argon2Checker:
        def counted(function: Callable[..., Any], kept: str, *args: Any) -> Deferred[Any]:
            self.verified.append(kept)
            return in_thread(function, kept, *args)

        return Argon2Checker(find=find, passwords=PASSWORDS, in_thread=counted)

    def log_in(self, username: Any, password: Any) -> Deferred[Any]:
        return self.checker.requestAvatarId(UsernamePassword(username, password))

    def test_interface(self) -> None:
        """A portal would never ask this checker."""
        verifyObject(ICredentialsChecker, self.checker)
        self.assertEqual(self.checker.credentialInterfaces, (IUsernamePassword,))

    def test_right(self) -> None:
        """Nobody could log in; or one account would have as many names as ways to write it."""
        for name in (b"angelo@demo.example", b"ANGELO@Demo.Example.", "angelo@demo.example"):
            avatar = self.successResultOf(self.log_in(name, b"secret"))
            self.assertEqual(avatar, b"Angelo@demo.example")
        avatar = self.successResultOf(self.log_in(b"angelo@demo.example", "secret"))
        self.assertEqual(avatar, b"Angelo@demo.example")

    def test_wrong(self) -> None:
        """Anyone could read the mailbox, or learn from the answer who has one."""
        words = set()
        for name, password in [
            (b"angelo@demo.example", b"wrong"),
            (b"angelo@demo.example", b""),
            (b"angelo@demo.example", b"x" * 2000),
            (b"nobody@demo.example", b"secret"),
            (b"angelo", b"secret"),
            (b"", b"secret"),
            ("angel\u00f6@demo.example".encode(), b"secret"),
            (b"angelo\xff@demo.example", b"secret"),
            (b"angelo@demo.example\0", b"secret"),
        ]:
            with self.subTest(name=name, password=password[:9]):
                failure = self.failureResultOf(self.log_in(name, password), UnauthorizedLogin)
                words.add(str(failure.value))
        self.assertEqual(len(words), 1)
        self.assertEqual(len(self.verified), 9)

    def test_kelvin_sign_and_dotless_i(self) -> None:
        """A character that lower-cases into ASCII would let one name pass for another."""
        for name in ("angelo@de\u212ao.example", "\u0131@demo.example", "angelo\uff20demo.example"):
            self.failureResultOf(self.log_in(name.encode(), b"secret"), UnauthorizedLogin)

    def test_unknown_user_costs_the_same(self) -> None:
        """The time of the answer would tell who has an account."""
        self.failureResultOf(self.log_in(b"nobody@demo.example", b"secret"))
        self.failureResultOf(self.log_in(b"no address", b"secret"))
        self.assertEqual(self.verified, [DECOY, DECOY])

    def test_fault_is_no_refusal(self) -> None:
        """A user with the right password would be told that it is wrong."""
        self.checker = Argon2Checker(
            find=lambda _: succeed(Login(address=ANGELO, hash="damaged")),
            passwords=PASSWORDS,
            in_thread=execute,
        )
        self.failureResultOf(self.log_in(b"angelo@demo.example", b"secret"), InvalidHashError)

    def test_bounded_at_once(self) -> None:
        """Many logins at once would take all memory and all threads."""
        waiting: list[Deferred[bool]] = []

        def never(*_: object) -> Deferred[bool]:
            waiting.append(Deferred())
            return waiting[-1]

        self.checker = self.make(never)
        logins = [self.log_in(b"angelo@demo.example", b"secret") for _ in range(AT_ONCE + 1)]
        self.assertEqual(len(waiting), AT_ONCE)
        waiting[0].callback(True)
        self.successResultOf(logins[0])
        self.assertEqual(len(waiting), AT_ONCE + 1)
        for each in waiting[1:]:
            each.callback(False)
        self.failureResultOf(logins[-1], UnauthorizedLogin)
        for each in logins[1:-1]:
            self.failureResultOf(each, UnauthorizedLogin)

    def test_hash_not_shown(self) -> None:
        """A traceback in the log would give the hash away."""
        self.assertNotIn("argon2", repr(Login(address=ANGELO, hash=HASH)))
