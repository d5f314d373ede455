"""Tests of mailframe.accounts.scram_elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.accounts.login_elsewhere import Surroundings
from mailframe.accounts.scram_elsewhere import ScramElsewhere, ScramFromPasswords
from mailframe.credentials import IScramChecker
from mailframe.scram import ITERATIONS, ScramKeys
from tests.accounts.credentials import Proof


class ElsewhereCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scram = True
        self.threads = 0

        def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            self.threads += 1
            return execute(function, *args)

        self.around = Surroundings(
            domain="demo.example",
            find=lambda address: succeed(None),
            in_thread=in_thread,
            secret=lambda: b"secret",
            scram=lambda: self.scram,
        )

    def keys(self, checker: Any, name: bytes) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(checker.scram_keys(name)))


class FromPasswordsTests(ElsewhereCase):
    def setUp(self) -> None:
        super().setUp()
        stock = InMemoryUsernamePasswordDatabaseDontUse(joe=b"secret")
        self.checker = ScramFromPasswords(stock, self.around)

    def test_interface(self) -> None:
        """The server would not know it for what it is."""
        verifyObject(IScramChecker, self.checker)
        self.assertEqual(self.checker.scram_iterations, ITERATIONS)
        self.scram = False
        self.assertIsNone(self.checker.scram_iterations)

    def test_keys(self) -> None:
        """The proof of who knows the password would not fit."""
        for name in (b"joe", b"joe@demo.example"):
            keys = self.keys(self.checker, name)
            self.assertEqual(ScramKeys.derive(b"secret", salt=keys.salt), keys)
            self.assertEqual(self.keys(self.checker, name), keys)
            proof = Proof(name, password=b"secret")
            answer = self.checker.requestAvatarId(proof)
            self.assertEqual(self.successResultOf(answer), b"joe@demo.example")
            self.assertEqual(proof.shown, [keys])

    def test_wrong_password(self) -> None:
        """Who does not know the password would be let in."""
        answer = self.checker.requestAvatarId(Proof(b"joe", password=b"other"))
        self.failureResultOf(answer, UnauthorizedLogin)

    def test_same_work(self) -> None:
        """The time of an answer would tell which logins exist."""
        for name in (b"joe", b"nobody"):
            self.threads = 0
            self.assertEqual(self.keys(self.checker, name) is None, name == b"nobody")
            self.assertEqual(self.threads, 1)
            answer = self.checker.requestAvatarId(Proof(name, password=b"other"))
            self.failureResultOf(answer, UnauthorizedLogin)
            self.assertEqual(self.threads, 2)

    def test_text(self) -> None:
        """A checker that keeps passwords as text could not be used."""

        class Texts(InMemoryUsernamePasswordDatabaseDontUse):
            def requestAvatarId(self, credentials: Any) -> Any:
                return succeed(credentials.checkPassword("s\xe9cret")).addCallback(lambda _: "joe")

        answer = ScramFromPasswords(Texts(), self.around).requestAvatarId(Proof(b"joe"))
        self.assertEqual(self.successResultOf(answer), b"joe@demo.example")


class KeeperTests(ElsewhereCase):
    def test_delegates(self) -> None:
        """A plugin that keeps keys itself could not be used."""
        keys = ScramKeys.derive(b"secret", iterations=4096)

        class Keeper:
            scram_iterations = 4096

            async def scram_keys(self, username: bytes) -> ScramKeys | None:
                return keys if username == b"joe" else None

            def requestAvatarId(self, credentials: Any) -> bytes:
                if credentials.username == b"joe" and credentials.check_keys(keys):
                    return b"joe"
                raise UnauthorizedLogin

        checker = ScramElsewhere(Keeper(), self.around)
        verifyObject(IScramChecker, checker)
        self.assertEqual(checker.scram_iterations, 4096)
        for name, found in ((b"joe", keys), (b"joe@demo.example", keys), (b"nobody", None)):
            self.assertEqual(self.keys(checker, name), found)
        answer = checker.requestAvatarId(Proof(b"joe@demo.example", password=b"secret"))
        self.assertEqual(self.successResultOf(answer), b"joe@demo.example")
        answer = checker.requestAvatarId(Proof(b"joe@demo.example", password=b"other"))
        self.failureResultOf(answer, UnauthorizedLogin)
        self.scram = False
        self.assertIsNone(checker.scram_iterations)
