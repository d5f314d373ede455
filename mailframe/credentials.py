"""The kinds of `twisted.cred` credentials that SASL brings beside user name and password.

A server offers a mechanism when some checker of its accounts accepts what the mechanism yields:

================================  ===================================================
PLAIN, LOGIN                      `twisted.cred.credentials.IUsernamePassword`
SCRAM-SHA-256, SCRAM-SHA-256-PLUS `IScramCredentials`, of an `IScramChecker`
XOAUTH2, OAUTHBEARER              `IBearerToken`
================================  ===================================================

A checker says so in its ``credentialInterfaces``; nothing else has to be registered.
"""

from __future__ import annotations

from collections.abc import Awaitable

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from zope.interface import Attribute, implementer

from mailframe.scram import ScramKeys


class IScramCredentials(ICredentials):
    """A client's proof, at the end of a SCRAM exchange, that it knows the password of a login."""

    username: bytes = Attribute("the login, in UTF-8 and normalisation form C")

    def check_keys(keys: ScramKeys) -> bool:
        """Whether the proof was made with the password that these are the keys of."""


class IScramChecker(ICredentialsChecker):
    """A checker of `IScramCredentials`, which keeps `ScramKeys` of its logins.

    ``requestAvatarId`` looks up the keys of ``credentials.username`` and asks
    ``credentials.check_keys(keys)``.
    """

    scram_iterations: int | None = Attribute(
        "How often the hash is iterated in its keys, or in most of them, which is what a client is "
        "told that names an unknown login. ``None`` while SCRAM is not to be offered, because too "
        "many logins have no keys."
    )

    def scram_keys(username: bytes) -> Awaitable[ScramKeys | None]:
        """The keys of a login; ``None`` when there is no such login, or it has none.

        The client is told their salt and iterations before it has proved anything. When there are
        none it is told others, which no proof fits.
        """


class IBearerToken(ICredentials):
    """A token of OAuth 2.0 (RFC 6750). The checker finds out whose it is and until when."""

    username: bytes = Attribute(
        "whom the client says to be, in UTF-8; empty when it leaves that to the token"
    )
    token: bytes = Attribute("the bearer token")


@implementer(IBearerToken)
@attrs.frozen(kw_only=True)
class BearerToken:
    """See `IBearerToken`."""

    username: bytes
    token: bytes = attrs.field(repr=False)
