"""SCRAM for logins that are verified elsewhere.

A checker may keep keys itself (`mailframe.credentials.IScramChecker`). One that can compare a
password with what a client computed from it (``IUsernameHashedPassword``) keeps the passwords
themselves; from those the keys are made when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailframe.accounts.login_elsewhere import LoginElsewhere, RenamedProof, Surroundings
from mailframe.accounts.scram_logins import stable_salt
from mailframe.accounts.turns import Turns
from mailframe.credentials import IScramChecker, IScramCredentials
from mailframe.guard import as_deferred
from mailframe.scram import ITERATIONS, ScramKeys

AT_ONCE = 4  # derivations of keys, which take a thread each that others wait for
_NOBODY = b"the password of nobody"


@implementer(IScramChecker)
class ScramElsewhere(LoginElsewhere):
    """A checker that keeps keys for SCRAM itself."""

    def __init__(self, checker: Any, around: Surroundings) -> None:
        super().__init__(checker, IScramCredentials, around)

    @property
    def scram_iterations(self) -> int | None:
        """See `IScramChecker`."""
        iterations: int | None = self._checker.scram_iterations
        return iterations if self._around.scram() else None

    async def scram_keys(self, username: bytes) -> ScramKeys | None:
        """See `IScramChecker`."""
        for name in self._names(username):
            keys: ScramKeys | None = await as_deferred(self._checker.scram_keys(name))
            if keys is not None:
                return keys
        return None


@implementer(IScramChecker)
class ScramFromPasswords(LoginElsewhere):
    """Makes the keys for SCRAM of passwords that a checker keeps.

    The salt comes from the login and our secret, as that of a login that is not known: neither is
    told from the other, and the work is the same.
    """

    def __init__(self, checker: Any, around: Surroundings) -> None:
        super().__init__(checker, IScramCredentials, around)
        self._turns = Turns(AT_ONCE, around.in_thread)

    @property
    def scram_iterations(self) -> int | None:
        """See `IScramChecker`."""
        return ITERATIONS if self._around.scram() else None

    async def scram_keys(self, username: bytes) -> ScramKeys | None:
        """See `IScramChecker`."""
        found = b""
        for name in self._names(username):
            look = _Look(name)
            try:
                await maybeDeferred(self._checker.requestAvatarId, look)
            except UnauthorizedLogin:
                found = found or look.password
        keys = await self._derive(found or _NOBODY, username)
        return keys if found else None

    async def _derive(self, password: bytes, username: bytes) -> ScramKeys:
        salt = stable_salt(self._around.secret(), username)
        keys: ScramKeys = await self._turns.run(partial(ScramKeys.derive, password, salt=salt))
        return keys

    async def _verify(self, credentials: Any) -> bytes | tuple[()]:
        watched = _Watched(credentials)
        try:
            return await super()._verify(watched)
        finally:
            if not watched.checked:
                # As much work for a login that is not known as for one that is.
                await self._derive(_NOBODY, watched.username)

    async def _ask(self, credentials: RenamedProof) -> bytes:
        async def fits(password: Any) -> bool:
            keys = await self._derive(_octets(password), credentials.whole.username)
            return credentials.check_keys(keys)

        return await super()._ask(
            _Comparison(credentials.username, lambda kept: Deferred.fromCoroutine(fits(kept)))
        )


@implementer(IUsernameHashedPassword)
class _Look:
    """Credentials that never fit, to find out what a checker keeps."""

    def __init__(self, username: bytes) -> None:
        self.username = username
        self.password = b""

    def checkPassword(self, password: Any) -> bool:
        self.password = _octets(password)
        return False


@implementer(IUsernameHashedPassword)
@attrs.frozen
class _Comparison:
    """Credentials that are compared with a password by computing."""

    username: bytes
    checkPassword: Callable[[Any], Deferred[bool]]


@implementer(IScramCredentials)
class _Watched:
    """A proof that remembers whether it was held against any keys."""

    def __init__(self, credentials: Any) -> None:
        self.username: bytes = credentials.username
        self.checked = False
        self._credentials = credentials

    def check_keys(self, keys: ScramKeys) -> bool:
        """See `IScramCredentials.check_keys`."""
        self.checked = True
        return bool(self._credentials.check_keys(keys))


def _octets(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)
