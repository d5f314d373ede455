"""What the commands have in common: ``-c FILE``, ``--json`` and two ways to fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import IO, Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


class Refusal(click.ClickException):
    """The answer is no: exit status 1 and one message on stderr."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message as it is."""
        click.echo(self.message, file=file or sys.stderr)


class Misuse(Refusal):
    """Wrong usage or configuration: exit status 2 and one message on stderr."""

    exit_code = 2


def config_option(function: C) -> C:
    """Give a command ``-c FILE``; it arrives as ``config``."""
    return click.option(
        "-c",
        "--config",
        "config",
        metavar="FILE",
        default="mailframe.toml",
        show_default=True,
        help="The configuration file.",
    )(function)


def json_option(function: C) -> C:
    """Give a command ``--json``; it arrives as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(function)
