"""Tests of mailframe.accounts.login_elsewhere."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import execute, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.login_elsewhere import LoginElsewhere, Surroundings
from mailframe.address import Address
from mailframe.interfaces import Account, Alias

JOE = Address("Joe", "demo.example")
INFO = Address("info", "demo.example")


def find(address: Address) -> Any:
    """An account and an alias."""
    return succeed(
        {
            "joe@demo.example": Account(address=JOE),
            "info@demo.example": Alias(address=INFO, addresses=(JOE,)),
        }.get(str(address).lower())
    )


class Checker:
    """Knows names as they are given to it."""

    def __init__(self, **users: Any) -> None:
        self.users = users
        self.asked: list[bytes] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials.username)
        try:
            return self.users[credentials.username.decode()]
        except KeyError:
            raise UnauthorizedLogin from None


class ElsewhereTests(SynchronousTestCase):
    def log_in(self, checker: Checker, name: bytes) -> Any:
        around = Surroundings(
            domain="demo.example",
            find=find,
            in_thread=execute,
            secret=lambda: b"secret",
            scram=lambda: True,
        )
        elsewhere = LoginElsewhere(checker, IUsernamePassword, around)
        return elsewhere.requestAvatarId(UsernamePassword(name, b"x"))

    def test_names(self) -> None:
        """Mail clients that send the whole address could not log in, or those that send less."""
        for name in (b"jane", b"jane@demo.example", b"jane@DEMO.example"):
            checker = Checker(jane=b"jane")
            self.assertEqual(self.successResultOf(self.log_in(checker, name)), b"jane@demo.example")

    def test_other_domain(self) -> None:
        """A user of one domain could log in as one of another."""
        checker = Checker(jane=b"jane")
        for name in (b"jane@blu.example", b"@demo.example", b"jane@", b"Jane"):
            self.failureResultOf(self.log_in(checker, name), UnauthorizedLogin)
        self.assertNotIn(b"jane", checker.asked)

    def test_address(self) -> None:
        """A checker that knows addresses would have its users renamed."""
        checker = Checker(**{"jane@demo.example": "jane@blu.example"})
        answer = self.log_in(checker, b"jane@demo.example")
        self.assertEqual(self.successResultOf(answer), b"jane@blu.example")

    def test_account(self) -> None:
        """One user would have two mailboxes, or an alias a login."""
        checker = Checker(joe=b"joe", info=b"info")
        self.assertEqual(self.successResultOf(self.log_in(checker, b"joe")), b"Joe@demo.example")
        self.failureResultOf(self.log_in(checker, b"info"), UnauthorizedLogin)

    def test_no_address(self) -> None:
        """A name that can't be in an address would become a fault at every login."""
        for avatar_id in (b"\xff", b"a\nb", b"", b"a@b@c"):
            answer = self.log_in(Checker(odd=avatar_id), b"odd")
            self.failureResultOf(answer, UnauthorizedLogin)

    def test_fault(self) -> None:
        """A checker that fails would look like a wrong password."""

        class Broken(Checker):
            def requestAvatarId(self, credentials: Any) -> Any:
                raise OSError

        self.failureResultOf(self.log_in(Broken(), b"joe@demo.example"), OSError)
