"""The PROXY header: `mailframe.wire.proxy_header`."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.proxy_header import (
    MAX_V1,
    MAX_V2,
    SIGNATURE,
    Endpoint,
    Proxied,
    ProxyHeader,
    ProxyHeaderError,
)

V4 = (Endpoint(host="192.0.2.7", port=40000), Endpoint(host="198.51.100.1", port=25))
V6 = (Endpoint(host="2001:db8::7", port=40000), Endpoint(host="2001:db8::1", port=25))
NOBODY = (None, None)
RAW4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 40000, 25)
RAW6 = bytes.fromhex("20010db800000000000000000000000720010db8000000000000000000000001")
RAW6 += struct.pack("!HH", 40000, 25)


def v2(command: int, family: int, said: bytes) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(said)) + said


GOOD = (
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n", V4),
    (b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 40000 25\r\n", V6),
    (b"PROXY UNKNOWN\r\n", NOBODY),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", NOBODY),
    (v2(0x21, 0x11, RAW4), V4),
    (v2(0x21, 0x11, RAW4 + b"\x03\x00\x04abcd"), V4),
    (v2(0x21, 0x21, RAW6), V6),
    (v2(0x20, 0x00, b""), NOBODY),
    (v2(0x20, 0x11, RAW4), NOBODY),
    (v2(0x21, 0x00, b"xyz"), NOBODY),
    (v2(0x21, 0x31, b"\0" * 216), NOBODY),
)
BAD = (
    b"EHLO x\r\n",
    b"\r\nQUIT\r\n",
    b"PROXY\r\n",
    b"PROXYX",
    b"proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 40000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n\r\n",
    b"PROXY TCP4 192.0.2.777 198.51.100.1 40000 25\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 40000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY " + b"x" * MAX_V1,
    SIGNATURE[:-1] + b"x",
    v2(0x11, 0x11, RAW4),
    v2(0x22, 0x11, RAW4),
    v2(0x21, 0x12, RAW4),
    v2(0x21, 0x22, RAW6),
    v2(0x21, 0x41, RAW6),
    v2(0x21, 0x11, RAW4[:-1]),
    v2(0x21, 0x21, RAW4),
    v2(0x21, 0x11, RAW4 + b"x" * MAX_V2),
)


def read(octets: bytes, step: int) -> Proxied | None:
    """Feed a header in pieces; what follows its last octet is fed in one."""
    header = ProxyHeader()
    for place in range(0, len(octets), step):
        said = header.feed(octets[place : place + step])
        if said is not None:
            return Proxied(
                source=said.source,
                destination=said.destination,
                rest=said.rest + octets[place + step :],
            )
    return None


class HeaderTests(SynchronousTestCase):
    def test_good(self) -> None:
        """A client is taken for another, or for the proxy, by how its header is cut."""
        for octets, (source, destination) in GOOD:
            for step in (1, 7, 1000):
                self.assertEqual(
                    read(octets + b"EHLO x\r\n", step),
                    Proxied(source=source, destination=destination, rest=b"EHLO x\r\n"),
                    octets,
                )
                self.assertIsNone(read(octets[:-1], step))

    def test_bad(self) -> None:
        """Who sends no header is let in under the proxy's own address."""
        for octets in BAD:
            for step in (1, 7, 10_000):
                error = self.assertRaises(ProxyHeaderError, read, octets, step)
                self.assertTrue(str(error).isprintable())

    def test_longest(self) -> None:
        """A proxy that says all that it may is refused, or one that never ends is listened to."""
        longest = b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n"
        self.assertEqual(len(longest), MAX_V1)
        self.assertIsNotNone(read(longest, 1))
        self.assertRaises(ProxyHeaderError, read, longest[:-2] + b"xx", 1)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
        st.binary(max_size=60) | st.text("0123456789. \r\n", max_size=60).map(str.encode),
        st.integers(1, 20),
    )
    def test_anything(self, start: bytes, octets: bytes, step: int) -> None:
        """Nonsense from the network is a fault of ours."""
        try:
            said = read(start + octets, step)
        except ProxyHeaderError:
            return
        if said is not None:
            self.assertTrue((start + octets).endswith(said.rest))
