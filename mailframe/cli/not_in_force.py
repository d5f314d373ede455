"""Whether a running server works by the configuration that a command explains."""

from __future__ import annotations

import os

import click

from mailframe.in_force import digest, serving
from mailframe.settings import Settings


def note_if_not_in_force(settings: Settings) -> None:
    """Say on stderr that the decisions shown are not those of the running server."""
    server = serving(settings.state_dir)
    # Without a path, it is just telling what it works by.
    if server is None or not server.path or server.digest == digest(settings.path):
        return
    if os.path.realpath(server.path) == os.path.realpath(settings.path):
        why = f"{settings.path} has changed since the running server read it"
        mend = "SIGHUP has it read the file again"
    else:
        why = f"the running server works by {server.path}"
        mend = f"what is shown are the decisions of {settings.path}"
    click.echo(f"note: {why}; {mend}", err=True)
