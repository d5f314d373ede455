"""Tests of mailframe.routing.dns."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy
from mailframe.outcome import Local, NextHop, Relay
from mailframe.routing.dns import DnsSettings, build


class DnsTests(SynchronousTestCase):
    def route(self, recipient: Address, local: bool) -> Any:
        part = build(DnsSettings(), cast(Any, None))
        verifyObject(IRoutingPolicy, part)
        facts = Facts(local=local, client=None, now=0.0)
        return self.successResultOf(part.route(sender=None, recipient=recipient, facts=facts))

    def test_local(self) -> None:
        """Mail for the server's own users would be sent out into the world."""
        anna = Address("anna", "rosse.example")
        self.assertEqual(
            self.route(anna, True),
            Local(mailbox=anna, reason="rosse.example is a local domain", plugin="dns"),
        )

    def test_elsewhere(self) -> None:
        """Mail for others would not leave."""
        self.assertEqual(
            self.route(Address("jsmith", "mindspring.com"), False),
            Relay(
                hops=(NextHop(where="mx:mindspring.com"),),
                reason="mindspring.com is not a local domain: to its mail exchangers",
                plugin="dns",
            ),
        )

    def test_address_literal(self) -> None:
        """Mail to an address literal would have no next hop."""
        route = self.route(Address("jsmith", "[192.0.2.1]"), False)
        self.assertEqual(route.hops, (NextHop(where="mx:[192.0.2.1]"),))
