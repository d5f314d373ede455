"""The `twisted.cred` checker for user name and password.

An answer tells nothing but right or wrong: an unknown user costs the same work as a known one and
gets the same failure, so that the answers can't be used to find out who has an account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.accounts.passwords import Passwords
from mailframe.accounts.turns import Turns
from mailframe.address import Address, AddressError

AT_ONCE = 4  # one verification takes 64 MiB of memory and a thread that others wait for


@attrs.frozen(kw_only=True)
class Login:
    """What is kept to verify a login.

    :ivar address: the account's, or ``None`` when there is none
    :ivar hash: of the account's password; a decoy that nothing fits when there is no account
    """

    address: Address | None
    hash: str = attrs.field(repr=False)


@implementer(ICredentialsChecker)
class Argon2Checker:
    """Verifies passwords against Argon2 hashes, elsewhere than in the reactor thread.

    The user name is the account's address in any case, in ASCII: no character outside it can pass
    for another. The avatar id is the account's address in normal form.

    :param find: the `Login` of an address, or that of nobody when asked for ``None``
    :param passwords: verifies
    :param in_thread: ``in_thread(function, *args)`` returns a Deferred of the function's result
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        *,
        find: Callable[[Address | None], Awaitable[Login]],
        passwords: Passwords,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._find = find
        self._passwords = passwords
        self._turns = Turns(AT_ONCE, in_thread)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Verify a user name and password.

        :param credentials: provide `IUsernamePassword`
        :returns: fires with the account's address; fails with `UnauthorizedLogin` when they are
            wrong, and with another error when that could not be found out
        """
        return Deferred.fromCoroutine(self._verify(credentials))

    async def _verify(self, credentials: Any) -> bytes | tuple[()]:
        login = await self._find(_address(credentials.username))
        password = credentials.password
        octets = password.encode() if isinstance(password, str) else password
        fits = await self._turns.run(self._passwords.verify, login.hash, octets)
        if not fits or login.address is None:
            raise UnauthorizedLogin("wrong user name or password")
        return str(login.address).encode()


def _address(username: object) -> Address | None:
    try:
        text = username.decode() if isinstance(username, bytes) else str(username)
        return Address.parse(text)
    except (UnicodeDecodeError, AddressError):
        return None
