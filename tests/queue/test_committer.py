"""Covers mailframe.queue.committer."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Event, QueuedRecipient, Ready, Step
from mailframe.interfaces import LeaseLost, StorageFault, StorageFull, UnknownMessage
from mailframe.queue.committer import Batches, InlineCommitter, ThreadedCommitter
from mailframe.queue.ledger import Ledger
from mailframe.queue.operations import Finish, Keep, Note, Operation, Postpone, Settle
from mailframe.queue.turns import WriteTurn
from tests.queue.test_ledger import GONE, arrival


def database_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("made for the test")
    error.sqlite_errorcode = code
    return error


class FakeLedger:
    """Counts transactions; fails where it is told to."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.version = 1
        self.commit_errors: list[Exception] = []

    def begin(self) -> None:
        self.log.append("begin")

    def commit(self) -> None:
        if self.commit_errors:
            self.log.append("failed commit")
            raise self.commit_errors.pop()
        self.log.append("commit")

    def rollback(self) -> None:
        self.log.append("rollback")

    def data_version(self) -> int:
        return self.version

    def close(self) -> None:
        self.log.append("close")


def add(log: list[str], word: str) -> Operation:
    def operation(ledger: Ledger) -> str:
        log.append(word)
        return word.upper()

    return operation


def raising(error: Exception) -> Operation:
    def operation(ledger: Ledger) -> None:
        raise error

    return operation


