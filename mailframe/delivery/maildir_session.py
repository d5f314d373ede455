"""One session with a Maildir, locked against others. Everything here blocks, and runs in threads.

A lock file keeps out sessions of other processes. A descriptor must not be closed while another
thread uses it, as its number may be given to another file at once; so the last one who uses the
session closes it.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import BinaryIO, TypeAlias, TypeVar

import attrs
from twisted.logger import Logger

from mailframe.delivery import maildir_index
from mailframe.delivery.maildir_files import (
    ForeignMaildir,
    OpenMaildir,
    close_all,
    open_maildir,
    remove_stale,
)
from mailframe.delivery.maildir_index import UNSETTLED, Index, Stamps
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_listing import Lister, by_base, nothing, told_by_names
from mailframe.delivery.maildir_names import base_name, uidls, unique_part
from mailframe.files import Files
from mailframe.interfaces import MailboxInUse
from mailframe.wire.pop3_message import wire_form

log = Logger()
T = TypeVar("T")

AT_ONCE = 65536  # octets; a message smaller than this is read as it is opened
MANY = 1000  # messages from which on an index pays, even if all names tell sizes
FEW = 20  # messages that came, went or moved
_TRIES = 3  # how often a message is looked for that moves whenever one does
_LOCK = "mailframe-pop3.lock"
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Message: TypeAlias = bytes | BinaryIO


class Session:
    """An open, locked Maildir.

    :ivar listing: what was there when it was opened
    :ivar corrections: true sizes, by index, of messages that turned out to be of another size than
        the listing says
    """

    def __init__(
        self, files: Files, maildir: OpenMaildir, lock: int, path: MailboxPath, now: float
    ) -> None:
        """See `open`."""
        self._files = files
        self._maildir = maildir
        self._lock_file = lock
        self._path = path
        self._now = now
        self.listing = nothing()
        self.corrections: dict[int, int] = {}
        self._gone: set[int] = set()  # removed, by us or by somebody else
        self._looked: Stamps = UNSETTLED  # the folders when messages were last looked for
        self._lost: set[int] = set()  # what was not there then
        self._guard = Lock()
        self._searching = Lock()
        self._users = 1  # the owner, until it calls `close`, and each thread at work
        self._closed = False

    @classmethod
    def open(cls, files: Files, path: MailboxPath, now: float) -> Session:
        """Open and lock a Maildir, list what it holds, and tidy up.

        :param now: POSIX seconds
        :raises MailboxInUse: another process has a session with it
        :raises ForeignMaildir, OSError: it can't be opened
        """
        maildir = open_maildir(files, path, sync=False)
        try:
            lock = files.open(_LOCK, _LOCK_FLAGS, 0o600, dir_fd=maildir.root)
        except BaseException:
            close_all(files, attrs.astuple(maildir))
            raise
        session = cls(files, maildir, lock, path, now)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MailboxInUse(str(path)) from None
            remove_stale(files, maildir.tmp, now)
            session._list()
        except BaseException:
            session.close()
            raise
        return session

    def close(self) -> None:
        """End the session; does not block. Threads at work finish first. May be called again."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._users -= 1
            last = not self._users
        if last:
            close_all(self._files, (*attrs.astuple(self._maildir), self._lock_file))

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._guard:
            if self._closed:
                raise ValueError("the session is closed")
            self._users += 1
        try:
            yield
        finally:
            self._leave()

    # --- listing -----------------------------------------------------------------------------

    def _list(self) -> None:
        files, maildir = self._files, self._maildir
        index = maildir_index.load(files, maildir)
        stamps = maildir_index.stamps_of(files, maildir)
        if index is not None and index.stamps == stamps:
            self.listing = index.listing
            return
        lister = Lister(files, maildir, self._path)
        before = nothing() if index is None else index.listing
        self.listing = listing = lister.listing(before)
        sure = lister.complete and maildir_index.settled(stamps, self._now)
        if len(listing) >= MANY or not told_by_names(listing):
            # A few changes are found again next time, for less than it costs to write them down.
            if sure or index is None or lister.changes > FEW:
                kept = stamps if sure else UNSETTLED
                maildir_index.save(files, maildir, Index(kept, listing))
        elif index is not None:
            maildir_index.remove(files, maildir)

    def uidls(self) -> list[bytes]:
        """The unique ids of all messages: each the same in every session, and no other's."""
        return uidls(self.listing.names)

    def keep_corrections(self) -> None:
        """Remember the true sizes for later sessions."""
        with self._in_use():
            sizes = array("Q", self.listing.sizes)
            for index, size in self.corrections.items():
                sizes[index] = size
            listing = attrs.evolve(self.listing, sizes=sizes)
            # Without stamps, as messages may have come and gone.
            maildir_index.save(self._files, self._maildir, Index(UNSETTLED, listing))

    # --- reading -----------------------------------------------------------------------------

    def read(self, index: int) -> BinaryIO:
        """Open a message as it is stored; a small one is read at once.

        :raises FileNotFoundError: somebody has removed it
        """
        with self._in_use():
            octets, file = self._read(index)
            return io.BytesIO(octets) if file is None else file

    def fetch(self, indices: Sequence[int]) -> list[Message]:
        """Read a message and, as far as that goes without a fault, some more that are small.

        :param indices: at least one
        :returns: at least one: octets in their wire form where the message is small, else a file
            as it is stored
        :raises FileNotFoundError: somebody has removed the first
        """
        found: list[Message] = []
        with self._in_use():
            for index in indices:
                try:
                    octets, file = self._read(index)
                except (OSError, ForeignMaildir):
                    if not found:
                        raise
                    break
                if file is None:
                    wire, size = wire_form(octets)
                    if size != self.listing.sizes[index]:
                        self._correct(index, size)
                    found.append(wire)
                    continue
                if found:
                    file.close()  # its name told another size
                else:
                    found.append(file)
                break
        return found

    def _read(self, index: int) -> tuple[bytes, BinaryIO | None]:
        """A small message's octets, or an open file."""
        files, listing = self._files, self.listing
        try:
            octets, descriptor = files.read_small(
                listing.names[index], self._folder(index), AT_ONCE
            )
        except FileNotFoundError:
            octets, descriptor = self._find(
                index, lambda name, there: files.read_small(name, there, AT_ONCE)
            )
        if descriptor is None:
            return octets, None
        try:
            found = files.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ForeignMaildir(f"{listing.names[index]!r} is not a regular file")
            if found.st_size:
                os.lseek(descriptor, 0, os.SEEK_SET)
                return b"", os.fdopen(descriptor, "rb", buffering=0)
        except BaseException:
            files.close(descriptor)
            raise
        files.close(descriptor)
        return b"", None

    def _correct(self, index: int, size: int) -> None:
        if index not in self.corrections:
            log.warn(
                "{name!r} in the Maildir {path} has {size} octets and was listed with {listed}",
                name=self.listing.names[index],
                path=str(self._path),
                size=size,
                listed=self.listing.sizes[index],
            )
        self.corrections[index] = size

    # --- removing ----------------------------------------------------------------------------

    def remove(self, indices: Iterable[int]) -> None:
        """Remove messages, durably.

        :raises OSError: some are still there, or may come back after a power cut
        """
        with self._in_use():
            faults: list[OSError] = []
            touched: set[int] = set()
            left = [index for index in indices if index not in self._gone]
            for _ in range(_TRIES):
                moved = [index for index in left if not self._remove(index, touched, faults)]
                left = self._moved(moved, touched) if moved else []
            if left:
                faults.append(FileNotFoundError(f"{self.listing.names[left[0]]!r} never stays"))
            for folder in touched:
                try:
                    self._files.fsync(folder)
                except OSError as error:
                    faults.append(error)
            if faults:
                raise faults[0]

    def _remove(self, index: int, touched: set[int], faults: list[OSError]) -> bool:
        """Remove one message.

        :returns: ``False`` when it is not where it was seen last
        """
        folder = self._folder(index)
        try:
            self._files.unlink(self.listing.names[index], folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            faults.append(error)
        else:
            self._gone.add(index)
            touched.add(folder)
        return True

    def _moved(self, indices: list[int], touched: set[int]) -> list[int]:
        """Look once for all messages that were not where they were seen last.

        :returns: those that are elsewhere. Another program has removed the others, and what it did
            is made sure of as well
        """
        with self._searching:
            self._search()
            gone = self._lost.intersection(indices)
        self._gone |= gone
        touched.update(map(self._folder, gone))
        return [index for index in indices if index not in gone]

    def _folder(self, index: int) -> int:
        """Where a message was seen last."""
        return self._maildir.cur if self.listing.in_cur[index] else self._maildir.new

    def _find(self, index: int, act: Callable[[str, int], T]) -> T:
        """Do something with a message's file; when it has moved, look for it and try again."""
        names = self.listing.names
        for _ in range(_TRIES):
            name = names[index]
            with suppress(FileNotFoundError):
                return act(name, self._folder(index))
            self._look_again(index, name)
        return act(names[index], self._folder(index))

    def _look_again(self, index: int, name: str) -> None:
        """Find out where all messages are now: who moved or removed one has often done so to many.

        :raises FileNotFoundError: this one is not there any more
        """
        with self._searching:
            if self.listing.names[index] != name:
                return  # another thread has just looked
            stamps = maildir_index.stamps_of(self._files, self._maildir)
            if index not in self._lost or stamps != self._looked:
                self._search()
            if index in self._lost:
                raise FileNotFoundError(name)

    def _search(self) -> None:
        """Find all messages again, and note which are lost."""
        files, maildir, listing = self._files, self._maildir, self.listing
        self._looked, self._lost = maildir_index.stamps_of(files, maildir), set()
        places = by_base(files.names(maildir.new), files.names(maildir.cur))
        gone: list[int] = []
        for each, old in enumerate(listing.names):
            place = places.pop(base_name(old), None)
            if place is None:
                gone.append(each)
            else:
                listing.names[each], listing.in_cur[each] = place
        if not gone:
            return
        # Dovecot gives a message another name when the sizes in it are wrong.
        others = {unique_part(place[0]): place for place in places.values()}
        for each in gone:
            place = others.pop(unique_part(listing.names[each]), None)
            if place is None:
                self._lost.add(each)
            else:
                listing.names[each], listing.in_cur[each] = place
