"""DANE: what TLSA records ask for, and what becomes of servers that don't do it."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.dane import Dane
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.required_tls import hop_for
from mailframe.delivery.sessions import Sessions
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import TlsDemand, TlsDemands
from mailframe.outcome import NextHop, TlsPolicy
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.samples import make_envelope
from mailframe.wire.sender_events import Failed
from tests.delivery.chains import Party, party
from tests.delivery.servers import ScriptedServer
from tests.delivery.test_sessions import HOST, WITH_TLS, SessionsCase

AT = "_25._tcp.mx.blu.example"
UNUSABLE = b"\1\1\1" + b"x" * 32


@lru_cache(maxsize=1)
def server() -> Party:
    """A server whose certificate is signed by itself, and for another name."""
    return party("other.example")


def a_lookup(resolver: FakeResolver, reactor: VirtualReactor) -> Lookup:
    """Questions to a resolver that validates."""
    return Lookup(
        resolver=resolver,
        clock=reactor,
        seconds=30,
        hostname="mx.rosse.example",
        own_addresses=(),
        prohibited=lambda address: False,
        random=Random(1),
        validating=True,
    )


class DemandTests(SynchronousTestCase):
    """What is asked."""

    def setUp(self) -> None:
        self.resolver = FakeResolver()
        self.resolver.secure.add("example")

    def demand(
        self,
        *records: bytes,
        bases: tuple[str, ...] = ("mx.blu.example",),
        tls: TlsPolicy = "none",
        alias_of: str = "",
    ) -> TlsDemand | None:
        if records:
            self.resolver.zone[AT] = {"TLSA": records}
        target = Target(
            where="mx:BLU.example.",
            host="mx.blu.example",
            port=25,
            endpoint=None,  # type: ignore[arg-type]  # nothing is connected to
            tlsa_bases=bases,
            alias_of=alias_of,
        )
        dane = Dane(a_lookup(self.resolver, VirtualReactor()))
        hop = NextHop(where="mx:BLU.example.", tls=tls)
        return self.successResultOf(Deferred.fromCoroutine(dane.demand(hop, target)))

    def test_records(self) -> None:
        """A domain's TLSA records would not be heeded."""
        demand = self.demand(server().record(), UNUSABLE)
        assert demand is not None
        self.assertEqual((demand.policy, demand.tlsa), ("dane", (server().tlsa(),)))
        self.assertEqual(demand.names, ("mx.blu.example", "blu.example"))
        self.assertEqual(demand.reason, f"DANE: 1 usable TLSA record at {AT}")
        assert demand.published is not None
        self.assertEqual(demand.published.domain, "blu.example")
        self.assertEqual(len(demand.published.lines), 2)
        self.assertIsNone(demand.refusal)

    def test_alias(self) -> None:
        """A server with a certificate for the domain that others are aliases of got no mail of
        theirs (RFC 7672 §3.2.2).
        """
        demand = self.demand(server().record(), alias_of="real.example")
        assert demand is not None
        self.assertEqual(demand.names, ("mx.blu.example", "blu.example", "real.example"))

    def test_order(self) -> None:
        """Connections would be given up, and reports have many policies, for no reason."""
        records = [server().record(), UNUSABLE, bytes([2, 1, 1]) + bytes(32)]
        self.assertEqual(self.demand(*records), self.demand(*reversed(records)))

    def test_none(self) -> None:
        """Servers without TLSA records would get no mail."""
        self.assertIsNone(self.demand())
        self.assertIsNone(self.demand(server().record(), bases=()))

    def test_none_usable(self) -> None:
        """Mail would go out in clear because a record is of an odd kind (RFC 7672 §2.2)."""
        demand = self.demand(UNUSABLE)
        assert demand is not None
        self.assertEqual((demand.policy, demand.names), ("require", ()))
        assert demand.fault is not None  # of which the domain is told (RFC 8460 §4.3.2.1)
        self.assertEqual(demand.fault.kind, "tlsa-invalid")

    def test_not_had(self) -> None:
        """Whoever can keep TLSA records from us could read the mail (RFC 7672 §2.1.2)."""
        self.resolver.servfail.add(AT)
        demand = self.demand()
        assert demand is not None
        assert demand.refusal is not None
        self.assertEqual((demand.refusal.code, demand.refusal.status), (451, "4.4.3"))
        self.assertIn("SERVFAIL", str(demand.refusal))
        assert demand.fault is not None
        self.assertEqual(demand.fault.kind, "dnssec-invalid")

    def test_bases(self) -> None:
        """The records of a host that is named by an alias would not be found (RFC 7672 §2.2.3)."""
        bases = ("real.example", "mx.blu.example")
        demand = self.demand(server().record(), bases=bases)
        assert demand is not None
        self.assertEqual(demand.names[0], "mx.blu.example")
        self.resolver.zone["_25._tcp.real.example"] = {"TLSA": [server().record()]}
        demand = self.demand(bases=bases)
        assert demand is not None
        self.assertEqual(demand.names[0], "real.example")
        self.resolver.servfail.add("_25._tcp.real.example")
        demand = self.demand(bases=bases)
        assert demand is not None
        self.assertIsNotNone(demand.refusal)


