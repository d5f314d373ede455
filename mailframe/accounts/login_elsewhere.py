"""Logins that some `twisted.cred` checker verifies which knows nothing of mail addresses.

What it calls a user may be no address: ``joe`` is then ``joe@`` the domain for such logins, and a
client may say either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from mailframe.address import Address, AddressError
from mailframe.credentials import BearerToken, IBearerToken, IScramCredentials
from mailframe.guard import as_deferred
from mailframe.interfaces import Account
from mailframe.scram import ScramKeys

log = Logger()


@attrs.frozen(kw_only=True)
class Surroundings:
    """What checkers of all kinds are lent.

    :ivar domain: of logins that have none
    :ivar find: who is behind an address; see `mailframe.interfaces.IAccounts.find`
    :ivar in_thread: see `mailframe.interfaces.Site`
    :ivar secret: gives the secret from which salts are made
    :ivar scram: whether SCRAM is to be offered at present
    """

    domain: str
    find: Callable[[Address], Awaitable[Any]]
    in_thread: Callable[..., Deferred[Any]]
    secret: Callable[[], bytes]
    scram: Callable[[], bool]


@implementer(ICredentialsChecker)
class LoginElsewhere:
    """Asks a checker, and gives the address of whom it names."""

    def __init__(self, checker: Any, interface: Any, around: Surroundings) -> None:
        """
        :param checker: provides `ICredentialsChecker`
        :param interface: the credentials to ask it about
        """
        self.credentialInterfaces = (interface,)
        self._checker = checker
        self._around = around

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """See `ICredentialsChecker`."""
        return Deferred.fromCoroutine(self._verify(credentials))

    async def _verify(self, credentials: Any) -> bytes | tuple[()]:
        *firsts, last = self._names(credentials.username)
        for name in firsts:
            try:
                return await self._ask(renamed(credentials, name))
            except UnauthorizedLogin:
                continue
        return await self._ask(renamed(credentials, last))

    async def _ask(self, credentials: Any) -> bytes:
        found = await maybeDeferred(self._checker.requestAvatarId, credentials)
        return await self._address_of(found)

    def _names(self, username: bytes) -> list[bytes]:
        """What the checker may call a user: the login as given, and what stands before its @."""
        user, _, domain = username.rpartition(b"@")
        if user and domain.lower() == self._around.domain.encode():
            return [username, user]
        return [username]

    async def _address_of(self, avatar_id: Any) -> bytes:
        try:
            text = avatar_id.decode() if isinstance(avatar_id, bytes) else str(avatar_id)
            own = "@" in text
            address = Address.parse(text) if own else Address(text, self._around.domain)
        except (UnicodeDecodeError, AddressError) as error:
            log.error(
                "login {user!r} was proved, but is none of mail: {reason}",
                user=avatar_id,
                reason=str(error),
            )
            raise UnauthorizedLogin("not a user of mail") from None
        found = await as_deferred(self._around.find(address))
        if found is None:
            return str(address).encode()
        if not isinstance(found, Account):
            raise UnauthorizedLogin("an alias is nobody who could log in")
        return str(found.address).encode()


@implementer(IScramCredentials)
@attrs.frozen
class RenamedProof:
    """A proof under a name that a checker may know.

    :ivar whole: the credentials that the client gave
    """

    username: bytes
    whole: Any

    def check_keys(self, keys: ScramKeys) -> bool:
        """See `IScramCredentials.check_keys`."""
        return bool(self.whole.check_keys(keys))


def renamed(credentials: Any, name: bytes) -> Any:
    """The same credentials under another name."""
    if IUsernamePassword.providedBy(credentials):
        return UsernamePassword(name, credentials.password)
    if IBearerToken.providedBy(credentials):
        return BearerToken(username=name, token=credentials.token)
    return RenamedProof(name, credentials)
