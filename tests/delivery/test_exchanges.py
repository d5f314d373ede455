"""From DNS records to the hosts to try."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import exchanges
from mailframe.delivery.exchanges import (
    MAX_EXCHANGES,
    MAX_HOSTS,
    MAX_READ,
    NO_SUCH_NAME,
    Addresses,
    Exchange,
    Exchanges,
    Host,
    LookupFault,
    exchanges_in_order,
    hosts_in_order,
)
from mailframe.reply import Reply

DOMAIN = "blu.example"


def in_order(answer: Exchanges, seed: int = 0) -> tuple[tuple[int, str], ...] | str:
    """The exchangers as pairs, or the code and the status of the reply."""
    result = exchanges_in_order(DOMAIN, answer, hostname="mx.rosse.example", random=Random(seed))
    if isinstance(result, Reply):
        return f"{result.code} {result.status}"
    return tuple((exchange.preference, exchange.name) for exchange in result)


def hosts(
    found: list[tuple[int, str]],
    addresses: dict[str, Addresses],
    own: tuple[str, ...] = (),
    prohibited: tuple[str, ...] = (),
) -> list[str] | str:
    """The addresses in order, or the code and the status of the reply."""
    result = hosts_in_order(
        DOMAIN,
        [Exchange(*exchange) for exchange in found],
        addresses,
        own_addresses=own,
        prohibited=lambda address: address in prohibited,
    )
    if isinstance(result, Reply):
        return f"{result.code} {result.status}"
    return [host.address for host in result]


class ExchangesTests(SynchronousTestCase):
    """Which names to look up."""

    def test_preference(self) -> None:
        """Mail would go to backup servers first."""
        answer = (Exchange(20, "b.example"), Exchange(5, "A.Example."), Exchange(10, "c.example"))
        self.assertEqual(in_order(answer), ((5, "a.example"), (10, "c.example"), (20, "b.example")))

    def test_equal_preference_is_shuffled(self) -> None:
        """All the load would fall on one of several equal servers."""
        answer = tuple(Exchange(10, f"{letter}.example") for letter in "abc")
        firsts = {in_order(answer, seed)[0] for seed in range(50)}
        self.assertEqual(len(firsts), 3)

    def test_implicit(self) -> None:
        """Mail for a domain without MX records would not be delivered."""
        self.assertEqual(in_order(()), ((0, DOMAIN),))

    def test_null(self) -> None:
        """Mail for a domain that takes none would be tried for days (RFC 7505)."""
        self.assertEqual(in_order((Exchange(0, ""),)), "556 5.1.10")
        self.assertEqual(in_order((Exchange(0, "."),)), "556 5.1.10")
        self.assertEqual(
            in_order((Exchange(0, ""), Exchange(10, "a.example"))), ((10, "a.example"),)
        )

    def test_no_host(self) -> None:
        """What is no host's name would be looked up or connected to."""
        names = ("192.0.2.1", "[192.0.2.1]", "a b", "-", "x" * 300, "\ufffd.example", "a..b")
        answer = tuple(Exchange(1, name) for name in names)
        self.assertEqual(in_order(answer), "550 5.4.4")
        self.assertEqual(in_order((*answer, Exchange(9, "a.example"))), ((9, "a.example"),))

    def test_ourselves(self) -> None:
        """A backup server would send mail to itself, or to servers worse than itself."""
        answer = (
            Exchange(10, "a.example"),
            Exchange(20, "MX.rosse.example"),
            Exchange(20, "b.example"),
            Exchange(30, "c.example"),
        )
        self.assertEqual(in_order(answer), ((10, "a.example"),))
        self.assertEqual(in_order(answer[1:]), "554 5.4.6")

    def test_faults(self) -> None:
        """Mail would bounce because DNS is out of order, or wait days for a misspelt domain."""
        self.assertEqual(in_order(LookupFault("failed")), "451 4.4.3")
        self.assertEqual(in_order(NO_SUCH_NAME), "550 5.1.2")

    def test_very_many(self) -> None:
        """A domain with thousands of MX records would keep us busy."""
        answer = tuple(Exchange(number, f"h{number}.example") for number in range(999, -1, -1))
        result = in_order(answer)
        self.assertEqual(len(result), MAX_EXCHANGES)
        self.assertEqual(result[0], (0, "h0.example"))
        read: list[str] = []
        self.patch(exchanges, "_host_name", lambda name: read.append(name) or name)
        self.assertEqual(in_order(answer), result)
        self.assertEqual(len(read), MAX_READ)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.integers(0, 65535), st.text(max_size=20))), st.integers())
    def test_anything(self, records: list[tuple[int, str]], seed: int) -> None:
        """Some record could break routing, or bring the order into disorder."""
        result = in_order(tuple(Exchange(*record) for record in records), seed)
        if not isinstance(result, str):
            self.assertEqual(sorted(p for p, _ in result), [p for p, _ in result])


