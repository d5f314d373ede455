"""Puts messages into Maildirs so that they survive a power cut and are never seen in part.

Everything here blocks, and runs outside the reactor thread; several threads may use one `Writer`.

The order is: write ``tmp/X`` whole, fsync it, rename it to ``new/Y``, fsync ``new``. Only then is a
message delivered. ``X`` is unique, so that two attempts never write one file; ``Y`` is fixed by the
message and its recipient, so that a second attempt replaces what a first one left rather than
adding to it. A rename lost from ``tmp`` alone leaves only a stale file, so ``tmp`` is not synced.

A batch goes through these steps together: all is written before the first sync, and all renamed
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

import attrs

from mailframe.delivery.maildir_files import Files, close_all, create_file, write_all
from mailframe.delivery.maildir_held import Held, HeldMaildirs
from mailframe.delivery.maildir_layout import MailboxPath, stem_of


@attrs.frozen(kw_only=True, eq=False)
class Copy:
    """A message for one mailbox.

    :ivar path: the mailbox
    :ivar stem: what its name begins with, fixed by message and recipient
    :ivar name: its whole name
    :ivar pieces: the file's octets
    :ivar repeat: an earlier attempt may have delivered it
    """

    path: MailboxPath
    stem: str
    name: str
    pieces: Sequence[bytes]
    repeat: bool


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


@attrs.define(eq=False)
class _Progress:
    """How far a copy of a batch has come.

    :ivar held: its mailbox, once that is open
    :ivar tmp: its file's name in tmp, while there is one
    :ivar descriptor: of that file, while it is open
    :ivar placed: it is in new
    :ivar error: why it goes no further
    """

    copy: Copy
    held: Held | None = None
    tmp: str | None = None
    descriptor: int | None = None
    placed: bool = False
    error: Exception | None = None


class Writer:
    """Writes messages.

    :param files: the file system
    :param token: what tells this process from others that write to the same Maildirs
    """

    def __init__(self, files: Files, token: str) -> None:
        self._files = files
        self._token = token
        self._numbers = itertools.count()  # next() on it is atomic
        self._maildirs = HeldMaildirs(files)

    # --- batches of messages in memory -------------------------------------------------------

    def deliver(self, copies: Sequence[Copy]) -> list[Exception | None]:
        """Deliver a batch; each mailbox's folder is synced once.

        :returns: for each copy, ``None`` or why it could not be delivered
        """
        batch = [_Progress(copy) for copy in copies]
        mailboxes: dict[MailboxPath, list[_Progress]] = {}
        for item in batch:
            mailboxes.setdefault(item.copy.path, []).append(item)
        try:
            there = {path: self._begin_mailbox(path, items) for path, items in mailboxes.items()}
            for step in (self._write, self._sync_file, self._place):
                for item in batch:
                    self._try(step, item)
            for path, items in mailboxes.items():
                self._end_mailbox(items, there[path])
        finally:
            for item in batch:
                self._discard(item)
            for items in mailboxes.values():
                if items[0].held is not None:
                    self._maildirs.give_back(items[0].held)
        return [item.error for item in batch]

    def _begin_mailbox(self, path: MailboxPath, items: Sequence[_Progress]) -> set[bytes]:
        """Open a mailbox.

        :returns: the stems of all messages there, when any of the copies may be a repeated one
        """
        try:
            held = self._maildirs.take(path)
            for item in items:
                item.held = held
            if any(item.copy.repeat for item in items):
                there = self._stems(held)
                for item in items:
                    item.placed = item.copy.repeat and item.copy.stem.encode() in there
                return there
        except Exception as error:
            for item in items:
                item.error = error
        return set()

    def _try(self, step: Callable[[_Progress, Held], None], item: _Progress) -> None:
        if item.error is None and not item.placed and item.held is not None:
            try:
                step(item, item.held)
            except Exception as error:
                item.error = error
                self._discard(item)

    def _write(self, item: _Progress, held: Held) -> None:
        item.tmp, item.descriptor = self._create(held, item.copy.stem)
        write_all(self._files, item.descriptor, item.copy.pieces)
        self._files.start_writing(item.descriptor)

    def _sync_file(self, item: _Progress, held: Held) -> None:
        assert item.descriptor is not None
        self._files.fsync(item.descriptor)
        descriptor, item.descriptor = item.descriptor, None
        self._files.close(descriptor)

    def _place(self, item: _Progress, held: Held) -> None:
        assert item.tmp is not None
        self._files.rename(item.tmp, held.tmp, item.copy.name, held.new)
        item.tmp = None
        item.placed = True

    def _discard(self, item: _Progress) -> None:
        """Remove what there is of a copy that goes no further."""
        descriptor, item.descriptor = item.descriptor, None
        if descriptor is not None:
            close_all(self._files, (descriptor,))
        tmp, item.tmp = item.tmp, None
        if tmp is not None and item.held is not None:
            self._remove(tmp, item.held.tmp)

    def _end_mailbox(self, items: Sequence[_Progress], there: set[bytes]) -> None:
        held = items[0].held
        if held is None or not any(item.placed for item in items):
            return
        try:
            self._sync(held, there)
        except Exception as error:
            for item in items:
                item.error = item.error or error
                if item.placed and item.copy.stem.encode() not in there:
                    # Whether the name would survive is unknown. If a reader took the message
                    # already, the next attempt finds it in cur.
                    self._remove(item.copy.name, held.new)

    # --- messages too large to be held in memory ---------------------------------------------

    def begin(self, path: MailboxPath, stem: str, repeat: bool) -> Draft | None:
        """Begin a file that is written piece by piece.

        :returns: the draft, to be ended by `finish` or `abandon`; or ``None`` when an earlier
            attempt has delivered the message
        :raises ForeignMaildir, OSError: it can't be begun; nothing of it remains
        """
        held = self._maildirs.take(path)
        try:
            there = self._stems(held) if repeat else set()
            if stem.encode() not in there:
                return Draft(held, *self._create(held, stem))
            self._sync(held, there)
        except BaseException:
            self._maildirs.give_back(held)
            raise
        self._maildirs.give_back(held)
        return None

    def write(self, draft: Draft, octets: bytes) -> None:
        """Add octets. :raises OSError: a fault; the draft must be abandoned"""
        with draft.lock:
            self._check(draft)
            write_all(self._files, draft.descriptor, (octets,))

    def finish(self, draft: Draft, name: str) -> None:
        """Deliver the draft.

        :param name: its name from then on
        :raises OSError: a fault; the draft must be abandoned
        """
        with draft.lock:
            self._check(draft)
            held = draft.held
            self._files.fsync(draft.descriptor)
            self._files.rename(draft.name, held.tmp, name, held.new)
            try:
                self._maildirs.sync_new(held)
            except BaseException:
                self._remove(name, held.new)
                raise
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

    def close(self) -> None:
        """Keep no Maildir open any more. The writer can be used again."""
        self._maildirs.close()

    # --- both --------------------------------------------------------------------------------

    def _create(self, held: Held, stem: str) -> tuple[str, int]:
        while True:
            tmp = f"{stem}.{self._token}-{next(self._numbers)}"
            try:
                return tmp, create_file(self._files, tmp, held.tmp)
            except FileExistsError:
                continue  # left by a process that died and had our number

    def _stems(self, held: Held) -> set[bytes]:
        """The stems of all messages there."""
        # New comes first: a message that a reader moves meanwhile is then seen in either folder.
        found = self._files.entries(held.new)
        cur = self._maildirs.open_cur(held)
        try:
            found += self._files.entries(cur)
        finally:
            close_all(self._files, (cur,))
        return {stem_of(name) for name, _ in found}

    def _sync(self, held: Held, there: set[bytes]) -> None:
        """Make sure of the names in new; and in cur where a message may have been found there."""
        self._maildirs.sync_new(held)
        if there:
            cur = self._maildirs.open_cur(held)
            try:
                self._files.fsync(cur)
            except BaseException:
                self._maildirs.distrust(held)
                raise
            finally:
                close_all(self._files, (cur,))

    def _remove(self, name: str, folder: int) -> None:
        with suppress(OSError):
            self._files.unlink(name, folder)
