"""What the contracts have in common: waiting for answers under virtual time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred

from mailframe.guard import as_deferred
from mailframe.testing.network import VirtualReactor

T = TypeVar("T")

if TYPE_CHECKING:
    from unittest import TestCase

    class Base(TestCase):
        """What a contract uses of trial's `SynchronousTestCase`, which has no annotations."""

        def successResultOf(self, deferred: Deferred[T]) -> T: ...
        def failureResultOf(self, deferred: Deferred[T], *expected: type[Exception]) -> object: ...
        def mktemp(self) -> str: ...

else:
    # Were a contract a test case by itself, trial would run it wherever it is imported.
    Base = object


class Contract(Base):
    """To be mixed into a `SynchronousTestCase`, on its left.

    :ivar reactor: the virtual time and network of the test
    """

    reactor: VirtualReactor

    def setUp(self) -> None:
        """Make the reactor. A subclass that overrides this calls it first."""
        super().setUp()
        self.reactor = VirtualReactor()

    def start(self, awaitable: Awaitable[T]) -> Deferred[T]:
        """Begin something and do all that can be done without time passing."""
        deferred = as_deferred(awaitable)
        self.reactor.advance(0)
        return deferred

    def get(self, awaitable: Awaitable[T]) -> T:
        """What an awaitable answers, which must not take any time."""
        return self.successResultOf(self.start(awaitable))

    def fails(self, awaitable: Awaitable[object], *expected: type[Exception]) -> None:
        """Demand that an awaitable fails with one of these errors."""
        self.failureResultOf(self.start(awaitable), *expected)
