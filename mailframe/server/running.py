"""Runs coroutines that nearly always finish at once, without the price of a Deferred for each.

A coroutine that awaits only Deferreds which have fired already is over after its first step. Only
one that really waits becomes a `Running`, which is resumed when what it waits for fires.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Running(Generic[T]):
    """A coroutine that waits for a Deferred.

    :ivar finished: it is over, and ``done`` was called
    """

    __slots__ = ("_coroutine", "_done", "_waiting", "finished")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, T],
        waiting: Deferred[Any],
        done: Callable[[T | Failure], None],
    ) -> None:
        self.finished = False
        self._coroutine = coroutine
        self._done = done
        self._wait(waiting)

    def cancel(self) -> None:
        """Cancel what it waits for; the coroutine sees a ``CancelledError`` there."""
        if not self.finished:
            self._waiting.cancel()

    def _wait(self, waiting: Deferred[Any]) -> None:
        self._waiting = waiting
        waiting.addBoth(self._resume)

    def _resume(self, result: Any) -> None:
        try:
            if isinstance(result, Failure):
                assert result.value is not None
                waiting = self._coroutine.throw(result.value)
            else:
                waiting = self._coroutine.send(result)
        except StopIteration as stop:
            self.finished = True
            self._done(stop.value)
        except Exception as error:
            self.finished = True
            self._done(Failure(error))  # type: ignore[no-untyped-call]  # Twisted leaves it bare
        else:
            self._wait(waiting)


def start(
    coroutine: Coroutine[Deferred[Any], Any, T], done: Callable[[T | Failure], None]
) -> T | Running[T]:
    """Run a coroutine as far as it goes.

    :param coroutine: awaits Deferreds, and coroutines that do
    :param done: called with the result, or the failure, of a coroutine that had to wait
    :returns: the result when there was no need to wait; ``done`` isn't called then
    :raises Exception: what the coroutine raised before it had to wait
    """
    try:
        waiting = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return Running(coroutine, waiting, done)
