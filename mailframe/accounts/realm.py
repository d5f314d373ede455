"""Who a client is once its login is proved: the `twisted.cred` realm and portal.

Any `ICredentialsChecker` will do whose avatar id is an account's address.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mailframe.accounts.any_checker import AnyChecker
from mailframe.accounts.scram_logins import ScramLogins
from mailframe.address import Address
from mailframe.credentials import IScramCredentials
from mailframe.guard import as_deferred
from mailframe.interfaces import IAccounts, IMailboxStore, IMailUser

Avatar: TypeAlias = tuple[type[Interface], object, Callable[[], None]]


def make_portal(
    accounts: IAccounts,
    mailboxes: IMailboxStore | None,
    secret: Callable[[], bytes] = lambda: os.urandom(32),
) -> Portal:
    """The portal through which clients log in.

    :param accounts: whose checkers verify the credentials
    :param mailboxes: where mailboxes are opened; ``None`` when there are none that can be read
    :param secret: gives the secret from which SCRAM's salts of unknown logins are made; the answers
        to them are the same for as long as it is
    :returns: a portal whose avatars are `IMailUser` and, with mailboxes, `IMailboxPOP3`. Logging
        out of a mailbox closes it, when it has a method ``close``
    """
    checkers = accounts.checkers()
    portal = Portal(MailRealm(mailboxes))
    for interface in dict.fromkeys(i for c in checkers for i in c.credentialInterfaces):
        # A portal keeps only the last of several checkers for the same kind of credentials.
        able = [checker for checker in checkers if interface in checker.credentialInterfaces]
        if interface is IScramCredentials:
            portal.registerChecker(ScramLogins(able, secret), interface)
        else:
            portal.registerChecker(able[0] if len(able) == 1 else AnyChecker(able), interface)
    return portal


@implementer(IMailUser)
@attrs.frozen(kw_only=True)
class MailUser:
    """A client that proved its login."""

    address: Address


@implementer(IRealm)
class MailRealm:
    """Gives the avatars."""

    def __init__(self, mailboxes: IMailboxStore | None) -> None:
        self._mailboxes = mailboxes

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Deferred[Avatar]:
        """The avatar for the first of the interfaces that there is one for.

        :param avatarId: the account's address, as the checker returned it
        :returns: fires with interface, avatar and logout; fails with `MailboxInUse` or whatever
            else opening the mailbox fails with
        :raises NotImplementedError: there is no avatar for any of them, as `IRealm` asks
        """
        if avatarId is ANONYMOUS:
            raise UnauthorizedLogin("nobody logs in without a name here")
        text = avatarId.decode() if isinstance(avatarId, bytes) else avatarId
        address = Address.parse(text)
        for interface in interfaces:
            if interface is IMailUser:
                return succeed((IMailUser, MailUser(address=address), _nothing))
            if interface is IMailboxPOP3 and self._mailboxes is not None:
                return _open(self._mailboxes, address)
        raise NotImplementedError(f"no avatar for {interfaces!r}")


def _open(mailboxes: IMailboxStore, address: Address) -> Deferred[Avatar]:
    """Open the mailbox; close it again when nobody waits for it any more once it is open."""
    avatar: Deferred[Avatar] = Deferred()

    def opened(mailbox: Any) -> None:
        close = getattr(mailbox, "close", _nothing)
        if avatar.called:
            close()
        else:
            avatar.callback((IMailboxPOP3, mailbox, close))

    def failed(failure: Failure) -> None:
        if not avatar.called:
            avatar.errback(failure)

    as_deferred(mailboxes.open_mailbox(address)).addCallbacks(opened, failed)
    return avatar


def _nothing() -> None:
    """Nothing is held that logging out would have to let go of."""
