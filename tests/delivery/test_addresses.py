"""Which addresses a mail exchanger must not have."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.addresses import is_loopback, is_prohibited, normal_address


class ProhibitedTests(SynchronousTestCase):
    """SSRF by way of MX records."""

    def test_inside(self) -> None:
        """A stranger's MX record could make us talk to hosts that only we can reach."""
        for address in (
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "::ffff:0:7f00:1",
            "::ffff:0:10.0.0.1",
            "2001:0:808:808:0:0:80ff:fffe",
            "2001:0:a00:1:0:0:f7f7:f7f7",
            "localhost",
            "",
        ):
            self.assertTrue(is_prohibited(address), address)

    def test_outside(self) -> None:
        """Mail to ordinary hosts would not be delivered."""
        for address in (
            "192.0.2.1",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "2a00::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::ffff:0:808:808",
            "2001:0:808:808:0:0:f7f7:f7f7",
        ):
            self.assertFalse(is_prohibited(address), address)

    def test_normal(self) -> None:
        """One of our own addresses, written otherwise, would not be recognised."""
        self.assertEqual(normal_address("2001:DB8:0:0::1"), "2001:db8::1")
        with self.assertRaises(ValueError):
            normal_address("mx.example")

    def test_loopback(self) -> None:
        """A password could be sent in clear to a server that only looks local."""
        for host, expected in (
            ("127.0.0.9", True),
            ("::1", True),
            ("192.0.2.1", False),
            ("localhost", False),
            ("", False),
        ):
            self.assertIs(is_loopback(host), expected)
