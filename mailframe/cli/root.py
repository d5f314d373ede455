"""The group of all commands: their names and one line of help each, imported when chosen."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from mailframe.cli.options import Refusal
from mailframe.config_errors import nearest

# One line of help each. A command is an object of its own name in the module of that
# name, with _ for each hyphen.
COMMANDS = {
    "init": "Write a commented configuration into a directory.",
    "check": "Examine configuration, accounts, certificates, DNS and disks.",
    "account": "Add, list and change accounts and aliases.",
    "plugins": "List every installed plugin with its options.",
    "explain": "Show which decisions the server would take for a message.",
    "queue": "Look at the queue and act on its messages.",
    "trace": "Show what has happened to a message so far.",
    "tls-report": "Show how sessions with other servers fared with TLS.",
    "send": "Put a message from standard input into the queue.",
}


class CommandList(click.Group):
    """A group that knows its commands by name and help, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"mailframe.cli.{name}")
        found = getattr(module, name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was probably meant."""
        name = args[0]
        if not (name in COMMANDS or name.startswith("-") or ctx.resilient_parsing):
            meant = nearest(name, COMMANDS)
            hint = f" Did you mean {meant!r}?" if meant else f" There are {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {name!a}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a disk that is full, or any such fault, ends it without a traceback."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read what it prints has seen enough; click ends it silently
        except OSError as error:
            what = f"{error.filename}: " if error.filename else "what it tells can't be written: "
            raise Refusal(f"{what}{error.strerror or error}") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("mailframe", cls=CommandList, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailframe", prog_name="mailframe")
def command() -> None:
    """A pluggable mail server: its configuration, accounts, queue and decisions.

    Exit status: 0 done, 1 the answer is no, 2 wrong usage or configuration.
    """
