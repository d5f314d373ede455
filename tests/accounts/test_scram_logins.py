"""Tests of mailframe.accounts.scram_logins; over a portal see tests.server.test_authentication."""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.accounts.scram_checker import ScramChecker, ScramLogin
from mailframe.accounts.scram_logins import ScramLogins, stable_salt
from mailframe.address import Address
from mailframe.credentials import IScramChecker
from mailframe.scram import ITERATIONS, SALT, ScramKeys
from tests.accounts.credentials import Proof


def keeper(name: str, iterations: int | None = 4096) -> Any:
    """A checker with one login, whose password is its name."""
    address = Address(name, "x.example")
    login = ScramLogin(address=address, keys=ScramKeys.derive(name.encode(), iterations=4096))

    async def find(asked: Address) -> ScramLogin | None:
        return login if asked == address else None

    return ScramChecker(find=find, iterations=lambda: iterations)


class LoginsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.secrets = 0
        self.logins = ScramLogins([keeper("a", None), keeper("b", 5000)], self.secret)

    def secret(self) -> bytes:
        self.secrets += 1
        return b"secret"

    def keys(self, name: bytes) -> ScramKeys:
        return self.successResultOf(self.logins.scram_keys(name))

    def test_all_are_asked(self) -> None:
        """Of two sources of logins only the first would count."""
        verifyObject(IScramChecker, self.logins)
        for name in (b"a", b"b"):
            keys = self.keys(name + b"@x.example")
            self.assertEqual(ScramKeys.derive(name, salt=keys.salt, iterations=4096), keys)
            answer = self.logins.requestAvatarId(Proof(name + b"@x.example", password=name))
            self.assertEqual(self.successResultOf(answer), name + b"@x.example")
            answer = self.logins.requestAvatarId(Proof(name + b"@x.example", password=b"c"))
            self.failureResultOf(answer, UnauthorizedLogin)

    def test_offered(self) -> None:
        """SCRAM would not be offered although some can use it."""
        self.assertEqual(self.logins.scram_iterations, 5000)
        self.assertIsNone(ScramLogins([keeper("a", None)], self.secret).scram_iterations)

    def test_decoys(self) -> None:
        """The answer would tell which logins exist."""
        one, again, other = (self.keys(n) for n in (b"x@x.example", b"X@X.Example", b"y@x.example"))
        self.assertEqual(one, again)
        self.assertNotEqual(one.salt, other.salt)
        self.assertEqual((len(one.salt), one.iterations), (SALT, 5000))
        self.assertEqual(self.secrets, 1)
        self.assertFalse(one.fits(bytes(32), b"message"))
        none = ScramLogins([keeper("a", None)], self.secret)
        self.assertEqual(self.successResultOf(none.scram_keys(b"x")).iterations, ITERATIONS)

    def test_salts(self) -> None:
        """A login that does not exist would have another salt under each spelling."""
        salts = {
            stable_salt(b"s", name)
            for name in (b"x@x.example", b'"x"@x.example', b"X@x.EXAMPLE.", b'"x"@X.example')
        }
        self.assertEqual(len(salts), 1)
        self.assertNotIn(stable_salt(b"t", b"x@x.example"), salts)
        self.assertEqual(stable_salt(b"s", b"\xffA"), stable_salt(b"s", b"\xffa"))
