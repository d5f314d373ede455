"""Fetching a policy over HTTPS, from servers of every kind."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from mailframe.clocks import Elapsed
from mailframe.delivery import mta_sts_fetch
from mailframe.delivery.addresses import is_prohibited
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts_fetch import MAX_RECEIVED, MAX_SIZE, SECONDS, PolicyFetch
from mailframe.delivery.mta_sts_policy import StsPolicy
from mailframe.delivery.tls_fault import TlsFault
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.testing.network import VirtualReactor
from mailframe.testing.site import make_site
from tests.delivery.test_tls_policy import server_options, trust_root

HOST = "mta-sts.blu.example"
FIRST, SECOND = "11.0.0.1", "11.0.0.2"
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.blu.example\nmax_age: 86400\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n" + TEXT + b"Content-Length: %d\r\n\r\n" % len(POLICY) + POLICY


class Web(Factory):
    """A server that gives every request the same answer, and nothing when that is empty."""

    noisy = False

    def __init__(self, answer: bytes, close: bool = False) -> None:
        self.answer = answer
        self.close = close
        self.requests: list[bytes] = []

    def buildProtocol(self, addr: Any) -> _WebConnection:
        """One connection."""
        connection = _WebConnection()
        connection.factory = self
        return connection


class _WebConnection(Protocol):
    factory: Web
    buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer.endswith(b"\r\n\r\n"):
            self.factory.requests.append(self.buffer)
            assert self.transport
            self.transport.write(self.factory.answer)
            if self.factory.close:
                self.transport.loseConnection()


class FetchTests(SynchronousTestCase):
    """`PolicyFetch`, on a virtual network with real TLS."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        zone = {HOST: {"A": [FIRST, SECOND]}, "mta-sts.inside.example": {"A": ["127.0.0.1"]}}
        self.site = make_site(state_dir="/nowhere", reactor=self.reactor, zone=zone)
        lookup = Lookup(
            resolver=self.site.resolver,
            clock=Elapsed(self.reactor),
            seconds=30,
            hostname="mx.here.example",
            own_addresses=(),
            prohibited=is_prohibited,
            random=self.site.random,
        )
        self.fetch = PolicyFetch(
            reactor=self.reactor,
            lookup=lookup,
            policies=TlsPolicies(trust_root()),
            prohibited=is_prohibited,
        )
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        self.reactor.advance(2)  # what Twisted allows a TLS connection to end in good order
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def serve(
        self, answer: bytes, *names: str, address: str = FIRST, close: bool = False, **tls: Any
    ) -> Web:
        web = Web(answer, close)
        options = server_options(*(names or (HOST,)), **tls)
        self.reactor.at(address).listenTCP(
            443, TLSMemoryBIOFactory(options, False, web, self.reactor), interface=address
        )
        return web

    def begin(self, domain: str = "blu.example") -> Deferred[StsPolicy | TlsFault]:
        fetching = Deferred.fromCoroutine(self.fetch.fetch(domain))
        self.reactor.advance(0)
        return fetching

    def fault(self, domain: str = "blu.example") -> TlsFault:
        found = self.successResultOf(self.begin(domain))
        assert isinstance(found, TlsFault)
        return found

    def test_good(self) -> None:
        """No domain's policy would be found."""
        web = self.serve(GOOD)
        found = self.successResultOf(self.begin())
        self.assertEqual(found, StsPolicy(mode="enforce", mx=("mx.blu.example",), max_age=86_400))
        (request,) = web.requests
        self.assertTrue(request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n"))
        self.assertIn(b"\r\nHost: mta-sts.blu.example\r\n", request)

    def test_without_length(self) -> None:
        """A policy from a simple server would be taken for none."""
        self.serve(b"HTTP/1.0 200 OK\r\n" + TEXT + b"\r\n" + POLICY, close=True)
        self.assertIsInstance(self.successResultOf(self.begin()), StsPolicy)

    def test_second_address(self) -> None:
        """One web server that is down would be the end of a domain's policy."""
        self.serve(GOOD, address=SECOND)
        self.assertIsInstance(self.successResultOf(self.begin()), StsPolicy)

    def test_bad_certificates(self) -> None:
        """Who is in between could publish a policy of his own (RFC 8461 §3.3)."""
        for names, tls, words in (
            ((HOST,), {"trusted": False}, "the certificate's issuer is not known here"),
            ((HOST,), {"expired": True}, "the certificate has expired"),
            (("blu.example",), {}, "the certificate is not for the server's name"),
            ((), {"common_name": HOST}, "the certificate is for no name"),
        ):
            self.setUp()
            options: Any = tls
            self.reactor.at(FIRST).listenTCP(
                443,
                TLSMemoryBIOFactory(
                    server_options(*names, **options), False, Web(GOOD), self.reactor
                ),
                interface=FIRST,
            )
            self.site.resolver.zone[HOST] = {"A": [FIRST]}
            fault = self.fault()
            self.assertEqual(fault.kind, "sts-webpki-invalid")
            self.assertEqual(fault.text, f"TLS with {HOST} failed: {words}")
            self.nothing_left()

    def test_useless_answers(self) -> None:
        """Something that is no policy would be taken for one; or nobody could say what is wrong."""
        many = b"x: y\n" * (MAX_SIZE // 5 + 1)
        for answer, kind, words in (
            (
                b"HTTP/1.1 301 Moved\r\nLocation: https://x.example/\r\nContent-Length: 0\r\n\r\n",
                "sts-policy-fetch-error",
                "the server answers 301",
            ),
            (
                GOOD.replace(b"text/plain", b"text/html"),
                "sts-policy-fetch-error",
                "not with text/plain",
            ),
            (GOOD.replace(b"enforce", b"forever"), "sts-policy-invalid", "its mode is not"),
            (
                b"HTTP/1.1 200 OK\r\n" + TEXT + b"\r\n" + many,
                "sts-policy-fetch-error",
                "it is larger than 65536 octets",
            ),
            (b"SSH-2.0-x\r\n\r\n", "sts-policy-fetch-error", "could not be asked"),
        ):
            self.setUp()
            self.site.resolver.zone[HOST] = {"A": [FIRST]}
            self.serve(answer)
            fault = self.fault()
            self.assertEqual(fault.kind, kind)
            self.assertIn(words, fault.text)
            self.nothing_left()

    def test_broken_off(self) -> None:
        """Half of a policy would be taken for the whole."""
        self.site.resolver.zone[HOST] = {"A": [FIRST]}
        self.serve(GOOD[:-10], close=True)
        self.assertEqual(self.fault().text, "the answer broke off")

    def test_no_address(self) -> None:
        """A domain could have us ask servers inside of our network."""
        for domain, words in (
            ("inside.example", "only private, loopback or reserved addresses"),
            ("other.example", "mta-sts.other.example has no address"),
            ("failing.example", "DNS failed (SERVFAIL) for mta-sts.failing.example"),
        ):
            self.site.resolver.servfail.add("mta-sts.failing.example")
            fault = self.fault(domain)
            self.assertEqual(fault.kind, "sts-policy-fetch-error")
            self.assertIn(words, fault.text)

    def test_silence(self) -> None:
        """A server that does not answer would hold a place for ever."""
        self.serve(b"")
        fetching = self.begin()
        self.assertNoResult(fetching)
        self.reactor.advance(SECONDS)
        fault = self.successResultOf(fetching)
        self.assertEqual(
            fault, TlsFault("sts-policy-fetch-error", "its server did not answer in time")
        )

    def test_trickle(self) -> None:
        """A server that never ends its answer would hold a place for ever."""
        self.serve(GOOD[:-10])
        fetching = self.begin()
        self.reactor.advance(SECONDS)
        self.assertIsInstance(self.successResultOf(fetching), TlsFault)

    def test_connecting_when_time_is_up(self) -> None:
        """An address that is not there would hold a place for ever, with a silent one after it."""
        self.patch(mta_sts_fetch, "CONNECT", SECONDS + 1)
        self.reactor.unreachable(FIRST)
        web = self.serve(b"", address=SECOND)
        fetching = self.begin()
        self.reactor.advance(SECONDS)
        self.assertEqual(
            self.successResultOf(fetching),
            TlsFault("sts-policy-fetch-error", "its server did not answer in time"),
        )
        self.assertEqual(web.requests, [])

    def test_cancelled_without_a_word(self) -> None:
        """The next address would be tried without a limit, where an error hides the cancelling."""

        class Endpoint(mta_sts_fetch._TlsEndpoint):
            def connect(self, protocolFactory: Any) -> Deferred[Any]:
                return Deferred(lambda each: each.errback(OSError("interrupted")))

        self.patch(mta_sts_fetch, "_TlsEndpoint", Endpoint)
        fetching = self.begin()
        self.reactor.advance(SECONDS)
        self.assertIsInstance(self.successResultOf(fetching), TlsFault)

    def test_given_up(self) -> None:
        """What is stopped would go on with the next address."""
        self.serve(b"")
        fetching = self.begin()
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)

    def test_headers_without_end(self) -> None:
        """A server could fill the memory with headers."""
        self.site.resolver.zone[HOST] = {"A": [FIRST]}
        self.serve(b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"x" * 8000 + b"\r\n") * 500)
        fault = self.fault()
        self.assertEqual(fault.kind, "sts-policy-fetch-error")
        self.assertEqual(fault.text, f"the server sends more than {MAX_RECEIVED} octets")