class BatchTests(SynchronousTestCase):
    """How a batch is applied."""

    def setUp(self) -> None:
        self.log: list[str] = []
        self.ledgers: list[FakeLedger] = []
        self.batches = Batches(self.open)

    def open(self) -> Any:
        self.ledgers.append(FakeLedger(self.log))
        return self.ledgers[-1]

    def test_one_transaction_for_all(self) -> None:
        """A sync for each message would cost most of the speed."""
        results = self.batches.apply([add(self.log, "a"), add(self.log, "b")], writes=True)
        self.assertEqual(results, ["A", "B"])
        self.assertEqual(self.log, ["begin", "a", "b", "commit"])

    def test_reading_takes_no_transaction(self) -> None:
        """Reading must not wait for a lock."""
        self.batches.apply([add(self.log, "a")], writes=False)
        self.assertEqual(self.log, ["a"])

    def test_an_answer_harms_nobody(self) -> None:
        """An unknown id in a batch is that caller's answer, and no reason to roll back."""
        results = self.batches.apply(
            [add(self.log, "a"), raising(UnknownMessage("x")), raising(LeaseLost("y"))], writes=True
        )
        self.assertEqual(results[0], "A")
        self.assertIsInstance(results[1].value, UnknownMessage)
        self.assertIsInstance(results[2].value, LeaseLost)
        self.assertEqual(self.log, ["begin", "a", "commit"])

    def test_what_can_be_is_applied_together(self) -> None:
        """Twenty messages must not cost twenty times the statements of one."""
        ledger = Ledger(self.mktemp())
        batches = Batches(lambda: ledger)
        self.addCleanup(batches.close)
        keeps = [Keep(arrival(key)) for key in (1, 2, 3)]
        statements: list[str] = []
        ledger.connection.set_trace_callback(statements.append)
        self.assertEqual(batches.apply(keeps, writes=True), [None] * 3)
        self.assertEqual(sum("INTO message" in statement for statement in statements), 1)
        ledger.connection.set_trace_callback(None)
        claimed = ledger.claim("one", 1.0, 2, 300.0)
        self.assertEqual(len(claimed), 2)
        finishes = [Finish(key, "one", GONE.events) for key in (1, 2, 3, 1)]
        results = batches.apply([*finishes, Finish(2, "two", ())], writes=True)
        self.assertEqual(results[:2], [None, None])
        for failure in results[2:]:
            self.assertIsInstance(failure.value, LeaseLost)
        self.assertEqual([entry.id[-1] for entry in ledger.messages(-1, 9, 1.0)], ["3"])
        self.assertEqual(
            [event.kind for event in ledger.history(1)], ["accepted", "authorised", "relayed"]
        )

    def test_the_order_of_what_is_recorded_of_a_message(self) -> None:
        """What was handed in first must not undo what was recorded after it: a copy that lies ready
        would be forgotten, and delivered again after a power cut.
        """
        address = Address.parse("jsmith@demo.example")
        ready = Ready(mailbox=address, since=1.0, where="here")
        event = Event(at=2.0, kind="relayed", reason="first")
        for first in (True, False):
            ledger = Ledger(self.mktemp())
            self.addCleanup(ledger.close)
            ledger.insert([arrival(1)])
            ledger.claim("one", 10_000_000_000.0, 10, 10_000_000_001.0)
            before = (QueuedRecipient(address=address),)
            after = (QueuedRecipient(address=address, ready=ready),)
            step = Step(
                recipients=before if first else after,
                next_attempt=5.0,
                warned=False,
                events=(event,),
                goes_on=True,
            )
            operations = [Settle(1, "one", step, ()), Note(1, "one", after if first else before)]
            batches = Batches(lambda ledger=ledger: ledger)  # type: ignore[misc]  # bound at once
            results = batches.apply(operations if first else operations[::-1], writes=True)
            self.assertEqual(results, [None, None])
            entry = ledger.find(1, 0.0)
            assert entry is not None
            self.assertEqual(entry.recipients, after)
            self.assertEqual(ledger.history(1)[-1], event)

    def test_postponed_together(self) -> None:
        """Each message that is to wait costs statements of its own, or waits for something else."""
        address = Address.parse("jsmith@demo.example")
        event = Event(at=2.0, kind="throttled", reason="first")

        def step(key: int) -> Step:
            recipients = (QueuedRecipient(address=address, attempts=key),)
            events = (event,) if key == 2 else ()
            return Step(recipients=recipients, next_attempt=10.5 * key, warned=False, events=events)

        ledger = Ledger(self.mktemp())
        batches = Batches(lambda: ledger)
        self.addCleanup(batches.close)
        ledger.insert([arrival(key) for key in (1, 2, 3, 4)])
        ledger.claim("one", 10_000_000_000.0, 10, 10_000_000_001.0)
        ledger.hold(3, 1.0)
        statements: list[str] = []
        ledger.connection.set_trace_callback(statements.append)
        operations = [Postpone(key, "one", step(key)) for key in (1, 2, 3, 2)]
        results = batches.apply([*operations, Postpone(4, "two", step(4))], writes=True)
        ledger.connection.set_trace_callback(None)
        self.assertEqual(sum("UPDATE message" in statement for statement in statements), 2)
        self.assertEqual(results[:3], [None, None, None])
        for failure in results[3:]:
            self.assertIsInstance(failure.value, LeaseLost)
        entries = {entry.id[-1]: entry for entry in ledger.messages(-1, 9, 1.0)}
        for key in (1, 2, 3):
            entry = entries[str(key)]
            self.assertEqual(
                (entry.recipients, entry.next_attempt), (step(key).recipients, 10.5 * key)
            )
            self.assertEqual(entry.held, key == 3)
        self.assertEqual(ledger.history(2)[-1], event)
        self.assertEqual([e.id[-1] for e in ledger.claim("two", 11.0, 9, 20.0)], ["1"])
        self.assertEqual([e.id[-1] for e in ledger.claim("two", 22.0, 9, 30.0)], ["1", "2"])

    def test_given_back_after_who_asks(self) -> None:
        """Who asks for messages gets one that is given back behind that, while it is still being
        tried, and leaves it alone until the lease is over.
        """
        ledger = Ledger(self.mktemp())
        batches = Batches(lambda: ledger)
        self.addCleanup(batches.close)
        ledger.insert([arrival(1)])
        ledger.claim("one", 10_000_000_000.0, 10, 20_000_000_000.0)
        recipients = (QueuedRecipient(address=Address.parse("jsmith@demo.example")),)
        step = Step(recipients=recipients, next_attempt=1.0, warned=False, events=())

        def ask(ledger: Ledger) -> list[Any]:
            return ledger.claim("one", 15_000_000_000.0, 10, 20_000_000_000.0)

        results = batches.apply([ask, Postpone(1, "one", step)], writes=True)
        self.assertEqual(results, [[], None])

    def test_together_or_one_by_one(self) -> None:
        """A message whose key is taken must not take its batch with it."""
        ledger = Ledger(self.mktemp())
        batches = Batches(lambda: ledger)
        self.addCleanup(batches.close)
        batches.apply([Keep(arrival(2))], writes=True)
        results = batches.apply([Keep(arrival(key)) for key in (1, 2, 3)], writes=True)
        self.assertEqual((results[0], results[2]), (None, None))
        self.assertIsInstance(results[1].value, StorageFault)
        self.assertEqual([e.id[-1] for e in ledger.messages(-1, 9, 1.0)], ["1", "2", "3"])

    def test_a_bad_operation_fails_alone(self) -> None:
        """One bad message must not take those with it that shared its batch."""
        results = self.batches.apply(
            [add(self.log, "a"), raising(ValueError("bad")), add(self.log, "b")], writes=True
        )
        self.assertEqual((results[0], results[2]), ("A", "B"))
        self.assertIsInstance(results[1].value, StorageFault)
        self.assertEqual(
            self.log,
            [
                "begin",
                "a",
                "rollback",
                "begin",
                "a",
                "commit",
                "begin",
                "rollback",
                "begin",
                "b",
                "commit",
            ],
        )

    def test_a_failed_sync_is_not_tried_again_on_the_same_connection(self) -> None:
        """A second sync on the same descriptor can succeed although the data are lost."""
        self.ledgers[0].commit_errors = [database_error(sqlite3.SQLITE_IOERR)]
        results = self.batches.apply([add(self.log, "a")], writes=True)
        self.assertIsInstance(results[0].value, StorageFault)
        self.assertEqual(self.log, ["begin", "a", "failed commit", "rollback", "close"])
        self.assertEqual(self.batches.apply([add(self.log, "b")], writes=True), ["B"])
        self.assertEqual(len(self.ledgers), 2)

    def test_a_disk_that_was_read_only(self) -> None:
        """Once the disk can be written to again, the server would go on refusing all mail."""
        path = self.mktemp()
        ledgers: list[Ledger] = []

        def open_ledger() -> Ledger:
            ledgers.append(Ledger(path))
            return ledgers[-1]

        batches = Batches(open_ledger)
        self.addCleanup(batches.close)
        # As SQLite opens a file that it can't open for writing.
        ledgers[0].connection.execute("PRAGMA query_only = ON")
        keep = Keep(arrival(1))
        (failure,) = batches.apply([keep], writes=True)
        self.assertIsInstance(failure.value, StorageFault)
        (result,) = batches.apply([keep], writes=True)
        self.assertIsNone(result)
        self.assertEqual(len(ledgers), 2)

    def test_a_full_disk_is_told_as_such(self) -> None:
        """The client is answered 452, and the connection stays usable."""
        self.ledgers[0].commit_errors = [database_error(sqlite3.SQLITE_FULL)]
        (failure,) = self.batches.apply([add(self.log, "a")], writes=True)
        self.assertIsInstance(failure.value, StorageFull)
        self.assertNotIn("close", self.log)

    def test_the_database_cannot_be_opened_again(self) -> None:
        """Every operation fails with a fault until the disk is back."""
        self.ledgers[0].commit_errors = [database_error(sqlite3.SQLITE_IOERR)]
        self.batches.apply([add(self.log, "a")], writes=True)
        opening, self.batches._open = self.batches._open, raising(database_error(14))  # type: ignore[assignment]  # broken on purpose
        (failure,) = self.batches.apply([add(self.log, "b")], writes=True)
        self.assertIsInstance(failure.value, StorageFault)
        self.assertIsNone(self.batches.data_version())
        self.batches._open = opening
        self.assertEqual(self.batches.apply([add(self.log, "c")], writes=True), ["C"])


