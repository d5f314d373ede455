"""Reading before the client asks."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_session import AT_ONCE, Message
from mailframe.delivery.read_ahead import RUN, RUN_SIZE, Budget, ReadAhead


class FakeSession:
    """Messages in memory.

    :ivar gone: those that another program has removed
    :ivar files: those that are given as files, closed or not
    """

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.large: set[int] = set()
        self.files: list[io.BytesIO] = []

    def fetch(self, indices: Sequence[int]) -> list[Message]:
        found: list[Message] = []
        for index in indices:
            if index in self.gone:
                if not found:
                    raise FileNotFoundError(index)
                break
            if index in self.large:
                file = io.BytesIO(b"%d" % index)
                self.files.append(file)
                return [*found, file]
            found.append(b"%d\r\n.\r\n" % index)
        return found


class AheadCase(SynchronousTestCase):
    """A mailbox of 100 messages, and threads that run when they are told to."""

    def setUp(self) -> None:
        self.session = FakeSession()
        self.sizes = [1000] * 100
        self.threads: list[tuple[Deferred[Any], Any]] | None = None
        self.turns = 0
        self.make()

    def make(self) -> None:
        self.budget = Budget(1 << 20)
        self.ahead = ReadAhead(
            self.session,  # type: ignore[arg-type]  # one has more than is needed of it here
            self.sizes,
            self.in_thread,
            self.budget,
        )

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        self.turns += 1
        done: Deferred[Any] = Deferred(lambda _: None)
        self.threads = self.threads if self.threads is not None else []
        self.threads.append((done, lambda: function(*args)))
        return done

    def run_threads(self) -> None:
        while self.threads:
            done, work = self.threads.pop(0)
            try:
                result = work()
            except OSError:
                done.errback(Failure())
            else:
                done.callback(result)

    def fetch(self, index: int) -> Message:
        answer = self.ahead.fetch(index)
        if isinstance(answer, bytes):
            return answer
        self.run_threads()
        return self.successResultOf(answer)

    def held(self) -> int:
        held = sum(map(len, self.ahead._ready.values()))
        self.assertEqual(self.budget.left, (1 << 20) - held - self.ahead._reserved)
        return held


class ReadAheadTests(AheadCase):
    """What a client that goes on from one to the next gains, and what the others don't lose."""

    def test_one_after_the_other(self) -> None:
        """Each small message costs a turn through another thread; or comes out of order."""
        waited = 0
        for index in range(100):
            answer = self.ahead.fetch(index)
            if isinstance(answer, bytes):
                self.run_threads()
            else:
                waited += 1
                self.run_threads()
                answer = self.successResultOf(answer)
            self.assertEqual(answer, b"%d\r\n.\r\n" % index)
        self.assertEqual(waited, 2)
        self.assertLessEqual(self.turns, 8)

    def test_slow_threads(self) -> None:
        """A client that is faster than the disk gets a message twice, or none."""
        for index in range(60):
            self.assertEqual(self.fetch(index), b"%d\r\n.\r\n" % index)

    def test_at_random(self) -> None:
        """A client that picks some messages has others read for nothing."""
        for index in (5, 3, 20, 7):
            self.fetch(index)
        self.assertEqual(self.turns, 4)
        self.assertEqual(self.held(), 0)

    def test_twice(self) -> None:
        """TOP and RETR of each message cost two turns of a thread each."""
        for index in range(20):
            for _ in range(2):
                self.assertEqual(self.fetch(index), b"%d\r\n.\r\n" % index)
        self.assertLess(self.turns, 5)

    def test_memory(self) -> None:
        """Messages fill the memory of every session."""
        self.sizes = [AT_ONCE // 2] * 100
        self.make()
        runs = []
        self.session.fetch = lambda indices: (  # type: ignore[method-assign]  # notes its use
            runs.append(len(indices)) or [b"x" * (AT_ONCE // 2)] * len(indices)
        )
        for index in range(50):
            self.fetch(index)
            self.assertLessEqual(self.held(), 2 * (RUN_SIZE + AT_ONCE))
        self.assertLessEqual(max(runs), RUN_SIZE // (AT_ONCE // 2) + 1)
        self.assertLess(max(runs), RUN)

    def test_large(self) -> None:
        """A large message is read ahead, or given for another; or its file stays open."""
        self.sizes[10] = AT_ONCE * 5
        self.session.large = {10, 30}  # the name of 30 tells a small size
        for index in range(50):
            answer = self.fetch(index)
            if isinstance(answer, bytes):
                self.assertEqual(answer, b"%d\r\n.\r\n" % index)
            else:
                self.assertEqual(answer.read(), b"%d" % index)
                answer.close()
        self.assertTrue(all(file.closed for file in self.session.files))

    def test_gone(self) -> None:
        """One message that is gone ends the others, or is given out."""
        self.session.gone = {3, 20, 21}
        for index in range(50):
            if index in self.session.gone:
                answer = self.ahead.fetch(index)
                assert not isinstance(answer, bytes)
                self.run_threads()
                self.failureResultOf(answer, FileNotFoundError)
            else:
                self.assertEqual(self.fetch(index), b"%d\r\n.\r\n" % index)

    def test_closed_meanwhile(self) -> None:
        """Messages are kept for a session that is over."""
        self.fetch(0)
        answer = self.ahead.fetch(1)
        self.ahead.close()
        self.run_threads()
        assert not isinstance(answer, bytes)
        self.assertEqual(self.successResultOf(answer), b"1\r\n.\r\n")
        self.assertEqual(self.held(), 0)
        self.ahead.close()
        self.assertEqual(self.held(), 0)

    def test_many_sessions(self) -> None:
        """A thousand clients that take their mail slowly fill the memory."""
        others = [
            ReadAhead(self.session, self.sizes, self.in_thread, self.budget)  # type: ignore[arg-type]
            # As in `make`.
            for _ in range(200)
        ]
        self.session.fetch = lambda indices: (  # type: ignore[method-assign]  # such large ones
            [b"x" * 1000] * len(indices)
        )
        for index in range(60):
            for ahead in others:
                ahead.fetch(index)
            self.assertGreater(self.budget.left, -RUN_SIZE)
            self.run_threads()
            held = sum(len(wire) for ahead in others for wire in ahead._ready.values())
            self.assertLessEqual(held, (1 << 20) + RUN_SIZE)
        self.assertLess(self.budget.left, 1 << 18)
        for ahead in others:
            ahead.close()
        self.assertEqual(self.budget.left, 1 << 20)

    def test_nobody_waits(self) -> None:
        """A file that is opened for a client that has left stays open."""
        self.session.large = {0}
        answer = self.ahead.fetch(0)
        assert not isinstance(answer, bytes)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.run_threads()
        self.assertTrue(self.session.files[0].closed)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), max_size=6), st.randoms())
    def test_whatever_is_asked(
        self, stretches: list[tuple[int, int]], random: random.Random
    ) -> None:
        """Some order of requests gives another message than the one asked for, or none."""
        self.session.gone = {4, 50}
        self.session.large = {17, 51}
        self.make()
        for first, count in stretches:
            for index in range(first, min(first + count, 100)):
                self.held()
                answer = self.ahead.fetch(index)
                if isinstance(answer, bytes):
                    self.assertEqual(answer, b"%d\r\n.\r\n" % index)
                    if random.random() < 0.5:
                        self.run_threads()
                    continue
                self.run_threads()
                if index in self.session.gone:
                    self.failureResultOf(answer, FileNotFoundError)
                else:
                    found = self.successResultOf(answer)
                    octets = found if isinstance(found, bytes) else found.read()
                    self.assertTrue(octets.startswith(b"%d" % index))