class HostsTests(SynchronousTestCase):
    """Which addresses to connect to."""

    def test_order(self) -> None:
        """Hosts would be tried in the wrong order."""
        self.assertEqual(
            hosts(
                [(1, "a.example"), (2, "b.example"), (3, "c.example")],
                {"b.example": ("192.0.2.3", "2001:db8::3"), "a.example": ("192.0.2.1",)},
            ),
            ["192.0.2.1", "192.0.2.3", "2001:db8::3"],
        )

    def test_names(self) -> None:
        """Certificates would be checked for the wrong name."""
        result = hosts_in_order(
            DOMAIN,
            [Exchange(1, "a.example")],
            {"a.example": ("192.0.2.1", "192.0.2.1")},
            own_addresses=(),
            prohibited=lambda address: False,
        )
        self.assertEqual(result, (Host("a.example", "192.0.2.1"),))

    def test_own_address(self) -> None:
        """A server would connect to itself under another name."""
        exchanges = [(1, "a.example"), (2, "b.example"), (2, "c.example"), (3, "d.example")]
        addresses: dict[str, Addresses] = {
            f"{letter}.example": (f"192.0.2.{number}",)
            for number, letter in enumerate("abcd", start=1)
        }
        self.assertEqual(hosts(exchanges, addresses, own=("192.0.2.3",)), ["192.0.2.1"])
        self.assertEqual(hosts(exchanges, addresses, own=("192.0.2.1",)), "554 5.4.6")

    def test_prohibited(self) -> None:
        """A stranger's MX record could lead us into our own network."""
        exchanges = [(1, "a.example"), (2, "b.example")]
        addresses: dict[str, Addresses] = {
            "a.example": ("10.0.0.1", "192.0.2.1"),
            "b.example": ("127.0.0.1",),
        }
        bad = ("10.0.0.1", "127.0.0.1")
        self.assertEqual(hosts(exchanges, addresses, prohibited=bad), ["192.0.2.1"])
        self.assertEqual(hosts(exchanges[1:], addresses, prohibited=bad), "550 5.4.4")

    def test_faults(self) -> None:
        """Mail would bounce although the missing address may only be late."""
        fault = LookupFault("SERVFAIL")
        exchanges = [(1, "a.example"), (2, "b.example")]
        self.assertEqual(hosts(exchanges, {"a.example": fault, "b.example": ()}), "451 4.4.3")
        self.assertEqual(
            hosts(exchanges, {"a.example": fault, "b.example": ("10.0.0.1",)}, (), ("10.0.0.1",)),
            "451 4.4.3",
        )
        self.assertEqual(
            hosts(exchanges, {"a.example": fault, "b.example": ("192.0.2.1",)}), ["192.0.2.1"]
        )

    def test_no_addresses(self) -> None:
        """Mail for a domain that can't get any would be tried for days."""
        self.assertEqual(
            hosts([(1, "a.example"), (2, "b.example")], {"a.example": NO_SUCH_NAME}), "550 5.4.4"
        )
        self.assertEqual(hosts([(0, DOMAIN)], {DOMAIN: ()}), "550 5.1.2")

    def test_very_many(self) -> None:
        """One message could have us try hundreds of hosts."""
        addresses = tuple(f"192.0.2.{number}" for number in range(200))
        self.assertEqual(len(hosts([(1, "a.example")], {"a.example": addresses})), MAX_HOSTS)
