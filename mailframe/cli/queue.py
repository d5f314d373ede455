"""``mailframe queue``: look at the queue and act on its messages, with the server up or down.

The storage is opened directly, as a further process beside the server's own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import click

from mailframe.cli.export import export
from mailframe.cli.listing import JsonList, Rows
from mailframe.cli.options import Misuse, Refusal, config_option, json_option
from mailframe.cli.output import print_fields, print_json
from mailframe.cli.parts import read_settings, with_storage
from mailframe.cli.queue_findings import damaged
from mailframe.cli.queued import find_message, last_routes, not_there, pages, why_not_tried
from mailframe.cli.reroute import reroute
from mailframe.cli.trace import why
from mailframe.documents import Document, decision_document, entry_details, entry_document
from mailframe.entry import Entry, Event
from mailframe.interfaces import IQueueStorage, UnknownMessage

_HEADINGS = ("id", "from", "to", "size", "state", "attempts", "next attempt", "last reply")
_TOLD = 20  # damaged entries told of by name


@click.group()
def queue() -> None:
    """Look at the queue and act on its messages."""


@queue.command("list")
@config_option
@json_option
def list_messages(config: str, as_json: bool) -> None:
    """List the messages in the queue."""
    write: Callable[[Document], None]
    if as_json:
        messages = JsonList("messages")
        write, end = messages.add, messages.end
    else:
        rows = Rows(_HEADINGS)
        write, end = partial(_add_rows, rows), rows.end

    async def read(storage: IQueueStorage) -> Sequence[tuple[str, str]]:
        async for page in pages(storage):
            for entry in page:
                write(entry_document(entry))
        return await damaged(storage)

    unreadable = with_storage(read_settings(config), read)
    end()
    for id, reason in unreadable[:_TOLD]:
        click.echo(f"{id} is damaged and set aside: {reason}", err=True)
    if unreadable:
        number = "1 entry is" if len(unreadable) == 1 else f"{len(unreadable)} entries are"
        click.echo(f"{number} damaged; see `mailframe queue salvage --help`", err=True)


def _add_rows(rows: Rows, message: Document) -> None:
    for recipient in message["recipients"]:
        is_held = message["held"] and recipient["next_attempt"]
        rows.add(
            (
                message["id"],
                message["sender"] or "<>",
                recipient["address"],
                message["size"],
                "held" if is_held else recipient["state"],
                recipient["attempts"],
                None if is_held else recipient["next_attempt"],
                recipient["last_reply"],
            )
        )


@queue.command()
@config_option
@json_option
@click.argument("id")
def show(config: str, as_json: bool, id: str) -> None:
    """Show all that the queue knows of a message."""

    async def read(storage: IQueueStorage) -> tuple[Entry, Sequence[Event]]:
        return await find_message(storage, id), await storage.history(id)

    entry, events = with_storage(read_settings(config), read)
    document = entry_details(entry)
    routes = last_routes(events)
    for shown in document["recipients"]:
        last = routes.get(shown["address"])
        shown["route"] = None if last is None else decision_document(last)
    if as_json:
        print_json(document)
        return
    client = document["client"]
    print_fields(
        [
            ("id", document["id"]),
            ("from", document["sender"] or "<>"),
            ("size", f"{document['size']} octets, {document['body']}"),
            ("arrived", document["arrived"]),
            ("client", f"{client['address']} at {client['server']}" if client else "ourselves"),
            ("login", client["login"] if client else None),
            ("held", "yes" if document["held"] else "no"),
            ("warned", "yes" if document["warned"] else "no"),
        ]
    )
    for recipient in document["recipients"]:
        click.echo()
        evidence = recipient.get("evidence")
        route = recipient["route"]
        print_fields(
            [
                ("to", recipient["address"]),
                ("state", recipient["state"]),
                ("attempts", recipient["attempts"]),
                ("last reply", recipient["last_reply"]),
                ("where", recipient["where"]),
                ("next attempt", recipient["next_attempt"]),
                ("let in", _why(evidence)),
                ("its way", _why(route)),
                ("redirected from", recipient["redirected_from"]),
            ]
        )


def _why(decision: Document | None) -> str:
    return "" if decision is None else why(decision["reason"], decision["plugin"], decision["rule"])


@queue.command()
@config_option
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def hold(config: str, ids: Sequence[str]) -> None:
    """Stop attempts until the messages are released."""
    _act(config, ids, lambda storage, id: storage.hold(id, time.time()), "held")


@queue.command()
@config_option
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def release(config: str, ids: Sequence[str]) -> None:
    """End a hold; the messages are due at once."""
    _act(config, ids, lambda storage, id: storage.release(id, time.time()), "released")


@queue.command()
@config_option
@click.option("--all", "every", is_flag=True, help="All that are neither held nor being tried.")
@click.argument("ids", metavar="[ID...]", nargs=-1)
def retry(config: str, every: bool, ids: Sequence[str]) -> None:
    """Make messages due at once."""
    if every == bool(ids):
        raise Misuse("queue retry takes either --all or the ids of messages")
    if every:
        retried = with_storage(read_settings(config), _retry_all)
        click.echo(f"{retried} message{'' if retried == 1 else 's'} due now")
    else:
        _act(config, ids, _retry, "due now")


async def _retry(storage: IQueueStorage, id: str) -> None:
    entry = await storage.find(id)
    # One that was set aside is not found, and may be tried again when it has been repaired.
    why_not = await why_not_tried(storage, entry, time.time()) if entry else ""
    if why_not:
        raise Refusal(why_not)
    await storage.retry(id, time.time())


async def _retry_all(storage: IQueueStorage) -> int:
    retried = 0
    async for page in pages(storage):
        for entry in page:
            if await why_not_tried(storage, entry, time.time()):
                continue
            try:
                await storage.retry(entry.id, time.time())
            except UnknownMessage:
                continue  # it left the queue since it was listed
            retried += 1
    return retried


@queue.command()
@config_option
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def remove(config: str, ids: Sequence[str]) -> None:
    """Take messages out of the queue; nobody is told."""
    _act(config, ids, lambda storage, id: storage.remove(id, time.time()), "removed")


@queue.command()
@config_option
@click.argument("id")
def salvage(config: str, id: str) -> None:
    """Write what is left of a damaged message to standard output.

    What the queue knows of it besides, and why it was set aside, goes to standard error. When it
    has been repaired, `mailframe queue retry` has it looked at anew; `mailframe queue remove` ends
    the reports of it.
    """
    with_storage(read_settings(config), lambda storage: _salvage(storage, id))


async def _salvage(storage: IQueueStorage, id: str) -> None:
    # Its interface does not ask a storage for this.
    salvages: Callable[[str], Awaitable[Any]] | None = getattr(storage, "salvage", None)
    try:
        if salvages is None:
            raise UnknownMessage(id)
        remains, content = await salvages(id)
    except UnknownMessage:
        raise Refusal(f"no message {id!a} was set aside as damaged") from None
    for name in ("reason", "envelope", "recipients"):
        click.echo(f"{name}: {getattr(remains, name)!r}", err=True)
    if content is None:
        raise Refusal("of its content nothing can be read")
    while piece := await content.read():
        click.echo(piece, nl=False)
    content.close()


def _act(
    config: str,
    ids: Sequence[str],
    act: Callable[[IQueueStorage, str], Awaitable[None]],
    done: str,
) -> None:
    """Do something to each message; those that can't be acted on don't keep the others from it."""

    async def each(storage: IQueueStorage) -> list[str]:
        refused = []
        for id in dict.fromkeys(ids):
            try:
                await act(storage, id)
                click.echo(f"{id} {done}")
            except UnknownMessage:
                refused.append((await not_there(storage, id)).message)
            except Refusal as refusal:
                refused.append(refusal.message)
        return refused

    refused = with_storage(read_settings(config), each)
    if refused:
        raise Refusal("\n".join(refused))


queue.add_command(export)
queue.add_command(reroute)
