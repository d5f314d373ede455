"""What the server starts on and what not: real file systems, mounted as some people do."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.interop.ourselves import MailframeCase
from tests.interop.small_disks import SmallDiskCase


class StartTests(SmallDiskCase, MailframeCase):
    """Places where mail would not be kept."""

    def configure_strictly(self) -> None:
        """Write the configuration, with the server's own default."""
        self.configure()
        text = self.configuration.read_text()
        self.assertIn("require_durable = false\n", text)
        self.write("mailframe.toml", text.replace("require_durable = false\n", ""))

    def errors(self) -> list[str]:
        """What ``mailframe check`` says about the disks."""
        done = self.mailframe("check", "--json", "-c", self.configuration, check=False)
        findings = json.loads(done.stdout)["findings"]
        return [
            each["message"]
            for each in findings
            if each["subject"] == "disk" and each["level"] == "error"
        ]

    def assert_refused(self, *words: str) -> None:
        """The server does not start, and says why; the check says the same."""
        (error,) = self.errors()
        for word in words:
            self.assertIn(word, error)
        process = self.start(*self.command(), cwd=self.folder)
        process.wait(30)
        self.assertEqual(process.returncode, 1)
        log = process.log.read_text()  # type: ignore[attr-defined]  # put there by `start`
        self.assertIn("require_durable", log)
        self.assertIn(error, log)

    def command(self) -> list[str]:
        """How users start it."""
        return [sys.executable, "-m", "twisted", "mailframe", "-c", str(self.configuration)]

    def test_memory(self) -> None:
        """Mail is kept in memory, and nobody was told so."""
        self.need_root()
        self.configure_strictly()
        state = self.folder / "state"
        state.mkdir(mode=0o700)
        mounted = self.run_program("mount", "-t", "tmpfs", "none", state, check=False)
        if mounted.returncode:
            self.missing("no tmpfs can be mounted here")
        self.addCleanup(self.unmount, state)
        self.assert_refused("lies in memory", "tmpfs", str(state))
        # What was said to be known is.
        self.configure()
        self.server = self.serve(self.configuration, self.smtp)
        self.submit(["jsmith@demo.example"], login=None)

    def test_without_barriers(self) -> None:
        """The disk is not asked to keep what it is given."""
        self.configure_strictly()
        self.disk(self.folder / "mail", options="barrier=0")
        self.assert_refused("nobarrier", "ext4")

    def test_library(self) -> None:
        """Whoever tested with libeatmydata goes into service with it."""
        self.configure_strictly()
        found = self.run_program("ldconfig", "-p", check=False).stdout.decode()
        path = next(line.split("=> ")[1] for line in found.splitlines() if "libz.so.1 " in line)
        library = self.folder / "libeatmydata.so"
        subprocess.run(["cp", path, library], check=True)
        self.environment["LD_PRELOAD"] = str(library)
        process = self.start(*self.command(), cwd=self.folder)
        process.wait(30)
        self.assertEqual(process.returncode, 1)
        log = process.log.read_text()  # type: ignore[attr-defined]  # put there by `start`
        self.assertIn(f"fsync is disabled by the library {library}", log)
