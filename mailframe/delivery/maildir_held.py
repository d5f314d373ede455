"""Maildirs that are kept open, so that a delivery need not walk to its folder again each time.

A kept one is used only as long as the same folder still lies at its path: whoever moves a Maildir
away and puts another in its place finds the next message there.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from threading import Lock

import attrs

from mailframe.delivery.maildir_files import close_all, open_maildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.files import DIRECTORY, Files

KEEP = 64  # Maildirs, two descriptors each


@attrs.define(eq=False)
class Held:
    """An open Maildir.

    :ivar path: where it was opened
    :ivar tmp: the descriptor of that folder
    :ivar new: likewise
    :ivar identity: device and inode of new
    :ivar users: threads at work in it
    :ivar kept: it stays open when nobody is at work in it
    :ivar syncing: held while a folder is synced: an error is told to one sync only, so that another
        one at the same time would falsely succeed
    :ivar begun: how many syncs of tmp and of new were begun, by the folder's descriptor
    :ivar ended: the number of the last one that succeeded, likewise
    :ivar failed: a sync failed, and none may be tried again
    """

    path: MailboxPath
    tmp: int
    new: int
    identity: tuple[int, int]
    users: int = 1
    kept: bool = False
    syncing: Lock = attrs.field(factory=Lock)
    begun: dict[int, int] = attrs.field(factory=dict)
    ended: dict[int, int] = attrs.field(factory=dict)
    failed: bool = False

    @property
    def folder(self) -> int:
        """The inode number of new, by which the Maildir is known again after a restart."""
        return self.identity[1]


class HeldMaildirs:
    """Opens Maildirs, and keeps those last used. Threads may share it.

    A descriptor is closed only when nobody uses it, as its number may be given to another file at
    once.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = Lock()
        self._kept: OrderedDict[MailboxPath, Held] = OrderedDict()
        self._synced: set[MailboxPath] = set()

    def take(self, path: MailboxPath) -> Held:
        """A Maildir to work in until `give_back`; one that is missing is made, durably.

        :raises ForeignMaildir, OSError: see `mailframe.delivery.maildir_files.open_maildir`
        """
        with self._lock:
            held = self._kept.get(path)
            if held is not None:
                held.users += 1
                self._kept.move_to_end(path)
        if held is not None:
            if self._lies_there(path, held):
                return held
            with self._lock:
                if self._kept.get(path) is held:
                    del self._kept[path]
                held.kept = False
            self.give_back(held)
        return self._open(path)

    def give_back(self, held: Held) -> None:
        """The work is done."""
        with self._lock:
            held.users -= 1
            unused = not (held.users or held.kept)
        if unused:
            close_all(self._files, (held.tmp, held.new))

    def sync(self, held: Held, folder: int) -> None:
        """Make sure of the names in one of its folders.

        Who waits here while another thread syncs the folder is content with the next sync, whoever
        makes it: it begins after all of them have come.

        :param folder: the descriptor
        :raises OSError: they may not survive, or the outcome of an earlier sync was that; the
            Maildir is opened afresh for who takes it next
        """
        wanted = held.begun.get(folder, 0) + 1
        with held.syncing:
            if held.failed:
                raise OSError(errno.EIO, "an earlier sync of the folder failed")
            if held.ended.get(folder, 0) >= wanted:
                return
            number = held.begun.get(folder, 0) + 1
            try:
                if folder in (held.tmp, held.new):
                    held.begun[folder] = number
                self._files.fsync(folder)
                if folder in held.begun:
                    held.ended[folder] = number
            except BaseException:
                self.distrust(held)
                raise

    def distrust(self, held: Held) -> None:
        """Never sync it again: a folder of it could not be. It is closed when nobody uses it."""
        with self._lock:
            held.failed = True
            held.kept = False
            self._synced.discard(held.path)
            if self._kept.get(held.path) is held:
                del self._kept[held.path]

    def open_cur(self, held: Held) -> int:
        """Open the folder of messages that a reader has seen; to be closed by the caller."""
        return self._files.open("../cur", DIRECTORY | os.O_NOFOLLOW, dir_fd=held.new)

    def _open(self, path: MailboxPath) -> Held:
        # Once in the life of this process even folders that are there are synced: whoever made
        # them may have been cut off before that.
        folders = open_maildir(self._files, path, sync=path not in self._synced)
        close_all(self._files, (folders.root, folders.cur))
        try:
            found = self._files.fstat(folders.new)
        except BaseException:
            close_all(self._files, (folders.tmp, folders.new))
            raise
        held = Held(path, folders.tmp, folders.new, (found.st_dev, found.st_ino), kept=True)
        with self._lock:
            self._synced.add(path)
            before = self._kept.pop(path, None)
            self._kept[path] = held
            eldest = self._kept.popitem(last=False)[1] if len(self._kept) > KEEP else None
        for other in (before, eldest):
            if other is not None:
                self._let_go(other)
        return held

    def close(self) -> None:
        """Keep nothing open any more, apart from what is being worked in."""
        with self._lock:
            kept = list(self._kept.values())
            self._kept.clear()
        for held in kept:
            self._let_go(held)

    def _let_go(self, held: Held) -> None:
        with self._lock:
            held.kept = False
            held.users += 1
        self.give_back(held)

    def _lies_there(self, path: MailboxPath, held: Held) -> bool:
        try:
            found = self._files.stat(f"{path}/new")
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == held.identity