class InlineTests(SynchronousTestCase):
    """The committer without a thread."""

    def test_at_once(self) -> None:
        """A storage's tests must see each result at once."""
        log: list[str] = []
        committer = InlineCommitter(lambda: FakeLedger(log))  # type: ignore[arg-type, return-value]  # a fake
        self.assertEqual(self.successResultOf(committer.write(add(log, "a"))), "A")
        self.assertEqual(self.successResultOf(committer.read(add(log, "b"))), "B")
        self.failureResultOf(committer.read(raising(ValueError("x"))), StorageFault)
        self.successResultOf(committer.close())
        self.assertEqual(log, ["begin", "a", "commit", "b", "rollback", "close"])


class ThreadedTests(SynchronousTestCase):
    """The committer of the server; calls into the reactor thread go through a plain queue here."""

    def setUp(self) -> None:
        self.log: list[str] = []
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()
        self.foreign: list[int] = []
        self.ledger = FakeLedger(self.log)
        self.committer = ThreadedCommitter(
            lambda: self.ledger,  # type: ignore[arg-type, return-value]  # a fake
            lambda function, *args: self.calls.put(lambda: function(*args)),
            lambda: self.foreign.append(1),
            look_every=0.01,
        )
        self.addCleanup(self.close)

    def close(self) -> None:
        self.wait(self.committer.close())

    def wait(self, deferred: Deferred[Any]) -> None:
        """Play the reactor until a deferred has fired."""
        while not deferred.called:
            self.calls.get(timeout=10)()

    def test_what_gathers_shares_a_transaction(self) -> None:
        """Group commit is what makes durability nearly free."""
        started: queue.Queue[None] = queue.Queue()
        go: queue.Queue[None] = queue.Queue()

        def slow(ledger: Ledger) -> str:
            started.put(None)
            go.get(timeout=10)
            return "SLOW"

        first = self.committer.write(slow)
        started.get(timeout=10)
        others = [self.committer.write(add(self.log, word)) for word in "abc"]
        go.put(None)
        self.wait(others[-1])
        self.assertEqual(self.successResultOf(first), "SLOW")
        self.assertEqual([self.successResultOf(d) for d in others], ["A", "B", "C"])
        self.assertEqual(self.log, ["begin", "commit", "begin", "a", "b", "c", "commit"])

    def test_what_was_cancelled_is_withdrawn(self) -> None:
        """A client that was told to try again must not have its message kept all the same."""
        started: queue.Queue[None] = queue.Queue()
        go: queue.Queue[None] = queue.Queue()

        def slow(ledger: Ledger) -> None:
            started.put(None)
            go.get(timeout=10)

        first = self.committer.write(slow)
        started.get(timeout=10)
        cancelled = self.committer.write(add(self.log, "cancelled"))
        cancelled.addErrback(lambda failure: failure.trap(CancelledError))
        last = self.committer.write(add(self.log, "last"))
        cancelled.cancel()
        # Too late for this one: it is under way.
        first.addErrback(lambda failure: failure.trap(CancelledError))
        first.cancel()
        go.put(None)
        self.wait(last)
        self.assertNotIn("cancelled", self.log)
        self.assertIn("last", self.log)

    def test_a_batch_grows_until_its_turn_comes(self) -> None:
        """While another process writes, what is handed in must come to share one sync."""
        path = self.mktemp()
        other = WriteTurn(path)
        committer = ThreadedCommitter(
            lambda: self.ledger,  # type: ignore[arg-type, return-value]  # a fake
            lambda function, *args: self.calls.put(lambda: function(*args)),
            lambda: None,
            turn=WriteTurn(path),
        )
        try:
            with other:
                handed_in = [committer.write(add(self.log, word)) for word in "ab"]
                withdrawn = committer.write(add(self.log, "withdrawn"))
                withdrawn.addErrback(lambda failure: failure.trap(CancelledError))
                withdrawn.cancel()
                self.assertEqual(self.log, [])
            self.wait(handed_in[-1])
            self.assertEqual(self.log, ["begin", "a", "b", "commit"])
            with other:
                alone = committer.write(add(self.log, "alone"))
                alone.addErrback(lambda failure: failure.trap(CancelledError))
                alone.cancel()
        finally:
            self.wait(committer.close())
            other.close()
        self.assertNotIn("alone", self.log)

    def test_nothing_is_told_before_the_commit(self) -> None:
        """250 must come from the commit and from nowhere else."""
        self.ledger.commit_errors = [database_error(sqlite3.SQLITE_FULL)]
        deferred = self.committer.write(add(self.log, "a"))
        self.assertNoResult(deferred)
        self.wait(deferred)
        self.failureResultOf(deferred, StorageFull)

    def test_foreign_commits_are_noticed(self) -> None:
        """Mail that the command put into the queue must go out without a restart."""
        self.wait(self.committer.read(add(self.log, "a")))
        self.ledger.version += 1
        self.calls.get(timeout=10)()
        self.assertEqual(self.foreign, [1])

    def test_closing_finishes_what_was_handed_in(self) -> None:
        """Stopping the server must not lose the last batch."""
        deferred = self.committer.write(add(self.log, "a"))
        self.wait(self.committer.close())
        self.assertEqual(self.successResultOf(deferred), "A")
        self.assertEqual(self.log, ["begin", "a", "commit", "close"])
        self.failureResultOf(self.committer.write(add(self.log, "b")), StorageFault)
