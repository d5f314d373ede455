"""Waiting for what can't be stopped."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.shielded import shielded


class ShieldedTests(SynchronousTestCase):
    """What is opened for somebody who has gone is closed again."""

    def setUp(self) -> None:
        self.work: Deferred[str] = Deferred()
        self.undone: list[str] = []
        self.waiting = shielded(self.work, self.undone.append)

    def test_result(self) -> None:
        """The result comes through, and is not undone."""
        self.work.callback("x")
        self.assertEqual(self.successResultOf(self.waiting), "x")
        self.assertEqual(self.undone, [])

    def test_failure(self) -> None:
        """A failure comes through."""
        self.work.errback(OSError())
        self.failureResultOf(self.waiting, OSError)

    def test_cancelled(self) -> None:
        """A mailbox stays locked for ever when a client leaves while it is opened."""
        self.waiting.cancel()
        self.failureResultOf(self.waiting, CancelledError)
        self.assertFalse(self.work.called)
        self.work.callback("x")
        self.assertEqual(self.undone, ["x"])

    def test_cancelled_then_failed(self) -> None:
        """A failure that nobody waits for is no unhandled error."""
        self.waiting.cancel()
        self.failureResultOf(self.waiting, CancelledError)
        self.work.errback(OSError())
        self.assertEqual(self.undone, [])
