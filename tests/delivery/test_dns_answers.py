"""What is taken from answers of DNS, and what is not."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.names import dns
from twisted.names.error import DNSQueryRefusedError, DNSQueryTimeoutError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.dns_answers import (
    LONGEST_KEPT,
    MAX_CNAMES,
    EndlessChain,
    Found,
    fault_reason,
    read_alias,
    read_ipv4,
    read_joined,
    read_octets,
    read_records,
)


def a(name: str, address: str, ttl: int = 60) -> dns.RRHeader:
    """An address record."""
    return dns.RRHeader(name, dns.A, ttl=ttl, payload=dns.Record_A(address))


def cname(name: str, target: str, ttl: int = 60) -> dns.RRHeader:
    """An alias."""
    return dns.RRHeader(name, dns.CNAME, ttl=ttl, payload=dns.Record_CNAME(target))


class RecordsTests(SynchronousTestCase):
    """`read_records`."""

    def read(self, *answers: dns.RRHeader, secure: bool = False) -> tuple[Found[str], float]:
        return read_records("a.example", dns.A, answers, read_ipv4, secure)

    def test_own(self) -> None:
        """Addresses of other hosts would be taken for those of the one that was asked for."""
        found, seconds = self.read(a("b.example", "192.0.2.2"), a("A.example", "192.0.2.1", 30))
        self.assertEqual(found, Found(("192.0.2.1",), "a.example", False))
        self.assertEqual(seconds, 30)

    def test_chain(self) -> None:
        """The name that TLSA records belong to would be a wrong one, or a stale alias be kept."""
        found, seconds = self.read(
            a("c.example", "192.0.2.1", 90),
            cname("b.example", "c.example", 20),
            cname("a.example", "b.example"),
            secure=True,
        )
        self.assertEqual(found, Found(("192.0.2.1",), "c.example", True))
        self.assertEqual(seconds, 20)

    def test_long_chain(self) -> None:
        """A chain without end would be followed for ever, or make mail go back to its sender."""
        names = ["a.example", *(f"n{number}.example" for number in range(MAX_CNAMES + 1))]
        chain = [cname(one, two) for one, two in pairwise(names)]
        found, _ = self.read(*chain[:-1], a(names[-2], "192.0.2.1"))
        self.assertEqual(found.records, ("192.0.2.1",))
        for last in (a(names[-1], "192.0.2.1"), cname(names[-1], "a.example")):
            self.assertRaises(EndlessChain, self.read, *chain, last)

    def test_alias_itself(self) -> None:
        """Whether an alias is genuine could not be asked (RFC 7672 §2.1.3)."""
        answers = [cname("a.example", "B.example")]
        found, _ = read_records("a.example", dns.CNAME, answers, read_alias, True)
        self.assertEqual(found, Found(("b.example",), "a.example", True))

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(
            st.tuples(st.booleans(), *[st.sampled_from(["a", "b", "c", "d"])] * 2, st.integers(0))
        )
    )
    def test_anything(self, records: list[tuple[bool, str, str, int]]) -> None:
        """Loops and doubles could hold us up, or answers be kept for years."""
        answers = [
            cname(f"{one}.example", f"{two}.example", ttl)
            if alias
            else a(f"{one}.example", f"192.0.2.{ord(two)}", ttl)
            for alias, one, two, ttl in records
        ]
        try:
            found, seconds = self.read(*answers)
        except EndlessChain:
            return
        self.assertEqual(len(found.records), len(set(found.records)))
        self.assertTrue(0 <= seconds <= LONGEST_KEPT)


class ReadingTests(SynchronousTestCase):
    """Single records, and faults."""

    def test_values(self) -> None:
        """A policy in two strings would be cut, or a TLSA record be lost."""
        self.assertEqual(read_joined(dns.Record_TXT(b"v=STSv1;", b" id=1")), b"v=STSv1; id=1")
        self.assertEqual(read_octets(dns.UnknownRecord(b"\3\1\1x")), b"\3\1\1x")

    def test_reasons(self) -> None:
        """Nobody could tell a name server that is away from one that is broken."""
        self.assertIn("in time", fault_reason(DNSQueryTimeoutError([])))
        self.assertIn("SERVFAIL", fault_reason(DNSServerError()))
        self.assertIn("refused", fault_reason(DNSQueryRefusedError()))
        self.assertIn("no usable", fault_reason(ValueError()))
