"""The DNS resolver as users configure it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import task
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import resolver as resolver_module
from mailframe.delivery.resolver import (
    TLSA,
    Sections,
    StubResolver,
    make_resolver,
    parse_server,
)
from mailframe.testing.network import VirtualReactor


class ResolverTests(SynchronousTestCase):
    """``[dns] servers``."""

    def test_servers(self) -> None:
        """Questions would go to other name servers than the configured ones."""
        resolver = make_resolver(["127.0.0.1:5353", "192.0.2.1"], task.Clock())
        self.assertEqual(resolver.servers, [("127.0.0.1", 5353), ("192.0.2.1", 53)])
        self.assertEqual(list(resolver.dynServers), [])

    def test_system(self) -> None:
        """Without configuration the server would know no name server at all."""
        clock = task.Clock()
        resolver = make_resolver([], clock)
        self.assertTrue(resolver.dynServers)
        self.assertEqual(len(clock.getDelayedCalls()), 1)  # which looks at the file again

    def test_system_changes(self) -> None:
        """After a moment without descriptors, or a bad line, no change would be seen again."""
        clock = task.Clock()
        path = self.mktemp()
        self.patch(resolver_module, "_RESOLV_CONF", path)

        def write(text: str, seconds: int) -> None:
            with open(path, "w") as file:
                file.write(text)
            os.utime(path, (seconds, seconds))

        write("nameserver 192.0.2.1\n", 1000)
        resolver = make_resolver([], clock)
        opening = resolver._openFile
        resolver._openFile = _fail  # type: ignore[method-assign]  # as it happens
        clock.advance(60)
        self.assertEqual(list(resolver.dynServers), [("192.0.2.1", 53)])
        resolver._openFile = opening  # type: ignore[method-assign]  # as it was
        write("nameserver\nnameserver dns.example\nnameserver 2001:db8::1 # x\nsearch\n", 2000)
        clock.advance(60)
        self.assertEqual(list(resolver.dynServers), [("2001:db8::1", 53)])
        self.patch(StubResolver, "_openFile", _fail)
        self.assertRaises(PermissionError, make_resolver, [], clock)

    def test_forms(self) -> None:
        """A name server could not be written as an IPv6 address."""
        for text, expected in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5300", ("192.0.2.1", 5300)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5300", ("2001:db8::1", 5300)),
        ):
            self.assertEqual(parse_server(text), expected)

    def test_mistakes(self) -> None:
        """A misspelt name server would show only when mail does not go out."""
        for text in ("", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "1.2.3:x"):
            with self.assertRaises(ValueError) as caught:
                parse_server(text)
            self.assertIn(repr(text), str(caught.exception))


@attrs.define
class Datagrams:
    """Opens ports for datagrams, and keeps what is sent from them."""

    sent: list[tuple[bytes, Any]] = attrs.Factory(list)
    ports: list[Any] = attrs.Factory(list)
    taken: int = 0

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 0
    ) -> Any:
        if self.taken:
            self.taken -= 1
            raise CannotListenError(interface, port, OSError("in use"))
        self.ports.append(protocol)
        protocol.makeConnection(self)
        return self

    def write(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))

    def stopListening(self) -> None:
        pass

    def connect(self, *_: Any) -> None:
        pass


class NameServer(dns.DNSProtocol):
    """Answers over TCP."""

    def __init__(self, answer: Callable[[Any, dns.Message], None]) -> None:
        super().__init__(self, object())
        self.answer = answer

    def connectionMade(self, *_: Any) -> None:
        pass

    def connectionLost(self, *_: Any) -> None:
        pass

    def stringReceived(self, data: bytes) -> None:
        message = dns.Message()
        message.fromStr(data)
        self.answer(self, message)


def _fail(*_: Any) -> None:
    raise PermissionError("no")


class QuestionTests(SynchronousTestCase):
    """Questions and answers, in memory."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.datagrams = Datagrams()
        self.reactor.listenUDP = self.datagrams.listenUDP  # type: ignore[attr-defined]  # it has none
        self.tcp: list[dns.Message] = []

    def resolver(self, *servers: str) -> StubResolver:
        return make_resolver(servers or ["192.0.2.53"], self.reactor)

    def reply(self, **flags: Any) -> None:
        """Answer the last question over UDP, with one address."""
        data, address = self.datagrams.sent[-1]
        self.datagrams.ports[-1].datagramReceived(answer_to(data, **flags), address)
        self.reactor.advance(0)

    def serve(self, address: str, answer: Callable[[Any, dns.Message], None]) -> None:
        def heard(server: Any, message: dns.Message) -> None:
            self.tcp.append(message)
            answer(server, message)

        factory = Factory()
        factory.buildProtocol = lambda _: NameServer(heard)  # type: ignore[method-assign]  # short
        self.reactor.at(address).listenTCP(53, factory, interface=address)

    def test_authenticated(self) -> None:
        """What DNSSEC says would neither be asked for nor heard."""
        for flag in (0, 1):
            answer = self.resolver().lookupAddress("a.example")
            question = dns.Message()
            question.fromStr(self.datagrams.sent[-1][0])
            self.assertEqual(question.authenticData, 1)
            self.reply(authenticData=flag)
            sections = self.successResultOf(answer)
            assert isinstance(sections, Sections)
            self.assertEqual(sections.authenticated, bool(flag))
            self.assertEqual(sections[0][0].payload.dottedQuad(), "192.0.2.1")

    def test_failures(self) -> None:
        """A name that does not exist would not be told from a server out of order."""
        for code, error in ((dns.ENAME, DNSNameError), (dns.ESERVER, DNSServerError)):
            answer = self.resolver().lookupAddress("a.example")
            self.reply(rCode=code)
            self.failureResultOf(answer, error)

    def test_next_server(self) -> None:
        """One name server out of order would keep all mail from going out, whatever others know."""
        for code in (dns.ESERVER, dns.ENOTIMP, dns.EREFUSED):
            answer = self.resolver("192.0.2.53", "192.0.2.54").lookupAddress("a.example")
            self.reply(rCode=code)
            self.assertEqual(self.datagrams.sent[-1][1], ("192.0.2.54", 53))
            self.reply()
            self.successResultOf(answer)
        answer = self.resolver("192.0.2.53", "192.0.2.54").lookupAddress("a.example")
        sent = len(self.datagrams.sent)
        for _ in range(2):
            self.reply(rCode=dns.ESERVER)
        self.failureResultOf(answer, DNSServerError)
        self.assertEqual(len(self.datagrams.sent), sent + 1)  # and not over and over
        answer = self.resolver("192.0.2.53", "192.0.2.54").lookupAddress("a.example")
        self.reply(rCode=dns.ENAME)
        self.failureResultOf(answer, DNSNameError)

    def test_other_types(self) -> None:
        """TLSA records could not be asked for."""
        answer = self.resolver().lookupTLSA("_25._tcp.a.example")
        question = dns.Message()
        question.fromStr(self.datagrams.sent[-1][0])
        self.assertEqual(question.queries[0].type, TLSA)
        self.reply(payload=dns.UnknownRecord(b"\3\1\1"), kind=TLSA)
        self.assertEqual(self.successResultOf(answer)[0][0].payload.data, b"\3\1\1")

    def test_truncated(self) -> None:
        """A domain with many exchangers would get mail at some of them only, or at none."""
        self.serve(
            "192.0.2.53",
            lambda server, message: server.sendString(
                answer_to(message.toStr(), authenticData=1, address="192.0.2.2")
            ),
        )
        answer = self.resolver().lookupAddress("a.example")
        self.reply(trunc=1)
        sections = self.successResultOf(answer)
        self.assertEqual(sections[0][0].payload.dottedQuad(), "192.0.2.2")
        self.assertTrue(sections.authenticated)
        self.assertEqual([message.authenticData for message in self.tcp], [1])
        self.reactor.advance(10)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_next_server_over_tcp(self) -> None:
        """One name server without TCP would keep mail from going out."""
        self.reactor.at("192.0.2.53")
        self.serve("2001:db8::53", lambda server, message: server.transport.abortConnection())
        self.serve(
            "192.0.2.54",
            lambda server, message: server.sendString(answer_to(message.toStr(), trunc=1)),
        )
        self.serve(
            "192.0.2.55", lambda server, message: server.sendString(answer_to(message.toStr()))
        )
        self.serve(
            "192.0.2.56",
            lambda server, message: server.sendString(answer_to(message.toStr(), rCode=2)),
        )
        servers = ["192.0.2.53", "2001:db8::53", "192.0.2.54", "192.0.2.56", "192.0.2.55"]
        answer = self.resolver(*servers).lookupAddress("a.example")
        self.reply(trunc=1)
        self.assertEqual(self.successResultOf(answer)[0][0].payload.dottedQuad(), "192.0.2.1")
        self.assertEqual(len(self.tcp), 4)
        for some, error in (
            (servers[2:3], DNSServerError),
            (servers[1:2], ConnectionLost),
            (["192.0.2.56"], DNSServerError),
        ):
            answer = self.resolver(*some).lookupAddress("a.example")
            self.reply(trunc=1)
            self.failureResultOf(answer, error)

    def test_silence_over_tcp(self) -> None:
        """A name server that accepts and says nothing would hold up mail for ever."""
        self.serve("192.0.2.53", lambda server, message: None)
        answer = self.resolver().lookupAddress("a.example")
        self.reply(trunc=1)
        self.assertNoResult(answer)
        self.reactor.advance(10)
        self.failureResultOf(answer)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_ports(self) -> None:
        """A port that is in use would keep a question from being asked, or keep us busy."""
        self.datagrams.taken = 99
        self.resolver().lookupAddress("a.example")
        self.assertEqual(len(self.datagrams.ports), 1)
        self.datagrams.taken = 1000
        self.failureResultOf(self.resolver().lookupAddress("b.example"), CannotListenError)

    def test_no_port_for_a_moment(self) -> None:
        """A domain would get no mail until the restart."""
        resolver = self.resolver()
        self.datagrams.taken = 100
        self.failureResultOf(resolver.lookupAddress("a.example"), CannotListenError)
        first, second = resolver.lookupAddress("a.example"), resolver.lookupAddress("a.example")
        self.assertEqual(len(self.datagrams.sent), 1)
        self.reply()
        for answer in (first, second):
            self.assertEqual(self.successResultOf(answer)[0][0].payload.dottedQuad(), "192.0.2.1")

    def test_no_name(self) -> None:
        """Whoever asks for what is no name would wait for ever."""
        resolver = self.resolver()
        for _ in range(2):
            self.failureResultOf(resolver.lookupTLSA("a..example"), UnicodeError)


def answer_to(question: bytes, **flags: Any) -> bytes:
    """An answer with one record."""
    message = dns.Message()
    message.fromStr(question)
    payload = flags.pop("payload", None) or dns.Record_A(flags.pop("address", "192.0.2.1"))
    kind = flags.pop("kind", dns.A)
    message.answer = 1
    message.authenticData = 0
    for flag, value in flags.items():
        setattr(message, flag, value)
    if not message.rCode:
        name = message.queries[0].name.name
        message.answers = [dns.RRHeader(name, kind, ttl=60, payload=payload)]
    return message.toStr()
