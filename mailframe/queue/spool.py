"""Files of the queue: large contents, one file each, and the locks that show who is alive.

A content is written to ``incoming/``, synced, renamed to ``large/`` and both directories are
synced, all before the row that names it is committed. So a row never names a file that isn't whole;
a file without a row is what a crash left behind, and `Spool.orphans` finds it.

Blocking; to be called in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from mailframe.files import DIRECTORY, Files, sync_folder
from mailframe.queue.ids import id_key, id_text
from mailframe.queue.turns import WriteTurn

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class SpoolFile:
    """An open content, to be written or read from its start to its end.

    :ivar closed: it is not open any more
    """

    def __init__(self, files: Files, descriptor: int) -> None:
        self._files = files
        self._descriptor = descriptor
        self.closed = False

    def write(self, octets: bytes | memoryview) -> int:
        """Write as much as can be written at once; returns how many octets that was."""
        return self._files.write(self._descriptor, (octets,))

    def read(self, size: int) -> bytes:
        """The next octets, at most so many; none at the end."""
        return self._files.read(self._descriptor, size)

    def sync(self) -> None:
        """Make what was written survive a power cut; not to be tried again when it fails."""
        self._files.fsync(self._descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Let go of it. What was only read or synced already is closed, whatever is said then."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(OSError):
                self._files.close(self._descriptor)


class Spool:
    """The folders below one root, created when missing.

    :param root: an absolute path; the folder is readable by its owner alone
    :param files: the file system
    """

    def __init__(self, root: str, files: Files | None = None) -> None:
        self.root = root
        self._files = files or Files()
        self._incoming = os.path.join(root, "incoming")
        self._large = os.path.join(root, "large")
        self._owners = os.path.join(root, "owners")
        for folder in (root, self._incoming, self._large, self._owners):
            self._make(folder)

    def _make(self, folder: str) -> None:
        """Make a folder that is ours alone, and those above it, unless they are there."""
        try:
            self._files.mkdir(folder)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._make(os.path.dirname(folder))
            self._make(folder)

    def sync(self) -> None:
        """Make the folders themselves survive a power cut, and the names of the files in the root.

        Whoever made one of those above may have been cut off before that. Those that can't even be
        opened were not made by us.

        :raises OSError: they may not survive
        """
        sync_folder(self._files, self.root)
        folder = os.path.dirname(self.root)
        while True:
            with contextlib.suppress(PermissionError):
                sync_folder(self._files, folder)
            above = os.path.dirname(folder)
            if above == folder:
                return
            folder = above

    def turn(self) -> WriteTurn:
        """The lock by which the processes that share the queue take turns in writing."""
        return WriteTurn(os.path.join(self.root, "writing.lock"))

    # --- large contents --------------------------------------------------------------------------

    def create(self, key: int) -> SpoolFile:
        """A file to write a content to. It has no meaning before `publish`.

        :raises OSError: it can't be made, or a message of that id has a content
        """
        path = os.path.join(self._incoming, id_text(key))
        descriptor = self._files.open(path, _CREATE, 0o600)
        try:
            if self._is_published(key):
                # To publish this one would overwrite what was acknowledged.
                raise FileExistsError(errno.EEXIST, "a message of that id is in the queue")
            if os.geteuid() == 0:
                _give_to_owner(descriptor, self._incoming)
        except BaseException:
            self._files.close(descriptor)
            self._files.unlink(path)
            raise
        return SpoolFile(self._files, descriptor)

    def _is_published(self, key: int) -> bool:
        try:
            self._files.stat(os.path.join(self._large, id_text(key)))
        except FileNotFoundError:
            return False
        return True

    def publish(self, key: int, file: SpoolFile) -> None:
        """Make the written file survive a power cut under its final name, and close it.

        :raises OSError: it could not be kept; the file is gone and must be written anew, for a
            failed sync can't be repaired by another one
        """
        try:
            with contextlib.closing(file):
                file.sync()
            self._move(id_text(key))
        except OSError:
            self.discard(key)
            raise

    def _move(self, name: str) -> None:
        files = self._files
        with contextlib.ExitStack() as stack:

            def opened(path: str) -> int:
                descriptor = files.open(path, DIRECTORY)
                stack.callback(files.close, descriptor)
                return descriptor

            incoming, large = opened(self._incoming), opened(self._large)
            files.rename(name, incoming, name, large)
            files.fsync(large)
            files.fsync(incoming)

    def discard(self, key: int) -> None:
        """Delete a content, wherever it has got to. Deleting what isn't there is fine."""
        for folder in (self._incoming, self._large):
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(os.path.join(folder, id_text(key)))

    def open(self, key: int) -> SpoolFile:
        """Open a published content. :raises OSError: it isn't there"""
        path = os.path.join(self._large, id_text(key))
        return SpoolFile(self._files, self._files.open(path, _READ))

    def orphans(self, older_than: float) -> Iterator[int]:
        """The keys of files that were last written before a time; the caller knows which have rows.

        :param older_than: POSIX seconds
        """
        for folder in (self._incoming, self._large):
            with os.scandir(folder) as files:
                for file in files:
                    key = id_key(file.name)
                    # While we look, the owners of files publish and discard them.
                    with contextlib.suppress(FileNotFoundError):
                        if key and file.stat(follow_symlinks=False).st_mtime < older_than:
                            yield key

    # --- who is alive ----------------------------------------------------------------------------

    def show_alive(self, owner: str) -> int:
        """Hold a lock that ends with this process; returns its descriptor."""
        path = os.path.join(self._owners, owner)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._register() as register:
            descriptor = self._files.open(path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # After a power cut its leases must be found as those of the dead.
                self._files.fsync(register)
            except BaseException:
                self._files.close(descriptor)  # and with it the lock, for the next try to take
                raise
        return descriptor

    def dead_owners(self) -> list[str]:
        """The owners on this machine whose process has ended without saying goodbye."""
        with self._register() as register:
            return [owner for owner in self._files.names(register) if self._is_dead(owner)]

    @contextlib.contextmanager
    def _register(self) -> Iterator[int]:
        """Have the register of owners to oneself: one that is just made is not locked yet, and to
        see whether a lock is held one has to take it.
        """
        register = self._files.open(self._owners, DIRECTORY)
        try:
            fcntl.flock(register, fcntl.LOCK_EX)
            yield register
        finally:
            self._close_unwritten(register)

    def _is_dead(self, owner: str) -> bool:
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = self._files.open(os.path.join(self._owners, owner), flags)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False
        finally:
            self._close_unwritten(descriptor)

    def _close_unwritten(self, descriptor: int) -> None:
        """Close what nothing was written to: a failure tells of nothing that is lost, and it is
        closed all the same.
        """
        with contextlib.suppress(OSError):
            self._files.close(descriptor)

    def bury(self, owner: str) -> None:
        """Forget an owner whose leases have been ended."""
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(os.path.join(self._owners, owner))


def _give_to_owner(descriptor: int, folder: str) -> None:
    """Let the server read what root put into its queue, as SQLite does with files of its own."""
    with contextlib.suppress(OSError):  # root of a container may not
        owner = os.stat(folder)
        if owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
