"""Tests of mailframe.routing.followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.interfaces import LookupFault
from mailframe.routing.followed import FollowedFile


class FollowedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = os.path.abspath(self.mktemp())
        self.write("1")

    def write(self, text: str) -> None:
        with open(self.path + ".new", "w", encoding="latin-1") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)

    def make(self, in_thread: Callable[..., Deferred[Any]] = execute) -> FollowedFile[int]:
        return FollowedFile(self.path, int, self.clock, in_thread)

    def ask(self, file: FollowedFile[int]) -> Deferred[int]:
        return Deferred.fromCoroutine(file.value())

    def test_changed(self) -> None:
        """A change of a map would need a restart; or the disk be asked for each recipient."""
        file = self.make()
        self.assertEqual(self.successResultOf(self.ask(file)), 1)
        self.write("2")
        self.assertEqual(self.successResultOf(self.ask(file)), 1)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.ask(file)), 2)

    def test_who_asks_meanwhile_waits(self) -> None:
        """Mail would take the old way after the new one was seen."""
        reading: Deferred[Any] = Deferred()
        calls: list[Callable[[], Any]] = []

        def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
            calls.append(function)
            return reading

        file = self.make(in_thread)
        self.write("2")
        self.clock.advance(1)
        asked = [self.ask(file), self.ask(file)]
        self.clock.advance(1)
        asked.append(self.ask(file))
        for each in asked:
            self.assertNoResult(each)
        (read,) = calls
        reading.callback(read())
        self.assertEqual([self.successResultOf(each) for each in asked], [2, 2, 2])

    def test_broken(self) -> None:
        """A slip in a map would send mail the wrong way, instead of having it wait."""
        file = self.make()
        for text, words in [("two", "invalid literal"), ("\xe9", "is not UTF-8")]:
            self.write(text)
            self.clock.advance(1)
            fault = self.failureResultOf(self.ask(file), LookupFault)
            self.assertIn(words, str(fault.value))
            self.failureResultOf(self.ask(file), LookupFault)
        os.unlink(self.path)
        self.clock.advance(1)
        fault = self.failureResultOf(self.ask(file), LookupFault)
        self.assertIn("No such file", str(fault.value))
        self.write("3")
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.ask(file)), 3)

    def test_could_not_be_read_for_a_while(self) -> None:
        """After `chmod`, or once there are descriptors again, mail would wait until a restart; or
        the log be filled meanwhile."""
        file = self.make()
        self.write("2")
        with (
            capturedLogs() as events,
            mock.patch(
                "mailframe.routing.followed.open",
                create=True,
                side_effect=PermissionError(13, "no"),
            ),
        ):
            for _ in range(3):
                self.clock.advance(1)
                self.failureResultOf(self.ask(file), LookupFault)
        self.assertEqual(len(events), 1)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.ask(file)), 2)

    def test_broken_at_the_start(self) -> None:
        """A server would start with a map that it can't use."""
        self.write("two")
        error = self.assertRaises(ValueError, self.make)
        self.assertIn(self.path, error.args[0])
        os.unlink(self.path)
        self.assertIn("can't be read", self.assertRaises(ValueError, self.make).args[0])
