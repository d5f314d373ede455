"""Awaiting inside a command."""

from __future__ import annotations

import os
import signal
from typing import Any

import click
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli.running import run


class Running(SynchronousTestCase):
    """A private reactor for each command."""

    def test_answer(self) -> None:
        """No command could give an answer."""

        async def in_thread(reactor: Any) -> int:
            return await deferToThreadPool(reactor, reactor.getThreadPool(), lambda: 42)

        self.assertEqual(run(in_thread), 42)
        self.assertEqual(run(lambda _: succeed("again")), "again")

    def test_fault(self) -> None:
        """A fault would be swallowed and the command end as if it were done."""

        async def broken(_reactor: Any) -> None:
            raise LookupError("gone")

        with self.assertRaises(LookupError):
            run(broken)

    def test_many(self) -> None:
        """A program that runs many commands would run out of file descriptors."""

        def descriptors() -> int:
            run(lambda _: succeed(None))
            return len(os.listdir("/proc/self/fd"))

        self.assertEqual(descriptors(), descriptors())

    def test_interrupt(self) -> None:
        """Ctrl-C would not end a command that waits."""
        before = signal.getsignal(signal.SIGINT)

        def wait(reactor: Any) -> Deferred[None]:
            reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
            return Deferred()

        with self.assertRaises(click.Abort):
            run(wait)
        self.assertEqual(signal.getsignal(signal.SIGINT), before)
