"""From next hops to servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.exchanges import Host
from mailframe.delivery.families import Impatient
from mailframe.delivery.source import Source
from mailframe.delivery.targets import Target, Targets, endpoint_parts
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.testing.site import make_site


class FakeLookup:
    """Knows one domain."""

    async def hosts(self, domain: str) -> tuple[Host, ...] | Reply:
        if domain == "six.example":
            return (Host("c.example", "2001:db8::3"),)
        if domain == "both.example":
            return (
                Host("a.example", "2001:db8::1", ("a.example",), "real.example", is_genuine=True),
                Host("a.example", "192.0.2.1", ("a.example",), is_genuine=True),
                Host("b.example", "192.0.2.2"),
            )
        if domain == "blu.example":
            return Host("a.example", "192.0.2.1"), Host("a.example", "2001:db8::1")
        return Reply(550, "5.1.2", domain)


class TargetsTests(SynchronousTestCase):
    """`Targets.of`."""

    def of(
        self, where: str, *, sources: Sequence[Source] = (), **kwargs: Any
    ) -> tuple[Target, ...] | Reply:
        targets = Targets(
            site=make_site(state_dir="x"),
            lookup=FakeLookup(),  # type: ignore[arg-type]  # all that is used of it
            port=2525,
            sources=sources,
        )
        hop = NextHop(where=where, **kwargs)
        return self.successResultOf(Deferred.fromCoroutine(targets.of(hop)))

    def test_mx(self) -> None:
        """Hosts would be looked up again, and could have another address by then."""
        first, second = self.of("mx:BLU.example.")
        self.assertIsInstance(first.endpoint, TCP4ClientEndpoint)
        self.assertIsInstance(second.endpoint, TCP6ClientEndpoint)
        self.assertEqual(str(first), "a.example [192.0.2.1]:2525")
        self.assertEqual(str(second), "a.example [2001:db8::1]:2525")
        self.assertEqual(
            (first.where, first.host, first.address, first.port),
            ("mx:BLU.example.", "a.example", "192.0.2.1", 2525),
        )

    def test_mx_fails(self) -> None:
        """Why a domain gets no mail would be lost."""
        self.assertEqual(self.of("mx:x.example"), Reply(550, "5.1.2", "x.example"))

    def test_named(self) -> None:
        """The certificate of a configured server would be checked for a wrong name."""
        for where, host in (
            ("tcp:smart.example:587", "smart.example"),
            ("tcp:host=smart.example:port=587", "smart.example"),
            ("tcp:port=587:host=smart.example", "smart.example"),
            ("tcp:2001\\:db8\\:\\:1:25", "2001:db8::1"),
            ("unix:/run/lmtp", ""),
        ):
            (target,) = self.of(where)
            self.assertEqual((target.host, target.address, target.port), (host, "", None))
            self.assertEqual(str(target), where)
        self.assertEqual(endpoint_parts("tls:smart.example:465"), ("tls", "smart.example"))
        self.assertEqual(endpoint_parts("tcp"), ("tcp", ""))
        self.assertEqual(endpoint_parts("tcp:port=1"), ("tcp", ""))

    def test_unverified_tls(self) -> None:
        """A route that asks for a verified server would be content with any."""
        reply = self.of("ssl:smart.example:465", tls="verify")
        assert isinstance(reply, Reply)
        self.assertEqual((reply.code, reply.status), (451, "4.3.5"))
        (target,) = self.of("ssl:smart.example:465", tls="require")
        self.assertEqual(target.host, "smart.example")

    def test_name_of_a_smarthost(self) -> None:
        """A smarthost would be asked for a name that it has not, and its certificate be no good
        (RFC 6066 §3).
        """
        for where, host in (
            ("tcp:smart.example.:25", "smart.example"),
            ("tcp:host=SMART.example:port=25", "smart.example"),
            ("tcp:münchen.example:25", "xn--mnchen-3ya.example"),
            ("tcp:192.0.2.1:25", "192.0.2.1"),
            ("tcp:2001\\:db8\\:\\:1:25", "2001:db8::1"),
        ):
            (target,) = self.of(where)
            self.assertEqual(target.host, host)

    def test_mistakes(self) -> None:
        """A mistake in the configuration would bounce mail, or crash the delivery."""
        for where in ("", "tcp", "what:is:this", "mx:", "mx:a b", "tcp:a:b:c:d:e"):
            reply = self.of(where)
            assert isinstance(reply, Reply)
            self.assertEqual((reply.code, reply.status), (451, "4.3.5"))

    def test_families(self) -> None:
        """Lost IPv6 packets would hold up mail to a host that has an IPv4 address too."""
        six, four, other = self.of("mx:both.example")
        self.assertIsInstance(six.endpoint, Impatient)
        self.assertIsInstance(four.endpoint, TCP4ClientEndpoint)
        self.assertEqual([six.host, four.host, other.host], ["a.example", "a.example", "b.example"])
        self.assertEqual(six.tlsa_bases, ("a.example",))
        self.assertEqual(other.tlsa_bases, ())
        self.assertEqual((six.alias_of, other.alias_of), ("real.example", ""))
        self.assertEqual((six.is_genuine, other.is_genuine), (True, False))

    def test_sources(self) -> None:
        """Mail would go out from another address of ours, or from one of the wrong family."""
        own4 = Source(address="192.0.2.99", hostname="out4.example")
        own6 = Source(address="2001:db8::99")
        six, four, _ = self.of("mx:both.example", sources=[own4, own6])
        self.assertEqual((six.source, four.source), (own6, own4))
        self.assertEqual(four.endpoint._bindAddress, ("192.0.2.99", 0))
        four, other = self.of("mx:both.example", sources=[own4])
        self.assertEqual((four.address, other.address), ("192.0.2.1", "192.0.2.2"))
        reply = self.of("mx:six.example", sources=[own4])
        assert isinstance(reply, Reply)
        self.assertEqual((reply.code, reply.status), (451, "4.4.4"))
        self.assertIn("IPv6", str(reply))

    def test_source_of_a_route(self) -> None:
        """A route's mail would go out from an address that is not for it."""
        bulk = Source(name="bulk", address="192.0.2.99")
        six = Source(name="six", address="2001:db8::99")
        (target,) = self.of("tcp:smart.example:587", sources=[bulk, six])
        self.assertIsNone(target.source)
        for where, name, source in (
            ("tcp:smart.example:587", "bulk", bulk),
            ("tls:smart.example:465", "bulk", bulk),
            ("tcp:2001\\:db8\\:\\:1:25", "six", six),
            ("mx:both.example", "bulk", bulk),
        ):
            target, *_ = self.of(where, sources=[bulk, six], source=name)
            self.assertEqual((target.source, target.where), (source, where))
        (target,) = self.of("tcp:smart.example:587", sources=[bulk], source="bulk")
        self.assertEqual(target.endpoint._bindAddress, ("192.0.2.99", 0))
        where = "tcp:smart.example:587:bindAddress=192.0.2.98"
        (target,) = self.of(where, sources=[bulk], source="bulk")
        self.assertEqual(target.endpoint._bindAddress, ("192.0.2.98", 0))
        (target,) = self.of("unix:/run/lmtp", sources=[bulk], source="bulk")
        self.assertIsNone(target.source)
        for where in ("tcp:smart.example:587", "mx:both.example"):
            reply = self.of(where, sources=[bulk], source="other")
            assert isinstance(reply, Reply)
            self.assertEqual((reply.code, reply.status), (451, "4.3.5"))

    def test_source_of_the_wrong_family(self) -> None:
        """A route's mail would wait until it bounces, and nobody could tell why."""
        four = Source(name="four", address="192.0.2.99")
        six = Source(name="six", address="2001:db8::99")
        for where, name in (
            ("tcp:smart.example:587", "six"),
            ("ssl:smart.example:465", "six"),
            ("tls:192.0.2.1:465", "six"),
            ("tcp:2001\\:db8\\:\\:1:25", "four"),
        ):
            reply = self.of(where, sources=[four, six], source=name)
            assert isinstance(reply, Reply), where
            self.assertEqual((reply.code, reply.status), (451, "4.3.5"))
        for where in (
            "tls:smart.example:465",
            "tcp:smart.example:587:bindAddress=192.0.2.98",
        ):
            (target,) = self.of(where, sources=[four, six], source="six")
            self.assertEqual(target.source, six)
