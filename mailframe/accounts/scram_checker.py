"""The `twisted.cred` checker for SCRAM, with the keys that the accounts file keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.address import Address, AddressError
from mailframe.credentials import IScramChecker, IScramCredentials
from mailframe.scram import ScramKeys


@attrs.frozen(kw_only=True)
class ScramLogin:
    """What is kept to verify a login."""

    address: Address
    keys: ScramKeys


@implementer(IScramChecker)
class ScramChecker:
    """Verifies proofs, which costs next to nothing: the client did the work.

    The login is the account's address; the avatar id is that in normal form.

    :param find: the `ScramLogin` of an address, or ``None`` when it has none
    :param iterations: see `IScramChecker.scram_iterations`
    """

    credentialInterfaces = (IScramCredentials,)

    def __init__(
        self,
        *,
        find: Callable[[Address], Awaitable[ScramLogin | None]],
        iterations: Callable[[], int | None],
    ) -> None:
        self._find = find
        self._iterations = iterations

    @property
    def scram_iterations(self) -> int | None:
        """See `IScramChecker`."""
        return self._iterations()

    def scram_keys(self, username: bytes) -> Deferred[ScramKeys | None]:
        """See `IScramChecker`."""
        return Deferred.fromCoroutine(self._keys(username))

    async def _keys(self, username: bytes) -> ScramKeys | None:
        login = await self._look_up(username)
        return None if login is None else login.keys

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Verify a proof.

        :param credentials: provide `IScramCredentials`
        :returns: fires with the account's address; fails with `UnauthorizedLogin` when the proof
            fits no keys
        """
        return Deferred.fromCoroutine(self._verify(credentials))

    async def _verify(self, credentials: Any) -> bytes | tuple[()]:
        login = await self._look_up(credentials.username)
        if login is None or not credentials.check_keys(login.keys):
            raise UnauthorizedLogin("wrong user name or password")
        return str(login.address).encode()

    async def _look_up(self, username: bytes) -> ScramLogin | None:
        try:
            address = Address.parse(username.decode())
        except (UnicodeDecodeError, AddressError):
            return None
        return await self._find(address)
