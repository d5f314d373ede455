"""Which mechanisms a server offers: `mailframe.server.mechanisms`."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase

from mailframe.credentials import IBearerToken, IScramCredentials
from mailframe.server.mechanisms import Mechanisms


class Checker:
    """One that says what it can verify."""

    def __init__(self, interface: Any, iterations: int | None = None) -> None:
        self.credentialInterfaces = (interface,)
        self.scram_iterations = iterations


def offered(*checkers: Checker, can_bind: bool = False) -> tuple[str, ...]:
    """The mechanisms with these checkers."""
    portal: Any = Portal(None)  # type: ignore[arg-type]  # nobody is given an avatar
    for checker in checkers:
        portal.registerChecker(checker)
    return Mechanisms(portal).offered(can_bind)


class OfferTests(SynchronousTestCase):
    """A client is offered what some checker can verify, and nothing that must fail."""

    def test_checkers(self) -> None:
        """Each kind of credentials brings its mechanisms, the strongest first."""
        password, token = Checker(IUsernamePassword), Checker(IBearerToken)
        scram = Checker(IScramCredentials, 4096)
        self.assertEqual(offered(), ())
        self.assertEqual(Mechanisms(None).offered(True), ())
        self.assertEqual(offered(password), ("PLAIN", "LOGIN"))
        self.assertEqual(offered(token), ("OAUTHBEARER", "XOAUTH2"))
        self.assertEqual(offered(scram), ("SCRAM-SHA-256",))
        self.assertEqual(
            offered(password, token, scram, can_bind=True),
            ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"),
        )

    def test_only_some(self) -> None:
        """Programs that take what they can't do, or passwords in the clear, can't be told off."""
        portal: Any = Portal(None)  # type: ignore[arg-type]  # nobody is given an avatar
        portal.registerChecker(Checker(IUsernamePassword))
        portal.registerChecker(Checker(IScramCredentials, 4096))
        for only, names in (
            (("login", "SCRAM-SHA-256"), ("SCRAM-SHA-256", "LOGIN")),
            (("XOAUTH2",), ()),
            (None, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")),
        ):
            self.assertEqual(Mechanisms(portal, only).offered(True), names)

    def test_keys_come_and_go(self) -> None:
        """Nobody is locked out by a mechanism for which there are no keys yet."""
        scram = Checker(IScramCredentials, None)
        portal: Any = Portal(None)  # type: ignore[arg-type]  # nobody is given an avatar
        portal.registerChecker(scram)
        mechanisms = Mechanisms(portal)
        self.assertEqual(mechanisms.offered(True), ())
        scram.scram_iterations = 4096
        self.assertEqual(mechanisms.offered(False), ("SCRAM-SHA-256",))
