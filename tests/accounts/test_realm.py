"""Tests of mailframe.accounts.realm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import (
    ANONYMOUS,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import (
    Anonymous,
    IAnonymous,
    IUsernameHashedPassword,
    UsernameHashedPassword,
    UsernamePassword,
)
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from mailframe.accounts.realm import AnyChecker, MailRealm, make_portal
from mailframe.address import Address
from mailframe.interfaces import Account, Alias, IAccounts, IMailboxStore, IMailUser, MailboxInUse

ANGELO = Address("angelo", "demo.example")


def one_user(name: bytes, password: bytes) -> Any:
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(name, password)
    return checker


@implementer(IAccounts)
class Accounts:
    def __init__(self, *checkers: Any) -> None:
        self._checkers = checkers

    def find(self, address: Address) -> Deferred[Account | Alias | None]:
        return succeed(None)

    def checkers(self) -> Sequence[ICredentialsChecker]:
        return self._checkers


class Mailbox:
    closed = False

    def close(self) -> None:
        self.closed = True


@implementer(IMailboxStore)
class Mailboxes:
    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer = answer
        self.asked: list[Address] = []

    def open_mailbox(self, mailbox: Address) -> Deferred[Any]:
        self.asked.append(mailbox)
        return self.answer


@implementer(ICredentialsChecker)
class Fixed:
    """Lets everyone in, as whom it was told."""

    credentialInterfaces = (IAnonymous,)

    def __init__(self, avatar_id: Any) -> None:
        self.avatar_id = avatar_id

    def requestAvatarId(self, credentials: Any) -> Any:
        if isinstance(self.avatar_id, Exception):
            raise self.avatar_id
        return self.avatar_id


class PortalTests(SynchronousTestCase):
    def log_in(self, portal: Any, interface: Any, credentials: Any = None) -> Deferred[Any]:
        credentials = credentials or UsernamePassword(b"angelo@demo.example", b"secret")
        found: Deferred[Any] = portal.login(credentials, None, interface)
        return found

    def portal(self, mailboxes: Any = None, *more: Any) -> Any:
        return make_portal(Accounts(one_user(b"angelo@demo.example", b"secret"), *more), mailboxes)

    def test_mail_user(self) -> None:
        """Nobody could send mail with a login."""
        interface, avatar, logout = self.successResultOf(self.log_in(self.portal(), IMailUser))
        self.assertIs(interface, IMailUser)
        self.assertEqual(avatar.address, ANGELO)
        verifyObject(IMailUser, avatar)
        self.assertIsNone(logout())

    def test_mailbox(self) -> None:
        """Nobody could read mail; or a mailbox would stay locked after the session."""
        mailbox = Mailbox()
        mailboxes = Mailboxes(succeed(mailbox))
        interface, avatar, logout = self.successResultOf(
            self.log_in(self.portal(mailboxes), IMailboxPOP3)
        )
        self.assertEqual(mailboxes.asked, [ANGELO])
        self.assertIs(interface, IMailboxPOP3)
        self.assertIs(avatar, mailbox)
        self.assertFalse(mailbox.closed)
        logout()
        self.assertTrue(mailbox.closed)

    def test_mailbox_without_close(self) -> None:
        """A plugin's mailbox that needs no closing would fail at the end of each session."""
        mailboxes = Mailboxes(succeed(object()))
        _, _, logout = self.successResultOf(self.log_in(self.portal(mailboxes), IMailboxPOP3))
        self.assertIsNone(logout())

    def test_mailbox_in_use(self) -> None:
        """A second session would not be told why it can't have the mailbox."""
        mailboxes = Mailboxes(fail(MailboxInUse()))
        self.failureResultOf(self.log_in(self.portal(mailboxes), IMailboxPOP3), MailboxInUse)

    def test_given_up_while_opening(self) -> None:
        """A mailbox would stay locked for ever when its client left during the login."""
        for mailbox in (Mailbox(), MailboxInUse()):
            opening: Deferred[Any] = Deferred()
            login = self.log_in(self.portal(Mailboxes(opening)), IMailboxPOP3)
            login.cancel()
            self.failureResultOf(login, CancelledError)
            if isinstance(mailbox, Mailbox):
                opening.callback(mailbox)
                self.assertTrue(mailbox.closed)
            else:
                opening.errback(mailbox)

    def test_no_mailboxes(self) -> None:
        """A delivery agent without mailboxes would seem to have some."""
        self.failureResultOf(self.log_in(self.portal(), IMailboxPOP3), NotImplementedError)

    def test_unknown_interface(self) -> None:
        """A client would get an avatar that it can't use."""
        login = MailRealm(None).requestAvatar
        self.assertRaises(NotImplementedError, login, b"angelo@demo.example", None, Interface)

    def test_wrong_password(self) -> None:
        """Anyone could log in."""
        credentials = UsernamePassword(b"angelo@demo.example", b"wrong")
        self.failureResultOf(self.log_in(self.portal(), IMailUser, credentials), UnauthorizedLogin)

    def test_several_checkers(self) -> None:
        """Users of all checkers but the last would be locked out."""
        portal = self.portal(None, one_user(b"b@demo.example", b"other"))
        for name, password in [(b"angelo@demo.example", b"secret"), (b"b@demo.example", b"other")]:
            _, avatar, _ = self.successResultOf(
                self.log_in(portal, IMailUser, UsernamePassword(name, password))
            )
            self.assertEqual(str(avatar.address).encode(), name)
        wrong = UsernamePassword(b"b@demo.example", b"secret")
        self.failureResultOf(self.log_in(portal, IMailUser, wrong), UnauthorizedLogin)
        hashed = UsernameHashedPassword(b"b@demo.example", b"other")
        self.successResultOf(self.log_in(portal, IMailUser, hashed))

    def test_several_checkers_fault(self) -> None:
        """A directory that is down would tell users that their password is wrong."""
        checker = AnyChecker([Fixed(ZeroDivisionError()), Fixed(b"a@demo.example")])
        self.failureResultOf(checker.requestAvatarId(Anonymous()), ZeroDivisionError)

    def test_several_checkers_other_credentials(self) -> None:
        """A checker would be handed credentials that it does not understand."""
        checker = AnyChecker([Fixed(b"a@demo.example"), one_user(b"b@demo.example", b"x")])
        self.assertIn(IUsernameHashedPassword, checker.credentialInterfaces)
        self.assertIn(IAnonymous, checker.credentialInterfaces)
        found = checker.requestAvatarId(UsernamePassword(b"b@demo.example", b"x"))
        self.assertEqual(self.successResultOf(found), b"b@demo.example")

    def test_any_kind_of_credentials(self) -> None:
        """A plugin's own checker, for tokens perhaps, would never be asked."""
        portal = self.portal(None, Fixed("B@Demo.example"))
        _, avatar, _ = self.successResultOf(self.log_in(portal, IMailUser, Anonymous()))
        self.assertEqual(avatar.address, Address("B", "demo.example"))
        self.failureResultOf(
            self.log_in(self.portal(), IMailUser, Anonymous()), UnhandledCredentials
        )

    def test_anonymous(self) -> None:
        """Somebody without a name would be let in."""
        portal = self.portal(None, Fixed(ANONYMOUS))
        self.failureResultOf(self.log_in(portal, IMailUser, Anonymous()), UnauthorizedLogin)

    def test_avatar_that_is_no_address(self) -> None:
        """A broken checker's user would become somebody; it is a fault, not a wrong password."""
        portal = self.portal(None, Fixed(b"nobody"))
        self.failureResultOf(self.log_in(portal, IMailUser, Anonymous()), ValueError)
