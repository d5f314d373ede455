"""Opening Maildirs safely. Everything here blocks, and runs outside the reactor thread.

`Files` is the one seam to the file system: tests give a faulting one. `open_maildir` walks to a
Maildir name by name, relative to the folder above and never through a symbolic link, so that
nobody who can write somewhere below can lead us elsewhere. Every write below goes relative to the
descriptors it returns.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

import attrs

from mailframe.delivery.maildir_layout import MailboxPath, is_delivery

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
STALE = 36 * 3600  # seconds
OURS_STALE = 60 * 86400  # seconds
_SUBFOLDERS = ("tmp", "new", "cur")


class ForeignMaildir(Exception):
    """The Maildir can't be ours, or somebody else could change it. The message is for the log."""


class Files:
    """The operations on files that deliveries and mailboxes need."""

    def open(self, name: str | bytes, flags: int, mode: int = 0, dir_fd: int | None = None) -> int:
        """See `os.open`."""
        return os.open(name, flags, mode, dir_fd=dir_fd)

    def write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> int:
        """See `os.writev`; may write less than all."""
        return os.writev(descriptor, pieces)

    def read(self, descriptor: int, size: int) -> bytes:
        """See `os.read`."""
        return os.read(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """See `os.fsync`. After a failure the descriptor must not be synced again."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """See `os.close`."""
        os.close(descriptor)

    def rename(self, old: str, old_folder: int, new: str, new_folder: int) -> None:
        """See `os.rename`."""
        os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    def unlink(self, name: str | bytes, dir_fd: int) -> None:
        """See `os.unlink`."""
        os.unlink(name, dir_fd=dir_fd)

    def mkdir(self, name: str, dir_fd: int | None = None) -> None:
        """Make a folder that is ours alone."""
        os.mkdir(name, 0o700, dir_fd=dir_fd)

    def entries(self, descriptor: int) -> list[tuple[bytes, bool]]:
        """What a folder holds: names, and whether each is a regular file."""
        with os.scandir(descriptor) as found:
            return [(os.fsencode(e.name), e.is_file(follow_symlinks=False)) for e in found]

    def names(self, descriptor: int) -> list[str]:
        """What a folder holds, as `os.fsdecode` gives it."""
        return os.listdir(descriptor)

    def regular(self, descriptor: int) -> tuple[list[str], list[str]]:
        """The names of a folder's regular files, and those of what else it holds."""
        regular: list[str] = []
        others: list[str] = []
        with os.scandir(descriptor) as found:
            for entry in found:
                where = regular if entry.is_file(follow_symlinks=False) else others
                where.append(entry.name)
        return regular, others

    def read_into(self, descriptor: int, buffer: bytearray) -> int:
        """See `os.readv`; 0 at the end."""
        return os.readv(descriptor, [buffer])

    def read_small(self, name: str, dir_fd: int, most: int) -> tuple[bytes, int | None]:
        """Read a file if it is small, with as few calls as can be.

        :param most: octets from which on it is large
        :returns: its octets; or, where it is large, empty or something else than a file, nothing
            and its open descriptor
        """
        descriptor = os.open(name, _READ, dir_fd=dir_fd)
        try:
            octets = os.read(descriptor, most)
        except BaseException:
            os.close(descriptor)
            raise
        if 0 < len(octets) < most:
            os.close(descriptor)
            return octets, None
        return b"", descriptor

    def start_writing(self, descriptor: int) -> None:
        """Have the kernel begin to write to the disk what an fsync will wait for."""
        # The advice makes Linux start on dirty pages at once; what is not written yet stays cached.
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def stat(self, name: str | bytes, dir_fd: int | None = None) -> os.stat_result:
        """See `os.lstat`."""
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, descriptor: int) -> os.stat_result:
        """See `os.fstat`."""
        return os.fstat(descriptor)


@attrs.frozen
class OpenMaildir:
    """The descriptors of a Maildir's folders, to be closed with `close_all`."""

    root: int
    tmp: int
    new: int
    cur: int


