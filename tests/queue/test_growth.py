"""No statement that a message needs costs more in a longer queue.

Counted are the steps of SQLite's virtual machine between which it looks for an interruption: one
for each row it goes to. `mailframe.queue.ledger` may go to as many rows as it is given or asked
for, and not to those of the messages that wait.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.interfaces import IDueTimes, IQueueStorage
from mailframe.queue.damage import look_through
from mailframe.queue.ids import first_key
from mailframe.queue.jumps import Jumps
from mailframe.queue.ledger import Arrival, Lease, Ledger
from tests.queue.samples import JSMITH, LATER, envelope

SHORT, LONG = 200, 20_000
NOW = 1_700_000_000.0
SLACK = 4  # steps by which two runs may differ; a search of a tree counts none
OLDEST = first_key(NOW - 900)  # the number of the first message that waits
FIRST = first_key(NOW)  # the number of the first message that is measured
SOME = OLDEST + 100
DEFERRED = QueuedRecipient(address=JSMITH, attempts=1, last_reply=LATER, where="mx.far.example")
RELAYED = QueuedRecipient(address=JSMITH, state="relayed", attempts=1)
AGAIN = Event(at=NOW, kind="postponed", recipient=JSMITH)


def arrival(number: int, due: float = NOW, lease: Lease | None = None) -> Arrival:
    """A message of some octets."""
    carried = envelope(arrived=due)
    return Arrival(key=number, envelope=carried, size=7, content=b"hello\r\n", lease=lease)


def step(recipient: QueuedRecipient, next_attempt: float | None, *, goes_on: bool = False) -> Step:
    """What one attempt comes to."""
    return Step(
        recipients=(recipient,),
        next_attempt=next_attempt,
        warned=False,
        events=(AGAIN,),
        goes_on=goes_on,
    )


def fill(path: str, waiting: int) -> None:
    """Make a queue in which so many messages have been tried once, and wait."""
    ledger = Ledger(path)
    ledger.begin()
    numbers = range(OLDEST, OLDEST + waiting)
    lease = Lease(owner="one", until=NOW)
    ledger.insert([arrival(number, NOW - 900, lease) for number in numbers])
    for number in numbers:
        ledger.settle(number, "one", step(DEFERRED, NOW + 900 + (number - OLDEST)), [])
    ledger.commit()
    ledger.close()


class Counted:
    """A queue whose steps are counted."""

    def __init__(self, path: str) -> None:
        self.ledger = Ledger(path)

    def steps(self, act: Callable[[Ledger], object]) -> int:
        """How many steps something takes."""
        count = 0

        def another() -> int:
            nonlocal count
            count += 1
            return 0

        self.ledger.connection.set_progress_handler(another, 1)
        try:
            act(self.ledger)
        finally:
            self.ledger.connection.set_progress_handler(None, 0)
        return count


class GrowthTests(SynchronousTestCase):
    """A server with a million messages that wait for a host to come back must not become slow."""

    filled: ClassVar[Sequence[str]] = ()

    def setUp(self) -> None:
        if not self.filled:
            type(self).filled = [self.mktemp() for _ in range(2)]
            for path, waiting in zip(self.filled, (SHORT, LONG), strict=True):
                fill(path, waiting)
        paths = [shutil.copy(path, self.mktemp()) for path in self.filled]
        self.queues = [Counted(path) for path in paths]
        for queue in self.queues:
            self.addCleanup(queue.ledger.close)

    def compare(self, act: Callable[[Ledger], object]) -> tuple[int, int]:
        """The steps in the short queue and in the long one."""
        short, long = (queue.steps(act) for queue in self.queues)
        return short, long

    def steady(self, act: Callable[[Ledger], object]) -> None:
        """Do something in both queues, and demand that it took the same."""
        short, long = self.compare(act)
        self.assertGreater(short, 0, "nothing was counted")
        self.assertLessEqual(long, short + SLACK)

    def test_what_scans_is_found(self) -> None:
        """A count that no growth shows in would let everything pass."""
        for statement in (
            "SELECT key FROM message WHERE size = 0",
            "DELETE FROM history WHERE events = ''",
            "SELECT key FROM message WHERE held = 0 AND due > 0 ORDER BY size LIMIT 1",
        ):
            short, long = self.compare(lambda ledger, s=statement: ledger.connection.execute(s))  # type: ignore[misc]  # bound for this turn
            self.assertGreater(long, short * 50, statement)

    def test_a_message_that_is_relayed_at_once(self) -> None:
        """Accept with a lease, note, leave."""
        lease = Lease(owner="one", until=NOW + 300)
        self.steady(lambda ledger: ledger.insert([arrival(FIRST, lease=lease)]))
        self.steady(lambda ledger: ledger.note({FIRST: (DEFERRED,)}, "one"))
        self.steady(lambda ledger: ledger.leave({FIRST: (AGAIN,)}, "one"))

    def test_a_message_that_is_deferred(self) -> None:
        """Accept, look when something is due, claim, read, renew, put off, notice, leave."""
        self.steady(lambda ledger: ledger.insert([arrival(FIRST)]))
        self.steady(lambda ledger: self.assertEqual(ledger.next_due(), NOW))
        self.steady(lambda ledger: self.assertLength(ledger.claim("one", NOW, 200, NOW + 300), 1))
        self.steady(lambda ledger: self.assertLength(ledger.claim("two", NOW, 200, NOW + 300), 0))
        self.steady(lambda ledger: ledger.content(FIRST, NOW))
        self.steady(lambda ledger: ledger.renew("one", [FIRST], NOW + 600))
        self.steady(
            lambda ledger: ledger.settle(
                FIRST, "one", step(DEFERRED, None, goes_on=True), [arrival(FIRST + 1)]
            )
        )
        self.steady(lambda ledger: ledger.settle(FIRST, "one", step(DEFERRED, NOW + 500), []))
        self.steady(lambda ledger: self.assertLength(ledger.claim("one", NOW, 1, NOW + 300), 1))
        self.steady(lambda ledger: ledger.give_back({FIRST + 1: "one"}))
        self.steady(
            lambda ledger: self.assertLength(ledger.claim("one", NOW + 500, 2, NOW + 800), 2)
        )
        self.steady(lambda ledger: ledger.settle(FIRST, "one", step(RELAYED, None), []))

    def test_many_that_are_due(self) -> None:
        """A claim goes to as many as it may have, however many are due."""
        later = NOW + 10**6
        self.steady(lambda ledger: self.assertLength(ledger.claim("one", later, 50, later), 50))
        self.steady(lambda ledger: self.assertLength(ledger.claim("one", later, 50, later), 50))

    def test_what_an_operator_does_to_one(self) -> None:
        """Finding, holding, releasing, trying again, its history, removing; a page of the list."""
        for act in (
            lambda ledger: ledger.find(SOME, NOW),
            lambda ledger: ledger.history(SOME),
            lambda ledger: ledger.hold(SOME, NOW),
            lambda ledger: ledger.release(SOME, NOW),
            lambda ledger: ledger.retry(SOME, NOW),
            lambda ledger: ledger.messages(OLDEST, 100, NOW),
            lambda ledger: ledger.remove(SOME, NOW),
        ):
            self.steady(act)

    def test_many_that_are_due_at_the_same_time(self) -> None:
        """To see that the index knows each, it need not be compared with all the others."""
        for queue, waiting in zip(self.queues, (SHORT, LONG), strict=True):
            numbers = range(FIRST, FIRST + waiting)
            queue.ledger.insert([arrival(number, NOW + 5) for number in numbers])
        self.steady(lambda ledger: look_through(ledger.connection, FIRST, 100, NOW))

    def test_what_the_server_does_by_itself(self) -> None:
        """Opening the queue; looking through a part of it; seeing that nothing is damaged."""
        self.steady(lambda ledger: look_through(ledger.connection, OLDEST, 100, NOW))
        self.steady(lambda ledger: ledger.damaged())
        self.steady(lambda ledger: ledger.forget_history(NOW - 14 * 86400, 5000))
        self.steady(lambda ledger: ledger.abandon("dead"))

    def test_a_start(self) -> None:
        """What is done before the first claim goes to what is due later than a retry takes only."""
        asked: list[float] = []

        async def ask(call: Callable[[], object], *_: type) -> object:
            return call()

        @implementer(IDueTimes)
        class Storage:
            def due_after(self, due: float, id: str, limit: int) -> Sequence[object]:
                asked.append(due)
                return []

        clock = Clock()
        clock.advance(NOW)
        jumps = Jumps(storage=cast(IQueueStorage, Storage()), ask=ask, clock=clock, lease=300.0)
        self.successResultOf(Deferred.fromCoroutine(jumps.put_right(25_000.0)))
        self.assertGreaterEqual(asked, [NOW + 25_000.0])
        self.steady(lambda ledger: ledger.due_after(asked[0], 0, 500, NOW))

    def assertLength(self, found: Sequence[object], length: int) -> None:
        """Demand so many."""
        self.assertEqual(len(found), length)
