"""Covers tests.crash.lanes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.crash import lanes
from tests.crash.books import Tally
from tests.crash.campaigns import Report
from tests.crash.disks import Unavailable
from tests.crash.faults import FaultReport


class _NoZygote:
    def close(self) -> None:
        """There is nothing to close."""


def _part(_zygote: object, *, progress: Callable[[Any], None], value: int) -> int:
    progress(0)
    return value


def _dying(_zygote: object, *, progress: Callable[[Any], None]) -> int:
    os._exit(1)


def _broken(_zygote: object, *, progress: Callable[[Any], None]) -> int:
    raise ValueError("the server is gone")


def _unavailable(_zygote: object, *, progress: Callable[[Any], None]) -> int:
    raise Unavailable("no disk here")


class LaneTests(SynchronousTestCase):
    """Parts are done in processes of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(lanes, "Zygote", _NoZygote)
        self.told: list[tuple[int, int, bool]] = []

    def do(self, parts: dict[int, Any]) -> None:
        """Do parts, two at a time."""
        lanes.side_by_side(parts, 2, lambda *what: self.told.append(what))

    def test_all_are_done(self) -> None:
        """A part that is left out is a proof of nothing, and nobody would know."""
        self.do({number: partial(_part, value=10 * number) for number in range(5)})
        done = {number: value for number, value, done in self.told if done}
        self.assertEqual(done, {0: 0, 1: 10, 2: 20, 3: 30, 4: 40})
        self.assertEqual(sum(not done for _, _, done in self.told), 5)

    def test_one_that_fails(self) -> None:
        """A campaign that broke off would look like one that is clean."""
        for part, error, words in (
            (_broken, lanes.Failed, "the server is gone"),
            (_dying, lanes.Failed, "died"),
            (_unavailable, Unavailable, "no disk here"),
        ):
            good = partial(_part, value=1)
            found = self.assertRaises(error, self.do, {0: good, 1: part, 2: good})
            self.assertIn(words, str(found))


class KeptTests(SynchronousTestCase):
    """What is done is kept in a file."""

    def test_the_next_time(self) -> None:
        """Who has run a campaign for an hour would begin at 0, or with wrong counts."""
        path = self.mktemp()
        crash = Report("kill on folder", rounds=50, tally=Tally(acknowledged=3), findings=["lost"])
        faults = FaultReport(faults=7)
        faults.replies["451 "] += 2
        lanes.Kept(path, "kill, seed 1").add(3, crash)
        lanes.Kept(path, "kill, seed 1").add(0, crash)
        lanes.Kept(path, "faults, seed 1").add(1, faults)
        kept: lanes.Kept[Report] = lanes.Kept(path, "kill, seed 1")
        self.assertEqual(kept.read(Report), {3: crash, 0: crash})
        other: lanes.Kept[FaultReport] = lanes.Kept(path, "faults, seed 1")
        self.assertEqual(other.read(FaultReport), {1: faults})
        self.assertEqual(lanes.Kept(path, "kill, seed 2").read(Report), {})
        total = crash + crash
        self.assertEqual((total.rounds, total.tally.acknowledged), (100, 6))
        self.assertEqual((faults + faults).replies["451 "], 4)

    def test_no_file(self) -> None:
        """Most campaigns are to leave nothing behind."""
        kept: lanes.Kept[Report] = lanes.Kept("", "kill, seed 1")
        kept.add(0, Report("kill on folder"))
        self.assertEqual(kept.read(Report), {})

    def test_clean_or_not(self) -> None:
        """A broken promise among many rounds would be taken for none."""
        bad = attrs.evolve(Report("x"), tally=Tally(lost=1))
        self.assertTrue(Report("x").is_clean)
        self.assertFalse((Report("x") + bad).is_clean)
        self.assertFalse((FaultReport() + FaultReport(findings=["died"])).is_clean)
