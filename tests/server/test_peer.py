"""Who is at the other end: `mailframe.server.peer`."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.peer import peer_address, tls_description


class PeerTests(SynchronousTestCase):
    """Policies by network see the address that people know."""

    def test_addresses(self) -> None:
        """A v4-mapped address is the IPv4 address; IPv6 is shortest; a local socket is here."""
        for peer, shown in (
            (IPv4Address("TCP", "192.0.2.1", 99), ("192.0.2.1", 99)),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 99), ("192.0.2.1", 99)),
            (IPv6Address("TCP", "2001:0DB8:0:0::1", 99), ("2001:db8::1", 99)),
            (IPv4Address("TCP", "proxied.example", 99), ("proxied.example", 99)),
            (UNIXAddress("/x"), ("127.0.0.1", 0)),
        ):
            self.assertEqual(peer_address(StringTransport(peerAddress=peer)), shown)

    def test_tls(self) -> None:
        """The trace header can say how a connection was protected."""

        class Connection:
            def get_protocol_version_name(self) -> str:
                return "TLSv1.3"

            def get_cipher_name(self) -> str:
                return "X"

        class Transport:
            def getHandle(self) -> object:
                return Connection()

        self.assertEqual(tls_description(Transport()), "TLSv1.3 X")
        self.assertEqual(tls_description(StringTransport()), "TLS")
