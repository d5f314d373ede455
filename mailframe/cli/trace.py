"""``mailframe trace``: one message's life so far, also after it has left the queue."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mailframe.cli.options import Refusal, config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.cli.parts import read_settings, with_storage
from mailframe.documents import trace_document
from mailframe.entry import Entry, Event
from mailframe.interfaces import IQueueStorage


@click.command()
@config_option
@json_option
@click.argument("id")
def trace(config: str, as_json: bool, id: str) -> None:
    """Show what has happened to a message so far."""

    async def read(storage: IQueueStorage) -> tuple[Entry | None, Sequence[Event]]:
        return await storage.find(id), await storage.history(id)

    entry, events = with_storage(read_settings(config), read)
    if entry is None and not events:
        raise Refusal(f"no message {id!a} is known")
    document = trace_document(id, entry, events)
    if as_json:
        print_json(document)
        return
    print_table(
        ("time", "event", "recipient", "where", "reply", "why", "next attempt"),
        [
            (
                event["at"],
                event["event"],
                event["recipient"],
                event["where"],
                event["reply"],
                why(event["reason"], event["plugin"], event["rule"]),
                event["next_attempt"],
            )
            for event in document["events"]
        ],
    )


def why(reason: str, plugin: str, rule: str) -> str:
    """A decision's reason with the plugin and the rule that decided."""
    names = " ".join(name for name in (plugin, rule) if name)
    return f"{reason} ({names})" if names else reason
