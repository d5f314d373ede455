"""Several `twisted.cred` checkers that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer, providedBy


@implementer(ICredentialsChecker)
class AnyChecker:
    """Several checkers for the same kind of credentials, any of which may know them."""

    def __init__(self, checkers: Sequence[ICredentialsChecker]) -> None:
        self._checkers = checkers
        self.credentialInterfaces = tuple(
            dict.fromkeys(i for checker in checkers for i in checker.credentialInterfaces)
        )

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The answer of the first that takes the credentials.

        :returns: fails with `UnauthorizedLogin` when none does; any other failure ends the search
        """
        return Deferred.fromCoroutine(self._search(credentials))

    async def _search(self, credentials: Any) -> Any:
        for checker in self._checkers:
            if any(each in providedBy(credentials) for each in checker.credentialInterfaces):
                try:
                    return await maybeDeferred(checker.requestAvatarId, credentials)
                except UnauthorizedLogin:
                    continue
        raise UnauthorizedLogin("wrong user name or password")
