"""Opening sessions: TLS under each policy, and the login."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectBindError, DNSLookupError, NoRouteError
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.connection import CLOSING, RelayConnection
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.sessions import Sessions
from mailframe.delivery.source import Source
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_counts import CountFile, TlsCounts, day_of
from mailframe.delivery.tls_demand import Published, TlsDemand
from mailframe.delivery.tls_fault import TlsFault
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.outcome import NextHop, TlsPolicy
from mailframe.reply import Reply
from mailframe.testing.network import VirtualReactor
from mailframe.testing.site import make_site
from mailframe.wire.sasl import Login
from mailframe.wire.sender_events import Failed
from tests.delivery.servers import ScriptedServer
from tests.delivery.test_tls_policy import asked, server_options, trust_root

HOST = "192.0.2.1"
NAME = "mx.blu.example"
LOGIN = Login(authzid=b"", user=b"user", password=b"secret")
WITH_TLS = b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"


class Always:
    """Asks the same of every server."""

    def __init__(self, demand: TlsDemand) -> None:
        self._demand = demand

    async def of(self, hop: NextHop, target: Target) -> TlsDemand:
        return self._demand


class SessionsCase(SynchronousTestCase):
    """Sessions with one server on a virtual network."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.site = make_site(state_dir="/nowhere", reactor=self.reactor)
        self.sessions = Sessions(settings=RelaySettings(), site=self.site, trust_root=trust_root())
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        closed = Deferred.fromCoroutine(self.sessions.close())
        self.reactor.advance(CLOSING * 2)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def begin_over(self, server: ScriptedServer, tls: Any, *, verified: bool) -> Deferred[Any]:
        """Over an endpoint that begins with TLS, of kind ``tls:`` or ``ssl:``."""
        clock = self.reactor  # wrapClientTLS takes that of the global reactor
        inner = TCP4ClientEndpoint(clock, HOST, 25)
        creator = TlsPolicies(trust_root()).creator(
            asked("verify" if verified else "require"), "mx.x"
        )

        class Endpoint:
            def connect(self, factory: Any) -> Deferred[Any]:
                return inner.connect(TLSMemoryBIOFactory(creator, True, factory, clock))

        clock.at(HOST).listenTCP(25, TLSMemoryBIOFactory(tls, False, server, clock))
        target = Target(
            where="tls:mx.x:25",
            host="mx.x",
            endpoint=Endpoint(),
            is_tls=True,
            is_verified=verified,
        )
        hop = NextHop(where="tls:mx.x:25", tls="opportunistic")
        result = Deferred.fromCoroutine(self.sessions.open(target, hop, None))
        self.reactor.advance(0)
        return result

    def open(
        self,
        server: ScriptedServer,
        policy: TlsPolicy,
        name: str = "mx.blu.example",
        login: Login | None = None,
    ) -> RelayConnection | Failed:
        self.reactor.at(HOST).listenTCP(25, server)
        result = self.begin(policy, name, login)
        self.reactor.advance(0)
        opened = self.successResultOf(result)
        if isinstance(opened, RelayConnection):
            self.assertTrue(opened.usable)
        return opened

    def begin(
        self,
        policy: TlsPolicy,
        name: str = "mx.blu.example",
        login: Login | None = None,
        **kwargs: Any,
    ) -> Deferred[Any]:
        endpoint = TCP4ClientEndpoint(self.reactor, HOST, 25)
        target = Target(where="mx:x", host=name, address=HOST, port=25, endpoint=endpoint)
        hop = NextHop(where="mx:x", tls=policy)
        return Deferred.fromCoroutine(self.sessions.open(target, hop, login, **kwargs))


