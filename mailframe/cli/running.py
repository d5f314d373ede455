"""Run what awaits inside a command: on a reactor of its own, never on the global one.

A private reactor can be made anew for each command, so that several commands can run one after the
other in one process, and under a test runner whose own reactor is already running.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from mailframe.guard import as_deferred

T = TypeVar("T")


def run(main: Callable[[Any], Awaitable[T]]) -> T:
    """Call ``main(reactor)``, run the reactor until its answer is there and give that back.

    :param main: makes the awaitable; what it raises, this raises
    :raises click.Abort: the user interrupted it
    """
    # PosixReactorBase declares its interfaces in a way that typing cannot follow
    reactor: Any = SelectReactor()
    answers: list[T | Failure] = []

    def start() -> None:
        deferred = as_deferred(main(reactor))
        deferred.addBoth(answers.append)
        deferred.addBoth(lambda _: reactor.stop())

    def interrupted(_signal: int, _frame: object) -> None:
        reactor.callFromThread(reactor.stop)

    reactor.callWhenRunning(start)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupted) if in_main else None
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
        reactor.removeAll()
        # its own two descriptors, which nothing else closes as a reactor is meant to be for ever
        reactor.waker.connectionLost(None)
    if not answers:
        raise click.Abort
    answer = answers[0]
    if isinstance(answer, Failure):
        answer.raiseException()
    return answer
