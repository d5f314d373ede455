"""``mailframe queue export``: messages out of the queue, which stay in it.

Content is passed on as it is read, so that memory stays bounded whatever a message's size.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence

import attrs
import click

from mailframe.cli.counting import Counting
from mailframe.cli.listing import JsonList
from mailframe.cli.mbox import Quoted, from_line
from mailframe.cli.options import Misuse, Refusal, config_option, json_option
from mailframe.cli.parts import read_settings, with_storage
from mailframe.cli.queued import wanted
from mailframe.documents import Document, entry_details
from mailframe.entry import Entry
from mailframe.files import Files, sync_folder
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, StorageFault, UnknownMessage
from mailframe.patterns import AddressPatterns


@attrs.frozen(kw_only=True)
class Wanted:
    """Which messages are exported.

    :ivar ids: these; empty: all that the patterns match
    :ivar senders: patterns of the reverse-path; empty: any
    :ivar recipients: patterns of which one must match one recipient; empty: any
    """

    ids: tuple[str, ...]
    senders: AddressPatterns | None
    recipients: AddressPatterns | None

    async def entries(self, storage: IQueueStorage, refused: list[str]) -> AsyncIterator[Entry]:
        """Find them.

        :param refused: gets a line for each that is not there
        """
        async for some in wanted(storage, self.ids, refused):
            for entry in some:
                if self._fits(entry):
                    yield entry

    def _fits(self, entry: Entry) -> bool:
        if self.senders is not None and not self.senders.matches(entry.envelope.sender):
            return False
        return self.recipients is None or any(
            self.recipients.matches(recipient.address) for recipient in entry.recipients
        )


@click.command()
@config_option
@json_option
@click.option("--output", metavar="DIR", help="Write ID.eml and ID.json for each into a folder.")
@click.option("--mbox", is_flag=True, help="Write one mbox to standard output.")
@click.option("--all", "every", is_flag=True, help="All messages.")
@click.option("--sender", "senders", metavar="PATTERN", multiple=True, help='As "*@a.example".')
@click.option("--recipient", "recipients", metavar="PATTERN", multiple=True, help="Likewise.")
@click.argument("ids", metavar="[ID...]", nargs=-1)
def export(
    config: str,
    as_json: bool,
    output: str | None,
    mbox: bool,
    every: bool,
    senders: Sequence[str],
    recipients: Sequence[str],
    ids: Sequence[str],
) -> None:
    """Write messages of the queue to a folder or to standard output; they stay in the queue.

    One ID alone writes its content to standard output, octet by octet as it would be sent. With
    --output each message becomes two files: ID.eml, the content, and ID.json, the envelope with all
    that the queue knows of it. With --mbox all follow each other in one mbox, without envelopes.
    """
    if bool(ids) + every + bool(senders or recipients) != 1:
        raise Misuse("queue export takes ids, or --all, or patterns (--sender, --recipient)")
    if output is not None and mbox:
        raise Misuse("queue export takes either --output or --mbox")
    if as_json and output is None:
        raise Misuse("queue export --json tells which files were written, so it takes --output DIR")
    if output is None and not mbox and len(set(ids)) != 1:
        raise Misuse(
            "queue export writes several messages into a folder (--output DIR) or as --mbox"
        )
    which = Wanted(
        ids=tuple(dict.fromkeys(ids)),
        senders=_patterns("--sender", senders),
        recipients=_patterns("--recipient", recipients),
    )
    settings = read_settings(config)
    folder = None if output is None else _folder(output)
    refused: list[str] = []
    written = JsonList("messages")

    async def write(storage: IQueueStorage) -> None:
        counting = Counting("messages")
        async for entry in which.entries(storage, refused):
            try:
                if folder is not None:
                    files = await _to_files(storage, entry, folder)
                    if as_json:
                        written.add(files)
                    else:
                        click.echo(f"{entry.id} {files['content']}")
                elif mbox:
                    await _to_mbox(storage, entry)
                else:
                    await _copy(storage, entry, _to_stdout)
            except UnknownMessage:
                # It left the queue since it was listed, which only matters if it was asked for.
                if ids:
                    refused.append(f"{entry.id} has just left the queue")
            except (Refusal, StorageFault) as error:
                refused.append(f"{entry.id}: {error}")
            counting.add(1)
        if folder is not None:
            sync_folder(Files(), folder)
        counting.end()

    with_storage(settings, write)
    if as_json:
        written.end()
    if refused:
        raise Refusal("\n".join(refused))


def _patterns(option: str, texts: Sequence[str]) -> AddressPatterns | None:
    try:
        return AddressPatterns(texts) if texts else None
    except ValueError as error:
        raise Misuse(f"{option}: {error}") from None


def _folder(output: str) -> str:
    folder = os.path.abspath(output)
    try:
        # 0700: it holds other people's mail
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise Refusal(f"{output!a} can't be made a folder: {error.strerror}") from None
    return folder


def _to_stdout(octets: bytes) -> None:
    click.echo(octets, nl=False)


async def _to_mbox(storage: IQueueStorage, entry: Entry) -> None:
    quoted = Quoted()
    before = [from_line(entry.envelope.sender, entry.envelope.arrived)]

    def write(octets: bytes) -> None:
        # A message that can't be opened must not leave a line that begins none.
        _to_stdout(before.pop() + quoted.feed(octets) if before else quoted.feed(octets))

    await _copy(storage, entry, write)
    _to_stdout(b"".join(before) + quoted.end())


async def _to_files(storage: IQueueStorage, entry: Entry, folder: str) -> Document:
    """Write a message's two files, the envelope last: where it is, both are whole."""
    content, envelope = (os.path.join(folder, f"{entry.id}.{kind}") for kind in ("eml", "json"))
    _need_absent(content, envelope)
    try:
        file = _File(content)
        try:
            await _copy(storage, entry, file.write)
        except BaseException:
            file.abandon()
            raise
        file.keep()
        file = _File(envelope)
        file.write(json.dumps(entry_details(entry), indent=2).encode() + b"\n")
        file.keep()
    except OSError as error:
        raise Refusal(f"{error.filename or folder} can't be written: {error.strerror}") from None
    return {"id": entry.id, "content": content, "envelope": envelope}


def _need_absent(*names: str) -> None:
    for name in names:
        if os.path.lexists(name):
            raise Refusal(f"{name} is there already and is left as it is")


class _File:
    """A file that has its name once it is whole and on the disk."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._part = f"{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._part, flags, 0o600), "wb")

    def write(self, octets: bytes) -> None:
        self._file.write(octets)

    def keep(self) -> None:
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        os.rename(self._part, self._name)

    def abandon(self) -> None:
        self._file.close()
        os.unlink(self._part)


async def _copy(storage: IQueueStorage, entry: Entry, write: Callable[[bytes], None]) -> None:
    content = await as_deferred(storage.open(entry.id))
    try:
        while piece := await as_deferred(content.read()):
            write(piece)
    finally:
        content.close()
