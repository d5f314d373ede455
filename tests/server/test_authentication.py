"""Logins: `mailframe.server.authentication`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.accounts.realm import make_portal
from mailframe.address import Address
from mailframe.credentials import IBearerToken, IScramChecker, IScramCredentials
from mailframe.envelope import Client
from mailframe.reply import Reply
from mailframe.scram import ScramKeys
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
from mailframe.wire.sasl import (
    Acknowledged,
    Claim,
    Login,
    ScramLookup,
    ScramProof,
    TokenClaim,
    server_mechanism,
)
from mailframe.wire.sasl_scram_client import ScramClient
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

    def prove(self, login: Claim) -> Deferred[Address | bytes | Reply]:
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
        self.assertEqual(len(self.realm.logouts), 3, "each ends with the next attempt")

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

    def test_at_once(self) -> None:
        """Who tries as many passwords at once as connections are allowed learns which is right."""
        failures = LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock)
        portal = fake_portal(self.realm)
        waiting: list[Deferred[None]] = []

        class SlowPortal:
            def login(self, *args: object) -> Deferred[object]:
                waiting.append(Deferred())
                return waiting[-1].addCallback(lambda _: portal.login(*args))

        answers = []
        for login in (WRONG, WRONG, WRONG, ANGELO):
            self.authentication = Authentication(
                portal=SlowPortal(),  # type: ignore[arg-type]  # takes its time, and passes on
                limits=Limits(),
                clock=self.clock,
                failures=failures,
            )
            answers.append(self.prove(login))
        for each in waiting:
            each.callback(None)
        told = [self.successResultOf(each) for each in answers]
        self.assertEqual(told, [REFUSED, REFUSED, LOCKED, LOCKED])
        self.assertEqual(self.realm.logouts, ["angelo@here.example"])

    def test_broken_off(self) -> None:
        """Who closes the connection before the answer has us hash passwords without end."""
        failures = LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock)

        class HangingPortal:
            def login(self, *args: object) -> Deferred[None]:
                return Deferred()

        for _ in range(2):
            self.authentication = Authentication(
                portal=HangingPortal(),  # type: ignore[arg-type]  # stands in for one
                limits=Limits(),
                clock=self.clock,
                failures=failures,
            )
            proving = self.prove(ANGELO)
            self.assertNoResult(proving)
            proving.cancel()
            self.failureResultOf(proving, CancelledError)
        self.assertEqual(self.successResultOf(self.prove(ANGELO)), LOCKED)

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


KEYS = ScramKeys.derive(b"secret", salt=b"salt of angelo.", iterations=4096)


@implementer(IScramChecker)
class Keeper:
    """A checker as a plugin's author writes it: it keeps keys, and looks them up."""

    credentialInterfaces = (IScramCredentials,)
    scram_iterations = 4096

    def __init__(self) -> None:
        self.kept = {b"angelo@here.example": KEYS}
        self.careless = False

    async def scram_keys(self, username: bytes) -> ScramKeys | None:
        """The keys of a login."""
        return self.kept.get(username)

    def requestAvatarId(self, credentials: Any) -> bytes:
        """The login, when the proof fits its keys."""
        keys = self.kept.get(credentials.username)
        if self.careless or (keys is not None and credentials.check_keys(keys)):
            return bytes(credentials.username)
        raise UnauthorizedLogin("no")


@implementer(ICredentialsChecker)
class Introspection:
    """A checker of tokens, as a plugin's author writes it."""

    credentialInterfaces = (IBearerToken,)

    def requestAvatarId(self, credentials: Any) -> bytes:
        """Whose token it is."""
        if credentials.token != b"t0ken":
            raise UnauthorizedLogin("expired")
        return b"angelo@here.example"


class Accounts:
    """Accounts with nothing but checkers."""

    def __init__(self, *checkers: ICredentialsChecker) -> None:
        self._checkers = checkers

    def checkers(self) -> Sequence[ICredentialsChecker]:
        """As given."""
        return self._checkers


