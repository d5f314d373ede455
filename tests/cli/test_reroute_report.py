"""What ``mailframe queue reroute`` tells of what it finds."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli import reroute_report
from mailframe.cli.reroute_report import Report
from mailframe.cli.rerouting import Change
from mailframe.entry import Entry, QueuedRecipient
from mailframe.outcome import Hold, Permit
from mailframe.testing.samples import RECIPIENT, make_envelope

FAR = Hold(reason="a reason", rule="far", plugin="table")


def a_change(new: str = "far", old: str = "near") -> Change:
    before = Permit(reason=old)
    return Change(recipient=str(RECIPIENT), before=before, old=old, after=FAR, new=new)


class ReportCase(SynchronousTestCase):
    """A report, and what it writes."""

    def setUp(self) -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.patch(sys, "stderr", self.stderr)

    def add(self, report: Report, *changes: Change, why_not: str | None = None) -> None:
        number = report.checked
        entry = Entry(
            id=f"q{number}",
            envelope=make_envelope(),
            size=1,
            recipients=(QueuedRecipient(address=RECIPIENT),),
            next_attempt=0.0,
        )
        report.add(entry, changes, why_not)
        report.checked += 1

    def on_a_terminal(self) -> None:
        self.stdout.isatty = lambda: True  # type: ignore[method-assign]  # as a terminal's


class Text(ReportCase):
    """What a person or a script reads."""

    def test_rows(self) -> None:
        """A script would have to read a table that is made for eyes."""
        report = Report(None, dry_run=True)
        self.add(report, a_change(), a_change("further\x1b[2J"))
        self.add(report, a_change())
        report.end()
        self.assertEqual(
            self.stdout.getvalue().splitlines(),
            [
                "ID\tTO\tFROM\tGOES\tWHY",
                f"q0\t{RECIPIENT}\tnear\tfar\ta reason (table far)",
                f"q0\t{RECIPIENT}\tnear\tfurther\\x1b[2J\ta reason (table far)",
                f"q1\t{RECIPIENT}\tnear\tfar\ta reason (table far)",
            ],
        )
        self.assertEqual(
            self.stderr.getvalue().splitlines(),
            [
                "2 from near to far",
                "1 from near to further\\x1b[2J",
                "2 of 2 messages would go elsewhere",
            ],
        )

    def test_nothing(self) -> None:
        """An operator would not know whether the queue was looked at."""
        Report(None, dry_run=True).end()
        self.assertEqual(self.stdout.getvalue(), "")
        self.assertEqual(self.stderr.getvalue(), "0 of 0 messages would go elsewhere\n")

    def test_made_due(self) -> None:
        """What could not be made due would be counted as if it were, or not be told."""
        report = Report(None, dry_run=False)
        self.add(report, a_change(), why_not="")
        self.add(report, a_change(), why_not="q1 is held")
        report.end()
        self.assertEqual((report.differ, report.due), (2, 1))
        self.assertIn(
            "2 of 2 messages go elsewhere by now; 1 of them due now", self.stderr.getvalue()
        )
        self.assertTrue(self.stderr.getvalue().endswith("q1 is held\n"))

    def test_of_many(self) -> None:
        """A million messages would be told of one by one, or be kept in memory."""
        self.patch(reroute_report, "_WAYS", 2)
        self.patch(reroute_report, "_TOLD", 2)
        self.patch(reroute_report, "_NOT_DUE", 1)
        report = Report(None, dry_run=False)
        for number in range(5):
            self.add(report, a_change(f"far {number}"), why_not=f"q{number} is held")
        report.end()
        told = self.stderr.getvalue()
        self.assertIn("3 from other ways to others", told)
        self.assertIn("and 1 more ways", told)
        self.assertEqual(told.count(" is held"), 1)


class Terminal(ReportCase):
    """What is shown on a terminal."""

    def test_on_a_terminal(self) -> None:
        """A long table would run past, with what it comes to."""
        self.patch(reroute_report, "_SHOWN", 2)
        self.on_a_terminal()
        report = Report(None, dry_run=True)
        for where in ("one", "two", "three"):
            self.add(report, a_change(where))
        self.assertEqual(self.stdout.getvalue(), "")  # a table is as wide as its widest cell
        report.end()
        self.assertIn("one", self.stdout.getvalue())
        self.assertNotIn("three", self.stdout.getvalue())


class Json(ReportCase):
    """The one document."""

    def report(self, *added: str | None) -> Any:
        report = Report(io.StringIO(), dry_run=False)
        for why_not in added:
            self.add(report, a_change(), why_not=why_not)
        report.end()
        return json.loads(self.stdout.getvalue())

    def test_messages(self) -> None:
        """A program that reads what was found could not."""
        document = self.report("", "q1 is held")
        self.assertEqual(
            {key: document[key] for key in ("checked", "differ", "due_now")},
            {"checked": 2, "differ": 2, "due_now": 1},
        )
        first, second = document["messages"]
        self.assertEqual((first["id"], first["due_now"]), ("q0", True))
        self.assertEqual(first["sender"], "angelo@rosse.example")
        self.assertEqual(first["recipients"][0]["before"]["where"], "near")
        self.assertIs(second["due_now"], False)
        self.assertEqual(self.stderr.getvalue(), "")

    def test_nothing(self) -> None:
        """An empty answer would be no document."""
        self.assertEqual(self.report()["messages"], [])
