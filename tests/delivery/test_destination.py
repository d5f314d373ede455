"""Sharing the connections to one next hop."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.concurrency import REMEMBERED, Concurrency
from mailframe.delivery.destination import KNOWN, Destination, Destinations, Permit
from mailframe.delivery.line import LONGEST, STUCK, Line
from mailframe.outcome import NextHop, Throttled
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


class DestinationTests(SynchronousTestCase):
    """`Destination`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.destination = self.make()

    def make(self, limit: int = 1, keep: bool = True, known: bool = True) -> Destination:
        self.lines = 0

        def begins(_destination: Destination) -> None:
            self.lines += 1

        destination = Destination(
            where="mx:blu.example",
            concurrency=Concurrency(
                where="mx:blu.example", first=limit, most=limit, clock=self.clock
            ),
            line=Line(self.clock, random.Random(1)),
            reuse_messages=3,
            keep=keep,
            line_begins=begins,
        )
        if known:
            destination.let_in()
        return destination

    def ask(self, is_scarce: bool = False) -> Deferred[Any]:
        return maybeDeferred(self.destination.permit, is_scarce)

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
            self.assertFalse(self.destination.is_at_rest)
            if call == "quit":
                connection.closed.callback(None)
                self.assertTrue(self.destination.is_at_rest)
        self.destination = self.make(keep=False)
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.give_back(permit)
        self.assertEqual(connection.calls, ["quit"])

    def test_until_they_are_gone(self) -> None:
        """A server that allows one connection counts two, and turns the next message away."""
        ended = FakeConnection(messages=3)
        permit = self.successResultOf(self.ask())
        permit.connection = ended
        waiting, more = self.ask(), self.ask()
        self.destination.give_back(permit)
        self.assertNoResult(waiting)
        ended.closed.callback(None)
        permit = self.successResultOf(waiting)
        permit.connection = dropped = FakeConnection()
        self.destination.drop(permit)
        self.assertEqual((dropped.calls, permit.connection), (["quit"], None))
        self.destination.give_back(permit)
        self.assertNoResult(more)
        dropped.closed.callback(None)
        self.destination.give_back(self.successResultOf(more))
        self.assertTrue(self.destination.is_at_rest)

    def test_closed_while_idle(self) -> None:
        """A dead connection would be handed out, or remembered for ever."""
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.watch(connection)
        self.destination.give_back(permit)
        connection.usable = False
        waiting = self.ask()
        self.assertNoResult(waiting)  # for its server it is still there
        connection.closed.callback(None)
        self.assertIsNone(self.successResultOf(waiting).connection)
        self.setUp()
        permit = self.successResultOf(self.ask())
        permit.connection = connection = FakeConnection()
        self.destination.watch(connection)
        self.destination.give_back(permit)
        self.assertFalse(self.destination.is_at_rest)
        connection.closed.callback(None)
        self.assertTrue(self.destination.is_at_rest)

    def test_nobody_let_in(self) -> None:
        """Messages would fail although a connection for them stands."""
        self.destination = self.make(limit=2)
        permits = [self.successResultOf(self.ask()) for _ in range(2)]
        waiting = self.ask()
        permits[0].connection = FakeConnection()
        self.destination.nobody_let_in(DOWN, is_slow=True)
        self.assertNoResult(waiting)
        permits[0].connection = None
        self.destination.nobody_let_in(DOWN, is_slow=False)
        self.assertEqual(self.successResultOf(waiting), HEARD_OF)

    def test_given_up(self) -> None:
        """A place in the line would be kept for a message that left it."""
        permit = self.successResultOf(self.ask())
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first)
        self.destination.give_back(permit)
        self.successResultOf(second)

    def test_not_known(self) -> None:
        """A silent server would hold as many of our connections as a good one gets."""
        self.destination = self.make(limit=3, known=False)
        permit = self.successResultOf(self.ask())
        waiting = [self.ask() for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        permit.connection = FakeConnection()
        self.destination.let_in()
        self.assertIsInstance(self.successResultOf(waiting[0]), Permit)
        self.assertIsInstance(self.successResultOf(waiting[1]), Permit)
        self.assertNoResult(waiting[2])

    def test_dead(self) -> None:
        """All mail for a dead host would hang there at once, minute after minute."""
        self.destination = self.make(limit=3, known=False)
        permit = self.successResultOf(self.ask())
        self.destination.nobody_let_in(DOWN, is_slow=True)
        self.destination.give_back(permit)
        self.assertEqual(self.successResultOf(self.ask()), HEARD_OF)
        self.clock.advance(REMEMBERED)
        probe = self.successResultOf(self.ask())
        self.assertEqual(self.successResultOf(self.ask()), HEARD_OF)
        self.destination.nobody_let_in(DOWN, is_slow=False)
        self.destination.give_back(probe)
        self.assertEqual(self.successResultOf(self.ask()), HEARD_OF)
        self.clock.advance(REMEMBERED)
        probe = self.successResultOf(self.ask())
        self.destination.let_in()
        self.assertIsInstance(self.successResultOf(self.ask()), Permit)

    def test_sessions_that_fail(self) -> None:
        """A server that breaks every session would be tried with every message there is."""
        self.destination = self.make(limit=1)
        for _ in range(3):
            permit = self.successResultOf(self.ask())
            self.destination.failed(DOWN)
            self.destination.give_back(permit)
        self.assertEqual(self.successResultOf(self.ask()), HEARD_OF)

    def test_scarce(self) -> None:
        """Those who wait for a slow server would hold the places of all other mail."""
        self.destination = self.make(limit=2)
        for _ in range(2):
            self.successResultOf(self.ask(True))
        waiting = [self.ask(True) for _ in range(10)]
        self.assertEqual(self.lines, 1)
        for _ in range(STUCK - 1):
            self.destination.look(True)
        for each in waiting:
            self.assertNoResult(each)
        self.destination.look(False)
        self.assertNoResult(waiting[-1])
        self.destination.look(True)
        self.assertEqual(self.destination.waiting, 2)
        throttled = self.successResultOf(waiting[2])
        self.assertIsInstance(throttled, Throttled)
        self.assertEqual(throttled.where, "mx:blu.example")
        self.assertEqual(
            str(throttled.reply),
            "451 4.4.5 mx:blu.example gets 2 connections from us at present, all in use",
        )
        self.assertIsInstance(self.successResultOf(self.ask(True)), Throttled)
        self.assertNoResult(self.ask(False))

    def test_fewer_by_configuration(self) -> None:
        """Under load a destination would keep as many connections as it was allowed once."""
        self.destination = self.make(limit=4)
        permits = [self.successResultOf(self.ask()) for _ in range(4)]
        connections = [FakeConnection() for _ in permits]
        for permit, connection in zip(permits, connections, strict=True):
            permit.connection = connection
        waiting = [self.ask() for _ in range(3)]
        self.destination.use(first=1, most=2, reuse_messages=3)
        for permit in permits[:2]:
            self.destination.give_back(permit)
            self.assertNoResult(waiting[0])
        self.assertEqual([each.calls for each in connections], [["quit"], ["quit"], [], []])
        self.destination.give_back(permits[2])
        self.assertIs(self.successResultOf(waiting[0]).connection, connections[2])
        self.assertEqual(self.destination.in_use, 2)
        self.destination.give_back(permits[3])
        self.assertIs(self.successResultOf(waiting[1]).connection, connections[3])
        self.assertNoResult(waiting[2])

    def test_fewer_at_rest(self) -> None:
        """Idle connections would be in use again after they became too many."""
        self.destination = self.make(limit=3)
        permits = [self.successResultOf(self.ask()) for _ in range(3)]
        connections = [FakeConnection() for _ in permits]
        for permit, connection in zip(permits, connections, strict=True):
            permit.connection = connection
            self.destination.give_back(permit)
        self.destination.use(first=1, most=1, reuse_messages=3)
        self.assertEqual([each.calls[1:] for each in connections], [["quit"], ["quit"], []])
        self.assertIs(self.successResultOf(self.ask()).connection, connections[2])
        self.assertNoResult(self.ask())

    def test_time_with_room_is_no_step(self) -> None:
        """After one failure in an hour messages would be sent away for a quarter of an hour."""
        for before in (0, 3, 5):  # messages, with five at once the first time it is full
            self.destination = self.make(limit=5)
            for permit in [self.successResultOf(self.ask()) for _ in range(before)]:
                self.destination.give_back(permit)
            self.clock.advance(250)
            permits = [self.successResultOf(self.ask()) for _ in range(4)]
            self.clock.advance(1)
            self.destination.failed(DOWN)
            self.destination.failed(DOWN)  # three are allowed now, and four in use
            self.destination.give_back(permits[0])
            waiting = [self.ask(True) for _ in range(3)]
            for each in waiting:
                self.assertNoResult(each)
            throttled = self.destination.throttled()
            self.assertLess(throttled.seconds, 5)
            self.destination.turn_away(DOWN)

    def test_fewer_while_nobody_comes(self) -> None:
        """The next to come would be sent away for as long as nobody had to wait before."""
        self.destination = self.make(limit=5)
        permits = [self.successResultOf(self.ask()) for _ in range(5)]
        for permit in permits:
            self.destination.give_back(permit)
        self.clock.advance(290)
        for _ in range(3):
            self.successResultOf(self.ask())
        self.destination.failed(DOWN)
        self.destination.failed(DOWN)
        for _ in range(3):
            self.assertNoResult(self.ask(True))
        self.assertLess(self.destination.throttled().seconds, 5)

    def test_longest(self) -> None:
        """A message would wait in memory for hours, out of reach of its operator."""
        self.successResultOf(self.ask())
        first = self.ask()
        self.clock.advance(1)
        second = self.ask()
        self.clock.advance(LONGEST - 1)
        self.destination.look(False)
        self.assertIsInstance(self.successResultOf(first), Throttled)
        self.assertNoResult(second)


class DestinationsTests(SynchronousTestCase):
    """`Destinations`."""

    def test_bounded(self) -> None:
        """Memory would grow with each domain that mail was ever sent to."""
        clock = Clock()

        def make(hop: NextHop) -> Destination:
            return Destination(
                where=hop.where,
                concurrency=Concurrency(where=hop.where, first=1, most=1, clock=clock),
                line=Line(clock, random.Random(1)),
                reuse_messages=1,
                keep=True,
                line_begins=lambda _: None,
            )

        known = Destinations(make)
        used = known.of(NextHop(where="mx:used.example"))
        used.permit(False)
        for number in range(2 * KNOWN):
            known.of(NextHop(where=f"mx:{number}.example"))
            self.assertIs(known.of(NextHop(where="mx:used.example")), used)
        known = Destinations(make)
        used = known.of(NextHop(where="mx:used.example"))
        used.permit(False)
        first = known.of(NextHop(where="mx:first.example"))
        for number in range(2 * KNOWN):
            known.of(NextHop(where=f"mx:{number}.example"))
        self.assertIs(known.of(NextHop(where="mx:used.example")), used)
        self.assertIsNot(known.of(NextHop(where="mx:first.example")), first)
        self.assertLessEqual(len(known.items()), KNOWN + 1)
        self.assertEqual(len(list(known)), len(known.items()))
