"""Messages of the queue, as commands look for them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.cli import queued
from mailframe.cli.options import Refusal
from mailframe.cli.queued import (
    find_message,
    last_routes,
    not_there,
    pages,
    wanted,
    why_not_tried,
)
from mailframe.entry import Entry, Event, EventKind, QueuedRecipient
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage
from mailframe.testing.samples import RECIPIENT, make_envelope

T = TypeVar("T")
OTHER = Address("other", "mindspring.example")
NOW = 1_700_000_000.0


class Queue:
    """As much of a storage as is asked here.

    :param damaged: ids of entries that can't be read, with the reason
    """

    def __init__(self, *ids: str, damaged: Sequence[tuple[str, str]] = ()) -> None:
        self.entries = [an_entry(id) for id in ids]
        self.set_aside = damaged
        self.due: float | None = None
        self.limits: list[int] = []

    async def messages(self, after: str | None, limit: int) -> Sequence[Entry]:
        self.limits.append(limit)
        return [each for each in self.entries if each.id > (after or "")][:limit]

    async def find(self, id: str) -> Entry | None:
        return next((each for each in self.entries if each.id == id), None)

    async def damaged(self) -> Sequence[tuple[str, str]]:
        return self.set_aside

    async def next_due(self) -> float | None:
        return self.due


def an_entry(id: str = "q1", **changes: Any) -> Entry:
    entry = Entry(
        id=id,
        envelope=make_envelope(),
        size=1,
        recipients=(QueuedRecipient(address=RECIPIENT),),
        next_attempt=NOW,
    )
    return attrs.evolve(entry, **changes)


class QueuedCase(SynchronousTestCase):
    """A storage in memory."""

    def done(self, awaitable: Awaitable[T]) -> T:
        return cast(T, self.successResultOf(as_deferred(awaitable)))

    def storage(self, queue: Queue) -> IQueueStorage:
        return cast(IQueueStorage, queue)


class Finding(QueuedCase):
    """Which messages a command is for."""

    def found(self, queue: Queue, *ids: str) -> tuple[list[list[str]], list[str]]:
        refused: list[str] = []

        async def collect() -> list[list[str]]:
            some = wanted(self.storage(queue), ids, refused)
            return [[entry.id for entry in each] async for each in some]

        return self.done(collect()), refused

    def test_pages(self) -> None:
        """Only a part of a long queue would be seen, or all of it be in memory at once."""
        self.patch(queued, "PAGE", 2)
        queue = Queue("a", "b", "c", "d")

        async def collect() -> list[int]:
            return [len(page) async for page in pages(self.storage(queue))]

        self.assertEqual(self.done(collect()), [2, 2])
        self.assertEqual(queue.limits, [2, 2, 2])

    def test_all(self) -> None:
        """A command without ids would do nothing."""
        self.assertEqual(self.found(Queue("a", "b")), ([["a", "b"]], []))
        self.assertEqual(self.found(Queue()), ([], []))

    def test_ids(self) -> None:
        """One id that is not there would keep the others from being looked at."""
        found = self.found(Queue("a", "b", "c"), "c", "x", "a")
        self.assertEqual(found, ([["c"], ["a"]], ["no message 'x' is in the queue"]))

    def test_find(self) -> None:
        """A mistyped id would end in a traceback."""
        queue = Queue("a")
        self.assertEqual(self.done(find_message(self.storage(queue), "a")).id, "a")
        failure = self.failureResultOf(
            as_deferred(find_message(self.storage(queue), "x\x1b")), Refusal
        )
        self.assertEqual(failure.value.message, "no message 'x\\x1b' is in the queue")
        self.assertEqual(failure.value.exit_code, 1)

    def test_damaged(self) -> None:
        """A message that was set aside would seem to have been lost."""
        queue = Queue(damaged=[("a", "bad checksum")])
        refusal = self.done(not_there(self.storage(queue), "a"))
        self.assertIn("a is damaged and set aside: bad checksum", refusal.message)
        self.assertIn("`mailframe queue salvage a`", refusal.message)
        refusal = self.done(not_there(self.storage(queue), "b"))
        self.assertEqual(refusal.message, "no message 'b' is in the queue")


class Due(QueuedCase):
    """Whether a message can be made due."""

    def why_not(self, entry: Entry, due: float | None = NOW) -> str:
        queue = Queue()
        queue.due = due
        return self.done(why_not_tried(self.storage(queue), entry, NOW))

    def test_waits(self) -> None:
        """A message that waits could not be tried at once."""
        self.assertEqual(self.why_not(an_entry(next_attempt=NOW + 1), None), "")
        self.assertEqual(self.why_not(an_entry()), "")

    def test_held(self) -> None:
        """An operator would wait for the attempt at a message that is held."""
        why_not = self.why_not(an_entry(held=True))
        self.assertEqual(why_not, "q1 is held; `mailframe queue release q1` makes it due")

    def test_being_tried(self) -> None:
        """A message that is being tried would be said to have been made due."""
        for due in (None, NOW + 60):
            self.assertEqual(self.why_not(an_entry(), due), "q1 is being tried now")


class Routes(QueuedCase):
    """What a history tells of the ways that were taken."""

    def event(self, kind: EventKind, reason: str, **changes: Any) -> Event:
        values = {"at": NOW, "kind": kind, "reason": reason, "recipient": RECIPIENT}
        return Event(**(values | changes))

    def test_last(self) -> None:
        """A message would be compared with where it went long ago, or with why it was let in."""
        events = [
            self.event("authorised", "a customer"),
            self.event("routed", "first", rule="a", plugin="table"),
            self.event("postponed", "then", rule="b", plugin="table"),
            self.event("routed", "another's", recipient=OTHER),
            self.event("warned", "the sender"),
            self.event("retried", "by an operator", recipient=None),
        ]
        routes = last_routes(events)
        self.assertEqual(set(routes), {str(RECIPIENT), str(OTHER)})
        last = routes[str(RECIPIENT)]
        self.assertEqual((last.reason, last.rule, last.plugin), ("then", "b", "table"))

    def test_none(self) -> None:
        """A message that was never tried would end the command."""
        self.assertEqual(last_routes([self.event("accepted", "", recipient=None)]), {})
