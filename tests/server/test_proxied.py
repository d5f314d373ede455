"""Connections through a proxy: `mailframe.server.proxied`."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailframe.authorisation.networks import Networks
from mailframe.server.proxied import HEADER_TIME, ProxiedProtocol, ProxyFactory
from tests.server.test_smtp_session import PLAIN, SessionCase, certificate

HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n"
PROXY = IPv4Address("TCP", "192.0.2.9", 1)


class ProxyCase(SessionCase):
    """An SMTP server behind a proxy."""

    def setUp(self) -> None:
        """It is listening."""
        super().setUp()
        self.server = self.factory(connections_per_address=2)
        self.trusted = Networks(["192.0.2.8/30"])

    def proxies(self, build: Any = None) -> ProxyFactory:
        """The way in."""
        build = build or self.server.buildProtocol
        return ProxyFactory(build, lambda: self.trusted, "mx", self.clock)

    def arrive(self, build: Any = None) -> tuple[ProxiedProtocol, StringTransport]:
        """A proxy connects."""
        protocol = self.proxies(build).buildProtocol(PROXY)
        assert isinstance(protocol, ProxiedProtocol)
        transport = StringTransport(peerAddress=PROXY)
        protocol.makeConnection(transport)
        return protocol, transport

    def end(self, protocol: ProxiedProtocol) -> None:
        """The connection goes, and leaves nothing."""
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.server.connections), 0)


class ProxiedTests(ProxyCase):
    def test_interface(self) -> None:
        """Twisted tells it what happens."""
        verifyObject(IHalfCloseableProtocol, self.arrive()[0])

    def test_client(self) -> None:
        """A client is judged, traced and counted by the proxy's address."""
        protocol, transport = self.arrive()
        self.assertEqual(transport.value(), b"", "nobody is greeted before it is known who it is")
        for octet in HEADER:
            protocol.dataReceived(bytes([octet]))
        self.assertTrue(transport.value().startswith(b"220 "))
        protocol.dataReceived(
            b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n.\r\n"
        )
        self.assertEqual(self.codes(transport)[-1], b"250")
        self.assertIn(b"from x ([198.51.100.7])", self.storage.sinks[0].content)
        self.assertEqual(protocol.getHost(), IPv4Address("TCP", "192.0.2.1", 25))
        protocol.dataReceived(b"QUIT\r\n")
        self.assertTrue(transport.disconnecting)
        self.end(protocol)

    def test_ipv6(self) -> None:
        """A client with an IPv6 address is nobody."""
        protocol, _ = self.arrive()
        self.assertEqual(protocol.getPeer(), PROXY)
        protocol.dataReceived(b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n")
        self.assertEqual(protocol.getPeer(), IPv6Address("TCP", "2001:db8::7", 40000))
        self.assertRaises(AttributeError, getattr, protocol, "_nothing")

    def test_early_talker(self) -> None:
        """What stands behind the header is lost."""
        protocol, transport = self.arrive()
        protocol.dataReceived(HEADER + b"QUIT\r\n")
        self.assertEqual(self.codes(transport), [b"220", b"221"])

    def test_counted(self) -> None:
        """All clients behind a proxy share what is allowed to one address."""
        for number in range(4):
            protocol, transport = self.arrive()
            protocol.dataReceived(HEADER.replace(b".7 ", b".%d " % number))
            self.assertEqual(self.codes(transport), [b"220"])
        for code in (b"220", b"421"):
            protocol, transport = self.arrive()
            protocol.dataReceived(HEADER.replace(b".7 ", b".0 "))
            self.assertEqual(self.codes(transport), [code])

    def test_login(self) -> None:
        """Behind a proxy on this machine everyone may log in in the clear."""
        self.trusted = Networks(["127.0.0.1"])
        protocol = self.proxies().buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert isinstance(protocol, ProxiedProtocol)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        protocol.makeConnection(transport)
        protocol.dataReceived(HEADER)
        protocol.dataReceived(b"EHLO x\r\n" + PLAIN)
        self.assertNotIn(b"AUTH", transport.value())
        self.assertEqual(self.codes(transport)[-1], b"538")

    def test_own_connections(self) -> None:
        """A proxy that looks whether we live finds us dead."""
        protocol, transport = self.arrive()
        protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.codes(transport), [b"220"])
        self.assertEqual(protocol.getPeer(), PROXY)
        self.assertEqual(protocol.getHost(), transport.getHost())

    def test_not_trusted(self) -> None:
        """Anyone can claim any address with a header."""
        with capturedLogs() as logs:
            stranger = IPv4Address("TCP", "192.0.2.7", 1)
            self.assertIsNone(self.proxies().buildProtocol(stranger))
        self.assertIn("none of the proxies", logs[0]["log_format"])
        self.trusted = Networks(["127.0.0.1"])
        self.assertIsNotNone(self.proxies().buildProtocol(UNIXAddress("/run/x")))

    def test_no_header(self) -> None:
        """Who gets past the proxy is let in without a header."""
        for said in (b"EHLO x\r\n", b"PROXY nonsense\r\n", b"\x16\x03\x01"):
            protocol, transport = self.arrive()
            with capturedLogs() as logs:
                protocol.dataReceived(said)
            self.assertTrue(transport.disconnected or transport.disconnecting)
            self.assertEqual(logs[0]["proxy"], "192.0.2.9")
            protocol.dataReceived(HEADER)
            self.assertEqual(transport.value(), b"")
            self.end(protocol)

    def test_never_comes(self) -> None:
        """A connection without a header stays for ever."""
        protocol, transport = self.arrive()
        protocol.dataReceived(HEADER[:10])
        self.clock.advance(HEADER_TIME)
        self.assertTrue(transport.disconnected or transport.disconnecting)
        self.end(protocol)

    def test_leaves_early(self) -> None:
        """A proxy that leaves before its header makes noise."""
        protocol, transport = self.arrive()
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.end(protocol)

    def test_half_closed(self) -> None:
        """A client that closes its side behind QUIT hears no answer."""
        protocol, transport = self.arrive()
        protocol.dataReceived(HEADER)
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        protocol.writeConnectionLost()
        self.end(protocol)
        other, transport = self.arrive(lambda address: Protocol())
        other.dataReceived(HEADER)
        other.readConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_nobody_serves(self) -> None:
        """A proxy's clients hang while nobody serves."""
        protocol, transport = self.arrive(lambda address: None)
        protocol.dataReceived(HEADER + b"QUIT\r\n")
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(b"x")
        self.end(protocol)

    def test_implicit_tls(self) -> None:
        """Behind a proxy there is no TLS."""
        tls = TLSMemoryBIOFactory(certificate(), False, self.server, clock=self.clock)
        protocol, transport = self.arrive(tls.buildProtocol)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        protocol.dataReceived(HEADER + client.bio_read(65536))
        client.bio_write(transport.value())
        client.do_handshake()
        transport.clear()
        protocol.dataReceived(client.bio_read(65536))
        self.clock.advance(0)
        client.bio_write(transport.value())
        self.assertEqual(client.recv(4), b"220 ")
