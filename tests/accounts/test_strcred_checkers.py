"""Tests of mailframe.accounts.strcred_checkers, with Twisted's own checkers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.cred import strcred
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.login_elsewhere import Surroundings
from mailframe.accounts.strcred_checkers import CheckerError, kinds, make_checkers
from mailframe.credentials import BearerToken, IBearerToken, IScramCredentials
from tests.accounts.credentials import Proof


class CheckersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.threads = 0

    def make(self, *descriptions: str) -> list[Any]:
        def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            self.threads += 1
            return execute(function, *args)

        around = Surroundings(
            domain="demo.example",
            find=lambda address: succeed(None),
            in_thread=in_thread,
            secret=lambda: b"secret",
            scram=lambda: True,
        )
        return list(make_checkers(descriptions, self.folder, around))

    def refused(self, *descriptions: str) -> str:
        return str(self.assertRaises(CheckerError, self.make, *descriptions))


class TwistedCheckersTests(CheckersCase):
    def test_file(self) -> None:
        """A password file in Twisted's form could not be used, for PLAIN or for SCRAM."""
        path = os.path.join(self.folder, "mail.passwd")
        with open(path, "w", encoding="ascii") as file:
            file.write("joe:secret\njane:other\n")
        for description in (f"file:{path}", "file:mail.passwd"):
            password, scram = self.make(description)
            answer = password.requestAvatarId(UsernamePassword(b"joe", b"secret"))
            self.assertEqual(self.successResultOf(answer), b"joe@demo.example")
            answer = password.requestAvatarId(UsernamePassword(b"joe", b"other"))
            self.failureResultOf(answer, UnauthorizedLogin)
            answer = scram.requestAvatarId(Proof(b"jane@demo.example", password=b"other"))
            self.assertEqual(self.successResultOf(answer), b"jane@demo.example")

    def test_changed_file(self) -> None:
        """A password that was changed would go on working, or be read from disk every time."""
        path = os.path.join(self.folder, "mail.passwd")
        for password, when in ((b"one", 1e9), (b"two", 2e9)):
            with open(path, "wb") as file:
                file.write(b"joe:" + password + b"\n")
            os.utime(path, (when, when))
            if password == b"one":
                checker, _ = self.make("file:mail.passwd")
            answer = checker.requestAvatarId(UsernamePassword(b"joe", password))
            self.assertEqual(self.successResultOf(answer), b"joe@demo.example")

    def test_memory(self) -> None:
        """What Twisted's own servers take in their command line would let nobody in."""
        password, scram = self.make("memory:joe:secret:jane:other")
        answer = password.requestAvatarId(UsernamePassword(b"jane", b"other"))
        self.assertEqual(self.successResultOf(answer), b"jane@demo.example")
        answer = scram.requestAvatarId(Proof(b"joe", password=b"secret"))
        self.assertEqual(self.successResultOf(answer), b"joe@demo.example")

    def test_unix(self) -> None:
        """The system's users could not log in, or would hold up everybody with crypt()."""
        (checker,) = self.make("unix")
        self.assertEqual(checker.credentialInterfaces, (IUsernamePassword,))
        answer = checker.requestAvatarId(UsernamePassword(b"nobody-like-that", b"x"))
        self.failureResultOf(answer, UnauthorizedLogin)
        self.assertEqual(self.threads, 1)

    def test_kinds(self) -> None:
        """What can be written there would have to be guessed."""
        names = [kind.authType for kind in kinds()]
        self.assertEqual(names, sorted(names))
        self.assertLessEqual({"file", "memory", "unix"}, set(names))


class Factory:
    """A plugin of strcred."""

    def __init__(self, *interfaces: Any) -> None:
        self.authType = "oidc"
        self.credentialInterfaces = interfaces

    def generateChecker(self, argument: str) -> Any:
        interfaces = self.credentialInterfaces

        class Checker:
            credentialInterfaces = interfaces
            scram_iterations = 4096

            def requestAvatarId(self, credentials: Any) -> bytes:
                return argument.encode()

        return Checker()


class PluginTests(CheckersCase):
    def test_all_kinds(self) -> None:
        """A plugin of others could bring neither tokens nor keys for SCRAM."""
        factory = Factory(IBearerToken, IScramCredentials)
        self.patch(strcred, "findCheckerFactories", lambda: [factory])
        token, scram = self.make("oidc:jane")
        self.assertEqual(token.credentialInterfaces, (IBearerToken,))
        answer = token.requestAvatarId(BearerToken(username=b"", token=b"t"))
        self.assertEqual(self.successResultOf(answer), b"jane@demo.example")
        self.assertEqual(scram.scram_iterations, 4096)

    def test_mistakes(self) -> None:
        """A slip in the configuration would be found out at the first login."""
        self.assertIn(f"there is no file {self.folder}/missing", self.refused("file:missing"))
        words = self.refused("fil:x")
        self.assertIn("'fil' is not installed; there are file, memory,", words)
        self.assertIn("did you mean 'file'?", words)
        self.assertNotIn("did you mean", self.refused("zzzzzz"))
        words = self.refused("memory:joe:secret:odd")
        self.assertIn("'memory' can't be made of what stands behind it", words)
        self.assertNotIn("secret", words)
        self.assertIn("verifies nothing that a mail client can send", self.refused("anonymous"))