class MechanismCase(SynchronousTestCase):
    """A portal whose checkers a plugin has brought."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.keeper = Keeper()
        accounts: Any = Accounts(self.keeper, Introspection())
        self.portal = make_portal(accounts, None, lambda: b"a secret")
        self.bindings: dict[str, bytes] = {}
        self.authentication = self.make(Limits())

    def make(self, limits: Limits, failures: LoginFailures | None = None) -> Authentication:
        """Another connection."""
        return Authentication(
            portal=self.portal,
            limits=limits,
            clock=self.clock,
            failures=failures,
            binding=self.bindings.get,
        )

    def prove(self, claim: Claim) -> Any:
        """What a claim is answered with."""
        proving = Deferred.fromCoroutine(self.authentication.prove(claim, CLIENT))
        return self.successResultOf(proving)


class ScramTests(MechanismCase):
    """SCRAM over `twisted.cred`, with keys that a plugin keeps."""

    def exchange(self, client: ScramClient) -> Any:
        """The server's last word on a login."""
        offered = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
        server = server_mechanism(client.name, offered)
        lookup = server.respond(client.initial())
        assert isinstance(lookup, ScramLookup)
        challenge = self.prove(lookup)
        if isinstance(challenge, Reply):
            return challenge
        work: Any = client.respond(challenge)
        proof = server.respond(client.derived(work.compute()))
        assert isinstance(proof, ScramProof)
        signature = self.prove(proof)
        if isinstance(signature, Reply):
            return signature
        response: Any = client.respond(signature)
        client.succeeded()
        acknowledged = server.respond(response)
        assert isinstance(acknowledged, Acknowledged)
        return self.prove(acknowledged)

    def test_accepted(self) -> None:
        """Who knows the password gets in, and the password never went over the wire."""
        answer = self.exchange(ScramClient(b"angelo@here.example", b"secret"))
        self.assertEqual(answer, Address("angelo", "here.example"))
        # That was said once; the acknowledgement of nothing is no login.
        self.assertEqual(self.prove(Acknowledged()), REFUSED)

    def test_bound(self) -> None:
        """A login that is bound to the connection is taken on this connection alone."""
        binding = ("tls-exporter", b"this connection")
        client = ScramClient(b"angelo@here.example", b"secret", binding=binding, plus=True)
        refused = self.exchange(client)
        self.assertEqual((refused.code, refused.status), (535, "5.7.8"))
        self.assertIn("no channel binding tls-exporter", str(refused))
        self.bindings["tls-exporter"] = b"this connection"
        client = ScramClient(b"angelo@here.example", b"secret", binding=binding, plus=True)
        self.assertIsInstance(self.exchange(client), Address)

    def test_refused(self) -> None:
        """The same words for a wrong password and an unknown login, and both are counted."""
        self.authentication = self.make(
            Limits(),
            failures := LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock),
        )
        for user in (b"angelo@here.example", b"nobody@here.example"):
            self.assertEqual(self.exchange(ScramClient(user, b"wrong")), REFUSED)
            self.assertEqual(self.exchange(ScramClient(user, b"secret-")), REFUSED)
            self.authentication = self.make(Limits(), failures)
            self.assertEqual(self.exchange(ScramClient(user, b"secret")), LOCKED)

    def test_refuted(self) -> None:
        """What somebody in between has changed is a failed login, and counts as one."""
        failures = LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock)
        self.authentication = self.make(Limits(), failures)
        for _ in range(2):
            client = ScramClient(b"angelo@here.example", b"secret", binding=("tls-exporter", b"x"))
            server = server_mechanism(client.name, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
            self.assertEqual(self.prove(server.respond(client.initial())), REFUSED)
        self.authentication = self.make(Limits(), failures)
        self.assertEqual(self.exchange(ScramClient(b"angelo@here.example", b"secret")), LOCKED)

    def test_broken_off(self) -> None:
        """Salts are asked for, each at the cost of a hash for us, and nothing ends it."""
        for ended_by in ("another exchange", "the end of the connection"):
            failures = LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock)
            for _ in range(2):
                self.authentication = self.make(Limits(), failures)
                server = server_mechanism("SCRAM-SHA-256", ())
                self.assertIsInstance(self.prove(server.respond(b"n,,n=joe,r=abc")), bytes)
                if ended_by == "another exchange":
                    self.prove(TokenClaim(authzid=b"", user=b"x", token=b"t0ken", refusal=b"{}"))
                self.authentication.log_out()
            self.authentication = self.make(Limits(), failures)
            server = server_mechanism("SCRAM-SHA-256", ())
            self.assertEqual(self.prove(server.respond(b"n,,n=joe,r=abc")), LOCKED)

    def test_unknown_login(self) -> None:
        """The salt doesn't tell who has an account: it is always there and always the same."""
        challenges = []
        for user in (b"nobody@here.example", b"NOBODY@here.example", b"other@here.example"):
            for _ in range(2):
                server = server_mechanism("SCRAM-SHA-256", ())
                lookup = server.respond(b"n,,n=" + user + b",r=abc")
                assert isinstance(lookup, ScramLookup)
                challenges.append(self.prove(lookup).split(b",", 1)[1])
        self.assertEqual(len(set(challenges[:4])), 1)
        self.assertEqual(len(set(challenges)), 2)
        for each in challenges:
            self.assertRegex(each, rb"^s=[A-Za-z0-9+/]{22}==,i=4096$")

    def test_authzid(self) -> None:
        """Who proves to be one user may act as no other (CVE-2023-27582)."""
        for authzid, accepted in ((b"angelo@here.example", True), (b"jsmith@here.example", False)):
            server = server_mechanism("SCRAM-SHA-256", ())
            client = ScramClient(b"angelo@here.example", b"secret")
            initial = client.initial() or b""
            lookup = server.respond(initial.replace(b"n,,", b"n,a=" + authzid + b","))
            assert isinstance(lookup, ScramLookup)
            work: Any = client.respond(self.prove(lookup))
            client._bound = b"n,a=" + authzid + b","
            proof = server.respond(client.derived(work.compute()))
            assert isinstance(proof, ScramProof)
            self.assertEqual(self.prove(proof) != REFUSED, accepted)

    def test_faulty_checkers(self) -> None:
        """A checker that looks at nothing lets nobody in; one that fails is a fault of ours."""
        self.keeper.careless = True
        answer = self.exchange(ScramClient(b"angelo@here.example", b"wrong"))
        self.assertEqual(answer, UNAVAILABLE)
        self.flushLoggedErrors(RuntimeError)
        self.portal.registerChecker(Introspection(), IScramCredentials)
        self.assertEqual(self.exchange(ScramClient(b"angelo@here.example", b"secret")), UNAVAILABLE)
        self.flushLoggedErrors(AttributeError)

        class Nonsense(Keeper):
            async def scram_keys(self, username: bytes) -> Any:
                return "keys"

        self.portal.registerChecker(Nonsense(), IScramCredentials)
        self.assertEqual(self.exchange(ScramClient(b"angelo@here.example", b"secret")), UNAVAILABLE)


