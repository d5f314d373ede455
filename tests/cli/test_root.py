"""The command as a whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe import cli
from mailframe.cli import plugins, quiet, root
from tests.cli.commands import CommandCase


class Root(CommandCase):
    """The list of commands."""

    def test_help(self) -> None:
        """A user could not find out what there is."""
        text = self.run_command("--help").stdout
        for name, line in root.COMMANDS.items():
            self.assertIn(f"{name} ", text)
            self.assertIn(line, text)

    def test_misspelt(self) -> None:
        """Who has mistyped a command would read through the whole help."""
        said = self.run_command("chek", status=2).stderr
        self.assertIn("No such command 'chek'. Did you mean 'check'?", said)
        said = self.run_command("x", status=2).stderr
        self.assertIn("No such command 'x'. There are init, check, account", said)
        self.assertIn("--chek", self.run_command("--chek", status=2).stderr)

    def test_full_disk(self) -> None:
        """What is written to a disk that is full would end in a traceback."""
        for error, words in (
            (
                OSError(errno.ENOSPC, "No space left"),
                "what it tells can't be written: No space left",
            ),
            (OSError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied"),
        ):

            def fails(*_: object, error: OSError = error) -> None:
                raise error

            self.patch(plugins, "print_table", fails)
            self.assertEqual(self.run_here("plugins", status=1).stderr, f"{words}\n")

    def test_nobody_reads_on(self) -> None:
        """``mailframe queue list | head`` would tell of a fault."""

        def fails(*_: object) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        self.patch(plugins, "print_table", fails)
        self.assertEqual(self.run_here("plugins", status=1).output, "")

    def test_every_command(self) -> None:
        """A command could not be called, or could not be told where the configuration is."""
        context = click.Context(root.command)
        commands = [root.command.get_command(context, name) for name in root.COMMANDS]
        while commands:
            command = commands.pop()
            assert command is not None
            self.assertTrue(command.help, command.name)
            if isinstance(command, click.Group):
                commands += command.commands.values()
                continue
            options = {option for each in command.params for option in each.opts}
            if command.name != "init":
                self.assertIn("-c", options, command.name)
            if command.name in ("list", "show", "trace", "check", "explain", "plugins"):
                self.assertIn("--json", options, command.name)

    def test_unknown(self) -> None:
        """A mistyped command would end in a traceback."""
        self.assertIn("No such command", self.run_command("ceck", status=2).stderr)
        self.run_command("queue", "lst", status=2)

    def test_version(self) -> None:
        """Nobody could tell which version runs."""
        self.assertIn("mailframe", self.run_command("--version").stdout)

    def test_help_imports_little(self) -> None:
        """Every call of the command would wait for the whole server to be imported."""
        program = (
            "import sys\n"
            "from mailframe.cli.root import command\n"
            "try:\n    command(['--help'])\n"
            "except SystemExit: pass\n"
            "print([m for m in ('twisted.internet', 'rich', 'cryptography', 'mailframe.settings')"
            " if m in sys.modules])\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        self.assertEqual(done.stdout.splitlines()[-1], "[]", done.stderr)

    def test_main(self) -> None:
        """The installed command would not run."""
        begun: list[object] = []
        self.patch(globalLogBeginner, "beginLoggingTo", lambda *a, **_: begun.append(a))
        self.patch(sys, "argv", ["mailframe", "no-such-command"])
        stderr = _Text()
        self.patch(sys, "stderr", stderr)
        with self.assertRaises(SystemExit) as caught:
            cli.main()
        self.assertEqual(caught.exception.code, 2)
        self.assertEqual(len(begun), 1)


class _Text:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


class Quiet(SynchronousTestCase):
    """What the server's parts log while a command runs them."""

    def test_lines(self) -> None:
        """A fault in a plugin would print a traceback, or words that move the cursor."""
        stderr = _Text()
        self.patch(sys, "stderr", stderr)
        log = Logger(observer=quiet.write_line)
        log.info("not shown")
        log.warn("not shown")
        log.error("plugin {plugin} failed", plugin="x\x1b[2J")
        log.failure("reading", Failure(LookupError("gone")))
        self.assertEqual(
            stderr.text, "mailframe: plugin x\\x1b[2J failed\nmailframe: reading: gone\n"
        )
