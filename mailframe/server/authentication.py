"""AUTH for one connection: proves a login through `twisted.cred`, and slows down guessing.

The mechanisms are in `mailframe.wire.sasl`. Each step of an exchange that needs to know more than
the dialogue does comes here as a claim: a password or token to verify, a login whose salt is asked
for, a proof. The answer is the account's address, the reply that ends the exchange, or the octets
of the next challenge.

Every attempt that does not prove a login counts as failed, also one that the client breaks off: an
exchange that it leaves after it was told a salt, or a connection that it closes while its password
is being hashed. Once there are too many, nothing is told any more, not even to those who had begun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from mailframe import guard
from mailframe.address import Address
from mailframe.credentials import BearerToken, IScramCredentials
from mailframe.envelope import Client
from mailframe.interfaces import IMailUser
from mailframe.reply import Reply
from mailframe.scram import ScramKeys
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.wire.sasl import (
    Acknowledged,
    Claim,
    Login,
    Refuted,
    ScramLookup,
    ScramProof,
    TokenClaim,
)

log = Logger()

# The same words whether the login is unknown, the password wrong or the other identity not allowed.
REFUSED = Reply(535, "5.7.8", "authentication failed: wrong login or password")
UNAVAILABLE = Reply(454, "4.7.0", "can't check logins at present")
LOCKED = Reply(454, "4.7.0", "too many failed logins lately, try again later")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "too many failed logins, closing the connection")


class Authentication:
    """The logins tried over one connection."""

    def __init__(
        self,
        *,
        portal: Portal,
        limits: Limits,
        clock: IReactorTime,
        failures: LoginFailures | None = None,
        binding: Callable[[str], bytes | None] = lambda kind: None,
    ) -> None:
        """
        :param portal: gives `IMailUser` avatars for the credentials of `mailframe.credentials`
        :param failures: those of the other connections, too; when ``None``, of this one alone
        :param binding: gives the connection's channel binding of a kind, ``None`` if there is none
        """
        self._portal = portal
        self._recent = (
            failures if failures is not None else LoginFailures(limits=limits, clock=clock)
        )
        self._limits = limits
        self._clock = clock
        self._binding = binding
        self._failures = 0
        self._logout: Any = None  # what the portal gave to call at the end
        self._result: Address | Reply | None = None  # to be told when the client has acknowledged
        self._begun: tuple[str, bytes] | None = None  # asked for a salt, proved nothing yet

    async def prove(self, claim: Claim, client: Client) -> Address | bytes | Reply:
        """Take the next step of an exchange.

        :returns: the account's address when the login is proved; octets for a challenge, to which
            the response may bring another claim; or the refusal
        """
        if isinstance(claim, Acknowledged):
            result, self._result = self._result, None
            return REFUSED if result is None else result
        if isinstance(claim, ScramProof | Refuted):
            self._begun = None
        self.log_out()
        counted = _counted_as(claim)
        if self._is_locked(claim, client, counted):
            return await self._refuse(LOCKED)
        try:
            if isinstance(claim, ScramLookup):
                self._begun = client.address, counted
                return await self._challenge(claim)
            if isinstance(claim, Refuted):
                log.warn(
                    "login {user!r} from {address} on {server} is not what it seems: {reason}",
                    user=claim.user,
                    address=client.address,
                    server=client.server,
                    reason=claim.reason,
                )
                raise UnauthorizedLogin(claim.reason)
            address, signature = await self._proved(claim)
        except UnauthorizedLogin:
            address, signature = None, b""
        except guard.PluginFault:
            self._begun = None
            return UNAVAILABLE
        except CancelledError:
            if not isinstance(claim, ScramLookup):
                self._recent.failed(client.address, counted)
            raise
        if self._is_locked(claim, client, counted):
            # Others have failed meanwhile. Who tries many passwords at once must not learn more
            # than one by one: right or wrong, the answer is the same.
            self.log_out()
            return await self._refuse(LOCKED)
        log.info(
            "login {user!r} {verdict} from {address} on {server}",
            user=claim.user or (address and str(address)),
            verdict="accepted" if address else "refused",
            address=client.address,
            server=client.server,
        )
        if address is None:
            self._recent.failed(client.address, counted)
            return await self._refuse(REFUSED, claim)
        self._recent.succeeded(counted)
        if signature:
            self._result = address
            return signature
        return address

    def _is_locked(self, claim: Claim, client: Client, counted: bytes) -> bool:
        """Whether there were too many failures lately to tell anything."""
        rule = self._recent.beyond(client.address, counted)
        if rule is None:
            return False
        log.info(
            "login {user!r} not admitted from {address} on {server}: over the limit {rule!r}",
            user=claim.user,
            address=client.address,
            server=client.server,
            rule=rule,
        )
        return True

    async def _challenge(self, claim: ScramLookup) -> bytes | Reply:
        """Tell a client its salt, whether there is such a login or not."""
        binding = self._binding(claim.binding) if claim.binding else b""
        if binding is None:
            return Reply(
                535, "5.7.8", f"this connection has no channel binding {claim.binding}, use another"
            )
        checker: Any = self._portal.checkers[IScramCredentials]
        keys = await self._guarded(lambda: checker.scram_keys(claim.user))
        if not isinstance(keys, ScramKeys):
            raise guard.fault("accounts", "gave no keys for SCRAM")
        return claim.challenge(keys, binding)

    async def _proved(self, claim: Claim) -> tuple[Address | None, bytes]:
        answer: tuple[Address | None, bytes] = await self._guarded(
            lambda: self._ask(claim), UnauthorizedLogin
        )
        return answer

    async def _guarded(self, call: Callable[[], Any], *answers: type[Exception]) -> Any:
        return await guard.ask("accounts", (), self._clock, self._limits.plugin_time, call, answers)

    async def _ask(self, claim: Claim) -> tuple[Address | None, bytes]:
        """Whose login it is, if it is proved, and the last challenge to send to the client."""
        credentials = _credentials(claim)
        _, avatar, logout = await self._portal.login(credentials, None, IMailUser)
        address: Address = cast(IMailUser, avatar).address
        # Whoever proves to be one user may not act as another (RFC 4616 §2, RFC 5802 §5.1).
        own = (b"", str(address).encode())
        if claim.authzid not in (own if isinstance(claim, TokenClaim) else (*own, claim.user)):
            logout()
            return None, b""
        signature = b""
        if isinstance(credentials, _Proof):
            signature = credentials.signature
            if not signature:
                logout()
                raise RuntimeError("a checker accepted a proof that it has not checked")
        self._logout = logout
        return address, signature

    async def _refuse(self, reply: Reply, claim: Claim | None = None) -> bytes | Reply:
        self._failures += 1
        beyond = self._failures - self._limits.login_failures
        if beyond > 0:
            await deferLater(self._clock, min(2.0**beyond, 30.0))
        if beyond >= self._limits.login_failures:
            return TOO_MANY_FAILURES
        if isinstance(claim, TokenClaim):
            self._result = reply
            return claim.refusal
        return reply

    def log_out(self) -> None:
        """The connection, or the login, is over."""
        self._result = None
        begun, self._begun = self._begun, None
        if begun is not None:
            self._recent.failed(*begun)
        logout, self._logout = self._logout, None
        if logout is not None:
            logout()


@implementer(IScramCredentials)
class _Proof:
    """A client's proof, for a checker to hold against the keys that it has.

    :ivar signature: the server's own proof, once the client's was found to fit
    """

    def __init__(self, claim: ScramProof) -> None:
        self.username = claim.user
        self.signature = b""
        self._claim = claim

    def check_keys(self, keys: ScramKeys) -> bool:
        """See `IScramCredentials.check_keys`."""
        fits = self._claim.fits(keys)
        self.signature = self._claim.signature(keys) if fits else b""
        return fits


def _counted_as(claim: Claim) -> bytes:
    """The login whose failures are counted.

    A token that comes without a name counts for itself: those who guess at tokens must not lock out
    all others who leave their names to theirs.
    """
    if isinstance(claim, TokenClaim) and not claim.user:
        return b"token " + hashlib.sha256(claim.token).hexdigest().encode("ascii")
    return claim.user


def _credentials(claim: Claim) -> Any:
    if isinstance(claim, ScramProof):
        return _Proof(claim)
    if isinstance(claim, TokenClaim):
        return BearerToken(username=claim.user, token=claim.token)
    assert isinstance(claim, Login)
    return UsernamePassword(claim.user, claim.password)
