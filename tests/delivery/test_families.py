"""IPv6 first, without waiting long where it leads nowhere."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.families import (
    ADDRESS_DOUBTED,
    FAMILY_DOUBTED,
    MOST_DOUBTED,
    PATIENCE,
    Families,
    Impatient,
    alternating,
)
from mailframe.testing.network import VirtualReactor

V4, V6 = "192.0.2.1", "2001:db8::1"


class AlternatingTests(SynchronousTestCase):
    """The order of a host's addresses."""

    def test_in_turn(self) -> None:
        """A host with many addresses of one family would never be tried over the other."""
        self.assertEqual(
            alternating(["1", "2"], ["::1", "::2", "::3"]), ("::1", "1", "::2", "2", "::3")
        )
        self.assertEqual(alternating(["1"], []), ("1",))

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
    def test_none_is_lost(self, v4: list[int], v6: list[int]) -> None:
        """An address would never be tried."""
        four, six = [f"192.0.2.{each}" for each in v4], [f"::{each}" for each in v6]
        found = alternating(four, six)
        self.assertEqual([each for each in found if ":" not in each], four)
        self.assertEqual([each for each in found if ":" in each], six)


class FamiliesTests(SynchronousTestCase):
    """What is remembered."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.families = Families(self.clock)

    def order(self, *addresses: str) -> list[tuple[str, float | None]]:
        return list(self.families.in_order(addresses))

    def test_quick(self) -> None:
        """A lost IPv6 packet would cost half a minute, or a slow host be given up too early."""
        self.assertEqual(self.order(V6, V4), [(V6, PATIENCE), (V4, None)])
        self.assertEqual(self.order(V6), [(V6, None)])
        self.assertEqual(self.order(V4), [(V4, None)])
        self.assertEqual(
            self.order(V6, V4, "2001:db8::2"),
            [(V6, PATIENCE), (V4, None), ("2001:db8::2", None)],
        )

    def test_doubted(self) -> None:
        """Each message to such a host would wait again, or IPv6 never be used again."""
        self.families.too_slow(V6)
        other = "2001:db8::2"
        self.assertEqual(self.order(V6, V4), [(V4, None), (V6, None)])
        self.assertEqual(self.order(other, V4), [(V4, None), (other, None)])
        self.clock.advance(FAMILY_DOUBTED)
        self.assertEqual(self.order(V6, V4), [(V4, None), (V6, None)])
        self.assertEqual(self.order(other, V4), [(other, PATIENCE), (V4, None)])
        self.clock.advance(ADDRESS_DOUBTED)
        self.assertEqual(self.order(V6, V4), [(V6, PATIENCE), (V4, None)])

    def test_reached(self) -> None:
        """One bad moment of the line would send all mail over IPv4."""
        self.families.too_slow(V6)
        self.families.reached("2001:db8::2")
        self.assertEqual(self.order("2001:db8::2", V4)[0], ("2001:db8::2", PATIENCE))
        self.assertEqual(self.order(V6, V4)[0], (V4, None))
        self.families.reached(V6)
        self.assertEqual(self.order(V6, V4)[0], (V6, PATIENCE))

    def test_bounds(self) -> None:
        """Ever more unreachable hosts would fill the memory."""
        for number in range(MOST_DOUBTED + 10):
            self.families.too_slow(f"2001:db8::{number:x}")
        self.assertEqual(len(self.families._addresses), MOST_DOUBTED)


class ImpatientTests(SynchronousTestCase):
    """Connecting over IPv6, on a virtual network."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.families = Families(self.reactor)

    def connect(self) -> Deferred[Any]:
        inner = TCP6ClientEndpoint(self.reactor, V6, 25)
        endpoint = Impatient(inner, V6, PATIENCE, self.families, self.reactor)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        self.reactor.advance(0)
        return connecting

    def first(self) -> str:
        return next(iter(self.families.in_order((V6, V4))))[0]

    def test_connected(self) -> None:
        """IPv6 would not be used at all."""
        self.reactor.at(V6).listenTCP(25, Factory.forProtocol(Protocol), interface=V6)
        protocol = self.successResultOf(self.connect())
        self.assertEqual(self.first(), V6)
        protocol.transport.abortConnection()
        self.reactor.advance(PATIENCE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """A host whose IPv6 packets are lost would hold up its mail for half a minute."""
        self.reactor.unreachable(V6)
        connecting = self.connect()
        self.reactor.advance(PATIENCE - 0.1)
        self.assertNoResult(connecting)
        self.reactor.advance(0.1)
        self.failureResultOf(connecting, ConnectTimeout)
        self.assertEqual(self.first(), V4)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A host that answers at once would be taken for one that does not."""
        self.reactor.at(V6)
        self.failureResultOf(self.connect(), ConnectionRefusedError)
        self.assertEqual(self.first(), V6)

    def test_given_up(self) -> None:
        """A delivery that is cancelled would be taken for a slow host."""
        self.reactor.unreachable(V6)
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, Exception)
        self.assertEqual(self.first(), V6)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
