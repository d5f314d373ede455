"""Tests of mailframe.accounts.turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.turns import Turns


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[tuple[int, Deferred[Any]]] = []
        self.turns = Turns(2, self.in_thread)

    def in_thread(self, function: Callable[[int], Any], number: int) -> Deferred[Any]:
        working: Deferred[Any] = Deferred()
        self.begun.append((number, working))
        return working.addCallback(lambda _: function(number))

    def run_one(self, number: int) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.turns.run(lambda n: n * n, number))

    def numbers(self) -> list[int]:
        return [number for number, _ in self.begun]

    def test_one_after_the_other(self) -> None:
        """All passwords are hashed at once, at 64 MiB each; or one that fails blocks the rest."""
        waiting = [self.run_one(number) for number in range(4)]
        self.assertEqual(self.numbers(), [0, 1])
        self.begun[0][1].callback(None)
        self.assertEqual(self.successResultOf(waiting[0]), 0)
        self.assertEqual(self.numbers(), [0, 1, 2])
        self.begun[1][1].errback(Failure(MemoryError()))
        self.failureResultOf(waiting[1], MemoryError)
        self.assertEqual(self.numbers(), [0, 1, 2, 3])
        self.begun[3][1].callback(None)
        self.assertEqual(self.successResultOf(waiting[3]), 9)

    def test_clients_that_go(self) -> None:
        """Clients that close their connections at once have us hash without any bound."""
        waiting = [self.run_one(number) for number in range(4)]
        for each in waiting[:3]:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.numbers(), [0, 1])
        self.begun[1][1].errback(Failure(MemoryError()))
        self.assertEqual(self.numbers(), [0, 1, 3])
        for _, working in (self.begun[0], self.begun[2]):
            working.callback(None)
        self.assertEqual(self.successResultOf(waiting[3]), 9)
