"""``mailframe queue reroute``: what a changed configuration does to queued mail; and have it done.

However long the queue is, a page of it is in memory; with ``--json``, what was found waits in a
temporary file until all of it is known.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence

import attrs
import click
from twisted.internet.defer import gatherResults

from mailframe.assembly import PartError, Parts, build_parts
from mailframe.cli.counting import Counting
from mailframe.cli.options import Refusal, json_option
from mailframe.cli.parts import as_deferred_or_none, read_settings, unbuilt, with_parts
from mailframe.cli.queued import why_not_tried
from mailframe.cli.reroute_report import Report
from mailframe.cli.rerouting import Rerouting
from mailframe.entry import Entry
from mailframe.guard import as_deferred
from mailframe.in_force import digest, serving
from mailframe.interfaces import IQueueStorage, Site, UnknownMessage
from mailframe.settings import Settings

_SEAMS = ("accounts", "routing")
DEFAULT = "mailframe.toml"


@click.command()
@click.option(
    "-c", "config", metavar="FILE", help=f"The configuration in force.  [default: {DEFAULT}]"
)
@click.option("--config", "changed", metavar="NEW", help="A changed configuration to compare with.")
@click.option("--dry-run", is_flag=True, help="Only show what would go elsewhere.")
@json_option
@click.argument("ids", metavar="[ID...]", nargs=-1)
def reroute(
    config: str | None, changed: str | None, dry_run: bool, as_json: bool, ids: Sequence[str]
) -> None:
    """Have queued messages go where the routing sends them by now.

    The route is asked anew at each attempt, so a changed configuration moves queued mail by itself,
    each message when it is tried next. This finds those that would go elsewhere than at their last
    attempt, and makes them due at once. With --dry-run it only shows them, and the exit status is 1
    when there are none.

    With --config NEW, decisions by the configuration in force (-c FILE) are compared with those by
    a changed one. Made due are the messages only when NEW is in force or no server is running;
    otherwise nothing is changed.
    """
    config, changed = _which(config, changed)
    settings = read_settings(config)
    later = None if changed is None else read_settings(changed)
    blocked = None if dry_run else _not_in_force(settings, later)
    if blocked is not None:
        raise Refusal(blocked)
    with tempfile.TemporaryFile("w+") as spool:
        report = Report(spool if as_json else None, dry_run)

        async def act(parts: Parts) -> None:
            if later is None:
                await _reroute(Rerouting(parts, None), ids, report, dry_run)
            else:
                await _beside(
                    later,
                    parts.site,
                    lambda new: _reroute(Rerouting(parts, new), ids, report, dry_run),
                )

        with_parts(settings, (*_SEAMS, "queue"), act)
        report.end()
    if report.refused:
        raise Refusal("\n".join(report.refused))
    if dry_run and not report.differ:
        raise click.exceptions.Exit(1)


def _which(config: str | None, changed: str | None) -> tuple[str, str | None]:
    """The configuration in force, and the changed one.

    Everywhere else ``--config`` is ``-c``. Who has one configuration and calls it so here means it.
    """
    if config is None:
        if changed is not None and not os.path.exists(DEFAULT):
            return changed, None
        config = DEFAULT
    if changed is not None and os.path.realpath(changed) == os.path.realpath(config):
        changed = None
    return config, changed


def _not_in_force(settings: Settings, later: Settings | None) -> str | None:
    """Why messages that are made due would not go where they should; ``None``: they would."""
    server = serving(settings.state_dir)
    if server is None:
        return None
    wanted = settings if later is None else later
    if server.digest == digest(wanted.path):
        return None
    name, file = os.path.basename(wanted.path), server.path or settings.path
    put = "" if later is None else f"put it in the place of {file}, "
    return (
        f"{wanted.path} is not what the running server works by, so nothing was changed: {put}have "
        f"the server read it (SIGHUP), then run `mailframe queue reroute -c {file}`; --dry-run "
        f"shows what would go elsewhere by {name}"
    )


async def _beside(settings: Settings, site: Site, act: Callable[[Parts], Awaitable[None]]) -> None:
    """Do something with the decisions of a configuration that is not in force.

    :param site: of the one that is; no folder is made for the other
    :raises Misuse: a part of it can't be built
    """
    site = attrs.evolve(
        site, hostname=settings.hostname, local_domains=frozenset(settings.local_domains)
    )
    try:
        parts = build_parts(settings, site, _SEAMS, {})
    except PartError as error:
        raise unbuilt(settings, error) from None
    for service in parts.services:
        service.startService()
    try:
        await act(parts)
    finally:
        for service in parts.services:
            await as_deferred_or_none(service.stopService())


async def _reroute(rerouting: Rerouting, ids: Sequence[str], report: Report, dry_run: bool) -> None:
    counting = Counting("messages")
    async for entries in rerouting.entries(tuple(dict.fromkeys(ids)), report.refused):
        found = await rerouting.changes(entries)
        moved = [(entry, changes) for entry, changes in zip(entries, found, strict=True) if changes]
        why_not: Sequence[str | None] = [None] * len(moved)
        if not dry_run:
            # At once, so that they share what it takes to record them.
            why_not = await gatherResults(
                [
                    as_deferred(_make_due(rerouting.storage, entry, rerouting.now()))
                    for entry, _ in moved
                ]
            )
        for (entry, changes), reason in zip(moved, why_not, strict=True):
            report.add(entry, changes, reason)
        report.checked += len(entries)
        counting.add(len(entries))
    counting.end()


async def _make_due(storage: IQueueStorage, entry: Entry, now: float) -> str:
    """Have a message tried at once; why that can't be, or ``""``."""
    why_not = await why_not_tried(storage, entry, now)
    if why_not:
        return why_not
    try:
        await as_deferred(storage.retry(entry.id, now))
    except UnknownMessage:
        return f"{entry.id} has just left the queue"
    return ""
