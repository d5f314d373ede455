"""Counts for reports on TLS, in a database that processes share."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import tls_counts
from mailframe.delivery.tls_counts import ADD_AFTER, DAYS, Counted, CountFile, TlsCounts
from mailframe.delivery.tls_demand import Published
from mailframe.delivery.tls_fault import TlsFault
from mailframe.testing.network import VirtualReactor
from mailframe.testing.site import make_site

DAY = "2026-11-23"
GOOD = Counted(day=DAY, kind="sts", domain="blu.example", lines=("mode: enforce",), mx=("*.x",))
BAD = attrs.evolve(GOOD, result="certificate-expired", host="mx.x", address="192.0.2.1", reason="r")


class FileTests(SynchronousTestCase):
    """`CountFile`."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.folder = str(folder)
        self.file = CountFile(self.folder)

    def test_added(self) -> None:
        """What one process has counted would take the place of what another has."""
        other = CountFile(self.folder)
        self.file.add({GOOD: 2, BAD: 1})
        other.add({GOOD: 3})
        self.assertEqual(self.file.of(DAY), {GOOD: 5, BAD: 1})
        self.assertEqual(self.file.of(DAY, "blu.example"), {GOOD: 5, BAD: 1})
        self.assertEqual(self.file.of(DAY, "other.example"), {})
        self.assertEqual(self.file.of("2026-11-22"), {})
        path = Path(self.folder, "tls-report.sqlite")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_nothing_yet(self) -> None:
        """Who looks before anything was counted would be shown an error."""
        self.assertEqual(self.file.of(DAY), {})
        self.assertEqual(list(Path(self.folder).iterdir()), [])

    def test_old_days(self) -> None:
        """The file would grow for as long as the server runs."""
        for day in range(1, 29):
            self.file.add({attrs.evolve(GOOD, day=f"2026-11-{day:02}"): 1})
        self.assertEqual(self.file.of(f"2026-11-{28 - DAYS:02}"), {})
        self.assertEqual(len(self.file.of(f"2026-11-{29 - DAYS:02}")), 1)

    def test_bounded(self) -> None:
        """Mail to ever different domains would fill the disk."""
        self.patch(tls_counts, "MAX_ROWS", 10)
        for start in (0, 7):
            counts = {attrs.evolve(GOOD, domain=f"{start + n}.example"): 1 for n in range(7)}
            self.file.add(counts)
        self.assertEqual(len(self.file.of(DAY)), 10)
        self.file.add({attrs.evolve(GOOD, domain="0.example"): 1})  # what is known goes on
        self.assertEqual(self.file.of(DAY)[attrs.evolve(GOOD, domain="0.example")], 2)


class CountsTests(SynchronousTestCase):
    """`TlsCounts`."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.advance(1_795_392_000 - self.reactor.seconds())  # 2026-11-23
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.site = make_site(state_dir=str(self.folder), reactor=self.reactor)
        self.file = CountFile(str(self.folder))
        self.counts = TlsCounts(self.file, self.site)

    def test_counted(self) -> None:
        """Each session would cost a write to the disk; or be lost."""
        published = Published(kind="sts", domain="blu.example", lines=("l",), mx=("m",))
        fault = TlsFault("certificate-expired", "r")
        for _ in range(3):
            self.counts.count("blu.example", published, None, "mx.x", "192.0.2.1")
            self.counts.count("blu.example", published, fault, "mx.x", "192.0.2.1")
        self.counts.count("rosso.example", None, None)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.assertEqual(self.file.of(DAY), {})
        self.reactor.advance(ADD_AFTER)
        good = Counted(day=DAY, kind="sts", domain="blu.example", lines=("l",), mx=("m",))
        bad = attrs.evolve(
            good, result="certificate-expired", host="mx.x", address="192.0.2.1", reason="r"
        )
        plain = Counted(day=DAY, kind="no-policy-found", domain="rosso.example")
        self.assertEqual(self.file.of(DAY), {good: 3, bad: 3, plain: 1})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_long_policies(self) -> None:
        """A few domains with long policies would fill memory and disk."""
        many = tuple(f"{number}.{'x' * 200}.example" for number in range(1000))
        for lines in (many, ("y" * 100_000,), tuple(map(str, range(1000)))):
            published = Published(kind="sts", domain="blu.example", lines=lines, mx=lines)
            fault = TlsFault("certificate-expired", "z" * 100_000)
            self.counts.count("blu.example", published, fault, "mx.x", "192.0.2.1")
        self.reactor.advance(ADD_AFTER)
        for counted in self.file.of(DAY):
            for kept in (counted.lines, counted.mx, (counted.reason,)):
                self.assertIn(len(kept), range(1, 21))
                self.assertLessEqual(sum(map(len, kept)), 1000)
        self.assertEqual(len(self.file.of(DAY)), 3)

    def test_disk_fails(self) -> None:
        """A full disk would keep mail from going out, for a count."""
        self.counts.count("rosso.example", None, None)
        self.folder.rmdir()
        self.reactor.advance(ADD_AFTER)
        self.folder.mkdir()
        self.counts.count("rosso.example", None, None)
        self.reactor.advance(ADD_AFTER)
        self.assertEqual(list(self.file.of(DAY).values()), [1])

    def test_bounded(self) -> None:
        """Mail to ever different domains would fill the memory."""
        self.patch(tls_counts, "MAX_IN_MEMORY", 5)
        for number in range(10):
            self.counts.count(f"{number}.example", None, None)
        self.counts.count("0.example", None, None)
        self.reactor.advance(ADD_AFTER)
        self.assertEqual(sum(self.file.of(DAY).values()), 6)
