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
from twisted.python.failure import Failure

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
    late: Callable[[T | Failure], None] | None = None,
) -> T:
    """Call into a plugin and wait for its answer, but not for ever.

    When the time is over, or the one who asks is cancelled, so is the plugin's awaitable.

    :param plugin: its name, for the log and the fault
    :param expected: the types an answer may have; empty when any will do
    :param clock: what measures the time
    :param seconds: how long it may take
    :param call: makes the awaitable
    :param answers: the exceptions that the interface promises; they pass through as they are
    :param late: for what must not be stopped halfway: the awaitable is not cancelled, and its
        result or `Failure` goes here when nobody waits for it any more
    :raises PluginFault: it raised, took too long or answered with another type; logged already
    :raises CancelledError: the one who asks was cancelled, which is no fault of the plugin's
    """
    try:
        deferred = as_deferred(call())
        if deferred.called and not deferred.paused:
            answer = await deferred
        else:
            answer = await _limited(plugin, deferred, clock, seconds, late)
    except _TimeIsOver:
        raise fault(plugin, f"did not answer within {seconds:g} s") from None
    except _Withdrawn:
        raise CancelledError from None
    except answers:
        raise
    except (CancelledError, DeferredTimeout) as error:
        raise fault(plugin, f"raised {type(error).__name__}") from None
    except Exception as error:
        log.failure("plugin {plugin} failed", plugin=plugin)
        raise PluginFault(plugin, f"raised {type(error).__name__}") from error
    if expected and not isinstance(answer, expected):
        raise fault(plugin, f"answered with {type(answer).__name__}")
    return answer


class _TimeIsOver(Exception):
    """The plugin took too long."""


class _Withdrawn(Exception):
    """The one who asked was cancelled."""


def _limited(
    plugin: str,
    answer: Deferred[T],
    clock: IReactorTime,
    seconds: float,
    late: Callable[[T | Failure], None] | None,
) -> Deferred[T]:
    """What fires with the plugin's answer, or at its limit whatever the plugin does then.

    A Deferred of its own: to cancel one that has fired and waits for another reaches only that
    other, and a coroutine may refuse to be cancelled. But one that answers the cancelling with what
    it has done so far is believed.
    """
    last_word = False

    def arrived(result: T | Failure) -> None:
        if limit.active():
            limit.cancel()
        elif late is not None:
            late(result)
            return
        elif not last_word or _is_cancelled(result):
            return
        limited.callback(result)

    def over() -> None:
        nonlocal last_word
        last_word = True
        stop()
        last_word = False
        if not limited.called:
            limited.errback(_TimeIsOver())

    def withdraw(_: Deferred[T]) -> None:
        limit.cancel()
        stop()
        limited.errback(_Withdrawn())

    def stop() -> None:
        if late is None:
            try:
                answer.cancel()
            except Exception:
                log.failure("plugin {plugin} failed when it was cancelled", plugin=plugin)

    limited: Deferred[T] = Deferred(withdraw)
    limit = clock.callLater(seconds, over)
    answer.addBoth(arrived)
    return limited


def _is_cancelled(result: object) -> bool:
    return isinstance(result, Failure) and isinstance(result.value, CancelledError)


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
