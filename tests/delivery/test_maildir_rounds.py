"""Many deliveries in one round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_rounds import ROUND, THREADS, Rounds
from mailframe.delivery.maildir_writer import Copy


def copies(count: int, name: str = "x") -> list[Copy]:
    path = MailboxPath("/m", ("a",))
    return [Copy(path=path, tmp=f"{name}{n}", pieces=()) for n in range(count)]


class RoundsTests(SynchronousTestCase):
    """Deliveries gather while others are being written."""

    def setUp(self) -> None:
        self.threads: list[tuple[Deferred[Any], list[Copy]]] = []
        self.rounds = Rounds(self.write, self.in_thread)

    def write(self, batch: Sequence[Copy]) -> list[Exception | None]:
        return [OSError(copy.tmp) if copy.tmp.startswith("bad") else None for copy in batch]

    def in_thread(self, function: Any, batch: list[Copy]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((done, batch))
        return done.addCallback(lambda _: function(batch))

    def finish(self) -> None:
        self.threads.pop(0)[0].callback(None)

    def test_gather(self) -> None:
        """Throughput under load stays that of one message at a time."""
        results = [self.rounds.submit(copies(1)) for _ in range(THREADS + ROUND + 5)]
        self.assertEqual([len(batch) for _, batch in self.threads], [1] * THREADS)
        self.finish()
        self.assertEqual(len(self.threads[-1][1]), ROUND)
        self.assertEqual(self.successResultOf(results[0]), [None])
        self.finish()
        self.assertEqual(len(self.threads[-1][1]), 5)
        while self.threads:
            self.finish()
        for result in results[1:]:
            self.assertEqual(self.successResultOf(result), [None])

    def test_one_round_for_a_group(self) -> None:
        """Messages that are claimed together are written one by one."""
        soon: list[Callable[[], None]] = []
        self.rounds = Rounds(self.write, self.in_thread, soon=soon.append)
        results = [self.rounds.submit(copies(1)) for _ in range(7)]
        self.assertEqual((len(soon), self.threads), (1, []))
        soon.pop()()
        self.assertEqual([len(batch) for _, batch in self.threads], [7])
        late = self.rounds.submit(copies(1))
        self.assertEqual(len(soon), 1)
        self.finish()
        for result in results:
            self.assertEqual(self.successResultOf(result), [None])
        soon.pop()()
        self.finish()
        self.assertEqual(self.successResultOf(late), [None])

    def test_each_gets_its_own(self) -> None:
        """A message is told of another one's fate."""
        first = [self.rounds.submit(copies(1)) for _ in range(THREADS)]
        good, bad = self.rounds.submit(copies(2)), self.rounds.submit(copies(3, "bad"))
        while self.threads:
            self.finish()
        self.assertEqual(self.successResultOf(good), [None, None])
        self.assertEqual([str(e) for e in self.successResultOf(bad)], ["bad0", "bad1", "bad2"])
        for result in first:
            self.successResultOf(result)

    def test_fault(self) -> None:
        """A thread that fails altogether leaves its messages waiting for ever."""
        result = self.rounds.submit(copies(1))
        self.threads.pop(0)[0].errback(RuntimeError("no threads"))
        self.failureResultOf(result, RuntimeError)
        later = self.rounds.submit(copies(1))
        self.finish()
        self.assertEqual(self.successResultOf(later), [None])

    def test_cancelled(self) -> None:
        """A delivery that was given up is made later all the same, or stops the others."""
        running = [self.rounds.submit(copies(1)) for _ in range(THREADS)]
        waiting, other = self.rounds.submit(copies(1, "given up")), self.rounds.submit(copies(1))
        waiting.cancel()
        running[0].cancel()
        for result in (waiting, running[0]):
            self.failureResultOf(result, CancelledError)
        self.finish()
        self.assertEqual([copy.tmp for copy in self.threads[-1][1]], ["x0"])
        while self.threads:
            self.finish()
        for result in (*running[1:], other):
            self.successResultOf(result)

    def finish_all(self) -> int:
        """Let every thread come to its end. :returns: copies of the largest batch"""
        largest = 0
        while self.threads:
            self.assertLessEqual(len(self.threads), THREADS)
            largest = max(largest, *[len(batch) for _, batch in self.threads])
            self.finish()
        return largest

    def test_many_recipients(self) -> None:
        """A message to hundreds of mailboxes uses up all descriptors of the process."""
        many = copies(600)
        many[599:] = copies(1, "bad")
        before = [self.rounds.submit(copies(ROUND - 1)) for _ in range(THREADS + 1)]
        result = self.rounds.submit(many)
        self.assertLessEqual(self.finish_all(), ROUND)
        results = self.successResultOf(result)
        self.assertEqual(results[:599], [None] * 599)
        self.assertEqual(str(results[599]), "bad0")
        for other in before:
            self.assertEqual(len(self.successResultOf(other)), ROUND - 1)

    def test_many_recipients_and_a_fault(self) -> None:
        """One failed round postpones recipients who have their message."""
        result = self.rounds.submit(copies(3 * ROUND))
        self.threads.pop(1)[0].errback(RuntimeError("no threads"))
        self.finish_all()
        results = self.successResultOf(result)
        self.assertEqual(results[:ROUND] + results[2 * ROUND :], [None] * (2 * ROUND))
        for error in results[ROUND : 2 * ROUND]:
            self.assertIsInstance(error, RuntimeError)

    def test_many_recipients_cancelled(self) -> None:
        """What is left of a delivery that was given up is made later all the same."""
        result = self.rounds.submit(copies((THREADS + 2) * ROUND))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(len(self.threads), THREADS)
        self.finish()
        self.assertEqual(len(self.threads), THREADS - 1)
        self.finish_all()