class CountTests(SessionsCase):
    """How sessions fare, for reports."""

    def counted(
        self, server: ScriptedServer, policy: TlsPolicy, demand: TlsDemand | None = None
    ) -> list[tuple[str, str, str]]:
        """Of each session kind of the policy, result and exchanger."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.setUp()
        file = CountFile(str(folder))
        self.sessions._counts = TlsCounts(file, self.site)
        if demand is not None:
            self.sessions._demands = Always(demand)
        self.open(server, policy)
        self.nothing_left()
        found = [
            (each.kind, each.result, each.host)
            for each, number in file.of(day_of(self.reactor.seconds()), "x").items()
            for _ in range(number)
        ]
        return sorted(found)

    def test_counts(self) -> None:
        """A domain could not learn what is wrong with its TLS, or that all is well."""
        none, sts = "no-policy-found", "sts"
        enforced, tried = (
            TlsDemand(
                policy=policy,
                names=(NAME,),
                reason="x",
                is_tried_out=policy == "opportunistic",
                published=Published(kind="sts", domain="x"),
            )
            for policy in ("verify", "opportunistic")
        )
        refused = attrs.evolve(
            enforced,
            refusal=Reply(451, "4.7.5", "not there"),
            fault=TlsFault("validation-failure", "not there"),
        )
        unvouched = TlsDemand(
            policy="verify", reason="x", refusal=Reply(550, "5.7.10", "nobody vouches for it")
        )
        turned_away = ScriptedServer(
            tls=server_options("other.example"), EHLO=[WITH_TLS, b"421 4.3.2 too busy\r\n"]
        )
        never_there = ScriptedServer(EHLO=b"421 4.3.2 too busy\r\n")
        good, other, bad, clear = (
            ScriptedServer(tls=server_options(NAME), EHLO=WITH_TLS),
            ScriptedServer(tls=server_options("other.example"), EHLO=WITH_TLS),
            ScriptedServer(tls=server_options(NAME, trusted=False), EHLO=WITH_TLS),
            ScriptedServer(),
        )
        for server, policy, demand, expected in (
            (good, "opportunistic", None, [(none, "", "")]),
            (other, "opportunistic", None, [(none, "", "")]),
            (clear, "opportunistic", None, [(none, "starttls-not-supported", NAME)]),
            (clear, "require", None, [(none, "starttls-not-supported", NAME)]),
            (good, "none", None, []),
            (good, "opportunistic", enforced, [(sts, "", "")]),
            (other, "opportunistic", enforced, [(sts, "certificate-host-mismatch", NAME)]),
            (bad, "opportunistic", enforced, [(sts, "certificate-not-trusted", NAME)]),
            (clear, "opportunistic", enforced, [(sts, "starttls-not-supported", NAME)]),
            (bad, "opportunistic", tried, [(sts, "certificate-not-trusted", NAME)]),
            (clear, "opportunistic", tried, [(sts, "starttls-not-supported", NAME)]),
            (good, "opportunistic", refused, [(sts, "validation-failure", NAME)]),
            (good, "opportunistic", unvouched, []),  # no session, and no fault of the server's
            (never_there, "opportunistic", None, []),
            (turned_away, "opportunistic", tried, [(sts, "certificate-host-mismatch", NAME)]),
            (turned_away, "opportunistic", None, [(none, "", "")]),
        ):
            wanted: Any = policy
            if server is turned_away:
                server.answers["EHLO"] = [WITH_TLS, b"421 4.3.2 too busy\r\n"]
            self.assertEqual(self.counted(server, wanted, demand), expected, expected)

    def test_handshake_hangs(self) -> None:
        """A server whose TLS hangs would count as one that has none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = CountFile(str(folder))
        self.sessions._counts = TlsCounts(file, self.site)
        self.reactor.at(HOST).listenTCP(25, ScriptedServer(EHLO=WITH_TLS))
        result = self.begin("require")
        self.reactor.advance(61)
        self.assertIsInstance(self.successResultOf(result), Failed)
        self.reactor.advance(5)
        ((counted, number),) = file.of(day_of(self.reactor.seconds())).items()
        self.assertEqual((counted.result, number), ("validation-failure", 1))

    def test_shutdown(self) -> None:
        """Each restart of ours would be told to others as a fault of theirs."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = CountFile(str(folder))
        self.sessions._counts = TlsCounts(file, self.site)
        self.reactor.at(HOST).listenTCP(25, ScriptedServer(EHLO=WITH_TLS))
        result = self.begin("opportunistic")
        self.reactor.advance(0)
        self.nothing_left()
        self.assertIsInstance(self.successResultOf(result), Failed)
        self.assertEqual(file.of(day_of(self.reactor.seconds())), {})


class TlsTests(SessionsCase):
    """STARTTLS, for real."""

    def server(self, *names: str, **kwargs: Any) -> ScriptedServer:
        return ScriptedServer(
            tls=server_options(*(names or ("mx.blu.example",)), **kwargs), EHLO=WITH_TLS
        )

    def test_good_certificate(self) -> None:
        """Mail that must be encrypted would not go out at all."""
        for policy in ("opportunistic", "require", "verify"):
            self.setUp()
            server = self.server()
            self.assertIsInstance(self.open(server, policy), RelayConnection)
            self.assertEqual(server.verbs, ["EHLO", "STARTTLS", "EHLO"])
            self.nothing_left()

    def test_bad_certificates(self) -> None:
        """Somebody in between could read mail whose route asks for a verified server."""
        for server in (self.server(trusted=False), self.server("other.example")):
            for policy, good in (("opportunistic", True), ("require", True), ("verify", False)):
                self.setUp()
                server.commands.clear()
                opened = self.open(server, policy)
                if good:
                    self.assertIsInstance(opened, RelayConnection)
                else:
                    assert isinstance(opened, Failed)
                    self.assertEqual((opened.reply.code, opened.reply.status), (454, "4.7.5"))
                    self.assertEqual(server.verbs, ["EHLO", "STARTTLS"])
                self.nothing_left()
        self.flushLoggedErrors()

    def test_certificate_without_names(self) -> None:
        """Whoever has any certificate of a trusted authority could be taken for the server."""
        server = ScriptedServer(tls=server_options(common_name="mx.blu.example"), EHLO=WITH_TLS)
        opened = self.open(server, "verify")
        assert isinstance(opened, Failed)
        self.assertEqual(
            str(opened.reply),
            "454 4.7.5 the TLS handshake failed: the certificate is for no name",
        )
        self.assertEqual(opened.stage, "tls")
        self.flushLoggedErrors()

    def test_from_the_beginning(self) -> None:
        """Whoever answers for a server with TLS from the start would be taken for it."""
        for tls, verified, words in (
            (server_options("mx.x"), True, ""),
            (server_options(common_name="mx.x"), True, "the certificate is for no name"),
            (server_options("other.x"), True, "the certificate is not for the server's name"),
            (server_options("other.x"), False, ""),
            (server_options("mx.x", old=True), True, "protocol version"),
        ):
            self.setUp()
            server = ScriptedServer()
            opened = self.successResultOf(self.begin_over(server, tls, verified=verified))
            if words:
                self.assertEqual((opened.reply.status, opened.stage), ("4.7.5", "tls"))
                self.assertIn(words, str(opened.reply))
                self.assertLessEqual(len(server.commands), 1)  # it is not tried in clear
                self.assertNotIn("EHLO", server.verbs)
            else:
                self.assertIsInstance(opened, RelayConnection)
            self.nothing_left()
        self.flushLoggedErrors()

    def test_reason(self) -> None:
        """Nobody could tell why TLS with a server fails."""
        for server, words in (
            (self.server(trusted=False), "the certificate's issuer is not known here"),
            (self.server(expired=True), "the certificate has expired"),
            (self.server("other.example"), "the certificate is not for the server's name"),
        ):
            self.setUp()
            opened = self.open(server, "verify")
            assert isinstance(opened, Failed)
            self.assertEqual(str(opened.reply), f"454 4.7.5 the TLS handshake failed: {words}")
            self.nothing_left()

    def test_tried_out(self) -> None:
        """Who tries out a policy would get no mail for the faults that it is to find."""
        for server, kind in (
            (self.server(trusted=False), "certificate-not-trusted"),
            (self.server(expired=True), "certificate-expired"),
            (self.server("other.example"), "certificate-host-mismatch"),
            (self.server(), None),
        ):
            self.setUp()
            demand = TlsDemand(
                policy="opportunistic", names=(NAME,), reason="testing", is_tried_out=True
            )
            self.sessions._demands = Always(demand)
            opened = self.open(server, "opportunistic")
            assert isinstance(opened, RelayConnection)
            fault = opened.handshake.fault
            self.assertEqual(fault.kind if fault else None, kind)
            self.assertEqual(server.verbs[:3], ["EHLO", "STARTTLS", "EHLO"])
            self.nothing_left()

    def test_refused_by_policy(self) -> None:
        """Mail would go to a server that the domain does not call its own."""
        server = self.server()
        refusal = Reply(451, "4.7.5", "it is not in the policy")
        self.sessions._demands = Always(TlsDemand(policy="verify", reason="x", refusal=refusal))
        opened = self.open(server, "opportunistic")
        self.assertEqual(opened, Failed(reply=refusal, stage="greeting"))
        self.assertEqual(server.commands, [])

    def test_old_version(self) -> None:
        """TLS versions that are broken would be taken for encryption."""
        for policy in ("require", "verify"):
            self.setUp()
            opened = self.open(self.server(old=True), policy)
            assert isinstance(opened, Failed)
            self.assertEqual(opened.reply.status, "4.7.5")
            self.nothing_left()

    def test_handshake_fails(self) -> None:
        """Mail to a server with broken TLS would not go out, or would in spite of the policy."""
        # With no TLS behind its STARTTLS, the server takes the ClientHello for a command line.
        for policy, good in (("opportunistic", True), ("require", False), ("verify", False)):
            self.setUp()
            server = ScriptedServer(EHLO=WITH_TLS)
            server.answers["STARTTLS"] = b"220 go\r\n"
            server.pause_at = "STARTTLS"  # the ClientHello might have what looks like a line
            self.reactor.at(HOST).listenTCP(25, server)
            result = self.begin(policy)
            self.reactor.advance(0)
            self.assertNoResult(result)
            server.connections[0].transport.write(b"500 what?\r\n")
            self.reactor.advance(0)
            opened = self.successResultOf(result)
            if good:
                self.assertIsInstance(opened, RelayConnection)
                self.assertEqual(len(server.commands), 2)
                self.assertEqual(server.commands[1], [b"EHLO mx.here.example"])
            else:
                self.assertEqual((opened.reply.code, opened.reply.status), (454, "4.7.5"))
                self.assertEqual(len(server.commands), 1)
            self.nothing_left()

    def test_handshake_hangs(self) -> None:
        """A server that goes silent in the handshake would hold its mail for ever."""
        for policy, good in (("opportunistic", True), ("require", False)):
            self.setUp()
            server = ScriptedServer(EHLO=WITH_TLS)
            self.reactor.at(HOST).listenTCP(25, server)
            result = self.begin(policy)
            self.reactor.advance(61)
            opened = self.successResultOf(result)
            self.assertEqual(isinstance(opened, RelayConnection), good)
            self.nothing_left()

    def test_in_clear_is_told_of(self) -> None:
        """The second connection would not be counted, and a receiver that counts them block us."""
        for policy, told in (("opportunistic", [1]), ("require", [])):
            self.setUp()
            self.reactor.at(HOST).listenTCP(25, ScriptedServer(EHLO=WITH_TLS))
            calls: list[int] = []
            result = self.begin(policy, again=lambda calls=calls: calls.append(1))
            self.reactor.advance(61)
            self.successResultOf(result)
            self.assertEqual(calls, told)
            self.nothing_left()

    def test_handshake_at_the_shutdown(self) -> None:
        """A message would go out in clear during the shutdown, over a connection nobody closes."""
        server = ScriptedServer(EHLO=WITH_TLS)
        server.pause_at = "STARTTLS"  # or it might find a line in the ClientHello
        self.reactor.at(HOST).listenTCP(25, server)
        result = self.begin("opportunistic")
        self.reactor.advance(0)
        closed = Deferred.fromCoroutine(self.sessions.close())
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result), Failed)
        self.successResultOf(closed)
        self.assertEqual(len(server.commands), 1)

    def test_injection_is_not_retried_in_clear(self) -> None:
        """Whoever injects octets before TLS could have the mail in clear."""
        server = ScriptedServer(EHLO=WITH_TLS, STARTTLS=b"220 go\r\n250 AUTH PLAIN\r\n")
        opened = self.open(server, "opportunistic")
        assert isinstance(opened, Failed)
        self.assertEqual(opened.reply.status, "4.5.0")
        self.assertEqual(len(server.commands), 1)

    def test_stripped(self) -> None:
        """Whoever hides STARTTLS could have the mail in clear."""
        for policy in ("require", "verify"):
            self.setUp()
            server = ScriptedServer()
            opened = self.open(server, policy)
            assert isinstance(opened, Failed)
            self.assertEqual(opened.reply.status, "4.7.10")
            self.assertEqual(server.verbs, ["EHLO", "QUIT"])
            self.nothing_left()

    def test_impossible_name(self) -> None:
        """A host whose name no certificate can be for would crash the delivery."""
        opened = self.open(self.server(), "verify", name="")
        assert isinstance(opened, Failed)
        self.assertEqual((opened.reply.code, opened.reply.status), (454, "4.7.5"))
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class LoginTests(SessionsCase):
    """AUTH at a smarthost."""

    def test_over_tls(self) -> None:
        """A smarthost with a login could not be used."""
        server = ScriptedServer(tls=server_options("mx.blu.example"), EHLO=WITH_TLS)
        self.assertIsInstance(self.open(server, "verify", login=LOGIN), RelayConnection)
        self.assertEqual(
            server.commands[0][-1], b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret")
        )

    def test_never_in_clear(self) -> None:
        """The password would be sent in clear when TLS is hidden or fails."""
        for server in (
            ScriptedServer(EHLO=b"250-mx\r\n250 AUTH PLAIN\r\n"),
            ScriptedServer(EHLO=WITH_TLS, STARTTLS=b"454 not now\r\n"),
        ):
            self.setUp()
            opened = self.open(server, "opportunistic", login=LOGIN)
            assert isinstance(opened, Failed)
            self.assertEqual(opened.reply.status, "4.7.11")
            self.assertNotIn("AUTH", server.verbs)
            self.nothing_left()

    def login(self, hop: NextHop) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.sessions.login(hop)))

    def test_password_file(self) -> None:
        """The password could not be changed without a restart, or would end in a line break."""
        path = self.mktemp()
        hop = NextHop(where="tcp:x:25", login="user", password_file=path)
        for content, password in ((b"secret\n", b"secret"), (b"other\r\nrest", b"other")):
            with open(path, "wb") as file:
                file.write(content)
            self.assertEqual(self.login(hop), Login(authzid=b"", user=b"user", password=password))
        self.assertIsNone(self.login(NextHop(where="tcp:x:25")))

    def test_bad_password_file(self) -> None:
        """Mail would bounce because a file of ours is missing."""
        path = self.mktemp()
        hop = NextHop(where="tcp:x:25", login="user", password_file=path)
        for content in (None, b"", b"\n", b"x" * 2000):
            if content is not None:
                with open(path, "wb") as file:
                    file.write(content)
            reply = self.login(hop)
            self.assertEqual((reply.code, reply.status), (451, "4.3.5"))
        reply = self.login(attrs.evolve(hop, password_file=None))
        self.assertEqual(reply.status, "4.3.5")

    def test_cancelled(self) -> None:
        """A delivery that is given up while its password is read would go on."""
        site = attrs.evolve(self.site, in_thread=lambda *args: Deferred())
        sessions = Sessions(settings=RelaySettings(), site=site, trust_root=None)
        hop = NextHop(where="tcp:x:25", login="user", password_file="x")
        result = Deferred.fromCoroutine(sessions.login(hop))
        result.cancel()
        self.failureResultOf(result, CancelledError)


class ConnectTests(SessionsCase):
    """Attempts to connect."""

    def test_words(self) -> None:
        """Nobody could tell why a server was not reached."""

        class Endpoint:
            def __init__(self, error: Exception) -> None:
                self.error = error

            def connect(self, factory: Any) -> Deferred[Any]:
                return fail(self.error)

        for error, words in (
            (DNSLookupError(), "its name was not found"),
            (NoRouteError(), "no route to it"),
            (ValueError("x"), "ValueError"),
        ):
            target = Target(where="tcp:x:1", host="x", endpoint=Endpoint(error))
            opened = self.successResultOf(
                Deferred.fromCoroutine(self.sessions.open(target, NextHop(where="x"), None))
            )
            self.assertEqual(str(opened.reply), f"451 4.4.1 could not connect to tcp:x:1: {words}")

    def test_source(self) -> None:
        """Others would be told the name of another of our addresses."""
        server = ScriptedServer()
        self.reactor.at(HOST).listenTCP(25, server, interface=HOST)
        for source, name in (
            (None, "mx.site.example"),
            (Source(address="192.0.2.9"), "mx.site.example"),
            (Source(address="192.0.2.9", hostname="out.site.example"), "out.site.example"),
        ):
            self.sessions._site = attrs.evolve(self.site, hostname="mx.site.example")
            endpoint = TCP4ClientEndpoint(self.reactor, HOST, 25)
            target = Target(where="mx:x", host="x", endpoint=endpoint, source=source)
            hop = NextHop(where="mx:x", tls="none")
            opening = Deferred.fromCoroutine(self.sessions.open(target, hop, None))
            self.reactor.advance(0)
            self.successResultOf(opening)
            self.assertEqual(server.commands[-1][0], f"EHLO {name}".encode())

    def test_not_our_address(self) -> None:
        """Nobody would know that mail waits because of a mistyped source address."""

        class Endpoint:
            def connect(self, factory: Any) -> Deferred[Any]:
                return fail(ConnectBindError())

        source = Source(address="192.0.2.9")
        target = Target(where="mx:x", host="x", endpoint=Endpoint(), source=source)
        opened = self.successResultOf(
            Deferred.fromCoroutine(self.sessions.open(target, NextHop(where="mx:x"), None))
        )
        self.assertEqual(opened.reply.status, "4.3.5")
        self.assertIn("the source address 192.0.2.9 is not this machine's", str(opened.reply))

    def test_closing(self) -> None:
        """The shutdown would wait for hosts that do not answer."""
        self.reactor.unreachable(HOST)
        result = self.begin("none")
        self.reactor.advance(0)
        self.successResultOf(Deferred.fromCoroutine(self.sessions.close()))
        self.assertEqual(
            str(self.successResultOf(result).reply),
            f"451 4.4.1 could not connect to mx.blu.example [{HOST}]:25: "
            "the server is shutting down",
        )
