"""Counting connections, and bringing them to an end."""

from __future__ import annotations

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.connections import Connections
from mailframe.server.limits import Limits
from mailframe.server.tally import Tally


@attrs.define(eq=False)
class FakeConnection:
    """Notes what it is told."""

    told: list[str] = attrs.field(factory=list)

    def shut_down(self) -> None:
        self.told.append("shut down")

    def drop(self) -> None:
        self.told.append("drop")


class ConnectionsTests(SynchronousTestCase):
    """The connections to one server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tally = Tally()
        self.connections = self.make(Limits(connections=3, connections_per_address=2))

    def make(self, limits: Limits) -> Connections[FakeConnection]:
        return Connections(server="pop", limits=limits, clock=self.clock, tally=self.tally)

    def arrive(self, address: str) -> tuple[FakeConnection, str | None]:
        connection = FakeConnection()
        return connection, self.connections.arrived(connection, address)

    def test_limits(self) -> None:
        """One address takes all there are; or who left is counted for ever."""
        first, beyond = self.arrive("a")
        self.assertIsNone(beyond)
        self.assertIsNone(self.arrive("a")[1])
        refused, beyond = self.arrive("a")
        self.assertEqual(beyond, "connections_per_address")
        self.assertEqual(self.arrive("b")[1], "connections")
        for connection in (refused, first):
            self.connections.left(connection, "a")
        self.assertEqual(len(self.connections), 2)
        self.assertIsNone(self.arrive("a")[1])

    def test_moved(self) -> None:
        """Behind a proxy all clients are counted as one, or one as many."""
        for expected in (None, None, "connections_per_address"):
            connection, beyond = self.arrive("proxy")
            self.assertIsNone(beyond)
            self.assertEqual(self.connections.moved("proxy", "a"), expected)
        self.assertEqual(self.arrive("b")[1], "connections")
        for address in ("a", "a", "a", "b"):
            self.connections.left(connection, address)
        self.assertEqual(len(self.tally), 0)

    def test_networks(self) -> None:
        """Whoever has a network takes all connections, an address at a time."""
        connections: Connections[FakeConnection] = Connections(
            server="mx", limits=Limits(connections_per_network=2), clock=self.clock
        )
        for address, beyond in (
            ("192.0.2.1", None),
            ("192.0.2.200", None),
            ("192.0.2.3", "connections_per_network"),
            ("192.0.3.1", None),
            ("2001:db8::1", None),
            ("2001:db8::ffff:1", None),
            ("2001:db8::2", "connections_per_network"),
            ("2001:db8:0:1::1", None),
            ("local", None),
        ):
            self.assertEqual(connections.arrived(FakeConnection(), address), beyond, address)
        self.assertEqual(connections.moved("192.0.3.1", "192.0.2.9"), "connections_per_network")

    def test_another_generation(self) -> None:
        """Each reload would let a client have all its connections once more."""
        first, _ = self.arrive("a")
        self.arrive("b")
        before, self.connections = (
            self.connections,
            self.make(Limits(connections=3, connections_per_address=1)),
        )
        second, beyond = self.arrive("a")
        self.assertEqual(beyond, "connections_per_address")
        self.assertEqual(self.arrive("c")[1], "connections")
        for _ in range(2):
            before.left(first, "a")
        self.connections.left(second, "a")
        self.assertIsNone(self.arrive("a")[1])

    def test_drain(self) -> None:
        """The server stops before its clients are done, or never."""
        one, two = self.arrive("a")[0], self.arrive("b")[0]
        drained = self.connections.drain(5)
        self.assertIs(self.connections.drain(5), drained)
        self.assertTrue(self.connections.draining)
        self.assertEqual(one.told + two.told, ["shut down"] * 2)
        self.connections.left(one, "a")
        self.assertNoResult(drained)
        self.connections.left(two, "b")
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cut(self) -> None:
        """A client that does not end keeps the server from stopping."""
        one, _ = self.arrive("a")
        drained = self.connections.drain(5)
        self.clock.advance(5)
        self.successResultOf(drained)
        self.assertEqual(one.told, ["shut down", "drop"])
        self.connections.left(one, "a")

    def test_nobody(self) -> None:
        """A server without clients waits."""
        self.successResultOf(self.connections.drain(5))
