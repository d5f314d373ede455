"""AUTH for one connection: proves a login through `twisted.cred`, and slows down guessing."""

from __future__ import annotations

from typing import Any, cast

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailframe import guard
from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.interfaces import IMailUser
from mailframe.reply import Reply
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.wire.sasl import Login

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
    ) -> None:
        """
        :param portal: gives `IMailUser` avatars for `UsernamePassword` credentials
        :param failures: those of the other connections, too; when ``None``, of this one alone
        """
        self._portal = portal
        self._recent = (
            failures if failures is not None else LoginFailures(limits=limits, clock=clock)
        )
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._logout: Any = None  # what the portal gave to call at the end

    async def prove(self, login: Login, client: Client) -> Address | Reply:
        """Check a login.

        :returns: the account's address, or the refusal
        """
        rule = self._recent.beyond(client.address, login.user)
        if rule is not None:
            log.info(
                "login {user!r} not tried from {address} on {server}: over the limit {rule!r}",
                user=login.user,
                address=client.address,
                server=client.server,
                rule=rule,
            )
            return await self._refuse(LOCKED)
        try:
            address = await guard.ask(
                "accounts",
                (),
                self._clock,
                self._limits.plugin_time,
                lambda: self._ask(login),
                (UnauthorizedLogin,),
            )
        except UnauthorizedLogin:
            address = None
        except guard.PluginFault:
            return UNAVAILABLE
        log.info(
            "login {user!r} {verdict} from {address} on {server}",
            user=login.user,
            verdict="accepted" if address else "refused",
            address=client.address,
            server=client.server,
        )
        if address is None:
            self._recent.failed(client.address, login.user)
            return await self._refuse(REFUSED)
        self._recent.succeeded(login.user)
        return address

    async def _ask(self, login: Login) -> Address | None:
        _, avatar, logout = await self._portal.login(
            UsernamePassword(login.user, login.password), None, IMailUser
        )
        address: Address = cast(IMailUser, avatar).address
        # RFC 4616 §2: whoever proves to be one user may not act as another.
        if login.authzid not in (b"", login.user, str(address).encode("ascii")):
            logout()
            return None
        self._logout = logout
        return address

    async def _refuse(self, reply: Reply) -> Reply:
        self._failures += 1
        beyond = self._failures - self._limits.login_failures
        if beyond > 0:
            await deferLater(self._clock, min(2.0**beyond, 30.0))
        if beyond >= self._limits.login_failures:
            return TOO_MANY_FAILURES
        return reply

    def log_out(self) -> None:
        """The connection, or the login, is over."""
        logout, self._logout = self._logout, None
        if logout is not None:
            logout()
