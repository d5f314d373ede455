"""Logins: `mailframe.server.authentication`."""

from __future__ import annotations

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.reply import Reply
from mailframe.server.authentication import (
    LOCKED,
    REFUSED,
    TOO_MANY_FAILURES,
    UNAVAILABLE,
    Authentication,
)
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.units import Seconds
from mailframe.wire.sasl import Login
from tests.server.smtp_fakes import FakeRealm, fake_portal

CLIENT = Client(server="mx", protocol="submission", address="192.0.2.1")
ANGELO = Login(authzid=b"", user=b"angelo@here.example", password=b"secret")
WRONG = Login(authzid=b"", user=b"angelo@here.example", password=b"wrong")


class AuthenticationTests(SynchronousTestCase):
    """Only who knows the password gets in, and guessing is slow."""

    def setUp(self) -> None:
        """A portal with one user."""
        self.clock = Clock()
        self.realm = FakeRealm()
        self.authentication = self.make(fake_portal(self.realm))

    def make(self, portal: Portal) -> Authentication:
        """Logins at a portal."""
        return Authentication(portal=portal, limits=Limits(), clock=self.clock)

    def prove(self, login: Login) -> Deferred[Address | Reply]:
        """Try a login."""
        return Deferred.fromCoroutine(self.authentication.prove(login, CLIENT))

    def test_accepted(self) -> None:
        """The login is an account's address, and ends with the connection."""
        address = self.successResultOf(self.prove(ANGELO))
        self.assertEqual(address, Address("angelo", "here.example"))
        self.assertEqual(self.realm.logouts, [])
        self.authentication.log_out()
        self.authentication.log_out()
        self.assertEqual(self.realm.logouts, ["angelo@here.example"])

    def test_authzid(self) -> None:
        """Who proves to be one user may act as no other (RFC 4616 §2)."""
        for authzid, accepted in (
            (b"angelo@here.example", True),
            (b"jsmith@here.example", False),
            (b"angelo", False),
        ):
            login = Login(authzid=authzid, user=ANGELO.user, password=ANGELO.password)
            answer = self.successResultOf(self.prove(login))
            self.assertEqual(isinstance(answer, Address), accepted, authzid)
        self.assertEqual(len(self.realm.logouts), 2)

    def test_slower_and_slower(self) -> None:
        """The same words for every failure; after a few they take their time, then it is over."""
        for login in (WRONG, Login(authzid=b"", user=b"x", password=b"y"), WRONG):
            self.assertEqual(self.successResultOf(self.prove(login)), REFUSED)
        for delay, reply in ((2, REFUSED), (4, REFUSED), (8, TOO_MANY_FAILURES)):
            answer = self.prove(WRONG)
            self.clock.advance(delay - 1)
            self.assertNoResult(answer)
            self.clock.advance(1)
            self.assertEqual(self.successResultOf(answer), reply)

    def test_over_many_connections(self) -> None:
        """A password is guessed over one connection after the other, at Argon2's cost for us."""
        failures = LoginFailures(
            limits=Limits(login_failures_per_login=2, login_window=Seconds(900.0)),
            clock=self.clock,
        )
        nobody = Login(authzid=b"", user=b"nobody@here.example", password=b"x")
        portal = fake_portal(self.realm)
        asked: list[object] = []

        class Counting:
            def login(self, *args: object) -> object:
                asked.append(args)
                return portal.login(*args)

        def connect() -> None:
            self.authentication = Authentication(
                portal=Counting(),  # type: ignore[arg-type]  # counts, and passes on
                limits=Limits(),
                clock=self.clock,
                failures=failures,
            )

        for login in (WRONG, nobody):
            for _ in range(2):
                connect()
                self.assertEqual(self.successResultOf(self.prove(login)), REFUSED)
        asked.clear()
        connect()
        for login in (nobody, ANGELO, WRONG):
            self.assertEqual(self.successResultOf(self.prove(login)), LOCKED)
        self.assertEqual(asked, [])
        # Who goes on all the same is slowed down and then sent away, as with wrong passwords.
        for delay, reply in ((2, LOCKED), (4, LOCKED), (8, TOO_MANY_FAILURES)):
            answer = self.prove(ANGELO)
            self.assertNoResult(answer)
            self.clock.advance(delay)
            self.assertEqual(self.successResultOf(answer), reply)
        self.clock.advance(900)
        connect()
        self.assertIsInstance(self.successResultOf(self.prove(ANGELO)), Address)

    def test_success_is_counted(self) -> None:
        """A user who mistypes now and then is not locked out."""
        self.authentication = Authentication(
            portal=fake_portal(self.realm),
            limits=Limits(login_failures=9),
            clock=self.clock,
            failures=LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock),
        )
        for login in (WRONG, ANGELO, WRONG):
            answer = self.successResultOf(self.prove(login))
        self.assertEqual(answer, REFUSED)
        self.assertIsInstance(self.successResultOf(self.prove(ANGELO)), Address)

    def test_faults(self) -> None:
        """When logins can't be checked the client is told to come again, not that it is wrong."""

        class BrokenRealm:
            def requestAvatar(self, *args: object) -> object:
                raise RuntimeError("bug")

        self.authentication = self.make(fake_portal(BrokenRealm()))  # type: ignore[arg-type]  # broken
        self.assertEqual(self.successResultOf(self.prove(ANGELO)), UNAVAILABLE)
        self.flushLoggedErrors(RuntimeError)

        class HangingPortal:
            def login(self, *args: object) -> Deferred[object]:
                return Deferred()

        self.authentication = self.make(HangingPortal())  # type: ignore[arg-type]  # a portal that hangs
        answer = self.prove(ANGELO)
        self.clock.advance(30)
        self.assertEqual(self.successResultOf(answer), UNAVAILABLE)
