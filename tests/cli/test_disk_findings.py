"""Covers mailframe.cli.disk_findings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe import start_check
from mailframe.cli import disk_findings
from mailframe.cli.disk_findings import ACCEPT, of_disks
from mailframe.settings import from_text
from tests.test_mounts import line


class OfDisks(SynchronousTestCase):
    """What ``mailframe check`` says about the disks."""

    def findings(self, kind: str, queue: str = "") -> list[tuple[str, str, str]]:
        self.patch(start_check, "_read", lambda _path: line(1, 0, "/", kind))
        text = f'hostname = "mx.here.example"\n[queue]\n{queue}\n'
        found = of_disks(from_text(text, "/nowhere/mailframe.toml"))
        self.assertTrue(all(each.subject == "disk" for each in found))
        return [(each.level, each.message, each.mend) for each in found]

    def test_well(self) -> None:
        """Nobody knows whether the disks were looked at."""
        ((level, _, mend),) = self.findings("xfs")
        self.assertEqual((level, mend), ("ok", ""))

    def test_memory(self) -> None:
        """What the server does not start with is not found before."""
        first, second = self.findings("tmpfs")
        self.assertEqual(first[0], "error")
        self.assertIn("/nowhere/state/queue lies in memory", first[1])
        self.assertTrue(first[2].endswith(ACCEPT))
        self.assertIn("/nowhere/mail lies in memory", second[1])

    def test_accepted(self) -> None:
        """A check of a demonstration fails for what was chosen knowingly."""
        found = self.findings("tmpfs", "require_durable = false")
        self.assertEqual([level for level, _, _ in found], ["warn", "warn"])
        self.assertEqual(found[0][2], "put it on a disk")

    def test_weaker(self) -> None:
        """A weaker place is called an error."""
        found = self.findings("nfs4")
        self.assertEqual([level for level, _, _ in found], ["warn", "warn"])
        self.assertNotIn(ACCEPT, found[0][2])

    def test_reserve(self) -> None:
        """Every message is refused, and nobody is told why."""
        _, (level, message, mend) = self.findings("xfs", "reserve = '1000000GB'")
        self.assertEqual(level, "error")
        self.assertIn("452", message)
        self.assertIn("reserve", mend)
        _, (level, message, _) = self.findings("xfs", "reserve_files = 1000000000000000")
        self.assertEqual(level, "error")

    def test_disk_that_fails(self) -> None:
        """The check itself fails."""

        def fails(_folder: str) -> None:
            raise OSError(5, "Input/output error")

        self.patch(disk_findings, "free_at", fails)
        _, (level, message, _) = self.findings("xfs")
        self.assertEqual((level, message), ("error", "/: Input/output error"))

    def test_nothing_is_kept(self) -> None:
        """Something is said about disks that are not used."""
        self.assertEqual(self.findings("tmpfs", 'plugin = "memory"'), [])
