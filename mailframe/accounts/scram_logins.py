"""SCRAM for all checkers of a portal: the keys of a login, or decoys for one that has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.accounts.any_checker import AnyChecker
from mailframe.address import Address, AddressError
from mailframe.credentials import IScramChecker, IScramCredentials
from mailframe.guard import as_deferred
from mailframe.scram import ITERATIONS, SALT, ScramKeys, mac


@implementer(IScramChecker)
class ScramLogins(AnyChecker):
    """Asks one checker after the other.

    To a client that names an unknown login it says as much as to any other: a salt that is always
    the same, and the iterations that most logins have.
    """

    def __init__(self, checkers: Sequence[Any], secret: Callable[[], bytes]) -> None:
        """
        :param checkers: each provides `IScramChecker`
        :param secret: gives the secret behind the decoys' salts, see `login_secret`
        """
        super().__init__(checkers)
        self._keepers = checkers
        self.credentialInterfaces = (IScramCredentials,)
        self._secret = secret
        self._known_secret: bytes | None = None

    @property
    def scram_iterations(self) -> int | None:
        """See `IScramChecker`: those of the first checker that offers SCRAM."""
        return next((n for each in self._keepers if (n := each.scram_iterations)), None)

    def scram_keys(self, username: bytes) -> Deferred[ScramKeys]:
        """See `IScramChecker`; but there are always keys."""
        return Deferred.fromCoroutine(self._find(username))

    async def _find(self, username: bytes) -> ScramKeys:
        found: ScramKeys | None = None
        # All are asked, so that the time of the answer doesn't tell who knows the login.
        for checker in self._keepers:
            keys = await as_deferred(checker.scram_keys(username))
            found = found or keys
        return found or self._decoy(username)

    def _decoy(self, username: bytes) -> ScramKeys:
        if self._known_secret is None:
            self._known_secret = self._secret()
        return ScramKeys(
            salt=stable_salt(self._known_secret, username),
            iterations=self.scram_iterations or ITERATIONS,
            stored_key=bytes(32),  # of which no proof is known to anybody
            server_key=bytes(32),
        )


def stable_salt(secret: bytes, username: bytes) -> bytes:
    """A salt for a login, in whichever way the login is written."""
    try:
        normal = str(Address.parse(username.decode())).lower().encode()
    except (UnicodeDecodeError, AddressError):
        normal = username.lower()
    return mac(secret, hashlib.sha256(normal).digest())[:SALT]
