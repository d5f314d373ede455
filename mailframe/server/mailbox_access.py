"""Whether a client whose login was proved may read its mailbox here, and the opening of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3

from mailframe import guard
from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.interfaces import IPop3Mailbox, IRelayAuthorisation, MailboxInUse
from mailframe.outcome import Deny, Permit
from mailframe.server.limits import Limits
from mailframe.server.login_delays import LoginDelays
from mailframe.server.pop3_mailbox import AnyMailbox

log = Logger()

DELIVERY = "delivery"  # how the log names the part that keeps the mailboxes


@attrs.frozen
class NoAccess:
    """Why a mailbox was not opened.

    :ivar code: a response code of RFC 2449 §8 or RFC 3206
    :ivar text: for the client
    """

    code: str
    text: str


_FAULT = NoAccess("SYS/TEMP", "the mailbox can't be opened at present, try again later")


@attrs.frozen
class OpenMailbox:
    """A mailbox that is open and locked.

    :ivar mailbox: provides `IPop3Mailbox`
    :ivar log_out: unlocks it; to be called exactly once
    """

    mailbox: Any
    log_out: Callable[[], None]


class MailboxAccess:
    """Asks the authorisation, and opens mailboxes through the portal's realm."""

    def __init__(
        self,
        *,
        portal: Portal,
        authorisation: IRelayAuthorisation,
        authorisation_name: str,
        limits: Limits,
        clock: IReactorTime,
        login_delays: LoginDelays | None = None,
    ) -> None:
        """See `mailframe.server.pop3.Pop3ServerFactory`."""
        self._portal = portal
        self._authorisation = authorisation
        self._authorisation_name = authorisation_name
        self._limits = limits
        self._clock = clock
        self._delays = (
            login_delays
            if login_delays is not None
            else LoginDelays(seconds=limits.login_delay, clock=clock)
        )

    async def open(self, client: Client, address: Address) -> OpenMailbox | NoAccess:
        """Open the mailbox of a client.

        :param client: with its proved login
        :param address: the account's
        :returns: the mailbox, or why not. Unsure is no
        """
        refusal = await self._admit(client)
        if refusal is not None:
            return refusal
        left = self._delays.left(str(address))
        if left:
            wait = f"too early after the last login, try again in {math.ceil(left)} s"
            return NoAccess("LOGIN-DELAY", wait)
        try:
            _, mailbox, log_out = await self.ask(
                lambda: self._portal.realm.requestAvatar(str(address).encode(), None, IMailboxPOP3),
                MailboxInUse,
            )
        except MailboxInUse:
            return NoAccess("IN-USE", "another session has the mailbox open")
        except guard.PluginFault:
            return _FAULT
        if not IPop3Mailbox.providedBy(mailbox):
            try:
                mailbox = AnyMailbox(mailbox, await self.ask(mailbox.listMessages))
            except guard.PluginFault:
                log_out()
                return _FAULT
        self._delays.opened(str(address))
        return OpenMailbox(mailbox, log_out)

    async def ask(self, call: Callable[[], Any], *answers: type[Exception]) -> Any:
        """Call a method of a mailbox, within the time limit of plugins.

        :param answers: the exceptions that are to be expected
        :returns: its result, whether it came at once or as a Deferred
        :raises mailframe.guard.PluginFault: it failed otherwise, or took too long; logged already
        """
        return await guard.ask(
            DELIVERY,
            (),
            self._clock,
            self._limits.plugin_time,
            lambda: maybeDeferred(call),
            answers=answers,
        )

    async def _admit(self, client: Client) -> NoAccess | None:
        try:
            verdict = await guard.ask(
                self._authorisation_name,
                (Permit, Deny),
                self._clock,
                self._limits.plugin_time,
                lambda: self._authorisation.admit(client=client),
            )
        except guard.PluginFault:
            return NoAccess("SYS/TEMP", "can't check permissions at present, try again later")
        log.info(
            "{login} at {address} {verdict} on {server}: {reason} (rule {rule!r} of {plugin!r})",
            login=client.login,
            address=client.address,
            verdict="admitted" if isinstance(verdict, Permit) else "not admitted",
            server=client.server,
            reason=verdict.reason,
            rule=verdict.rule,
            plugin=verdict.plugin,
        )
        if isinstance(verdict, Permit):
            return None
        code = "SYS/TEMP" if verdict.reply.is_temporary else "AUTH"
        return NoAccess(code, " ".join(verdict.reply.text))
