"""Puts messages into Maildirs so that they survive a power cut and are never seen in part.

Everything here blocks, and runs outside the reactor thread; several threads may use one `Writer`.

The order is: write ``tmp/X`` whole, fsync it, rename it to ``new/Y``, fsync ``new``. Only then is a
message delivered. ``X`` is unique, so that two attempts never write one file; ``Y`` is fixed by the
message and its recipient, so that a second attempt replaces what a first one left rather than
adding to it. A rename lost from ``tmp`` alone leaves only a stale file, so ``tmp`` is not synced.

A failed fsync is not tried again on the same descriptor, as a second one may falsely succeed: the
file is removed, and the queue's next attempt writes it anew.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

import attrs

from mailframe.delivery.maildir_files import (
    Files,
    OpenMaildir,
    close_all,
    create_file,
    open_maildir,
    write_all,
)
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

    maildir: OpenMaildir
    name: str
    descriptor: int
    lock: Lock = attrs.field(factory=Lock)
    open: bool = True


class Writer:
    """Writes messages.

    :param files: the file system
    :param token: what tells this process from others that write to the same Maildirs
    """

    def __init__(self, files: Files, token: str) -> None:
        self._files = files
        self._token = token
        self._numbers = itertools.count()  # next() on it is atomic
        self._seen: set[MailboxPath] = set()

    def deliver(self, copies: Sequence[Copy]) -> list[Exception | None]:
        """Deliver a batch; each mailbox's folder is synced once.

        :returns: for each copy, ``None`` or why it could not be delivered
        """
        results: list[Exception | None] = [None] * len(copies)
        mailboxes: dict[MailboxPath, list[int]] = {}
        for index, copy in enumerate(copies):
            mailboxes.setdefault(copy.path, []).append(index)
        for path, indices in mailboxes.items():
            group = [copies[index] for index in indices]
            for index, error in zip(indices, self._deliver_into(path, group), strict=True):
                results[index] = error
        return results

    def _deliver_into(
        self, path: MailboxPath, copies: Sequence[Copy]
    ) -> Sequence[Exception | None]:
        try:
            maildir = self._open(path)
        except Exception as error:
            return [error] * len(copies)
        try:
            return self._deliver_all(maildir, copies)
        except Exception as error:
            return [error] * len(copies)
        finally:
            close_all(self._files, attrs.astuple(maildir))

    def _deliver_all(
        self, maildir: OpenMaildir, copies: Sequence[Copy]
    ) -> Sequence[Exception | None]:
        results: list[Exception | None] = [None] * len(copies)
        placed: list[int] = []
        there = self._stems(maildir) if any(copy.repeat for copy in copies) else set()
        for index, copy in enumerate(copies):
            if copy.repeat and copy.stem.encode() in there:
                continue
            try:
                tmp = self._write(maildir, copy)
                self._place(maildir, tmp, copy.name)
                placed.append(index)
            except Exception as error:
                results[index] = error
        try:
            self._sync(maildir, there)
        except Exception as error:
            results = [result or error for result in results]
            for index in placed:
                # Whether the name would survive is unknown. If a reader took the message already,
                # the next attempt finds it in cur.
                with suppress(OSError):
                    self._files.unlink(copies[index].name, maildir.new)
        return results

    def _open(self, path: MailboxPath) -> OpenMaildir:
        maildir = open_maildir(self._files, path, sync=path not in self._seen)
        self._seen.add(path)
        return maildir

    def _stems(self, maildir: OpenMaildir) -> set[bytes]:
        """The stems of all messages there."""
        # New comes first: a message that a reader moves meanwhile is then seen in either folder.
        found = [*self._files.entries(maildir.new), *self._files.entries(maildir.cur)]
        return {stem_of(name) for name, _ in found}

    def _sync(self, maildir: OpenMaildir, there: set[bytes]) -> None:
        self._files.fsync(maildir.new)
        if there:
            self._files.fsync(maildir.cur)

    def _write(self, maildir: OpenMaildir, copy: Copy) -> str:
        tmp, descriptor = self._create(maildir, copy.stem)
        try:
            try:
                write_all(self._files, descriptor, copy.pieces)
                self._files.fsync(descriptor)
            finally:
                self._files.close(descriptor)
        except BaseException:
            self._discard(maildir, tmp)
            raise
        return tmp

    def _create(self, maildir: OpenMaildir, stem: str) -> tuple[str, int]:
        while True:
            tmp = f"{stem}.{self._token}-{next(self._numbers)}"
            try:
                return tmp, create_file(self._files, tmp, maildir.tmp)
            except FileExistsError:
                continue  # left by a process that died and had our number

    def _place(self, maildir: OpenMaildir, tmp: str, name: str) -> None:
        try:
            self._files.rename(tmp, maildir.tmp, name, maildir.new)
        except BaseException:
            self._discard(maildir, tmp)
            raise

    def _discard(self, maildir: OpenMaildir, tmp: str) -> None:
        with suppress(OSError):
            self._files.unlink(tmp, maildir.tmp)

    # --- messages too large to be held in memory ---------------------------------------------

    def begin(self, path: MailboxPath, stem: str, repeat: bool) -> Draft | None:
        """Begin a file that is written piece by piece.

        :returns: the draft, to be ended by `finish` or `abandon`; or ``None`` when an earlier
            attempt has delivered the message
        :raises ForeignMaildir, OSError: it can't be begun; nothing of it remains
        """
        maildir = self._open(path)
        try:
            there = self._stems(maildir) if repeat else set()
            if stem.encode() not in there:
                return Draft(maildir, *self._create(maildir, stem))
            self._sync(maildir, there)
        except BaseException:
            close_all(self._files, attrs.astuple(maildir))
            raise
        close_all(self._files, attrs.astuple(maildir))
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
            self._files.fsync(draft.descriptor)
            self._place(draft.maildir, draft.name, name)
            try:
                self._files.fsync(draft.maildir.new)
            except BaseException:
                with suppress(OSError):
                    self._files.unlink(name, draft.maildir.new)
                raise
            self._close(draft)

    def abandon(self, draft: Draft) -> None:
        """Forget the draft; nothing of it remains. Does nothing when it is finished."""
        with draft.lock:
            if draft.open:
                try:
                    self._discard(draft.maildir, draft.name)
                finally:
                    self._close(draft)

    def _check(self, draft: Draft) -> None:
        if not draft.open:
            raise OSError(errno.ECANCELED, "the delivery was abandoned")

    def _close(self, draft: Draft) -> None:
        draft.open = False
        close_all(self._files, (draft.descriptor, *attrs.astuple(draft.maildir)))
