"""The limit around every call into a plugin.

A plugin that raises, takes longer than its time or answers with something of the wrong type becomes
a `PluginFault` that names it; the caller turns that into a 4yz for this one transaction.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

T = TypeVar("T")
log = Logger()


class PluginFault(Exception):
    """A plugin did not answer as its interface promises.

    :ivar plugin: its name as it stands in the configuration
    :ivar reason: one clause
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"plugin {plugin!r} {reason}")
        self.plugin = plugin
        self.reason = reason


async def ask(
    plugin: str,
    expected: tuple[type, ...],
    clock: IReactorTime,
    seconds: float,
    call: Callable[[], Awaitable[T]],
    answers: tuple[type[Exception], ...] = (),
) -> T:
    """Call into a plugin and wait for its answer, but not for ever.

    :param plugin: its name, for the log and the fault
    :param expected: the types an answer may have; empty when any will do
    :param clock: what measures the time
    :param seconds: how long it may take
    :param call: makes the awaitable
    :param answers: the exceptions that the interface promises; they pass through as they are
    :raises PluginFault: it raised, took too long or answered with another type; logged already
    """
    try:
        deferred = as_deferred(call())
        if not deferred.called:
            deferred.addTimeout(seconds, clock)
        answer = await deferred
    except answers:
        raise
    except (CancelledError, DeferredTimeout):
        raise fault(plugin, f"did not answer within {seconds:g} s") from None
    except Exception as error:
        log.failure("plugin {plugin} failed", plugin=plugin)
        raise PluginFault(plugin, f"raised {type(error).__name__}") from error
    if expected and not isinstance(answer, expected):
        raise fault(plugin, f"answered with {type(answer).__name__}")
    return answer


def as_deferred(awaitable: Awaitable[T]) -> Deferred[T]:
    """The awaitable as a Deferred, whichever of the two kinds it is.

    A coroutine is begun at once. Most are over with their first step, and those are spared the
    price of what drives a coroutine that waits: this is on the way of every recipient and message.
    """
    if isinstance(awaitable, Deferred):
        return awaitable
    coroutine = cast(Coroutine[Deferred[Any], Any, T], awaitable)
    try:
        waiting = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return succeed(result)
    except Exception as error:
        return fail(error)
    return Deferred.fromCoroutine(_resumed(coroutine, waiting))


@types.coroutine
def _resumed(
    coroutine: Coroutine[Deferred[Any], Any, T], waiting: Deferred[Any]
) -> Generator[Deferred[Any], Any, T]:
    """Go on with a coroutine that was begun and waits for a Deferred."""
    while True:
        try:
            try:
                value = yield waiting
            except Exception as error:
                waiting = coroutine.throw(error)
            else:
                waiting = coroutine.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result


def fault(plugin: str, reason: str) -> PluginFault:
    """Make the fault and log it."""
    log.error("plugin {plugin} {reason}", plugin=plugin, reason=reason)
    return PluginFault(plugin, reason)
