"""What is done to the queue's ledger: operations, and how a batch of them is applied.

An operation is a callable of the ledger (`mailframe.queue.ledger`). Those that nearly every message
needs are values that can be told apart: all of a kind in a batch are applied with a few statements.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs
from twisted.python.failure import Failure

from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.queue.ledger import Arrival, Ledger

ANSWERS = (LeaseLost, UnknownMessage)  # raised before anything was changed

Operation: TypeAlias = Callable[[Ledger], Any]


@attrs.frozen
class Keep:
    """The operation that keeps a message; those of a batch are applied as one."""

    arrival: Arrival

    def __call__(self, ledger: Ledger) -> None:
        """Keep this one alone."""
        ledger.insert((self.arrival,))


@attrs.frozen
class _OfOwner:
    """An operation on a message that must be leased to an owner; those of a batch are applied as
    one.

    Not an ``ABC``: to find out that something is none would take ten times as long.

    :cvar ends_lease: a second one for the same message finds the lease lost
    """

    ends_lease: ClassVar[bool] = True

    key: int
    owner: str

    def __call__(self, ledger: Ledger) -> None:
        """Apply this one alone. :raises LeaseLost: it is not leased to this owner"""
        if not self.together(ledger, (self,), self.owner):
            raise LeaseLost(self.key)

    @staticmethod
    @abstractmethod
    def together(ledger: Ledger, operations: Sequence[Any], owner: str) -> set[int]:
        """Apply several of the same kind and owner; of those for one message the last.

        :returns: the keys of those that were leased to the owner
        """


@attrs.frozen
class Note(_OfOwner):
    """Records how a message's recipients stand while it is being tried."""

    ends_lease = False

    recipients: Sequence[QueuedRecipient]

    @staticmethod
    def together(ledger: Ledger, operations: Sequence[Note], owner: str) -> set[int]:
        """See `_OfOwner`."""
        return ledger.note({each.key: each.recipients for each in operations}, owner)


@attrs.frozen
class Postpone(_OfOwner):
    """A message waits for its next attempt, and no notice is written about it."""

    step: Step

    @staticmethod
    def together(ledger: Ledger, operations: Sequence[Postpone], owner: str) -> set[int]:
        """See `_OfOwner`."""
        return ledger.postpone({each.key: each.step for each in operations}, owner)


@attrs.frozen
class Finish(_OfOwner):
    """A message leaves the queue."""

    events: Sequence[Event]

    @staticmethod
    def together(ledger: Ledger, operations: Sequence[Finish], owner: str) -> set[int]:
        """See `_OfOwner`."""
        return ledger.leave({each.key: each.events for each in operations}, owner)


@attrs.frozen
class Settle:
    """The operation that records any other step."""

    key: int
    owner: str
    step: Step
    notices: Sequence[Arrival]

    def __call__(self, ledger: Ledger) -> None:
        """Record it. :raises LeaseLost: the message is not leased to this owner"""
        ledger.settle(self.key, self.owner, self.step, self.notices)


def apply_all(operations: Sequence[Operation], ledger: Ledger) -> list[Any]:
    """Apply operations, those that can be together; a result or a `Failure` for each, in order."""
    arrivals = [operation.arrival for operation in operations if isinstance(operation, Keep)]
    if arrivals:
        ledger.insert(arrivals)
    results = {id(operation): _result(operation, ledger) for operation in _overtaken(operations)}
    for kind in _kinds(operations):
        some = [each for each in operations if isinstance(each, kind) and id(each) not in results]
        _apply_kind(kind, some, ledger, results)
    for operation in operations:
        if isinstance(operation, Keep):
            results[id(operation)] = None
        elif id(operation) not in results:
            results[id(operation)] = _result(operation, ledger)
    return [results[id(operation)] for operation in operations]


def _kinds(operations: Sequence[Operation]) -> tuple[type[_OfOwner], ...]:
    """What may be applied together. A message that is given back must not be claimed by who asked
    before.
    """
    known = Keep | Note | Postpone | Finish
    if all(isinstance(operation, known) for operation in operations):
        return (Note, Postpone, Finish)
    return (Note, Finish)


def _apply_kind(
    kind: type[_OfOwner], operations: Sequence[_OfOwner], ledger: Ledger, results: dict[int, Any]
) -> None:
    for owner in {operation.owner for operation in operations}:
        some = [operation for operation in operations if operation.owner == owner]
        there = kind.together(ledger, some, owner)
        for operation in some:
            if operation.key not in there:
                results[id(operation)] = _failed(LeaseLost(operation.key))
                continue
            results[id(operation)] = None
            if kind.ends_lease:
                there.discard(operation.key)


def _overtaken(operations: Sequence[Operation]) -> list[Operation]:
    """The steps that must be recorded before the notes: those of which a later note says more."""
    found: list[Operation] = []
    noted: set[int] = set()
    for operation in reversed(operations):
        if isinstance(operation, Note):
            noted.add(operation.key)
        elif isinstance(operation, Settle | Postpone) and operation.key in noted:
            found.append(operation)
    return found[::-1]


def _result(operation: Operation, ledger: Ledger) -> Any:
    """What an operation comes to; a `Failure` when it is an answer."""
    try:
        return operation(ledger)
    except ANSWERS as answer:
        return _failed(answer)


def _failed(answer: Exception) -> Failure:
    return Failure(answer)  # type: ignore[no-untyped-call]  # Twisted's
