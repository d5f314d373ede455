"""The limit around plugin calls: `mailframe.guard`."""

from __future__ import annotations

import contextlib

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mailframe import guard


class AsDeferredTests(SynchronousTestCase):
    """A coroutine gives the same result whether it waits never, once or often."""

    def test_at_once(self) -> None:
        """A plugin that answers at once is believed at once."""

        async def answer() -> int:
            return 1

        self.assertEqual(self.successResultOf(guard.as_deferred(answer())), 1)

    def test_fails_at_once(self) -> None:
        """A plugin's exception reaches the one who asked."""

        async def answer() -> int:
            raise KeyError("x")

        self.failureResultOf(guard.as_deferred(answer()), KeyError)

    def test_waits(self) -> None:
        """A plugin may wait for several things, and goes on where it was each time."""
        waits: list[Deferred[int]] = [Deferred(), Deferred()]

        async def answer() -> int:
            first = await waits[0]
            try:
                await waits[1]
            except ValueError:
                first += 10
            return first

        result = guard.as_deferred(answer())
        self.assertNoResult(result)
        waits[0].callback(1)
        self.assertNoResult(result)
        waits[1].errback(ValueError())
        self.assertEqual(self.successResultOf(result), 11)

    def test_fails_later(self) -> None:
        """An exception after a wait is not lost."""
        wait: Deferred[None] = Deferred()

        async def answer() -> None:
            await wait
            raise KeyError("x")

        result = guard.as_deferred(answer())
        wait.callback(None)
        self.failureResultOf(result, KeyError)

    def test_cancel(self) -> None:
        """Who asked may lose interest: what the plugin waits for is cancelled."""
        cancelled = []
        wait: Deferred[None] = Deferred(cancelled.append)

        async def answer() -> None:
            await wait

        result = guard.as_deferred(answer())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(cancelled, [wait])


class AskTests(SynchronousTestCase):
    """A plugin costs one transaction at the most, whatever it does."""

    def ask(self, call: object, clock: Clock | None = None) -> Deferred[object]:
        """Ask a plugin that should answer with a number."""
        return Deferred.fromCoroutine(
            guard.ask("p", (int,), clock or Clock(), 5, call, (LookupError,))  # type: ignore[arg-type]  # plugins break promises
        )

    def test_answers(self) -> None:
        """What a plugin answers in time is the answer."""

        async def call() -> int:
            return 7

        self.assertEqual(self.successResultOf(self.ask(call)), 7)

    def test_hangs(self) -> None:
        """A plugin that never answers is given up when its time is over."""
        clock = Clock()
        result = self.ask(Deferred, clock)
        clock.advance(5)
        self.failureResultOf(result, guard.PluginFault)

    def test_coroutine_hangs(self) -> None:
        """The same for one that is a coroutine."""
        clock = Clock()

        async def call() -> int:
            return await Deferred()

        result = self.ask(call, clock)
        self.assertNoResult(result)
        clock.advance(5)
        self.failureResultOf(result, guard.PluginFault)

    def test_hangs_behind_an_answer(self) -> None:
        """The same for a Deferred that has fired and waits for another before it gives its result.

        Else such a plugin holds a session, or a message, for ever.
        """
        cancelled = []
        clock = Clock()
        result = self.ask(
            lambda: succeed(None).addCallback(lambda _: Deferred(cancelled.append)), clock
        )
        self.assertNoResult(result)
        clock.advance(5)
        self.failureResultOf(result, guard.PluginFault)
        self.assertEqual(len(cancelled), 1)

    def test_answers_behind_an_answer(self) -> None:
        """A Deferred that waits for another gives that one's result."""
        clock = Clock()
        inner: Deferred[int] = Deferred()
        result = self.ask(lambda: succeed(None).addCallback(lambda _: inner), clock)
        inner.callback(7)
        self.assertEqual(self.successResultOf(result), 7)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_will_not_be_cancelled(self) -> None:
        """A plugin that goes on all the same, or fails at that, is not waited for."""

        async def stubborn() -> int:
            while True:
                with contextlib.suppress(CancelledError):
                    return await Deferred()

        def broken(_: object) -> None:
            raise RuntimeError("bug")

        for call in (stubborn, lambda: Deferred(broken)):
            clock = Clock()
            result = self.ask(call, clock)
            clock.advance(5)
            self.failureResultOf(result, guard.PluginFault)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_last_word(self) -> None:
        """What a plugin says it had done when its time was over is not lost, nor done again."""
        clock = Clock()

        async def call() -> int:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return 3

        result = self.ask(call, clock)
        clock.advance(5)
        self.assertEqual(self.successResultOf(result), 3)

    def test_withdrawn(self) -> None:
        """When the one who asked loses interest the plugin is cancelled, and not blamed."""

        async def stubborn() -> int:
            with contextlib.suppress(CancelledError):
                await Deferred()
            raise KeyError("x")

        for call in (Deferred, stubborn):
            clock = Clock()
            with capturedLogs() as logs:
                result = self.ask(call, clock)
                result.cancel()
                self.failureResultOf(result, CancelledError)
            self.assertEqual(clock.getDelayedCalls(), [])
            self.assertEqual(logs, [])

    def test_cancels_itself(self) -> None:
        """A plugin that gives up by itself is at fault, at once."""
        waiting: Deferred[int] = Deferred()
        for call in (lambda: waiting, lambda: fail(CancelledError())):
            result = self.ask(call)
            waiting.cancel()
            fault = self.failureResultOf(result, guard.PluginFault).value
            self.assertEqual(fault.reason, "raised CancelledError")

    def test_late(self) -> None:
        """What must not be stopped goes on when its time is over, and its end is not missed."""
        for end in (7, KeyError("x")):
            clock = Clock()
            late: list[object] = []
            waiting: Deferred[int] = Deferred(lambda _: self.fail("cancelled"))
            asking = guard.ask("p", (int,), clock, 5, lambda d=waiting: d, (), late.append)
            result = Deferred.fromCoroutine(asking)
            clock.advance(5)
            self.failureResultOf(result, guard.PluginFault)
            self.assertEqual(late, [])
            waiting.callback(end) if isinstance(end, int) else waiting.errback(end)
            self.assertEqual([getattr(each, "value", each) for each in late], [end])

    def test_raises(self) -> None:
        """A plugin's bug is named and logged."""

        async def call() -> int:
            raise RuntimeError("bug")

        failure = self.failureResultOf(self.ask(call), guard.PluginFault)
        self.assertEqual(failure.value.plugin, "p")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nonsense(self) -> None:
        """An answer of another type, or nothing to wait for, is a fault."""

        async def call() -> str:
            return "seven"

        self.failureResultOf(self.ask(call), guard.PluginFault)
        self.failureResultOf(self.ask(lambda: 7), guard.PluginFault)
        self.flushLoggedErrors(AttributeError)

    def test_promised_exception(self) -> None:
        """An exception that the interface names is an answer too."""

        async def call() -> int:
            raise KeyError("x")

        self.failureResultOf(self.ask(call), KeyError)
