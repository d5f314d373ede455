"""Real files, and somebody who is told of every call before and after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from mailframe.files import Files
from mailframe.testing.storage_calls import StorageCall, Watch

T = TypeVar("T")


class WatchedFiles(Files):
    """The file system, watched.

    :param watch: who is told
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def _do(self, call: StorageCall, act: Callable[[], T]) -> T:
        self.watch.before(call)
        result = act()
        self.watch.after(call)
        return result

    def _at(self, operation: str, name: str | bytes, folder: int | None) -> StorageCall:
        return StorageCall(operation=operation, path=_joined(folder, name))

    def _of(self, operation: str, descriptor: int) -> StorageCall:
        return StorageCall(operation=operation, path=_path(descriptor), descriptor=descriptor)

    # --- what changes something --------------------------------------------------------------

    def open(self, name: str | bytes, flags: int, mode: int = 0, dir_fd: int | None = None) -> int:
        """See `Files.open`."""
        call = self._at("create" if flags & os.O_CREAT else "open", name, dir_fd)
        self.watch.before(call)
        descriptor = super().open(name, flags, mode, dir_fd)
        self.watch.after(attrs.evolve(call, descriptor=descriptor))
        return descriptor

    def write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> int:
        """See `Files.write`."""
        octets = b"".join(pieces)
        call = attrs.evolve(self._of("write", descriptor), octets=octets)
        most = self.watch.before(call)
        written = super().write(descriptor, [octets[:most]])
        self.watch.after(attrs.evolve(call, octets=octets[:written]))
        return written

    def fsync(self, descriptor: int) -> None:
        """See `Files.fsync`."""
        self._do(self._of("fsync", descriptor), lambda: super(WatchedFiles, self).fsync(descriptor))

    def close(self, descriptor: int) -> None:
        """See `Files.close`. One that fails has closed all the same, as on Linux."""
        call = self._of("close", descriptor)
        try:
            self.watch.before(call)
        finally:
            super().close(descriptor)
        self.watch.after(call)

    def rename(self, old: str, old_folder: int, new: str, new_folder: int) -> None:
        """See `Files.rename`."""
        call = attrs.evolve(self._at("rename", old, old_folder), to=_joined(new_folder, new))
        self._do(call, lambda: super(WatchedFiles, self).rename(old, old_folder, new, new_folder))

    def unlink(self, name: str | bytes, dir_fd: int | None = None) -> None:
        """See `Files.unlink`."""
        call = self._at("unlink", name, dir_fd)
        self._do(call, lambda: super(WatchedFiles, self).unlink(name, dir_fd))

    def mkdir(self, name: str, dir_fd: int | None = None) -> None:
        """See `Files.mkdir`."""
        call = self._at("mkdir", name, dir_fd)
        self._do(call, lambda: super(WatchedFiles, self).mkdir(name, dir_fd))

    # --- what only looks ---------------------------------------------------------------------

    def read(self, descriptor: int, size: int) -> bytes:
        """See `Files.read`."""
        most = self.watch.before(self._of("read", descriptor))
        return super().read(descriptor, size if most is None else min(size, max(most, 1)))

    def read_into(self, descriptor: int, buffer: bytearray) -> int:
        """See `Files.read_into`."""
        self.watch.before(self._of("read", descriptor))
        return super().read_into(descriptor, buffer)

    def read_small(self, name: str, dir_fd: int, most: int) -> tuple[bytes, int | None]:
        """See `Files.read_small`."""
        self.watch.before(self._at("open", name, dir_fd))
        self.watch.before(self._at("read", name, dir_fd))
        octets, descriptor = super().read_small(name, dir_fd, most)
        if descriptor is not None:
            self.watch.after(attrs.evolve(self._at("open", name, dir_fd), descriptor=descriptor))
        return octets, descriptor

    def entries(self, descriptor: int) -> list[tuple[bytes, bool]]:
        """See `Files.entries`."""
        self.watch.before(self._of("list", descriptor))
        return super().entries(descriptor)

    def names(self, descriptor: int) -> list[str]:
        """See `Files.names`."""
        self.watch.before(self._of("list", descriptor))
        return super().names(descriptor)

    def regular(self, descriptor: int) -> tuple[list[str], list[str]]:
        """See `Files.regular`."""
        self.watch.before(self._of("list", descriptor))
        return super().regular(descriptor)

    def stat(self, name: str | bytes, dir_fd: int | None = None) -> os.stat_result:
        """See `Files.stat`."""
        self.watch.before(self._at("stat", name, dir_fd))
        return super().stat(name, dir_fd)


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _joined(folder: int | None, name: str | bytes) -> str:
    text = os.fsdecode(name)
    return os.path.abspath(text) if folder is None else os.path.normpath(f"{_path(folder)}/{text}")
