"""One session with a Maildir, locked against others. Everything here blocks, and runs in threads.

A lock file keeps out sessions of other processes. A descriptor must not be closed while another
thread uses it, as its number may be given to another file at once; so the last one who uses the
session closes it.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import BinaryIO

import attrs
from twisted.logger import Logger

from mailframe.delivery.maildir_files import (
    Files,
    ForeignMaildir,
    OpenMaildir,
    close_all,
    open_file,
    open_maildir,
    remove_stale,
)
from mailframe.delivery.maildir_layout import MailboxPath, arrival, base_name, wire_size
from mailframe.interfaces import MailboxInUse

log = Logger()

AT_ONCE = 65536  # octets; a message up to this size is read as it is opened
REMEMBERED = 100_000  # sizes of messages whose names don't tell them
_LOCK = "mailframe-pop3.lock"
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.define(eq=False)
class Message:
    """One message of an open mailbox.

    :ivar base: its name without flags, which stays
    :ivar name: its whole name, as last seen
    :ivar folder: the descriptor of the folder it was last seen in
    :ivar size: octets with every line ended by CRLF
    :ivar deleted: marked for removal
    :ivar gone: removed, by us or by somebody else
    """

    base: bytes
    name: bytes
    folder: int
    size: int = 0
    deleted: bool = False
    gone: bool = False


class Sizes:
    """Sizes of messages that had to be read to know them. A message in a Maildir never changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[MailboxPath, bytes], int] = {}

    def of(self, path: MailboxPath, base: bytes, measure: Callable[[], int]) -> int:
        """The size of a message, measured only once."""
        size = self._known.get((path, base))
        if size is None:
            size = measure()
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[path, base] = size
        return size


class Session:
    """An open, locked Maildir.

    :ivar messages: those that were there when it was opened, in the order of their arrival
    """

    def __init__(self, files: Files, maildir: OpenMaildir, lock: int) -> None:
        self._files = files
        self._maildir = maildir
        self._lock_file = lock
        self.messages: list[Message] = []
        self._guard = Lock()
        self._users = 1  # the owner, until it calls `close`, and each thread at work
        self._closed = False

    @classmethod
    def open(cls, files: Files, path: MailboxPath, now: float, sizes: Sizes) -> Session:
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
        session = cls(files, maildir, lock)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MailboxInUse(str(path)) from None
            remove_stale(files, maildir.tmp, now)
            session._list(path, sizes)
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

    def _list(self, path: MailboxPath, sizes: Sizes) -> None:
        found: dict[bytes, Message] = {}
        for folder, name, regular in self._entries():
            if regular:
                base = base_name(name)
                found[base] = Message(base, name, folder)
            else:
                log.warn(
                    "{name!r} in the Maildir {path} is not a regular file: ignored",
                    name=name,
                    path=str(path),
                )
        keyed: list[tuple[int, bytes, Message]] = []
        for message in found.values():
            # What can't be read is left out, rather than keep all the others from being read.
            try:
                size = wire_size(message.base)
                if size is None:
                    size = sizes.of(path, message.base, partial(self._measure, message))
                message.size = size
                keyed.append((self._arrived(message), message.base, message))
            except (OSError, ForeignMaildir) as error:
                log.warn(
                    "{name!r} in the Maildir {path} can't be read: {reason}",
                    name=message.name,
                    path=str(path),
                    reason=str(error),
                )
        keyed.sort(key=lambda item: item[:2])
        self.messages = [message for _, _, message in keyed]

    def _entries(self) -> Iterator[tuple[int, bytes, bool]]:
        # New comes first: a message that somebody moves meanwhile is then seen in either folder.
        for folder in (self._maildir.new, self._maildir.cur):
            for name, regular in self._files.entries(folder):
                if not name.startswith(b"."):
                    yield folder, name, regular

    def _arrived(self, message: Message) -> int:
        arrived = arrival(message.base)
        if arrived is None:
            arrived = int(self._files.stat(message.name, message.folder).st_mtime)
        return arrived

    def _measure(self, message: Message) -> int:
        """Octets as `mailframe.wire.data.DataEncoder` sends them, dots not counted."""
        with self._reader(message) as file:
            size = 0
            last = b"\n"
            while piece := file.read(AT_ONCE):
                joined = last + piece
                # Each lone CR or LF becomes two octets; CRLF across two pieces counts once.
                pairs = joined.count(b"\r\n")
                size += len(piece) + piece.count(b"\r") + piece.count(b"\n") - 2 * pairs
                last = piece[-1:]
            return size + (0 if last in b"\r\n" else 2)

    # --- reading and removing ----------------------------------------------------------------

    def read(self, message: Message) -> BinaryIO:
        """Open a message; a small one is read at once.

        :raises FileNotFoundError: somebody has removed it
        """
        with self._in_use():
            file = self._reader(message)
            try:
                beginning = file.read(AT_ONCE)
                if len(beginning) < AT_ONCE:
                    file.close()
                    return io.BytesIO(beginning)
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return file

    def read_on(self, messages: Sequence[Message]) -> list[BinaryIO]:
        """Read a message and, as far as that goes without a fault, some more that are small.

        :param messages: at least one
        :returns: at least one file
        :raises FileNotFoundError: somebody has removed the first
        """
        files = [self.read(messages[0])]
        with suppress(OSError, ForeignMaildir, ValueError):
            for message in messages[1:]:
                file = self.read(message)
                if not isinstance(file, io.BytesIO):
                    file.close()  # its name told another size
                    break
                files.append(file)
        return files

    def _reader(self, message: Message) -> BinaryIO:
        descriptor = self._find(
            message, lambda: open_file(self._files, message.name, message.folder)
        )
        return os.fdopen(descriptor, "rb", buffering=0)

    def remove_deleted(self) -> None:
        """Remove the marked messages, durably.

        :raises OSError: some are still there, or may come back after a power cut
        """
        with self._in_use():
            faults: list[OSError] = []
            touched: set[int] = set()
            for message in self.messages:
                if message.deleted and not message.gone:
                    try:
                        self._remove(message)
                        touched.add(message.folder)
                    except OSError as error:
                        faults.append(error)
            for folder in touched:
                try:
                    self._files.fsync(folder)
                except OSError as error:
                    faults.append(error)
            if faults:
                raise faults[0]

    def _remove(self, message: Message) -> None:
        with suppress(FileNotFoundError):
            self._find(message, lambda: self._files.unlink(message.name, message.folder))
        message.gone = True

    def _find(self, message: Message, act: Callable[[], int | None]) -> int:
        """Do something with a message's file; when it has moved, look for it and try again."""
        for _ in range(3):
            with suppress(FileNotFoundError):
                return act() or 0
            self._look_for(message)
        return act() or 0

    def _look_for(self, message: Message) -> None:
        for folder, name, regular in self._entries():
            if regular and base_name(name) == message.base:
                message.folder, message.name = folder, name
                return
        raise FileNotFoundError(message.base)