def open_maildir(files: Files, path: MailboxPath, *, sync: bool) -> OpenMaildir:
    """Open a Maildir; one that is missing is made, durably.

    :param sync: make sure that the folders themselves would survive a power cut, even if they were
        there already: whoever made them may have been cut off before that
    :raises ForeignMaildir: it belongs to somebody else, others may write to it, or a link or a
        file stands where a folder should
    :raises OSError: a fault, or no room
    """
    opened: list[int] = []
    try:
        folder = _open_prefix(files, path.prefix)
        opened.append(folder)
        for component in path.components:
            folder = _open_below(files, folder, component, sync)
            opened.append(folder)
        root = folder
        subfolders = []
        for name in _SUBFOLDERS:
            subfolder = _open_below(files, root, name, False)
            opened.append(subfolder)
            subfolders.append(subfolder)
        if sync:
            files.fsync(root)
    except BaseException as error:
        close_all(files, opened)
        if isinstance(error, NotADirectoryError | PermissionError):
            raise ForeignMaildir(f"{path}: {error}") from error
        if isinstance(error, ForeignMaildir):
            raise ForeignMaildir(f"{path}: {error}") from None
        raise
    close_all(files, opened[: len(path.components)])
    return OpenMaildir(root, *subfolders)


def _open_prefix(files: Files, prefix: str) -> int:
    try:
        return files.open(prefix, DIRECTORY)
    except FileNotFoundError:
        parent = _open_prefix(files, os.path.dirname(prefix))
    try:
        with suppress(FileExistsError):
            files.mkdir(prefix)
        files.fsync(parent)
    finally:
        files.close(parent)
    return files.open(prefix, DIRECTORY)


def _open_below(files: Files, parent: int, name: str, sync: bool) -> int:
    flags = DIRECTORY | os.O_NOFOLLOW
    try:
        folder = files.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):
            files.mkdir(name, dir_fd=parent)
        folder = files.open(name, flags, dir_fd=parent)
        sync = True
    try:
        if sync:
            files.fsync(parent)
        found = files.fstat(folder)
        if found.st_uid != os.geteuid():
            raise ForeignMaildir(f"{name!r} belongs to user {found.st_uid}, not to {os.geteuid()}")
        if found.st_mode & stat.S_IWOTH:
            raise ForeignMaildir(f"anybody may write to {name!r}")
    except BaseException:
        files.close(folder)
        raise
    return folder


def close_all(files: Files, descriptors: Iterable[int]) -> None:
    """Close what was only read or synced already: a failure has no meaning any more."""
    for descriptor in descriptors:
        with suppress(OSError):
            files.close(descriptor)


def create_file(files: Files, name: str, folder: int) -> int:
    """Open a file for writing that must not be there yet, for our eyes only."""
    return files.open(name, _CREATE, 0o600, dir_fd=folder)


def open_regular(files: Files, name: str, folder: int) -> tuple[int, int]:
    """Open a file for reading.

    :returns: its descriptor, and its size in octets
    :raises FileNotFoundError: it is not there
    :raises OSError: it is a link
    :raises ForeignMaildir: it is no regular file
    """
    descriptor = files.open(name, _READ, dir_fd=folder)
    try:
        found = files.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ForeignMaildir(f"{name!r} is not a regular file")
    except BaseException:
        files.close(descriptor)
        raise
    return descriptor, found.st_size


def write_all(files: Files, descriptor: int, pieces: Sequence[bytes]) -> None:
    """Write all of it, however little a single write takes."""
    rest: list[bytes | memoryview] = [piece for piece in pieces if piece]
    while rest:
        written = files.write(descriptor, rest)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = memoryview(rest[0])[written:]


def remove_stale(files: Files, tmp: int, now: float) -> None:
    """Remove what writers that died left in a tmp folder.

    Nothing that is being written is that old: every write renews the time. Other software's files
    go as well, as the Maildir's own rules ask. Our own may lie ready for a queue that was down all
    the time, and stay for as long as any queue keeps a message.

    :param now: POSIX seconds
    """
    for name, regular in files.entries(tmp):
        with suppress(OSError):
            age = OURS_STALE if is_delivery(os.fsdecode(name)) else STALE
            if regular and files.stat(name, tmp).st_mtime < now - age:
                files.unlink(name, tmp)