class SessionTests(SessionsCase):
    """Sessions with servers, with real handshakes."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver = FakeResolver()
        self.resolver.secure.add("example")
        self.sessions = Sessions(
            settings=RelaySettings(),
            site=self.site,
            trust_root=None,
            demands=TlsDemands([self]),
        )

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        """Ask DNS anew each time."""
        return await Dane(a_lookup(self.resolver, self.reactor)).demand(hop, target)

    def session(
        self, shown: Party, *records: bytes, policy: TlsPolicy = "opportunistic", **script: Any
    ) -> RelayConnection | Failed:
        """Open a session with a server."""
        self.resolver.zone[AT] = {"TLSA": records}
        self.server = ScriptedServer(tls=shown.options(), **{"EHLO": WITH_TLS, **script})
        listening = self.reactor.at(HOST).listenTCP(25, self.server, interface=HOST)
        target = Target(
            where="mx:blu.example",
            host="mx.blu.example",
            address=HOST,
            port=25,
            endpoint=TCP4ClientEndpoint(self.reactor, HOST, 25),
            tlsa_bases=("mx.blu.example",),
            is_genuine=True,
        )
        hop = NextHop(where="mx:blu.example", tls=policy)
        opening = Deferred.fromCoroutine(self.sessions.open(target, hop, None))
        self.reactor.advance(0)
        listening.stopListening()
        self.reactor.advance(0)
        return self.successResultOf(opening)

    def assertFailed(self, opened: RelayConnection | Failed, words: str) -> None:
        """It was not used, is to be tried again, and was told nothing in clear."""
        assert isinstance(opened, Failed), opened
        self.assertIn(opened.reply.status, ("4.7.5", "4.7.10", "4.4.3"))
        self.assertTrue(opened.reply.is_temporary)
        self.assertIn(words, str(opened.reply))
        self.assertNotIn("MAIL", self.server.verbs)
        self.assertLessEqual(self.server.verbs.count("EHLO"), 1)

    def test_fits(self) -> None:
        """A server with a certificate of its own making, which DNS vouches for, got no mail."""
        self.assertIsInstance(self.session(server(), server().record()), RelayConnection)
        self.assertEqual(self.server.verbs, ["EHLO", "STARTTLS", "EHLO"])

    def test_does_not_fit(self) -> None:
        """Somebody in between could read all mail to a domain that uses DANE."""
        for policy in ("opportunistic", "require"):
            opened = self.session(server(), party().record(), policy=policy)
            self.assertFailed(opened, "fits no TLSA record")
            self.assertEqual(self.server.verbs, ["EHLO", "STARTTLS"])

    def test_stripped(self) -> None:
        """Somebody in between could strike STARTTLS out and read the mail."""
        opened = self.session(server(), server().record(), EHLO=b"250 mx\r\n")
        self.assertFailed(opened, f"asked for is DANE: 1 usable TLSA record at {AT}")
        opened = self.session(server(), UNUSABLE, EHLO=b"250 mx\r\n")
        self.assertFailed(opened, "TLS")

    def test_none_usable(self) -> None:
        """A server would get no mail because its records are of an odd kind."""
        self.assertIsInstance(self.session(server(), UNUSABLE), RelayConnection)

    def test_bogus(self) -> None:
        """Whoever can keep TLSA records from us could read the mail."""
        self.resolver.servfail.add(AT)
        self.assertFailed(self.session(server(), server().record()), "SERVFAIL")
        self.assertEqual(self.server.verbs, [])

    def test_authority(self) -> None:
        """A customer of the same authority could pass for the server."""
        authority = party(authority=True, common_name="root")
        good = party("mx.blu.example", by=authority)
        other = party("other.example", by=authority)
        nobody = party(by=authority)
        by_common_name = party(by=authority, common_name="mx.blu.example")  # RFC 7672 §3.2.3
        by_domain = party("blu.example", by=authority)
        record = authority.record(2, 0, 1)
        self.assertIsInstance(self.session(good, record), RelayConnection)
        self.assertIsInstance(self.session(by_domain, record), RelayConnection)
        self.assertFailed(self.session(other, record), "not for the server's name")
        self.assertIsInstance(self.session(by_common_name, record), RelayConnection)
        self.assertFailed(self.session(nobody, record), "not for the server's name")

    def test_route(self) -> None:
        """A route that asks for DANE would be content with less."""
        policy: TlsPolicy = "dane"
        good = self.session(server(), server().record(), policy=policy)
        self.assertIsInstance(good, RelayConnection)
        self.assertFailed(
            self.session(server(), party().record(), policy=policy), "fits no TLSA record"
        )
        for records in ((), (UNUSABLE,)):
            opened = self.session(server(), *records, policy=policy)
            self.assertFailed(opened, "mx.blu.example has no usable TLSA records")
            self.assertEqual(self.server.verbs, [])
        self.resolver.servfail.add(AT)
        self.assertFailed(self.session(server(), policy=policy), "SERVFAIL")

    def test_strict_message_on_such_a_route(self) -> None:
        """A message that demands TLS would go to whom its route does not trust (RFC 8689)."""
        envelope = attrs.evolve(make_envelope(), require_tls=True)
        hop = hop_for(NextHop(where="mx:blu.example", tls="dane"), envelope)
        self.assertEqual(
            (hop.tls, hop == NextHop(where="mx:blu.example", tls="dane")), ("dane", False)
        )
        hop = hop_for(NextHop(where="mx:blu.example"), envelope)
        self.assertEqual(hop.tls, "verify")

    def test_switched_off(self) -> None:
        """An operator could not send mail to a server whose records are wrong."""
        opened = self.session(server(), party().record(), policy="none")
        self.assertIsInstance(opened, RelayConnection)
        self.assertEqual(self.server.verbs, ["EHLO"])
