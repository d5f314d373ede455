"""Waiting for work in a thread that can't be stopped, and must be undone if nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def shielded(work: Deferred[T], undo: Callable[[T], object]) -> Deferred[T]:
    """Wait for work whose result holds something that must be let go of.

    :param work: goes on when the waiting is cancelled
    :param undo: called with the result in that case
    :returns: fires as ``work`` does
    """
    waiting: Deferred[T] = Deferred()

    def came(result: T | Failure) -> None:
        if not waiting.called:
            waiting.callback(result)
        elif not isinstance(result, Failure):
            undo(result)

    work.addBoth(came)
    return waiting
