"""Whether a running server works by the configuration that ``mailframe explain`` explains."""

from __future__ import annotations

import os
import shutil

from mailframe.in_force import InForce
from tests.cli.explaining import ANGELO, ExplainCase


class NotInForce(ExplainCase):
    """Explaining a file while a server runs."""

    def note(self, config: str) -> str:
        arguments = ("--server", "mx", "--from-ip", "192.0.2.1", "<>", ANGELO, "-c", config)
        return self.run_command("explain", *arguments).stderr

    def test_note(self) -> None:
        """Decisions would be taken for those of the server, which has not read the file yet."""
        self.assertEqual(self.note(self.config), "")
        server = InForce(self.path("state"))
        os.makedirs(self.path("state"), exist_ok=True)
        server.publish(self.config)
        self.addCleanup(server.close)
        self.assertEqual(self.note(self.config), "")
        other = self.path("other.toml")
        shutil.copy(self.config, other)
        self.assertEqual(self.note(other), "")
        self.configure("[queue]", "# changed\n[queue]")
        self.assertIn("has changed since the running server read it", self.note(self.config))
        server.publish(self.config)
        self.assertEqual(self.note(self.config), "")
        self.assertIn(f"the running server works by {self.config}; ", self.note(other))
        id = self.run_here("send", "-f", "", ANGELO, stdin="Subject: x\n\nx\n").stdout.strip()
        told = self.run_command("explain", "--message", id, "-c", other).stderr
        self.assertIn(f"the running server works by {self.config}; ", told)
        server.close()
        self.assertEqual(self.note(other), "")
