"""Covers mailframe.workers.logs."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import FileLogObserver, Logger, LogLevel, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from mailframe.workers import logs
from mailframe.workers.logs import Speaker, SpokenLog, observer, publish


class SpeakerTests(SynchronousTestCase):
    """The pipe to the supervising process; it is a list here."""

    def setUp(self) -> None:
        self.written = b""
        self.room = 5

    def write(self, descriptor: int, octets: memoryview) -> int:
        self.assertEqual(descriptor, 3)
        self.written += bytes(octets[: self.room])
        return min(len(octets), self.room)

    def test_whole(self) -> None:
        """A pipe that takes a part only must get the rest."""
        self.patch(logs.os, "write", self.write)
        speaker = Speaker(3)
        speaker.say("ready")
        speaker.say("failed", "too bad")
        self.assertEqual(self.written, b'["ready"]\n["failed","too bad"]\n')

    def test_nobody_listens(self) -> None:
        """When the supervising process is gone, work must not fail for its log."""

        def broken(descriptor: int, octets: memoryview) -> int:
            raise BrokenPipeError(32, "Broken pipe")

        self.patch(logs.os, "write", broken)
        Speaker(3).say("ready")

    def test_level(self) -> None:
        """What nobody is going to read must not cost anything."""
        self.room = 10_000
        self.patch(logs.os, "write", self.write)
        log = Logger(namespace="mailframe.x", observer=observer(Speaker(3), "warn"))
        log.info("not of interest")
        log.warn("of {what}", what="interest")
        (message,) = map(json.loads, self.written.splitlines())
        self.assertEqual(message[0], "log")
        self.assertEqual(message[2:], ["warn", "mailframe.x", "of interest"])


class LogTests(SynchronousTestCase):
    """From an event in a worker to a line in the log."""

    def setUp(self) -> None:
        self.file = io.StringIO()
        target: FileLogObserver = textFileLogObserver(self.file, timeFormat=None)
        self.spoken = SpokenLog(lambda kind, *words: publish(target, 2, *words))
        self.log: Any = Logger(namespace="mailframe.x", observer=self.spoken)

    def test_line(self) -> None:
        """Whoever reads the log must see which worker it was."""
        self.log.info("{id} delivered {{", id="abc")
        self.assertEqual(self.file.getvalue(), "- [2 mailframe.x#info] abc delivered {\n")

    def test_traceback(self) -> None:
        """A fault in a worker must be found as one in a single process."""
        try:
            raise ValueError("made for the test")
        except ValueError:
            self.log.failure("oh")
        self.assertIn("[2 mailframe.x#critical] oh", self.file.getvalue())
        self.assertIn("ValueError: made for the test", self.file.getvalue())

    def test_legacy_event(self) -> None:
        """What old libraries log has neither level nor namespace."""
        self.spoken({"log_format": "old"})
        self.assertEqual(self.file.getvalue(), "- [2 -#info] old\n")

    def test_event(self) -> None:
        """Observers that filter or write JSON must find level, time and worker."""
        events: list[Any] = []
        publish(events.append, 1, 5.5, "error", "x.y", "{not a format}")
        (event,) = events
        self.assertEqual((event["log_level"], event["worker"]), (LogLevel.error, 1))
        self.assertEqual((event["log_time"], event["text"]), (5.5, "{not a format}"))
