"""What the tests of commands share: a folder as ``mailframe init`` writes it, and the command."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from argon2 import PasswordHasher
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts import passwords
from mailframe.cli import check as check_module
from mailframe.cli import network_findings
from mailframe.cli.root import command


class CommandCase(SynchronousTestCase):
    """Runs ``mailframe`` in this process, with a configuration of its own."""

    def setUp(self) -> None:
        # hashing that takes long on purpose would make the tests slow and show nothing more
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords, "PasswordHasher", quick)
        # what else runs on this machine, and what disks and network it has, is no part of the tests
        self.patch(check_module, "of_disks", lambda _settings: [])
        self.patch(network_findings, "bind", lambda _place: None)
        self.patch(check_module, "of_name_servers", lambda _settings: [])
        self.folder = os.path.abspath(self.mktemp())
        self.config = self.path("mailframe.toml")
        arguments = ("--hostname", "mx.rosse.example", "--domain", "rosse.example")
        self.run_command("init", *arguments, self.folder)

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def configure(self, old: str, new: str) -> None:
        """Change the configuration file."""
        with open(self.config) as file:
            text = file.read()
        self.assertIn(old, text)
        with open(self.config, "w") as file:
            file.write(text.replace(old, new))

    def run_command(self, *arguments: str, status: int = 0, stdin: str | bytes = "") -> Result:
        """Run ``mailframe ARGUMENTS``, which must end with this status and without a traceback."""
        result = CliRunner().invoke(command, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.assertEqual(result.exit_code, status, result.output)
        return result

    def run_here(self, *arguments: str, status: int = 0, stdin: str | bytes = "") -> Result:
        """Run a command on the folder's configuration."""
        return self.run_command(*arguments, "-c", self.config, status=status, stdin=stdin)

    def document(self, *arguments: str, status: int = 0) -> Any:
        """The one JSON document that a command prints."""
        return json.loads(self.run_here(*arguments, "--json", status=status).stdout)

    def add_account(self, address: str = "angelo@rosse.example") -> None:
        self.run_here("account", "add", address, "--password-stdin", stdin="secret words\n")
