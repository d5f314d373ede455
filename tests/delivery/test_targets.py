"""From next hops to servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.exchanges import Host
from mailframe.delivery.targets import Target, Targets, endpoint_parts
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.testing.site import make_site


class FakeLookup:
    """Knows one domain."""

    async def hosts(self, domain: str) -> tuple[Host, ...] | Reply:
        if domain == "blu.example":
            return Host("a.example", "192.0.2.1"), Host("a.example", "2001:db8::1")
        return Reply(550, "5.1.2", domain)


class TargetsTests(SynchronousTestCase):
    """`Targets.of`."""

    def of(self, where: str, **kwargs: Any) -> tuple[Target, ...] | Reply:
        targets = Targets(site=make_site(state_dir="x"), lookup=FakeLookup(), port=2525)  # type: ignore[arg-type]  # all that is used of it
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

    def test_mistakes(self) -> None:
        """A mistake in the configuration would bounce mail, or crash the delivery."""
        for where in ("", "tcp", "what:is:this", "mx:", "mx:a b", "tcp:a:b:c:d:e"):
            reply = self.of(where)
            assert isinstance(reply, Reply)
            self.assertEqual((reply.code, reply.status), (451, "4.3.5"))
