"""Sharing the connections to one next hop."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.destination import Destination, Turns
from mailframe.reply import Reply

DOWN = Reply(451, "4.4.1", "down")


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
            (FakeConnection(usable=False), "abort"),
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
        self.destination.nobody_let_in(DOWN)
        self.assertNoResult(waiting)
        permits[0].connection = None
        self.destination.nobody_let_in(DOWN)
        self.assertEqual(self.successResultOf(waiting), DOWN)

    def test_given_up(self) -> None:
        """A place in the line would be kept for a message that left it."""
        permit = self.successResultOf(self.ask())
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first)
        self.destination.give_back(permit)
        self.successResultOf(second)
