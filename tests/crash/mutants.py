"""What the proofs must find: the program with one sync, or one ordering, taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from mailframe.delivery import maildir_files
from mailframe.delivery.maildir_deliveries import Deliveries
from mailframe.delivery.maildir_held import Held, HeldMaildirs
from mailframe.delivery.maildir_session import Session
from mailframe.delivery.maildir_writer import Placement, Vanished, Writer
from mailframe.entry import Notice, Step
from mailframe.files import Files
from mailframe.queue.ledger import Arrival, Ledger
from mailframe.queue.sink import Sink
from mailframe.queue.spool import Spool, SpoolFile
from mailframe.queue.sqlite import SqliteStorage


@attrs.frozen
class Mutant:
    """One change to the program.

    :ivar what: what is taken away
    :ivar patches: an owner, the name of its attribute, and what takes its place, made of the
        original
    """

    what: str
    patches: tuple[tuple[Any, str, Callable[[Any], Any]], ...]

    def install(self) -> None:
        """Make the change, for good."""
        for owner, name, make in self.patches:
            setattr(owner, name, make(getattr(owner, name)))

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Make the change, and undo it at the end."""
        before = [(owner, name, vars(owner)[name]) for owner, name, _ in self.patches]
        self.install()
        try:
            yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)


def _nothing(original: Any) -> Any:
    return lambda *args, **kwargs: None


# --- the queue ---------------------------------------------------------------------------------


def _synchronous(level: str) -> Callable[[Any], Any]:
    def make(prepare: Any) -> Any:
        def prepared(ledger: Ledger) -> None:
            prepare(ledger)
            ledger.connection.execute(f"PRAGMA synchronous = {level}")

        return prepared

    return make


def _acknowledged_at_once(keep: Any) -> Any:
    def kept(storage: SqliteStorage, arrival: Arrival) -> Deferred[None]:
        keep(storage, arrival)
        return succeed(None)

    return kept


def _row_before_file(_: Any) -> Any:
    async def commit(sink: Sink) -> None:
        await sink._keep(None)
        await sink._publish()

    return commit


def _without_sync_of(folder: str) -> Callable[[Any], Any]:
    """A sync of the spool that leaves one folder out."""

    def make(move: Any) -> Any:
        def moved(spool: Spool, name: str) -> None:
            files = spool._files
            fsync = files.fsync
            left_out = getattr(spool, folder)

            def sync(descriptor: int) -> None:
                if files.fstat(descriptor).st_ino != files.stat(left_out).st_ino:
                    fsync(descriptor)

            files.fsync = sync  # type: ignore[method-assign]  # put back below
            try:
                move(spool, name)
            finally:
                files.fsync = fsync  # type: ignore[method-assign]

        return moved

    return make


def _notices_apart(settle: Any) -> Any:
    async def settled(
        storage: SqliteStorage, id: str, owner: str, step: Step, notices: Sequence[Notice]
    ) -> None:
        await settle(storage, id, owner, step, ())
        if notices:
            await settle_notices(storage, notices)

    async def settle_notices(storage: SqliteStorage, notices: Sequence[Notice]) -> None:
        for notice in notices:
            sink = storage.receive(notice.envelope)
            sink.write(notice.content)
            await sink.commit()

    return settled


def _content_goes_first(settle: Any) -> Any:
    async def settled(
        storage: SqliteStorage, id: str, owner: str, step: Step, notices: Sequence[Notice]
    ) -> None:
        from mailframe.queue.ids import id_key

        if step.next_attempt is None and not step.goes_on:
            storage.spool.discard(id_key(id) or 0)
        await settle(storage, id, owner, step, notices)

    return settled


# --- mailboxes -----------------------------------------------------------------------------------


def _files_not_synced(_: Any) -> Any:
    def closed(writer: Writer, item: Any, held: Held) -> None:
        descriptor, item.descriptor = item.descriptor, None
        writer._files.close(descriptor)

    return closed


def _only_synced(wanted: Callable[[Held, int], bool]) -> Callable[[Any], Any]:
    def make(sync: Any) -> Any:
        def synced(maildirs: HeldMaildirs, held: Held, folder: int) -> None:
            if wanted(held, folder):
                sync(maildirs, held, folder)

        return synced

    return make


def _placed_without_sync_of(*names: str) -> Callable[[Any], Any]:
    def make(_: Any) -> Any:
        def synced(writer: Writer, held: Held, items: Sequence[Any]) -> None:
            for name in {"new", "tmp"} - set(names):
                writer._maildirs.sync(held, getattr(held, name))

        return synced

    return make


def _not_recorded(_: Any) -> Any:
    async def put(deliveries: Deliveries, job: Any, ready: Sequence[Any]) -> Any:
        return await deliveries._place(job, ready, repeat=False) if ready else {}

    return put


def _placed_before_record(_: Any) -> Any:
    async def put(deliveries: Deliveries, job: Any, ready: Sequence[Any]) -> Any:
        if not ready:
            return {}
        outcomes = await deliveries._place(job, ready, repeat=False)
        since = deliveries._clock.seconds()
        await job.record_ready({each.target.index: each.record(since) for each in ready})
        return outcomes

    return put


