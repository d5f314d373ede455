"""Covers mailframe.queue.turns."""

from __future__ import annotations

import os
import stat
import threading

from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.turns import NoTurn, WriteTurn


class TurnTests(SynchronousTestCase):
    """Who may write."""

    def test_one_after_the_other(self) -> None:
        """Two that write at a time would make each other sleep in SQLite."""
        path = self.mktemp()
        first, second = WriteTurn(path), WriteTurn(path)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        log: list[str] = []

        def write() -> None:
            with second:
                log.append("second")

        thread = threading.Thread(target=write)
        with first:
            thread.start()
            log.append("first")
        thread.join(10)
        self.assertEqual(log, ["first", "second"])

    def test_an_error_ends_the_turn(self) -> None:
        """A batch that failed must not keep all other processes from writing for ever."""
        path = self.mktemp()
        first, second = WriteTurn(path), WriteTurn(path)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        with self.assertRaises(ValueError), first:
            raise ValueError("made for the test")
        with second:
            pass

    def test_private(self) -> None:
        """Whoever can lock the file can stop the queue."""
        path = self.mktemp()
        WriteTurn(path).close()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_alone(self) -> None:
        """A queue in one process waits for nobody."""
        turn = NoTurn()
        with turn, turn:
            pass
        turn.close()
