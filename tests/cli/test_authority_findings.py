"""Whose certificates are trusted here."""

from __future__ import annotations

import os
from pathlib import Path

from mailframe.cli import authority_findings
from mailframe.cli.authority_findings import of_authorities
from mailframe.cli.findings import Finding
from mailframe.settings import load
from tests.cli.commands import CommandCase


class OfAuthorities(CommandCase):
    """A machine with and without authorities."""

    def finding(self, path: str) -> Finding:
        self.patch(authority_findings, "_USUAL", ())
        self.patch(os, "environ", {"SSL_CERT_FILE": path, "SSL_CERT_DIR": path})
        (found,) = of_authorities(load(self.config))
        return found

    def test_some(self) -> None:
        """Who has set everything right would be warned."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = folder / "ca.pem"
        file.write_text("x")
        for path in (file, folder):
            self.assertEqual(self.finding(str(path)).level, "ok")

    def test_none(self) -> None:
        """Nobody could tell why no policy is ever found, and mail waits for verified TLS."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "empty.pem").touch()
        for path in (folder / "empty.pem", folder / "nowhere"):
            found = self.finding(str(path))
            self.assertEqual(found.level, "warn")
            self.assertIn("no policy of MTA-STS can be fetched", found.message)
