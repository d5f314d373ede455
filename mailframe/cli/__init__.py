"""The ``mailframe`` command. Nothing heavy is imported before a command is chosen."""

from __future__ import annotations


def main() -> None:
    """The console script: run the command line and leave with its exit status."""
    from mailframe.cli.quiet import log_to_stderr
    from mailframe.cli.root import command

    log_to_stderr()
    command(prog_name="mailframe")
