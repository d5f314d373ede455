"""A few rounds of each campaign; ``python -m tests.crash --help`` has the long ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.crash.__main__ import NOT_HERE
from tests.crash.needs import SharedSqliteCase
from tests.interop.programs import InteropCase

ROOT = Path(__file__).parents[2]
COUNTS = re.compile(r"\b(\w+) (\d+)")


class CampaignTests(SharedSqliteCase, InteropCase):
    """Each runs as a command of its own, so that nothing of it can stay behind."""

    timeout = 600

    def campaign(self, *arguments: str) -> dict[str, int]:
        """Run one; what it has counted, added up."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=500,
        )
        if done.returncode == NOT_HERE:
            self.missing(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        counts: dict[str, int] = {}
        for name, number in COUNTS.findall(done.stdout):
            counts[name] = counts.get(name, 0) + int(number)
        return counts

    def test_power_cuts(self) -> None:
        """After 250 a message must outlive the power, and none may arrive twice or torn."""
        counts = self.campaign("power", "--rounds", "10", "--calls", "4")
        self.assertGreater(counts["acknowledged"], 20)

    def test_kills(self) -> None:
        """The same for a process that is killed, at any call."""
        counts = self.campaign("kill", "--rounds", "8", "--calls", "8")
        self.assertGreater(counts["acknowledged"], 20)

    def test_faults(self) -> None:
        """A disk that is full or broken must cost nothing but time, at whatever call it shows."""
        counts = self.campaign("faults", "--calls", "15")
        self.assertGreater(counts["acknowledged"], 20)