class BearerTests(MechanismCase):
    """OAUTHBEARER and XOAUTH2 over `twisted.cred`, with a checker that a plugin brought."""

    def claim(self, token: bytes, user: bytes = b"angelo@here.example") -> Any:
        claim = server_mechanism("OAUTHBEARER", ()).respond(
            b"n,a=" + user + b",\x01auth=Bearer " + token + b"\x01\x01"
        )
        assert isinstance(claim, TokenClaim)
        return self.prove(claim)

    def test_accepted(self) -> None:
        """Whose token it is, is the login."""
        self.assertEqual(self.claim(b"t0ken"), Address("angelo", "here.example"))

    def test_refused(self) -> None:
        """RFC 7628 §3.2.3: the reason in JSON, a dummy response, and only then the refusal."""
        self.assertEqual(self.claim(b"expired"), b'{"status": "invalid_token"}')
        self.assertEqual(self.prove(Acknowledged()), REFUSED)

    def test_other_name(self) -> None:
        """A token is good for its owner's account alone, whatever name comes with it."""
        self.assertEqual(self.claim(b"t0ken", b"jsmith@here.example")[:1], b"{")
        self.assertEqual(self.prove(Acknowledged()), REFUSED)

    def test_without_name(self) -> None:
        """Who guesses at tokens would lock out all whose client leaves the name to the token."""
        self.authentication = self.make(
            Limits(), LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock)
        )

        def claim(token: bytes) -> Any:
            return self.prove(TokenClaim(authzid=b"", user=b"", token=token, refusal=b"{}"))

        for token, said in ((b"a", b"{}"), (b"b", b"{}"), (b"a", b"{}"), (b"a", LOCKED)):
            self.authentication._failures = 0
            self.assertEqual(claim(token), said)
        self.assertEqual(claim(b"t0ken"), Address("angelo", "here.example"))

    def test_guessing(self) -> None:
        """Tokens are not to be guessed any faster than passwords."""
        self.authentication = self.make(
            Limits(),
            LoginFailures(limits=Limits(login_failures_per_login=2), clock=self.clock),
        )
        for _ in range(2):
            self.claim(b"wrong")
        self.assertEqual(self.claim(b"t0ken"), LOCKED)
        self.authentication = self.make(Limits(login_failures=1))
        self.claim(b"wrong")
        proving = Deferred.fromCoroutine(
            self.authentication.prove(
                TokenClaim(authzid=b"", user=b"", token=b"wrong", refusal=b"{}"), CLIENT
            )
        )
        self.assertNoResult(proving)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(proving), TOO_MANY_FAILURES)
