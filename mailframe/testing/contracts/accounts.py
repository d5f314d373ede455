"""What the server relies upon in a source of accounts."""

from __future__ import annotations

from typing import cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.credentials import IScramChecker, IScramCredentials
from mailframe.interfaces import Account, Alias, IAccounts
from mailframe.scram import ScramKeys
from mailframe.testing.contracts.contract import Contract


class AccountsContract(Contract):
    """Mix into a test case that makes accounts in which these are found.

    :ivar account: the address of an account
    :ivar password: its password
    :ivar alias: the address of an alias, or ``None`` where there are none
    :ivar nobody: an address that nobody has
    """

    account = Address.parse("angelo@here.example")
    password = b"correct horse battery staple"
    alias: Address | None = Address.parse("team@here.example")
    nobody = Address.parse("nobody@here.example")

    def make_accounts(self) -> IAccounts:
        """The accounts to test."""
        raise AssertionError("override make_accounts()")

    def log_in(self, user: bytes, password: bytes) -> Deferred[object]:
        """What the first checker for passwords says."""
        for checker in self.make_accounts().checkers():
            if IUsernamePassword in checker.credentialInterfaces:
                credentials = UsernamePassword(user, password)
                answer: Deferred[object] = maybeDeferred(checker.requestAvatarId, credentials)
                self.reactor.advance(0)
                return answer
        raise AssertionError("there is no checker for user name and password")

    def test_provides_interface(self) -> None:
        """The server can't call the accounts."""
        accounts = self.make_accounts()
        verifyObject(IAccounts, accounts)
        for checker in accounts.checkers():
            verifyObject(ICredentialsChecker, checker)

    def test_account(self) -> None:
        """Mail for an account is refused."""
        found = self.get(self.make_accounts().find(address=self.account))
        assert isinstance(found, Account)
        self.assertEqual(found.address, self.account)

    def test_alias(self) -> None:
        """Mail for an alias is refused."""
        if self.alias is not None:
            found = self.get(self.make_accounts().find(address=self.alias))
            assert isinstance(found, Alias)
            self.assertTrue(found.addresses)
            self.assertNotIn(self.alias, found.addresses)

    def test_nobody(self) -> None:
        """Mail for nobody is accepted, and answered with a bounce to whom it names as sender."""
        self.assertIsNone(self.get(self.make_accounts().find(address=self.nobody)))

    def test_similar_addresses(self) -> None:
        """Somebody gets mail that is for somebody else."""
        accounts = self.make_accounts()
        local_part, domain = self.account.local_part, self.account.domain
        for other in (
            Address(local_part + "x", domain),
            Address(local_part[:-1], domain),
            Address(f"{local_part}@{domain}", domain),
            Address(local_part, "sub." + domain),
            Address(local_part, "x" + domain),
        ):
            self.assertIsNone(self.get(accounts.find(address=other)), str(other))

    def test_login(self) -> None:
        """Nobody can log in, or somebody does so as somebody else."""
        avatar_id = self.successResultOf(self.log_in(str(self.account).encode(), self.password))
        self.assertEqual(avatar_id, str(self.account).encode())

    def test_scram(self) -> None:
        """SCRAM, where it is offered, fails for who knows the password, or tells who has none."""
        for checker in self.make_accounts().checkers():
            scram = cast(IScramChecker, checker)
            if IScramCredentials in checker.credentialInterfaces and scram.scram_iterations:
                verifyObject(IScramChecker, scram)
                keys = self.get(scram.scram_keys(str(self.account).encode()))
                assert isinstance(keys, ScramKeys)
                own = ScramKeys.derive(self.password, salt=keys.salt, iterations=keys.iterations)
                self.assertEqual(keys, own)
                self.assertIsNone(self.get(scram.scram_keys(str(self.nobody).encode())))

    def test_wrong_login(self) -> None:
        """Whoever knows an address can read its mail; or a wrong password is a fault of ours."""
        user = str(self.account).encode()
        for name, password in (
            (user, b"wrong"),
            (user, b""),
            (user, self.password + b"x"),
            (user, self.password[:-1]),
            (user, b"\xff\xfe\0"),
            (str(self.nobody).encode(), self.password),
            (b"", self.password),
            (b"no address", self.password),
            (b"\xff\xfe@here.example", self.password),
            (user + b"\0", self.password),
        ):
            self.failureResultOf(self.log_in(name, password), UnauthorizedLogin)
