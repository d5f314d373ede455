"""The operations on files that everything durable is made of: the one seam to the file system.

Queue and mailboxes do whatever they do to files through a `Files`. So tests can have each single
call fail, cut a process off before or after it, or learn what was not synced in time
(`mailframe.testing.watched_files`, `mailframe.testing.forgetful_disk`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Files:
    """The file system, as it is."""

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

    def unlink(self, name: str | bytes, dir_fd: int | None = None) -> None:
        """See `os.unlink`."""
        os.unlink(name, dir_fd=dir_fd)

    def mkdir(self, name: str, dir_fd: int | None = None) -> None:
        """Make a folder that is ours alone."""
        os.mkdir(name, 0o700, dir_fd=dir_fd)

    def names(self, descriptor: int) -> list[str]:
        """What a folder holds, as `os.fsdecode` gives it."""
        return os.listdir(descriptor)

    def stat(self, name: str | bytes, dir_fd: int | None = None) -> os.stat_result:
        """See `os.lstat`."""
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, descriptor: int) -> os.stat_result:
        """See `os.fstat`."""
        return os.fstat(descriptor)

    def entries(self, descriptor: int) -> list[tuple[bytes, bool]]:
        """What a folder holds: names, and whether each is a regular file."""
        with os.scandir(descriptor) as found:
            return [(os.fsencode(e.name), e.is_file(follow_symlinks=False)) for e in found]

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
        # Straight to the system: a layer of ours in between would cost as much as the call.
        descriptor = os.open(name, READ, dir_fd=dir_fd)
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


def sync_folder(files: Files, path: str) -> None:
    """Make the names in a folder survive a power cut.

    The folder is opened for it: a descriptor whose sync has failed once proves nothing any more.
    """
    descriptor = files.open(path, DIRECTORY)
    try:
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
