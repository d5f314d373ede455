"""Running swaks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.interop.ourselves import PASSWORD
from tests.interop.relaying import RelayCase


class SwaksCase(RelayCase):
    """Runs swaks, with a sender and a recipient."""

    def swaks(
        self, *options: str | Path, port: int | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run swaks against a port (default: submission's)."""
        return self.run_program(
            self.program("swaks", "swaks"),
            *("--server", "127.0.0.1", "--port", str(port or self.submission)),
            *("--from", "angelo@demo.example", "--to", "jsmith@demo.example"),
            *("--helo", "client.example", *options),
            check=check,
        )

    def logging_in(self, kind: str = "PLAIN", password: str = PASSWORD) -> tuple[str, ...]:
        """The options of a login."""
        user = ("--auth-user", "angelo@demo.example", "--auth-password", password)
        return ("--auth", kind, *user)

    def verifying(self, option: str = "--tls") -> tuple[str, ...]:
        """The options of TLS with a certificate that must be good."""
        return option, "--tls-verify", "--tls-ca-path", str(self.folder / "ca.pem")

    def arrived(self, count: int = 1) -> list[bytes]:
        """Wait for jsmith's messages."""
        self.wait_for(f"{count} messages", lambda: len(self.inbox("jsmith")) >= count)
        return self.inbox("jsmith")
