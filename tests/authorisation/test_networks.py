"""Tests of mailframe.authorisation.networks."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.authorisation.networks import Networks, parse_network


def small_networks() -> st.SearchStrategy[str]:
    """Networks close enough together for addresses to fall into them."""
    four = st.tuples(st.integers(0xC0000200, 0xC00002FF), st.integers(20, 32)).map(
        lambda pair: str(ipaddress.IPv4Network(pair, strict=False))
    )
    six = st.tuples(st.integers(0, 0xFF), st.integers(118, 128)).map(
        lambda pair: str(ipaddress.IPv6Network(((0x20010DB8 << 96) + pair[0], pair[1]), False))
    )
    return st.one_of(four, six)


ADDRESSES = st.one_of(
    st.integers(0xC0000200, 0xC00003FF).map(ipaddress.IPv4Address),
    st.integers(0, 0x1FF).map(lambda n: ipaddress.IPv6Address((0x20010DB8 << 96) + n)),
    st.ip_addresses(),
)


class ParseTests(SynchronousTestCase):
    def test_good(self) -> None:
        """A provider's network could not be named."""
        for text, wanted in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ]:
            with self.subTest(text=text):
                self.assertEqual(str(parse_network(text)), wanted)

    def test_host_bits(self) -> None:
        """A slip of one digit would let in a network that nobody meant."""
        error = self.assertRaises(ValueError, parse_network, "192.0.2.1/24")
        self.assertEqual(
            str(error),
            "'192.0.2.1/24' has bits set beyond its prefix; write '192.0.2.0/24' for the whole "
            "network or '192.0.2.1/32' for the one address",
        )
        error = self.assertRaises(ValueError, parse_network, "2001:db8::1/32")
        self.assertIn("'2001:db8::/32'", str(error))

    def test_bad(self) -> None:
        """A network that can't be one would silently hold no customers."""
        for text in ("", "192.0.2", "192.0.2.0/33", "192.0.2.0/x", "rosse.example", "192.0.2.0/"):
            with self.subTest(text=text):
                error = self.assertRaises(ValueError, parse_network, text)
                self.assertIn(f"{text!r} is not a network; allowed: ", str(error))


class FindTests(SynchronousTestCase):
    @given(st.lists(small_networks(), max_size=6), ADDRESSES)
    @settings(deadline=None, max_examples=300)
    def test_same_as_one_by_one(
        self, texts: list[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        """Strangers would count as customers, or customers as strangers."""
        wanted = [n for n in map(ipaddress.ip_network, texts) if address in n]
        found = Networks(texts).find(str(address))
        if wanted:
            self.assertIn(found, wanted)
        else:
            self.assertIsNone(found)

    def test_other_ways_to_write_an_address(self) -> None:
        """A customer would be a stranger when it connects to an IPv6 socket."""
        networks = Networks(["192.0.2.0/24", "fe80::/10"])
        self.assertEqual(str(networks.find("::ffff:192.0.2.9")), "192.0.2.0/24")
        self.assertEqual(str(networks.find("fe80::1%eth0")), "fe80::/10")

    def test_no_address(self) -> None:
        """A client without an address, over a UNIX socket, would be anybody's customer."""
        networks = Networks(["0.0.0.0/0", "::/0"])
        for text in ("", "localhost", "192.0.2.0/24", "192.0.2.1\n"):
            self.assertIsNone(networks.find(text))
