"""Covers mailframe.workers.place."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.workers.messages import ALIVE_EVERY, Order, line
from mailframe.workers.place import SILENT_LOOKS, SLOWEST, STEADY, Place
from tests.workers.fakes import FakeProcess, ProcessReactor


class PlaceTests(SynchronousTestCase):
    """One place for a worker."""

    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.failures: list[str] = []
        self.ended: list[int] = []
        self.events: list[Any] = []
        self.place = Place(
            number=2,
            reactor=self.reactor,
            spawn=self.spawn,
            on_failed=self.failures.append,
            on_end=self.ended.append,
            publisher=self.events.append,
        )
        with capturedLogs():
            self.place.start()

    def spawn(self, number: int, protocol: ProcessProtocol) -> bytes:
        self.assertIn(number, (1, 2))
        self.reactor.spawnProcess(protocol, "python", [])
        return b"hello\n"

    @property
    def worker(self) -> FakeProcess:
        """The one that was started last."""
        return self.reactor.processes[-1]

    def end(self, *how: Any) -> str:
        """End the worker; what is logged."""
        with capturedLogs() as events:
            self.worker.end(*how)
        for event in events:
            self.assertEqual(event["pid"], self.worker.pid)
        return "\n".join(event["how"] for event in events)

    def test_start(self) -> None:
        """A worker can do nothing before it knows what."""
        self.assertEqual(self.worker.written, [b"hello\n"])
        self.assertFalse(self.place.was_ready)
        self.worker.say("ready")
        self.assertTrue(self.place.was_ready)

    def test_orders(self) -> None:
        """A changed configuration must come to whoever is there."""
        order = Order(text="x", pair=None)
        self.place.order(order)
        self.assertEqual(self.worker.written[1:], [line(order)])
        self.end(1)
        self.place.order(order)
        self.place.stop()

    def test_replaced_at_once(self) -> None:
        """One crash must cost no service."""
        self.worker.say("ready")
        self.reactor.advance(STEADY)
        self.assertEqual(self.end(None, 9), "signal 9 (SIGKILL)")
        self.assertEqual(self.ended, [2])
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 2)
        self.assertEqual(self.failures, [])

    def test_growing_delay(self) -> None:
        """A worker that can't live must not take all the CPUs with its births."""
        self.worker.say("ready")
        delays = []
        for _ in range(8):
            before = len(self.reactor.processes)
            self.end(1)
            at = self.reactor.seconds()
            while len(self.reactor.processes) == before:
                self.reactor.advance(0.5)
            delays.append(self.reactor.seconds() - at)
        self.assertEqual(delays[:4], [1.0, 2.0, 4.0, 8.0])
        self.assertEqual(delays[-1], SLOWEST)
        self.reactor.advance(STEADY)
        self.end(1)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 10)
        self.end(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.processes), 11)

    def test_how_it_ended(self) -> None:
        """Whoever looks for the reason must find it in the log."""
        self.worker.say("ready")
        self.assertEqual(self.end(3), "exit status 3")
        self.reactor.advance(1)
        self.assertEqual(self.end(0), "exit status 0")
        self.reactor.advance(2)
        self.assertEqual(self.end(None, 250), "signal 250")
        self.reactor.advance(4)
        self.worker.say("failed", "no such file")
        self.assertEqual(self.end(1), "no such file")
        self.place.stop()

    def test_first_failure(self) -> None:
        """What keeps a worker from starting at all must be told to who decides."""
        self.worker.say("failed", "no such file")
        self.end(1)
        self.assertEqual(self.failures, ["no such file"])
        self.place.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_process(self) -> None:
        """Without room for a process it is tried again, as when one had ended."""
        self.worker.say("ready")
        self.reactor.trouble = OSError(11, "Resource temporarily unavailable")
        self.end(1)
        with capturedLogs() as events:
            self.reactor.advance(1)
        self.assertIn("Resource temporarily unavailable", events[0]["reason"])
        self.assertEqual(self.failures, [])
        self.reactor.trouble = None
        self.reactor.advance(2)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_no_process_at_all(self) -> None:
        """An interpreter that this user can't run is no passing trouble."""
        self.reactor.trouble = OSError(13, "Permission denied")
        place = Place(
            number=1, reactor=self.reactor, spawn=self.spawn, on_failed=self.failures.append
        )
        with capturedLogs():
            place.start()
        self.assertIn("can't be started: Permission denied", self.failures[0])
        self.successResultOf(place.stop())

    def test_standing_still(self) -> None:
        """A worker that stands still while it has the turn to write has all the others wait."""
        self.worker.say("ready")
        with capturedLogs() as events:
            for _ in range(SILENT_LOOKS * 3):
                self.reactor.advance(ALIVE_EVERY)
                self.worker.say("alive")
            self.assertEqual((self.worker.signals, events), ([], []))
            for _ in range(SILENT_LOOKS):
                self.reactor.advance(ALIVE_EVERY)
            self.assertEqual(self.worker.signals, [])
            self.reactor.advance(ALIVE_EVERY)
        self.assertEqual(self.worker.signals, ["KILL"])
        self.assertEqual([(e["number"], e["pid"]) for e in events], [(2, self.worker.pid)])
        with capturedLogs() as events:
            self.reactor.advance(10 * ALIVE_EVERY)
        self.assertEqual((self.worker.signals, events), (["KILL"], []), "once is enough")
        self.end(None, 9)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_all_stand_still(self) -> None:
        """After a machine has slept, no worker has said anything for long: that is no reason."""
        self.worker.say("ready")
        self.reactor.rightNow += 1000 * ALIVE_EVERY
        self.reactor.advance(0)
        self.assertEqual(self.worker.signals, [])

    def test_slow_start(self) -> None:
        """To start may take long, as when a queue is damaged."""
        self.reactor.advance(ALIVE_EVERY)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.worker.say("ready")
        self.end(1)
        self.reactor.advance(1)
        for _ in range(SILENT_LOOKS * 2):
            self.reactor.advance(ALIVE_EVERY)
        self.assertEqual(self.worker.signals, [], "the one before is not looked at any more")

    def test_slow_stop(self) -> None:
        """How long a stop may take is for others to say."""
        self.worker.say("ready")
        self.place.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """A worker finishes what is in flight before it ends, and nobody takes its place."""
        stopped = self.place.stop()
        self.assertFalse(self.worker.stdin_is_open)
        self.assertNoResult(stopped)
        self.assertEqual(self.end(0), "")
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.place.kill()

    def test_kill(self) -> None:
        """A worker that hangs must not keep the server from stopping."""
        stopped = self.place.stop()
        with capturedLogs() as events:
            self.place.kill()
        self.assertEqual((self.worker.signals, len(events)), (["KILL"], 1))
        self.worker.has_ended = True
        with capturedLogs():
            self.place.kill()
        self.end(None, 9)
        self.successResultOf(stopped)

    def test_stop_between_two(self) -> None:
        """Nobody must be born after the end."""
        self.end(1)
        self.successResultOf(self.place.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_log(self) -> None:
        """What workers log and print must all be in one log, with their number."""
        self.worker.say("log", 5.0, "warn", "x.y", "careful")
        self.worker.print(b"Traceback\n  ende\xff\nunfinished")
        self.worker.print(b"out\n", 1)
        self.end(1)
        found = [(event["log_system"], event["text"]) for event in self.events]
        self.assertEqual(
            found,
            [
                ("2 x.y#warn", "careful"),
                ("2 output#error", "Traceback"),
                ("2 output#error", "  ende\\xff"),
                ("2 output#error", "out"),
                ("2 output#error", "unfinished"),
            ],
        )
        self.place.stop()
