"""Tests of mailframe.accounts.scram_checker; with a file behind it see test_file."""

from __future__ import annotations

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.accounts.scram_checker import ScramChecker, ScramLogin
from mailframe.address import Address
from mailframe.credentials import IScramChecker
from mailframe.scram import ScramKeys
from tests.accounts.credentials import Proof

ANGELO = Address("Angelo", "demo.example")
KEYS = ScramKeys.derive(b"secret", iterations=4096)


def find(address: Address) -> Deferred[ScramLogin | None]:
    known = str(address).lower() == "angelo@demo.example"
    return succeed(ScramLogin(address=ANGELO, keys=KEYS) if known else None)


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.checker = ScramChecker(find=find, iterations=lambda: 4096)

    def test_interface(self) -> None:
        """The server would not know it for what it is."""
        verifyObject(IScramChecker, self.checker)
        self.assertEqual(self.checker.scram_iterations, 4096)

    def test_proof(self) -> None:
        """Who knows the password could not log in, or who doesn't could."""
        proof = Proof(b"angelo@demo.example", password=b"secret")
        answer = self.checker.requestAvatarId(proof)
        self.assertEqual(self.successResultOf(answer), b"Angelo@demo.example")
        for user, password in ((b"angelo@demo.example", b"other"), (b"x@demo.example", b"secret")):
            answer = self.checker.requestAvatarId(Proof(user, password=password))
            self.failureResultOf(answer, UnauthorizedLogin)

    def test_fault(self) -> None:
        """A fault of ours would be told as a wrong password."""
        checker = ScramChecker(find=lambda _: fail(OSError()), iterations=lambda: None)
        self.failureResultOf(checker.scram_keys(b"a@demo.example"), OSError)
        self.assertIsNone(checker.scram_iterations)