def _record_ignored(_: Any) -> Any:
    async def finish(deliveries: Deliveries, job: Any, targets: Sequence[Any]) -> Any:
        return {}, targets

    return finish


def _gone_is_not_delivered(rename: Any) -> Any:
    def renamed(writer: Writer, item: Any, held: Held) -> None:
        placement: Placement = item.of
        try:
            rename(writer, item, held)
            if placement.repeat and placement.name not in writer._files.names(held.new):
                raise Vanished("taken for never delivered")
        except FileNotFoundError:
            raise Vanished("taken for never delivered") from None

    return renamed


def _unlinked_without_sync(remove: Any) -> Any:
    def removed(session: Session, indices: Sequence[int]) -> None:
        files = session._files
        fsync = files.fsync
        files.fsync = _nothing(fsync)  # type: ignore[method-assign]  # put back below
        try:
            remove(session, indices)
        finally:
            files.fsync = fsync  # type: ignore[method-assign]

    return removed


def _folders_without_sync(open_below: Any) -> Any:
    def opened(files: Files, parent: int, name: str, sync: bool) -> int:
        with suppress(FileExistsError):
            files.mkdir(name, dir_fd=parent)
        return open_below(files, parent, name, False)  # type: ignore[no-any-return]  # a descriptor

    return opened


def _straight_into_new(_: Any) -> Any:
    """The control: a writer as many are, without any sync."""

    def prepare(writer: Writer, copies: Sequence[Any]) -> list[Exception | None]:
        for copy in copies:
            held = writer._maildirs.take(copy.path)
            descriptor = maildir_files.create_file(writer._files, copy.tmp, held.tmp)
            maildir_files.write_all(writer._files, descriptor, copy.pieces)
            writer._files.close(descriptor)
            writer._maildirs.give_back(held)
        return [None] * len(copies)

    return prepare


MUTANTS: Mapping[str, Mutant] = {
    name: Mutant(what, patches)
    for name, what, *patches in (
        (
            "sqlite-off",
            "no sync of the database at all",
            (Ledger, "_prepare", _synchronous("OFF")),
        ),
        (
            "sqlite-normal",
            "no sync of the database's log at a commit",
            (Ledger, "_prepare", _synchronous("NORMAL")),
        ),
        (
            "early-250",
            "250 before the commit",
            (SqliteStorage, "keep", _acknowledged_at_once),
        ),
        ("content-sync", "no sync of a large content", (SpoolFile, "sync", _nothing)),
        (
            "large-sync",
            "no sync of the folder that a large content is moved to",
            (Spool, "_move", _without_sync_of("_large")),
        ),
        (
            "incoming-sync",
            "no sync of the folder that a large content is moved from",
            (Spool, "_move", _without_sync_of("_incoming")),
        ),
        (
            "row-first",
            "the row of a large content before the content",
            (Sink, "_commit_file", _row_before_file),
        ),
        ("queue-folders", "no sync of the queue's own folders", (Spool, "sync", _nothing)),
        (
            "notices-apart",
            "notices in a transaction of their own",
            (SqliteStorage, "settle", _notices_apart),
        ),
        (
            "content-goes-first",
            "a large content is deleted before its row",
            (SqliteStorage, "settle", _content_goes_first),
        ),
        (
            "file-sync",
            "no sync of a message in tmp",
            (Writer, "_sync_file", _files_not_synced),
        ),
        (
            "tmp-sync",
            "no sync of tmp before the record",
            (HeldMaildirs, "sync", _only_synced(lambda held, folder: folder != held.tmp)),
        ),
        (
            "record",
            "no record that a copy lies ready",
            (Deliveries, "_put_in_place", _not_recorded),
        ),
        (
            "late-record",
            "the record after the rename",
            (Deliveries, "_put_in_place", _placed_before_record),
        ),
        (
            "new-sync",
            "no sync of new after the rename",
            (Writer, "_sync_places", _placed_without_sync_of("new")),
        ),
        (
            "tmp-sync-after",
            "no sync of tmp after the rename",
            (Writer, "_sync_places", _placed_without_sync_of("tmp")),
        ),
        (
            "place-sync",
            "no sync after the rename",
            (Writer, "_sync_places", _placed_without_sync_of("new", "tmp")),
        ),
        (
            "record-ignored",
            "what an earlier attempt recorded is ignored",
            (Deliveries, "_finish_earlier", _record_ignored),
        ),
        (
            "gone-not-delivered",
            "a copy that is gone from tmp is delivered anew",
            (Writer, "_rename", _gone_is_not_delivered),
        ),
        (
            "delete-sync",
            "no sync after POP3 has deleted messages",
            (Session, "remove", _unlinked_without_sync),
        ),
        (
            "mailbox-folders",
            "no sync of a mailbox's own folders",
            (maildir_files, "_open_below", _folders_without_sync),
        ),
        (
            "bad-writer",
            "a writer as many are, without any sync",
            (Writer, "prepare", _straight_into_new),
            (Writer, "_sync_places", _nothing),
        ),
    )
}
