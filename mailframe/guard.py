"""The limit around every call into a plugin.

A plugin that raises, takes longer than its time or answers with something of the wrong type becomes
a `PluginFault` that names it; the caller turns that into a 4yz for this one transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe.time_limits import wait_under

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
    answer = asked(plugin, expected, clock, seconds, call, answers, late)
    if type(answer) is _Limited:  # as in `started`
        answer = await answer
    return cast(T, answer)


def asked(
    plugin: str,
    expected: tuple[type, ...],
    clock: IReactorTime,
    seconds: float,
    call: Callable[[], Awaitable[T]],
    answers: tuple[type[Exception], ...] = (),
    late: Callable[[T | Failure], None] | None = None,
) -> T | Deferred[T]:
    """The same as `ask`, for those who can do without a coroutine.

    :returns: an answer that is there at once; or a Deferred of it, which fails as `ask` raises
    """
    try:
        answer = started(call())
        waiting = answer if isinstance(answer, Deferred) else None
        if waiting is not None and waiting.called and not waiting.paused:
            answer, waiting = _result(waiting), None
    except answers:
        raise
    except Exception as error:
        raise _translated(plugin, error) from error
    if waiting is None:
        return _checked(plugin, expected, cast(T, answer))
    return _Limited(plugin, expected, clock, seconds, waiting, answers, late)


def _result(fired: Deferred[T]) -> T:
    """What a Deferred that has fired holds."""
    result = fired.result
    if isinstance(result, Failure):
        fired.addErrback(lambda _: None)  # taken notice of here
        result.raiseException()
    return result  # type: ignore[return-value]  # Twisted doesn't say that it is a T now


def _checked(plugin: str, expected: tuple[type, ...], answer: T) -> T:
    if expected and not isinstance(answer, expected):
        raise fault(plugin, f"answered with {type(answer).__name__}")
    return answer


def _translated(plugin: str, error: BaseException) -> Exception:
    """What the one who asks is to be told of an error."""
    if not isinstance(error, CancelledError | DeferredTimeout):
        log.failure("plugin {plugin} failed", Failure(error), plugin=plugin)  # type: ignore[no-untyped-call]  # Twisted's
        return PluginFault(plugin, f"raised {type(error).__name__}")
    return fault(plugin, f"raised {type(error).__name__}")


class _Limited(Deferred[T]):
    """Fires with the plugin's answer, or at its limit whatever the plugin does then.

    A Deferred of its own: to cancel one that has fired and waits for another reaches only that
    other, and a coroutine may refuse to be cancelled. But one that answers the cancelling with what
    it has done so far is believed.
    """

    def __init__(
        self,
        plugin: str,
        expected: tuple[type, ...],
        clock: IReactorTime,
        seconds: float,
        answer: Deferred[T],
        answers: tuple[type[Exception], ...],
        late: Callable[[T | Failure], None] | None,
    ) -> None:
        super().__init__(_Limited._withdraw)  # type: ignore[arg-type]  # it is given this one
        self._plugin = plugin
        self._expected = expected
        self._answer = answer
        self._answers = answers
        self._late = late
        self._last_word = False
        self._limit = wait_under(clock, seconds, self)
        answer.addBoth(self._arrived)

    def _arrived(self, result: T | Failure) -> None:
        if not self._limit.end(self):
            if self._late is not None:
                self._late(result)
                return
            if not self._last_word or _is_cancelled(result):
                return
        if isinstance(result, Failure):
            error = cast(BaseException, result.value)
            if isinstance(error, self._answers):
                self.errback(result)
                return
            told = _translated(self._plugin, error)
            told.__cause__ = error
            self.errback(told)
        elif self._expected and not isinstance(result, self._expected):
            self.errback(fault(self._plugin, f"answered with {type(result).__name__}"))
        else:
            self.callback(result)

    def time_is_over(self) -> None:
        """It took as long as it may."""
        self._last_word = True
        self._stop()
        self._last_word = False
        if not self.called:
            self.errback(fault(self._plugin, f"did not answer within {self._limit.seconds:g} s"))

    def _withdraw(self) -> None:
        self._limit.end(self)
        self._stop()
        self.errback(CancelledError())

    def _stop(self) -> None:
        if self._late is None:
            try:
                self._answer.cancel()
            except Exception:
                log.failure("plugin {plugin} failed when it was cancelled", plugin=self._plugin)


def _is_cancelled(result: object) -> bool:
    return isinstance(result, Failure) and isinstance(result.value, CancelledError)


def as_deferred(awaitable: Awaitable[T]) -> Deferred[T]:
    """The awaitable as a Deferred, whichever of the two kinds it is; a coroutine begins at once."""
    try:
        answer = started(awaitable)
    except Exception as error:
        return fail(error)
    if isinstance(answer, Deferred):
        return answer
    return succeed(answer)


def started(awaitable: Awaitable[T]) -> T | Deferred[T]:
    """Begin to wait for an awaitable, whichever of the two kinds it is.

    Most coroutines are over with their first step, and those are spared the price of what drives
    one that waits: this is on the way of every recipient and message. They run in a context of
    their own (`contextvars`), as those do that Twisted drives.

    :returns: what a coroutine returned at once; or a Deferred, maybe fired
    :raises Exception: what a coroutine raised at once
    """
    # Deferred is an ABC: to find out that something is none takes ten times as long.
    if not isinstance(awaitable, CoroutineType) and isinstance(awaitable, Deferred):
        return awaitable
    coroutine = cast(Coroutine[Deferred[Any], Any, T], awaitable)
    context = copy_context()
    try:
        waiting = context.run(coroutine.send, None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    driven: _Driven[T] = _Driven(coroutine, context)
    driven.wait(waiting)
    return driven


class _Driven(Deferred[T]):
    """Fires with the result of a coroutine that was begun and waits for a Deferred.

    The same as `Deferred.fromCoroutine` does, for one that has taken its first step already.
    """

    def __init__(self, coroutine: Coroutine[Deferred[Any], Any, T], context: Context) -> None:
        super().__init__()
        self._coroutine = coroutine
        self._context = context
        self._waiting: Deferred[Any] | None = None

    def wait(self, waiting: Deferred[Any]) -> None:
        """Go on when a Deferred has fired."""
        self._waiting = waiting
        waiting.addBoth(self._go_on)

    def _go_on(self, result: Any) -> None:
        # A Deferred that the coroutine awaits gives its result by itself, when it is asked again.
        self._waiting = None
        try:
            if isinstance(result, Failure):
                error = cast(BaseException, result.value)
                waiting = self._context.run(lambda: self._coroutine.throw(error))
            else:
                waiting = self._context.run(self._coroutine.send, result)
        except StopIteration as stop:
            self.callback(stop.value)
        except Exception as error:
            self.errback(error)
        else:
            self.wait(waiting)

    def cancel(self) -> None:
        """Cancel what the coroutine waits for; it may clean up, or refuse, before it answers."""
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            super().cancel()


def fault(plugin: str, reason: str) -> PluginFault:
    """Make the fault and log it."""
    log.error("plugin {plugin} {reason}", plugin=plugin, reason=reason)
    return PluginFault(plugin, reason)
