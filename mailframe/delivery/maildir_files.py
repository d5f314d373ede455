"""Opening Maildirs safely. Everything here blocks, and runs outside the reactor thread.

`open_maildir` walks to a Maildir name by name, relative to the folder above and never through a
symbolic link, so that nobody who can write somewhere below can lead us elsewhere. Every write below
goes relative to the descriptors it returns.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

import attrs

from mailframe.delivery.maildir_layout import MailboxPath, is_delivery
from mailframe.files import DIRECTORY, READ, Files

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
STALE = 36 * 3600  # seconds
OURS_STALE = 60 * 86400  # seconds
_SUBFOLDERS = ("tmp", "new", "cur")


class ForeignMaildir(Exception):
    """The Maildir can't be ours, or somebody else could change it. The message is for the log."""


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
    descriptor = files.open(name, READ, dir_fd=folder)
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
