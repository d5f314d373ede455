"""Covers what the benchmarks make of what they measure."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.against_postfix.latency import percentile
from benchmarks.against_postfix.report import Results, Row, as_rst, as_text, put_between_marks
from benchmarks.against_postfix.works import ROWS, WORKS
from benchmarks.deep_queue import plan
from benchmarks.machine import file_system
from benchmarks.many_destinations.internet import WAYS, destinations
from benchmarks.usage import cpu_seconds, family, memory
from mailframe.queue.ledger import Ledger

ROOT = Path(__file__).parent.parent


class ReportTests(SynchronousTestCase):
    """A reader is told figures that were not measured."""

    def setUp(self) -> None:
        rows = {
            "rate": Row(title="rate: messages/s", goal="≥ 4"),
            "wait": Row(title="wait: ms", best=min, digits=1),
            "left": Row(title="left out"),
        }
        self.results = Results(rows)
        for ours, theirs in ((1000.0, 500.0), (1200.0, 400.0)):
            self.results.add("ours", {"rate": ours, "wait": 3.0})
            self.results.add("theirs", {"rate": theirs, "wait": theirs / 100})
        self.results.add("others", {"rate": 77.0})

    def test_the_best_round(self) -> None:
        """Of rates the highest counts, of times the shortest; ratios are those of the best."""
        self.assertEqual(
            self.results.table(["ours", "theirs", "others"]),
            [
                ["work", "ours", "theirs", "ratio", "goal", "others"],
                ["rate: messages/s", "1200", "500", "2.40", "≥ 4", "77"],
                ["wait: ms", "3.0", "4.0", "0.75", "-", "-"],
            ],
        )

    def test_only_ours(self) -> None:
        """What was not measured is no figure, and there is no ratio to it."""
        self.assertIsNone(self.results.best("wait", "others"))
        self.assertIsNone(self.results.ratio("wait", "ours", "others"))
        self.results.add("nothing", {"rate": 0.0})
        self.assertIsNone(self.results.ratio("rate", "ours", "nothing"))

    def test_tables(self) -> None:
        """The columns stand below each other; for reStructuredText under their lines."""
        cells = [["work", "a"], ["rate", "12345"]]
        self.assertEqual(as_text(cells), "work      a\nrate  12345")
        line = "====  ====="
        self.assertEqual(as_rst(cells), f"{line}\nwork  a\n{line}\nrate  12345\n{line}")

    def test_into_a_document(self) -> None:
        """A table replaces the one before, and nothing else."""
        path = Path(self.mktemp())
        path.write_text("a\n\n.. m begins\n\nold\n\n.. m ends\n\nb\n")
        put_between_marks(path, "m", "new\n")
        self.assertEqual(path.read_text(), "a\n\n.. m begins\n\nnew\n\n.. m ends\n\nb\n")
        self.assertRaises(ValueError, put_between_marks, path, "other", "new")

    def test_the_documentation_has_the_places(self) -> None:
        """The figures of a long run find no place to be written to."""
        text = (ROOT / "docs" / "performance.rst").read_text()
        for mark in ("benchmarks.against_postfix", "benchmarks.deep_queue"):
            self.assertIn(f".. {mark} begins\n", text)
            self.assertIn(f".. {mark} ends\n", text)


class FiguresTests(SynchronousTestCase):
    """The figures themselves."""

    def test_percentile(self) -> None:
        """A tail that is measured must not be passed over."""
        values = [float(each) for each in range(1, 101)]
        self.assertEqual(percentile(values, 0.5), 51.0)
        self.assertEqual(percentile(values, 0.99), 100.0)
        self.assertEqual(percentile([7.0], 0.99), 7.0)

    def test_memory_of_a_family(self) -> None:
        """The memory of a server with several processes is that of one of them."""
        proc = Path(self.mktemp())
        for pid, parent, name, pss in ((1, 0, "init", 9), (5, 1, "a b) S 1", 10), (6, 5, "w", 20)):
            (proc / str(pid)).mkdir(parents=True)
            (proc / str(pid) / "stat").write_text(
                f"{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 100 20 3 0 20 0\n"
            )
            (proc / str(pid) / "smaps_rollup").write_text(f"x\nRss: 99 kB\nPss: {pss} kB\n")
        self.assertEqual(family(5, proc), {5, 6})
        self.assertEqual(memory(5, proc=proc), 30 * 1024)
        self.assertEqual(cpu_seconds(5, proc) * os.sysconf("SC_CLK_TCK"), 2 * 123)
        self.assertEqual(family(7, proc), set())

    def test_file_system(self) -> None:
        """Servers are measured in memory, where nothing is ever synced."""
        self.assertEqual(file_system(Path("/proc/self"))[0], "proc")

    def test_how_rows_are_found(self) -> None:
        """A statement that reads the whole queue is not shown."""
        ledger = Ledger(self.mktemp())
        self.addCleanup(ledger.close)
        (line,) = plan(ledger, "SELECT key FROM message WHERE size = 0")
        self.assertIn("SCAN message", line)
        self.assertEqual(list(plan(ledger, "BEGIN IMMEDIATE")), [])

    def test_works_and_rows(self) -> None:
        """A work's figures are not in the table."""
        self.assertEqual(set(WORKS), {"accept", "connect", "maildir", "relay", "large", "latency"})
        self.assertLessEqual(set(WORKS) - {"latency"}, set(ROWS))


class ManyDestinationsTests(SynchronousTestCase):
    """Other destinations than it is said are dead."""

    def test_destinations(self) -> None:
        """One in twenty is dead, each way as often as the others; no two share an address."""
        every = destinations(1000, 50)
        self.assertEqual(len({each.address for each in every}), 1000)
        self.assertEqual(len({each.domain for each in every}), 1000)
        self.assertEqual(
            {way: sum(e.dead == way for e in every) for way in WAYS}, dict.fromkeys(WAYS, 10)
        )
        self.assertEqual(sum(bool(each.dead) for each in every[:100]), 5)
        self.assertFalse(any(each.dead for each in destinations(10, 0)))
