"""Sharing the connections to one next hop."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.destination import REMEMBERED, Destination, Refusals, Turns
from mailframe.outcome import NextHop
from mailframe.reply import Reply

DOWN = Reply(451, "4.4.1", "down")
HEARD_OF = Reply(451, "4.4.1", "down (at an attempt a moment ago)")


class FakeConnection:
    """As much of a connection as is looked at here."""

    def __init__(self, messages: int = 0, usable: bool = True) -> None:
        self.messages = messages
        self.usable = usable
        self.closed: Deferred[None] = Deferred()
        self.calls: list[str] = []

    def rest(self) -> None:
        self.calls.append("rest")

    def quit(self) -> None:
        self.calls.append("quit")

    def abort(self) -> None:
        self.calls.append("abort")


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.turns = Turns(2)

    def take(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.turns.take())

    def test_limit(self) -> None:
        """More would be under way at once than the process has descriptors for."""
        for _ in range(2):
            self.assertIsNone(self.successResultOf(self.take()))
        waiting = [self.take() for _ in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1])
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(waiting[0]))
        self.assertNoResult(waiting[2])
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(waiting[2]))
        for _ in range(2):
            self.turns.give_back()
        for _ in range(2):
            self.assertIsNone(self.successResultOf(self.take()))
        self.assertNoResult(self.take())

    def test_turned_away(self) -> None:
        """Those who wait would hold up the shutdown."""
        for _ in range(2):
            self.take()
        waiting = self.take()
        self.turns.turn_away(DOWN)
        self.assertEqual(self.successResultOf(waiting), DOWN)
        self.turns.give_back()
        self.assertIsNone(self.successResultOf(self.take()))

    def test_many_short_ones(self) -> None:
        """A long line of those who are done at once would exhaust the stack."""

        async def short() -> None:
            await self.turns.take()
            self.turns.give_back()

        for _ in range(2):
            self.take()
        done = [Deferred.fromCoroutine(short()) for _ in range(5000)]
        self.turns.give_back()
        for each in done:
            self.successResultOf(each)


class RefusalsTests(SynchronousTestCase):
    """`Refusals`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals = Refusals(self.clock)

    def test_for_a_while(self) -> None:
        """A host would be held for dead long after it came back, or for no time at all."""
        one, two = NextHop(where="mx:one.example"), NextHop(where="mx:two.example")
        self.refusals.add(one, DOWN)
        self.clock.advance(REMEMBERED - 1)
        self.refusals.add(two, DOWN)
        self.assertEqual(self.refusals.of(one), HEARD_OF)
        self.clock.advance(1)
        self.assertIsNone(self.refusals.of(one))
        self.assertEqual(self.refusals.of(two), HEARD_OF)
        self.assertEqual(len(self.refusals._entries), 1)
        self.refusals.add(one, DOWN)
        self.refusals.add(two, DOWN)
        self.refusals.forget(two)
        self.refusals.forget(two)
        self.assertIsNone(self.refusals.of(two))
        self.refusals.clear()
        self.assertIsNone(self.refusals.of(one))

    def test_for_good(self) -> None:
        """One odd answer would bounce all mail of a minute."""
        hop = NextHop(where="mx:one.example")
        self.refusals.add(hop, Reply(554, "5.3.2", "no service"))
        self.assertIsNone(self.refusals.of(hop))


class DestinationTests(SynchronousTestCase):
    """`Destination`."""

    def setUp(self) -> None:
        self.forgotten = 0
        self.destination = self.make()

    def make(self, limit: int = 1, keep: bool = True) -> Destination:
        def forget() -> None:
            self.forgotten += 1

        return Destination(limit=limit, reuse_messages=3, keep=keep, forget=forget)

    def ask(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.destination.permit())

    def test_limit(self) -> None:
        """More connections would be made than are allowed, or messages would be overtaken."""
        self.destination = self.make(limit=2)
        permits = [self.successResultOf(self.ask()) for _ in range(2)]
        waiting = [self.ask() for _ in range(2)]
        self.assertNoResult(waiting[0])
        self.destination.give_back(permits[0])
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        self.destination.give_back(permits[1])
        self.successResultOf(waiting[1])
        self.assertEqual(self.forgotten, 0)

    def test_handed_on(self) -> None:
        """A connection would be closed although the next message waits for it."""
        permit = self.successResultOf(self.ask())
        waiting = self.ask()
        permit.connection = connection = FakeConnection(messages=1)
        self.destination.give_back(permit)
        self.assertIs(self.successResultOf(waiting).connection, connection)

    def test_worn_out(self) -> None:
        """Connections would be used beyond their limit, or after they broke."""
        for connection, call in (
            (FakeConnection(messages=2), "rest"),
            (FakeConnection(messages=3), "quit"),
            (FakeConnection(usable=False), "quit"),  # which breaks what it can't end
        ):
            self.setUp()
            permit = self.successResultOf(self.ask())
            permit.connection = connection
            self.destination.give_back(permit)
            self.assertEqual(connection.calls, [call])
            self.assertEqual(self.forgotten, int(call != "rest"))
        self.destination = self.make(keep=False)
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.give_back(permit)
        self.assertEqual(connection.calls, ["quit"])

    def test_closed_while_idle(self) -> None:
        """A dead connection would be handed out, or remembered for ever."""
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.watch(connection)
        self.destination.give_back(permit)
        connection.usable = False
        self.assertIsNone(self.successResultOf(self.ask()).connection)
        self.setUp()
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.watch(connection)
        self.destination.give_back(permit)
        self.assertEqual(self.forgotten, 0)
        connection.closed.callback(None)
        self.assertEqual(self.forgotten, 1)

    def test_nobody_let_in(self) -> None:
        """Messages would fail although a connection for them stands."""
        self.destination = self.make(limit=2)
        permits = [self.successResultOf(self.ask()) for _ in range(2)]
        waiting = self.ask()
        permits[0].connection = FakeConnection()
        self.assertFalse(self.destination.nobody_let_in(DOWN))
        self.assertNoResult(waiting)
        permits[0].connection = None
        self.assertTrue(self.destination.nobody_let_in(DOWN))
        self.assertEqual(self.successResultOf(waiting), HEARD_OF)

    def test_given_up(self) -> None:
        """A place in the line would be kept for a message that left it."""
        permit = self.successResultOf(self.ask())
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first)
        self.destination.give_back(permit)
        self.successResultOf(second)
