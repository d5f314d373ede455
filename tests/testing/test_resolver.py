"""DNS from a dictionary."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IResolver
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver

ZONE = {
    "mindspring.example": {"MX": [(10, "mx1.mindspring.example"), (20, "mx2.mindspring.example")]},
    "mx1.mindspring.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"], "TXT": ["hello"]},
    "alias.example": {"CNAME": ["mx1.mindspring.example"]},
    "loop.example": {"CNAME": ["loop.example"]},
    "nowhere.example": {"CNAME": ["gone.example"]},
}


class FakeResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.resolver: Any = FakeResolver(ZONE)

    def payloads(self, deferred: Any) -> list[Any]:
        answers, authority, additional = self.successResultOf(deferred)
        self.assertEqual((authority, additional), ([], []))
        return [answer.payload for answer in answers]

    def test_interface(self) -> None:
        """Code that works with Twisted's resolver fails with this one."""
        verifyObject(IResolver, self.resolver)

    def test_records(self) -> None:
        """A test's mail goes nowhere."""
        one, two = self.payloads(self.resolver.lookupMailExchange("MindSpring.example."))
        self.assertEqual((one.preference, one.name.name), (10, b"mx1.mindspring.example"))
        self.assertEqual(two.preference, 20)
        (address,) = self.payloads(self.resolver.lookupAddress(b"mx1.mindspring.example"))
        self.assertEqual(address.dottedQuad(), "192.0.2.1")
        (address,) = self.payloads(self.resolver.lookupIPV6Address("mx1.mindspring.example"))
        self.assertEqual(socket.inet_ntop(socket.AF_INET6, address.address), "2001:db8::1")
        (text,) = self.payloads(self.resolver.lookupText("mx1.mindspring.example"))
        self.assertEqual(text.data, [b"hello"])
        self.assertEqual(self.resolver.asked[0], ("mindspring.example", "MX"))

    def test_address_by_name(self) -> None:
        """Twisted's own lookups by name fail."""
        found = self.successResultOf(self.resolver.getHostByName("mx1.mindspring.example"))
        self.assertIn(found, ("192.0.2.1", "2001:db8::1"))

    def test_no_records(self) -> None:
        """A name without mail exchangers looks like one that does not exist."""
        self.assertEqual(
            self.payloads(self.resolver.lookupMailExchange("mx1.mindspring.example")), []
        )

    def test_no_name(self) -> None:
        """A name that does not exist looks like one without records."""
        self.failureResultOf(self.resolver.lookupAddress("gone.example"), DNSNameError)
        self.failureResultOf(self.resolver.lookupAddress("nowhere.example"), DNSNameError)

    def test_alias(self) -> None:
        """Hosts that are aliases can't be tested."""
        alias, address = self.successResultOf(self.resolver.lookupAddress("alias.example"))[0]
        self.assertEqual((alias.type, address.type), (dns.CNAME, dns.A))
        (alias,) = self.payloads(self.resolver.lookupCanonicalName("alias.example"))
        self.assertEqual(alias.name.name, b"mx1.mindspring.example")
        self.assertEqual(len(self.payloads(self.resolver.lookupAddress("loop.example"))), 8)

    def test_servfail(self) -> None:
        """A name server that fails can't be tested."""
        self.resolver.servfail.add("mindspring.example")
        self.failureResultOf(self.resolver.lookupMailExchange("mindspring.example"), DNSServerError)

    def test_timeout(self) -> None:
        """A name server that does not answer can't be tested."""
        self.resolver.timeouts.add("mindspring.example")
        self.failureResultOf(
            self.resolver.lookupMailExchange("mindspring.example"), DNSQueryTimeoutError
        )

    def test_timeout_takes_its_time(self) -> None:
        """A name server that does not answer costs no time in tests, and a minute elsewhere."""
        reactor = VirtualReactor()
        resolver: Any = FakeResolver(ZONE, reactor)
        resolver.timeouts.add("mindspring.example")
        asked = resolver.lookupMailExchange("mindspring.example", timeout=[2, 3])
        reactor.advance(4.9)
        self.assertNoResult(asked)
        reactor.advance(0.2)
        self.failureResultOf(asked, DNSQueryTimeoutError)

    def test_cancelled(self) -> None:
        """A question that was cancelled leaves a call behind."""
        reactor = VirtualReactor()
        resolver: Any = FakeResolver(ZONE, reactor)
        resolver.timeouts.add("mindspring.example")
        asked = resolver.lookupMailExchange("mindspring.example")
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(reactor.getDelayedCalls(), [])
