"""Puts messages into Maildirs so that they survive a power cut and are never seen in part.

Everything here blocks, and runs outside the reactor thread; several threads may use one `Writer`.

A delivery has two halves, between which the queue records that the copy lies ready. `prepare`
writes ``tmp/X`` whole and syncs it and its folder; ``X`` is unique, so that two attempts never
write one file. `place` renames it to ``new/Y`` and syncs both folders. So after a crash it can be
told what had happened: as long as nothing is recorded the message was not delivered, whatever lies
in ``tmp``; and from then on it was delivered if, and only if, ``tmp/X`` is gone, even when a reader
has moved or deleted it since. This rests on a rename being atomic, which it is not on every network
file system: there, a message may come twice. And it rests on looking into the same folder: where
another Maildir lies at the path by now, since one was moved away or its file system is not mounted,
``tmp/X`` is missing too. So the folder's inode number is recorded as well.

A batch goes through each step together: all is written before the first sync, and all renamed
before a folder is synced. So the file system's journal is committed a few times for all of them.

A failed fsync is not tried again on the same descriptor, as a second one may falsely succeed: the
file is removed, and the queue's next attempt writes it anew; a folder is opened afresh for it.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

import attrs

from mailframe.delivery.maildir_files import close_all, create_file, write_all
from mailframe.delivery.maildir_held import Held, HeldMaildirs
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_names import base_name
from mailframe.files import Files


@attrs.define(kw_only=True, eq=False)
class Copy:
    """A message for one mailbox.

    :ivar path: the mailbox
    :ivar tmp: its name in tmp, from `Writer.tmp_name`
    :ivar pieces: the file's octets
    :ivar folder: set by `Writer.prepare`, see `Placement`
    """

    path: MailboxPath
    tmp: str
    pieces: Sequence[bytes]
    folder: int | None = None


@attrs.frozen(kw_only=True, eq=False)
class Placement:
    """A copy that lies ready in tmp.

    :ivar path: the mailbox
    :ivar tmp: its name there
    :ivar name: its name in new
    :ivar repeat: an earlier attempt prepared it, and may have placed it
    :ivar folder: the inode number of new in the Maildir that it was prepared in; ``None`` when that
        is not known
    """

    path: MailboxPath
    tmp: str
    name: str
    repeat: bool
    folder: int | None = None


class Vanished(Exception):
    """The copy is not in tmp, and was not placed: somebody removed it, or moved the Maildir."""


@attrs.define(eq=False)
class Draft:
    """A file in ``tmp`` that is being written piece by piece.

    The lock keeps a descriptor from being closed, and its number given to another file, while a
    write to it is under way in another thread.
    """

    held: Held
    name: str
    descriptor: int
    lock: Lock = attrs.field(factory=Lock)
    open: bool = True


T = TypeVar("T", Copy, Placement)


@attrs.define(eq=False)
class _Item(Generic[T]):
    """How far one of a batch has come.

    :ivar held: its mailbox, once that is open
    :ivar descriptor: of its file, while that is open
    :ivar created: its file is in tmp
    :ivar error: why it goes no further
    """

    of: T
    held: Held | None = None
    descriptor: int | None = None
    created: bool = False
    error: Exception | None = None


class Writer:
    """Writes messages.

    :param files: the file system
    :param token: what tells this process from others that write, or wrote, to the same Maildirs
    """

    def __init__(self, files: Files, token: str) -> None:
        self._files = files
        self._token = token
        self._numbers = itertools.count()  # next() on it is atomic
        self._maildirs = HeldMaildirs(files)

    def tmp_name(self, stem: str) -> str:
        """A name for a file in tmp that nobody else uses.

        :param stem: see `mailframe.delivery.maildir_layout.delivery_stem`
        """
        return f"{stem}.{self._token}-{next(self._numbers)}"

    # --- the first half: messages in memory --------------------------------------------------

    def prepare(self, copies: Sequence[Copy]) -> list[Exception | None]:
        """Write a batch into tmp, durably; each mailbox's folder is synced once.

        :returns: for each copy, ``None`` or why it could not be written; nothing of it remains then
        """
        batch = [_Item(copy) for copy in copies]
        with _Mailboxes(self._maildirs, batch) as mailboxes:
            try:
                for item in batch:
                    self._try(self._write, item)
                for item in batch:
                    self._try(self._sync_file, item)
                for held, items in mailboxes:
                    try:
                        if any(item.error is None for item in items):
                            self._maildirs.sync(held, held.tmp)
                    except Exception as error:
                        for item in items:
                            item.error = item.error or error
            finally:
                for item in batch:
                    self._discard(item)
        return [item.error for item in batch]

    def _write(self, item: _Item[Copy], held: Held) -> None:
        item.descriptor = create_file(self._files, item.of.tmp, held.tmp)
        item.created = True
        item.of.folder = held.folder
        write_all(self._files, item.descriptor, item.of.pieces)
        self._files.start_writing(item.descriptor)

    def _sync_file(self, item: _Item[Copy], held: Held) -> None:
        assert item.descriptor is not None
        self._files.fsync(item.descriptor)
        descriptor, item.descriptor = item.descriptor, None
        self._files.close(descriptor)

    def _discard(self, item: _Item[Copy]) -> None:
        """Let go of a copy, and remove what there is of one that failed."""
        descriptor, item.descriptor = item.descriptor, None
        if descriptor is not None:
            close_all(self._files, (descriptor,))
        if item.created and item.error is not None and item.held is not None:
            item.created = False
            self._remove(item.of.tmp, item.held.tmp)

    # --- the first half: messages too large to be held in memory -----------------------------

    def begin(self, path: MailboxPath, tmp: str) -> Draft:
        """Begin a file that is written piece by piece, to be ended by `finish` or `abandon`.

        :raises ForeignMaildir, OSError: it can't be begun; nothing of it remains
        """
        held = self._maildirs.take(path)
        try:
            return Draft(held, tmp, create_file(self._files, tmp, held.tmp))
        except BaseException:
            self._maildirs.give_back(held)
            raise

    def write(self, draft: Draft, octets: bytes) -> None:
        """Add octets. :raises OSError: a fault; the draft must be abandoned"""
        with draft.lock:
            self._check(draft)
            write_all(self._files, draft.descriptor, (octets,))

    def finish(self, draft: Draft) -> None:
        """Make sure of the draft; from now on it lies ready.

        :raises OSError: a fault; the draft must be abandoned
        """
        with draft.lock:
            self._check(draft)
            self._files.fsync(draft.descriptor)
            self._maildirs.sync(draft.held, draft.held.tmp)
            self._close(draft)

    def abandon(self, draft: Draft) -> None:
        """Forget the draft; nothing of it remains. Does nothing when it is finished."""
        with draft.lock:
            if draft.open:
                try:
                    self._remove(draft.name, draft.held.tmp)
                finally:
                    self._close(draft)

    def _check(self, draft: Draft) -> None:
        if not draft.open:
            raise OSError(errno.ECANCELED, "the delivery was abandoned")

    def _close(self, draft: Draft) -> None:
        draft.open = False
        close_all(self._files, (draft.descriptor,))
        self._maildirs.give_back(draft.held)

    # --- the second half ---------------------------------------------------------------------

    def place(self, placements: Sequence[Placement]) -> list[Exception | None]:
        """Put a batch that lies ready into new, durably; each mailbox's folders are synced once.

        :returns: for each, ``None`` when it was delivered, now or by an earlier attempt; else
            `Vanished`, or why it is not certain to be delivered
        """
        batch = [_Item(placement) for placement in placements]
        with _Mailboxes(self._maildirs, batch) as mailboxes:
            for item in batch:
                self._try(self._rename, item)
            for held, items in mailboxes:
                try:
                    self._sync_places(held, items)
                except Exception as error:
                    for item in items:
                        item.error = item.error or error
        return [item.error for item in batch]

    def _rename(self, item: _Item[Placement], held: Held) -> None:
        try:
            self._files.rename(item.of.tmp, held.tmp, item.of.name, held.new)
        except FileNotFoundError:
            if not item.of.repeat:
                raise Vanished(f"{held.path}: somebody removed tmp/{item.of.tmp}") from None
            if item.of.folder in (None, held.folder) or self._holds(held, item.of.name):
                return
            raise Vanished(
                f"{held.path} is not the Maildir in which tmp/{item.of.tmp} lay; the message may "
                "come twice"
            ) from None

    def _sync_places(self, held: Held, items: Sequence[_Item[Placement]]) -> None:
        if all(item.error is not None for item in items):
            return
        self._maildirs.sync(held, held.new)
        self._maildirs.sync(held, held.tmp)
        if any(item.of.repeat for item in items):
            # A reader may have moved it on, and nobody may have made sure of that.
            cur = self._maildirs.open_cur(held)
            try:
                self._maildirs.sync(held, cur)
            finally:
                close_all(self._files, (cur,))

    def is_there(self, placement: Placement) -> bool:
        """Whether a message is in its mailbox, read or unread.

        :raises ForeignMaildir, OSError: the mailbox can't be looked through
        """
        held = self._maildirs.take(placement.path)
        try:
            return self._holds(held, placement.name)
        finally:
            self._maildirs.give_back(held)

    def _holds(self, held: Held, message: str) -> bool:
        # New comes first: one that a reader moves meanwhile is then seen in either folder.
        found = self._files.names(held.new)
        cur = self._maildirs.open_cur(held)
        try:
            found += self._files.names(cur)
        finally:
            close_all(self._files, (cur,))
        return any(base_name(name) == message for name in found)

    # --- both --------------------------------------------------------------------------------

    def _try(self, step: Callable[[_Item[T], Held], None], item: _Item[T]) -> None:
        if item.error is None and item.held is not None:
            try:
                step(item, item.held)
            except Exception as error:
                item.error = error

    def _remove(self, name: str, folder: int) -> None:
        with suppress(OSError):
            self._files.unlink(name, folder)

    def close(self) -> None:
        """Keep no Maildir open any more. The writer can be used again."""
        self._maildirs.close()


class _Mailboxes(Generic[T]):
    """The mailboxes of a batch, opened for as long as the block lasts.

    Gives those that could be opened, each with its part of the batch.
    """

    def __init__(self, maildirs: HeldMaildirs, batch: Sequence[_Item[T]]) -> None:
        self._maildirs = maildirs
        self._items: dict[MailboxPath, list[_Item[T]]] = {}
        self._held: list[Held] = []
        for item in batch:
            self._items.setdefault(item.of.path, []).append(item)

    def __enter__(self) -> list[tuple[Held, list[_Item[T]]]]:
        opened = []
        for path, items in self._items.items():
            try:
                held = self._maildirs.take(path)
            except Exception as error:
                for item in items:
                    item.error = error
                continue
            self._held.append(held)
            opened.append((held, items))
            for item in items:
                item.held = held
        return opened

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            self._maildirs.give_back(held)
