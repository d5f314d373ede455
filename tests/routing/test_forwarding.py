"""Tests of mailframe.routing.forwarding, through the table that uses it."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.interfaces import Facts, Known
from mailframe.outcome import Redirect, Relay
from mailframe.routing.srs import DAY, SrsSettings
from mailframe.routing.table import RuleSettings, TableSettings, build
from mailframe.testing.samples import make_facts
from mailframe.testing.site import make_site
from mailframe.units import FilePath

ANNA = Address("anna", "rosse.example")
FORWARDED = Address("anna", "elsewhere.example")
JSMITH = Address("jsmith", "mindspring.com")
SENT_ON = make_facts(known=Known(accepted=True, size=1, original=ANNA))


class ForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.secret = FilePath(os.path.abspath(self.mktemp()))
        with open(self.secret, "w", encoding="ascii") as file:
            file.write("0123456789abcdef")

    def make(self, domain: str = "rosse.example", **keys: Any) -> Any:
        srs = SrsSettings(domain=domain, secret_file=self.secret)
        site = make_site(state_dir=self.mktemp(), local_domains=("rosse.example", "own.example"))
        return build(TableSettings(srs=srs, **keys), site)

    def route(
        self,
        recipient: Address,
        sender: Address | None = JSMITH,
        facts: Facts = SENT_ON,
        table: Any = None,
    ) -> Any:
        table = table or self.make()
        asked = Deferred.fromCoroutine(table.route(sender, recipient, facts))
        return self.successResultOf(asked)

    def test_there_and_back(self) -> None:
        """Forwarded mail would fail the sender's SPF; or its bounces would be lost."""
        route = self.route(FORWARDED)
        self.assertIsInstance(route, Relay)
        told = route.reverse_path
        self.assertTrue(str(told).endswith("=mindspring.com=jsmith@rosse.example"))
        self.assertIn("sent on for anna@rosse.example", route.reason)
        bounce = make_facts(local=True)
        back = self.route(told, sender=None, facts=bounce)
        self.assertEqual((back.addresses, back.rule), ((JSMITH,), "srs"))
        self.assertIsInstance(back, Redirect)
        asked = Deferred.fromCoroutine(self.make().rules_seen(None, told, bounce))
        (seen,) = self.successResultOf(asked)
        self.assertEqual((seen.rule, seen.matches, seen.reason), ("srs", True, back.reason))
        last = self.route(JSMITH, None, make_facts(known=Known(accepted=True, original=told)))
        self.assertIsNone(last.reverse_path)

    def test_forged(self) -> None:
        """Anyone could have us carry mail to anybody, as a bounce."""
        forged = Address("SRS0=aaaaaaaa=aa=mindspring.com=jsmith", "rosse.example")
        rule = RuleSettings(recipients=("*@rosse.example",), via="local")
        route = self.route(forged, None, make_facts(local=True), self.make(rule=(rule,)))
        self.assertEqual((str(route.reply)[:9], route.rule), ("550 5.1.1", "srs"))
        self.assertIn("its hash is not ours", route.reason)
        told = self.route(FORWARDED).reverse_path
        late = make_facts(local=True, now=SENT_ON.now + 30 * DAY)
        self.assertIn("30 days ago", self.route(told, None, late).reason)

    def test_what_stays_as_it_is(self) -> None:
        """Mail that is not forwarded would lose its sender."""
        direct = make_facts(known=Known(accepted=True))
        foreign = make_facts(known=Known(accepted=True, original=JSMITH))
        inside = attrs.evolve(SENT_ON, local=True)
        gateway = self.make(rule=(RuleSettings(via="tcp:inside:25"),))
        for sender, facts, table in [
            (JSMITH, direct, None),
            (JSMITH, foreign, None),
            (None, SENT_ON, None),
            (ANNA, SENT_ON, None),
            (Address("x", "own.example"), SENT_ON, None),
            (JSMITH, inside, gateway),
        ]:
            route = self.route(FORWARDED, sender, facts, table)
            self.assertIsInstance(route, Relay)
            self.assertIsNone(route.reverse_path)

    def test_too_long(self) -> None:
        """Mail from somebody with a long address would not be forwarded at all."""
        route = self.route(FORWARDED, Address("x" * 230, "x.example"))
        self.assertIsNone(route.reverse_path)
        self.assertIn("the reverse-path stays as it is", route.reason)

    def test_domain(self) -> None:
        """Bounces would go to somebody else's server."""
        error = self.assertRaises(ValueError, self.make, domain="blu.example")
        self.assertIn("not among local_domains", error.args[0])
        self.assertIn("own.example, rosse.example", error.args[0])
