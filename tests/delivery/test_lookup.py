"""Asking DNS, which may answer anything."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSFormatError,
    DNSQueryRefusedError,
    DNSServerError,
    DomainError,
)
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.addresses import is_prohibited
from mailframe.delivery.exchanges import NO_SUCH_NAME, Exchange, Host, LookupFault
from mailframe.delivery.lookup import MAX_KEPT, Lookup
from mailframe.reply import Reply
from mailframe.testing.resolver import FakeResolver


class Answering:
    """A resolver that gives the same answer, or raises the same error, to every question."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.lookupMailExchange = self.lookupAddress = self.lookupIPV6Address = lambda name: (
            answer()
        )


class LookupTests(SynchronousTestCase):
    """`Lookup`, over a resolver in memory."""

    def setUp(self) -> None:
        self.clock = Clock()

    def lookup(self, resolver: Any, **kwargs: Any) -> Lookup:
        arguments: dict[str, Any] = {
            "resolver": resolver,
            "clock": self.clock,
            "seconds": 30,
            "hostname": "mx.rosse.example",
            "own_addresses": ("192.0.2.99",),
            "prohibited": is_prohibited,
            "random": Random(1),
        }
        return Lookup(**{**arguments, **kwargs})

    def hosts(self, zone: dict[str, Any], domain: str = "blu.example") -> Any:
        answer = self.successResultOf(
            Deferred.fromCoroutine(self.lookup(FakeResolver(zone)).hosts(domain))
        )
        if isinstance(answer, Reply):
            return f"{answer.code} {answer.status}"
        return [(host.name, host.address) for host in answer]

    def ask(self, lookup: Lookup, question: str, name: str = "blu.example") -> Any:
        return self.successResultOf(Deferred.fromCoroutine(getattr(lookup, question)(name)))

    def test_hosts(self) -> None:
        """No mail would go to other domains."""
        zone = {
            "blu.example": {"MX": [(20, "b.blu.example"), (10, "a.blu.example")]},
            "a.blu.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
            "b.blu.example": {"AAAA": ["2001:db8::2"]},
        }
        self.assertEqual(
            self.hosts(zone),
            [
                ("a.blu.example", "2001:db8::1"),
                ("a.blu.example", "192.0.2.1"),
                ("b.blu.example", "2001:db8::2"),
            ],
        )

    def test_without_mx(self) -> None:
        """Mail for domains that have only an address would bounce."""
        zone = {"blu.example": {"A": ["192.0.2.1"]}}
        self.assertEqual(self.hosts(zone), [("blu.example", "192.0.2.1")])

    def test_nowhere(self) -> None:
        """A domain that can't get mail would not be told from one that may later."""
        self.assertEqual(self.hosts({}), "550 5.1.2")
        self.assertEqual(self.hosts({"blu.example": {"TXT": ["x"]}}), "550 5.1.2")
        self.assertEqual(self.hosts({"blu.example": {"MX": [(0, "")]}}), "556 5.1.10")
        self.assertEqual(self.hosts({"blu.example": {"MX": [(0, "gone.example")]}}), "550 5.4.4")
        self.assertEqual(
            self.hosts(
                {"blu.example": {"MX": [(0, "a.example")]}, "a.example": {"A": ["127.0.0.1"]}}
            ),
            "550 5.4.4",
        )
        self.assertEqual(
            self.hosts(
                {"blu.example": {"MX": [(0, "a.example")]}, "a.example": {"A": ["192.0.2.99"]}}
            ),
            "554 5.4.6",
        )

    def test_literals(self) -> None:
        """Mail to an address literal would go through DNS, or into our own network."""
        self.assertEqual(self.hosts({}, "[192.0.2.7]"), [("192.0.2.7", "192.0.2.7")])
        self.assertEqual(self.hosts({}, "[IPv6:2001:db8::7]"), [("2001:db8::7", "2001:db8::7")])
        self.assertEqual(self.hosts({}, "[127.0.0.1]"), "550 5.4.4")
        self.assertEqual(self.hosts({}, "[192.0.2.99]"), "554 5.4.6")

    def test_aliases(self) -> None:
        """Exchangers that are named through CNAMEs would not be found."""
        zone = {
            "blu.example": {"CNAME": ["www.blu.example"]},
            "www.blu.example": {"MX": [(1, "alias.blu.example")]},
            "alias.blu.example": {"CNAME": ["Host.blu.example"]},
            "host.blu.example": {"A": ["192.0.2.1"]},
        }
        self.assertEqual(self.hosts(zone), [("alias.blu.example", "192.0.2.1")])

    def test_endless_aliases(self) -> None:
        """A loop of CNAMEs would be followed for ever, or make mail go back to its sender."""
        records = [
            dns.RRHeader("a.example", dns.CNAME, payload=dns.Record_CNAME("b.example")),
            dns.RRHeader("b.example", dns.CNAME, payload=dns.Record_CNAME("a.example")),
        ]
        lookup = self.lookup(Answering(lambda: succeed((records, [], []))))
        fault = self.ask(lookup, "exchanges", "a.example")
        self.assertEqual(fault, LookupFault("DNS gave a chain of CNAMEs without end for a.example"))
        self.assertEqual(str(self.ask(lookup, "hosts", "a.example"))[:9], "451 4.4.3")

    def test_unasked_records(self) -> None:
        """Whoever can slip a record into an answer could have the mail."""
        records = [
            dns.RRHeader("evil.example", dns.A, payload=dns.Record_A("192.0.2.66")),
            dns.RRHeader("blu.example", dns.A, cls=dns.CH, payload=dns.Record_A("192.0.2.67")),
            dns.RRHeader("blu.example", dns.MX, payload=dns.Record_MX(1, "evil.example")),
            dns.RRHeader("BLU.example", dns.A, payload=dns.Record_A("192.0.2.1")),
            dns.RRHeader("blu.example", dns.A, payload=dns.Record_A("192.0.2.1")),
        ]
        lookup = self.lookup(Answering(lambda: succeed((records, [], []))))
        self.assertEqual(self.ask(lookup, "addresses"), ("192.0.2.1",))

    def test_faults(self) -> None:
        """Mail would bounce because a name server is out of order."""
        for error in (DNSFormatError(), DNSQueryRefusedError(), DomainError(), ValueError("?")):
            for answer in (partial(fail, error), self._raising(error)):
                lookup = self.lookup(Answering(answer))
                self.assertIsInstance(self.ask(lookup, "exchanges"), LookupFault)
                self.assertIsInstance(self.ask(lookup, "addresses"), LookupFault)
        resolver = FakeResolver({"blu.example": {"MX": [(1, "a.example")]}, "a.example": {}})
        resolver.servfail.add("blu.example")
        answer = self.ask(self.lookup(resolver), "hosts")
        self.assertEqual((answer.code, answer.status), (451, "4.4.3"))
        self.assertIn("SERVFAIL", str(answer))

    def _raising(self, error: Exception) -> Callable[[], Any]:
        def answer() -> Any:
            raise error

        return answer

    def test_no_such_name(self) -> None:
        """A misspelt domain would be tried for days."""
        lookup = self.lookup(Answering(lambda: fail(AuthoritativeDomainError())))
        self.assertIs(self.ask(lookup, "exchanges"), NO_SUCH_NAME)
        self.assertIs(self.ask(lookup, "addresses"), NO_SUCH_NAME)

    def test_malformed_answers(self) -> None:
        """An answer made of nonsense would crash the delivery."""
        header = dns.RRHeader("blu.example", dns.A, payload=dns.Record_A("192.0.2.1"))
        header.payload.address = b"too long for an address"
        for sections in (None, (), (None,), ([None], [], []), ([header], [], [])):
            lookup = self.lookup(Answering(lambda sections=sections: succeed(sections)))
            self.assertIsInstance(self.ask(lookup, "addresses"), LookupFault)

    def test_silence(self) -> None:
        """A name server that never answers would hold a delivery for ever."""
        never: list[Deferred[Any]] = []

        def silent() -> Deferred[Any]:
            never.append(Deferred())
            return never[-1]

        lookup = self.lookup(Answering(silent))
        asked = Deferred.fromCoroutine(lookup.exchanges("blu.example"))
        self.clock.advance(29)
        self.assertNoResult(asked)
        self.clock.advance(1)
        fault = self.successResultOf(asked)
        self.assertEqual(fault, LookupFault("DNS did not answer in time for blu.example"))
        never[0].callback(([], [], []))  # too late, and no harm done
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_by_one(self) -> None:
        """A delivery that is given up would fail the others that wait for the same answer."""
        shared: Deferred[Any] = Deferred()
        lookup = self.lookup(Answering(lambda: shared))
        asked = Deferred.fromCoroutine(lookup.exchanges("blu.example"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertFalse(shared.called)
        for question in ("addresses", "hosts"):
            lookup = self.lookup(Answering(Deferred))
            asked = Deferred.fromCoroutine(getattr(lookup, question)("blu.example"))
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        zone = {"blu.example": {"MX": [(1, "a.example"), (1, "b.example")]}, "a.example": {}}
        resolver = FakeResolver(zone, self.clock)
        resolver.timeouts.update(["a.example", "b.example"])
        asked = Deferred.fromCoroutine(self.lookup(resolver).hosts("blu.example"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_cancelled_by_the_resolver(self) -> None:
        """A question that others gave up would end the delivery as if it were given up itself."""
        lookup = self.lookup(Answering(lambda: fail(CancelledError())))
        self.assertIsInstance(self.ask(lookup, "exchanges"), LookupFault)

    def test_kept(self) -> None:
        """Every message would ask DNS anew, or old records would be used for ever."""
        resolver = FakeResolver({"blu.example": {"MX": [(1, "a.example")]}})
        lookup = self.lookup(resolver)
        for _ in range(2):
            self.assertEqual(self.ask(lookup, "exchanges"), (Exchange(1, "a.example"),))
        self.assertEqual(len(resolver.asked), 1)
        self.clock.advance(301)
        resolver.zone.clear()
        self.assertIs(self.ask(lookup, "exchanges"), NO_SUCH_NAME)
        self.assertIs(self.ask(lookup, "exchanges"), NO_SUCH_NAME)
        self.assertEqual(len(resolver.asked), 2)
        self.clock.advance(61)
        resolver.servfail.add("blu.example")
        self.assertIsInstance(self.ask(lookup, "exchanges"), LookupFault)
        resolver.servfail.clear()
        resolver.zone["blu.example"] = {"MX": []}
        self.assertEqual(self.ask(lookup, "exchanges"), ())
        self.assertEqual(len(resolver.asked), 4)

    def test_kept_within_bounds(self) -> None:
        """Mail to ever different domains would fill the memory."""
        lookup = self.lookup(FakeResolver({}))
        for number in range(MAX_KEPT + 10):
            self.ask(lookup, "exchanges", f"d{number}.example")
        self.assertEqual(len(lookup._kept), MAX_KEPT)
        exchanges = [
            (1, f"mx{number}.example") for number in range(2000)
        ]  # as many as there may be
        lookup = self.lookup(FakeResolver({f"d{n}.example": {"MX": exchanges} for n in range(90)}))
        for number in range(90):
            self.ask(lookup, "exchanges", f"d{number}.example")
        self.assertIn(len(lookup._kept), range(30, 60))

    def test_no_ttl(self) -> None:
        """A record that says it must not be kept would be kept."""
        record = dns.RRHeader("blu.example", dns.MX, ttl=0, payload=dns.Record_MX(1, "a.example"))
        asked = []
        lookup = self.lookup(Answering(lambda: asked.append(1) or succeed(([record], [], []))))
        self.ask(lookup, "exchanges")
        self.ask(lookup, "exchanges")
        self.assertEqual(len(asked), 2)

    def test_one_family_fails(self) -> None:
        """A host would be lost because its name server fails for the other kind of address."""

        class HalfBroken(FakeResolver):
            def lookupIPV6Address(self, name: Any, timeout: Any = None) -> Any:
                return fail(DNSQueryRefusedError())

        resolver = HalfBroken({"blu.example": {"A": ["192.0.2.1"]}})
        self.assertEqual(
            self.ask(self.lookup(resolver), "hosts"), (Host("blu.example", "192.0.2.1"),)
        )
        resolver = HalfBroken({"blu.example": {"TXT": ["x"]}})
        answer = self.ask(self.lookup(resolver), "hosts")
        self.assertEqual((answer.code, answer.status), (451, "4.4.3"))

    def many(self, count: int) -> dict[str, Any]:
        """A zone with many exchangers without addresses, the last of equal preference."""
        names = [f"h{number:02}.example" for number in range(count)]
        zone: dict[str, Any] = {name: {"TXT": ["x"]} for name in names}
        zone["blu.example"] = {"MX": [(number, name) for number, name in enumerate(names)]}
        return zone

    def test_many_without_addresses(self) -> None:
        """A domain whose eleventh exchanger is the first that works would get no mail."""
        zone = self.many(25)
        zone["h20.example"] = {"A": ["192.0.2.20"]}
        self.assertEqual(self.hosts(zone), [("h20.example", "192.0.2.20")])
        self.assertEqual(self.hosts(self.many(25)), "550 5.4.4")

    def test_not_more_than_needed(self) -> None:
        """Each message to a domain with many exchangers would cost a hundred questions."""
        zone = self.many(60)
        resolver = FakeResolver(zone)
        self.ask(self.lookup(resolver), "hosts")
        self.assertEqual(len(resolver.asked), 1 + 2 * 50)
        zone["h03.example"] = {"A": ["192.0.2.3"]}
        resolver = FakeResolver(zone)
        self.ask(self.lookup(resolver), "hosts")
        self.assertEqual(len(resolver.asked), 1 + 2 * 10)

    def test_ourselves_among_many(self) -> None:
        """A backup server would hand mail on to one that is worse than itself."""
        zone = self.many(25)
        zone["h05.example"] = {"A": ["192.0.2.99"]}
        zone["h20.example"] = {"A": ["192.0.2.20"]}
        self.assertEqual(self.hosts(zone), "550 5.4.4")
        zone["h04.example"] = {"A": ["192.0.2.4"]}
        self.assertEqual(self.hosts(zone), [("h04.example", "192.0.2.4")])


class TextTests(SynchronousTestCase):
    """TXT records."""

    def test_strings(self) -> None:
        """A record that is longer than a string of DNS would be cut off."""

        class Long(FakeResolver):
            def lookupText(self, name: str, timeout: Any = None) -> Deferred[Any]:
                record = dns.Record_TXT(b"v=STSv1; ", b"id=1;")
                return succeed(
                    ([dns.RRHeader(name=name, type=dns.TXT, ttl=9, payload=record)], [], [])
                )

        lookup = Lookup(
            resolver=Long(),
            clock=Clock(),
            seconds=30,
            hostname="mx.rosse.example",
            own_addresses=(),
            prohibited=is_prohibited,
            random=Random(1),
        )
        found = self.successResultOf(Deferred.fromCoroutine(lookup.texts("x.example")))
        self.assertEqual(found, (b"v=STSv1; id=1;",))


def _kept_not_at_all(sections: Any) -> Any:
    for header in sections[0]:
        header.ttl = 0
    return sections


class SecureTests(SynchronousTestCase):
    """What DNSSEC vouches for."""

    ZONE = {  # noqa: RUF012  # nobody changes it
        "blu.example": {
            "MX": [(1, "mx.blu.example"), (2, "alias.blu.example"), (3, "mx.red.test")]
        },
        "mx.blu.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
        "alias.blu.example": {"CNAME": ["mx.green.test"]},
        "mx.green.test": {"A": ["192.0.2.2"]},
        "mx.red.test": {"A": ["192.0.2.3"]},
        "only.blu.example": {"A": ["192.0.2.4"]},
        "_25._tcp.mx.blu.example": {"TLSA": [b"\x03\x01\x01x"]},
        "_25._tcp.mx.red.test": {"TLSA": [b"\x03\x01\x01y"]},
        "red.test": {"MX": [(1, "mx.blu.example")]},
    }

    def lookup(self, *secure: str, validating: bool = True) -> Lookup:
        self.resolver = FakeResolver(self.ZONE)
        self.resolver.secure.update(secure)
        return Lookup(
            resolver=self.resolver,
            clock=Clock(),
            seconds=30,
            hostname="mx.rosse.example",
            own_addresses=(),
            prohibited=is_prohibited,
            random=Random(1),
            validating=validating,
        )

    def bases(self, lookup: Lookup, domain: str = "blu.example") -> dict[str, tuple[str, ...]]:
        hosts = self.successResultOf(Deferred.fromCoroutine(lookup.hosts(domain)))
        return {host.address: host.tlsa_bases for host in hosts}

    def tlsa(self, lookup: Lookup, name: str) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(lookup.tlsa(name)))

    def test_bases(self) -> None:
        """Who can forge an MX record could choose the certificate as well (RFC 7672 §2.2)."""
        self.assertEqual(
            self.bases(self.lookup("example")),
            {
                "192.0.2.1": ("mx.blu.example",),
                "2001:db8::1": ("mx.blu.example",),
                "192.0.2.2": ("alias.blu.example",),
                "192.0.2.3": (),
            },
        )
        self.assertEqual(
            self.bases(self.lookup("example", "green.test"))["192.0.2.2"],
            ("mx.green.test", "alias.blu.example"),
        )
        self.assertEqual(
            self.bases(self.lookup("example"), "only.blu.example"),
            {"192.0.2.4": ("only.blu.example",)},
        )

    def test_alias(self) -> None:
        """Who hosts domains as aliases of his own would get no mail for them where he publishes an
        authority (RFC 7672 §3.2.2); or the name of a host would do for any domain.
        """

        def alias_of(domain: str, **kwargs: Any) -> set[str]:
            lookup = self.lookup("example", **kwargs)
            self.resolver.zone["hosted.example"] = {"CNAME": ["blu.example"]}
            self.resolver.zone["www.example"] = {"CNAME": ["only.blu.example"]}
            hosts = self.successResultOf(Deferred.fromCoroutine(lookup.hosts(domain)))
            return {host.alias_of for host in hosts}

        self.assertEqual(alias_of("hosted.example"), {"blu.example"})
        self.assertEqual(alias_of("hosted.example", validating=False), {""})
        self.assertEqual(alias_of("blu.example"), {""})
        self.assertEqual(alias_of("www.example"), {""})  # without MX records

    def test_genuine(self) -> None:
        """Mail that demands TLS would come back, or go to an exchanger that somebody made up."""

        def genuine(*secure: str, **kwargs: Any) -> set[bool]:
            lookup = self.lookup(*secure, **kwargs)
            hosts = self.successResultOf(Deferred.fromCoroutine(lookup.hosts("blu.example")))
            return {host.is_genuine for host in hosts}

        self.assertEqual(genuine("example"), {True})  # one has an address of another domain
        self.assertEqual(genuine("test"), {False})
        self.assertEqual(genuine("example", validating=False), {False})

    def test_insecure(self) -> None:
        """DANE would be believed although somebody else chose the exchangers, or be asked for."""
        for lookup in (
            self.lookup("test"),
            self.lookup("example", validating=False),
            self.lookup("mx.blu.example", "alias.blu.example"),
        ):
            self.assertEqual(set(self.bases(lookup).values()), {()})
        self.assertEqual(self.bases(self.lookup("example"), "red.test")["192.0.2.1"], ())
        self.assertNotIn("CNAME", {kind for _, kind in self.resolver.asked})

    def test_fault_is_no_word(self) -> None:
        """Who can keep an answer from us could switch DANE off (RFC 7672 §2.1.2)."""
        for trouble in ("alias.blu.example", "mx.blu.example"):
            lookup = self.lookup("example")
            ask = self.resolver._lookup

            def only_once(
                name: Any, *args: Any, ask: Any = ask, trouble: str = trouble
            ) -> Deferred[Any]:
                asked = [kind for asked, kind in self.resolver.asked if asked == trouble]
                if name == trouble.encode() and {"A", "AAAA"} <= set(asked):
                    return fail(DNSServerError(trouble))
                answer: Deferred[Any] = ask(name, *args)
                return answer.addCallback(_kept_not_at_all)

            self.patch(self.resolver, "_lookup", only_once)
            bases = self.bases(lookup)
            self.assertEqual(bases["192.0.2.1"], ("mx.blu.example",))
            self.assertEqual("192.0.2.2" in bases, trouble == "mx.blu.example")
            self.assertEqual(bases["192.0.2.3"], ())

    def fail_questions(self, failing: int) -> None:
        """Have the name server fail where it is asked for one kind of record."""
        ask = self.resolver._lookup

        def lookup(name: Any, cls: int, kind: int, timeout: Any) -> Deferred[Any]:
            if kind == failing:
                return fail(DNSServerError(name))
            return ask(name, cls, kind, timeout)

        self.patch(self.resolver, "_lookup", lookup)

    def test_nothing_but_faults(self) -> None:
        """The same with a single exchanger, or the domain's mail would bounce."""
        lookup = self.lookup("example")
        self.fail_questions(dns.CNAME)
        self.resolver.zone["one.example"] = {"MX": [(1, "alias.blu.example")]}
        reply = self.successResultOf(Deferred.fromCoroutine(lookup.hosts("one.example")))
        self.assertEqual((reply.code, reply.status), (451, "4.4.3"))

    def test_family_that_fails(self) -> None:
        """Servers that can't answer for one family would get no mail, or be believed in clear."""
        lookup = self.lookup("example")
        self.fail_questions(dns.AAAA)
        self.assertEqual(
            self.bases(lookup),
            {
                "192.0.2.1": ("mx.blu.example",),
                "192.0.2.2": ("alias.blu.example",),
                "192.0.2.3": (),
            },
        )

    def test_tlsa(self) -> None:
        """Forged TLSA records would count."""
        lookup = self.lookup("example")
        self.assertEqual(self.tlsa(lookup, "_25._tcp.mx.blu.example"), (b"\x03\x01\x01x",))
        self.assertEqual(self.tlsa(lookup, "_25._tcp.mx.red.test"), ())
        self.assertEqual(self.tlsa(lookup, "_25._tcp.other.example"), ())
        self.assertEqual(self.tlsa(lookup, "only.blu.example"), ())
        self.resolver.servfail.add("_25._tcp.bogus.example")
        self.assertIsInstance(self.tlsa(lookup, "_25._tcp.bogus.example"), LookupFault)

    def test_a_plain_resolver(self) -> None:
        """A resolver of somebody's own, which tells nothing of DNSSEC, would be believed."""
        records = [dns.RRHeader("a.example", dns.A, payload=dns.Record_A("192.0.2.1"))]
        lookup = Lookup(
            resolver=Answering(lambda: succeed((records, [], []))),
            clock=Clock(),
            seconds=30,
            hostname="mx.rosse.example",
            own_addresses=(),
            prohibited=is_prohibited,
            random=Random(1),
            validating=True,
        )
        self.assertEqual(self.bases(lookup, "a.example"), {"192.0.2.1": ()})
