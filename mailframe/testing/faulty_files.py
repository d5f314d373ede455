"""A file system that fails when it is told to, and remembers what was done to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from mailframe.files import Files


class FaultyFiles(Files):
    """Real files, with faults.

    :ivar calls: each operation with the path it was done to, relative to ``root``
    :ivar faults: what the n-th call (from 1) of an operation raises
    :ivar most: octets that a single write takes at the most
    :ivar largest: octets that a write was given at the most
    :ivar before: called before each operation, with its name
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.calls: list[tuple[str, str]] = []
        self.faults: dict[tuple[str, int], Exception] = {}
        self.most = 1 << 30
        self.largest = 0
        self._opened: dict[int, tuple[int, int]] = {}
        self.before: Callable[[str], None] = lambda operation: None
        self._counts: dict[str, int] = {}

    @property
    def opened(self) -> set[int]:
        """The descriptors that are still open, those included that a file object was made of."""
        still = set()
        for descriptor, identity in self._opened.items():
            try:
                found = os.fstat(descriptor)
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == identity:
                still.add(descriptor)
        return still

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        return self._counts.get(operation, 0)

    def fail(self, operation: str, errno: int, nth: int = 1) -> None:
        """Have the n-th call from now on fail."""
        self.faults[operation, self.count(operation) + nth] = OSError(errno, os.strerror(errno))

    def _note(self, operation: str, name: Any, folder: int | None) -> None:
        self.before(operation)
        self._counts[operation] = self.count(operation) + 1
        text = os.fsdecode(name)
        path = os.path.join(self._path(folder), text) if folder is not None else text
        self.calls.append((operation, os.path.relpath(path, self.root)))
        fault = self.faults.get((operation, self._counts[operation]))
        if fault is not None:
            raise fault

    def _path(self, descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def open(self, name: str | bytes, flags: int, mode: int = 0, dir_fd: int | None = None) -> int:
        """See `Files.open`."""
        self._note("open", name, dir_fd)
        descriptor = super().open(name, flags, mode, dir_fd)
        found = os.fstat(descriptor)
        self._opened[descriptor] = (found.st_dev, found.st_ino)
        return descriptor

    def write(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> int:
        """See `Files.write`."""
        self._note("write", self._path(descriptor), None)
        octets = b"".join(pieces)
        self.largest = max(self.largest, len(octets))
        return super().write(descriptor, [octets[: self.most]]) if self.most else 0

    def fsync(self, descriptor: int) -> None:
        """See `Files.fsync`."""
        # The disk of the machine that runs the tests is spared: that it was called is enough.
        self._note("fsync", self._path(descriptor), None)

    def close(self, descriptor: int) -> None:
        """See `Files.close`."""
        super().close(descriptor)
        self._note("close", str(descriptor), None)

    def rename(self, old: str, old_folder: int, new: str, new_folder: int) -> None:
        """See `Files.rename`."""
        self._note("rename", new, new_folder)
        super().rename(old, old_folder, new, new_folder)

    def unlink(self, name: str | bytes, dir_fd: int | None = None) -> None:
        """See `Files.unlink`."""
        self._note("unlink", name, dir_fd)
        super().unlink(name, dir_fd)

    def mkdir(self, name: str, dir_fd: int | None = None) -> None:
        """See `Files.mkdir`."""
        self._note("mkdir", name, dir_fd)
        super().mkdir(name, dir_fd)

    def entries(self, descriptor: int) -> list[tuple[bytes, bool]]:
        """See `Files.entries`."""
        self._note("entries", self._path(descriptor), None)
        return super().entries(descriptor)

    def names(self, descriptor: int) -> list[str]:
        """See `Files.names`."""
        self._note("names", self._path(descriptor), None)
        return super().names(descriptor)

    def regular(self, descriptor: int) -> tuple[list[str], list[str]]:
        """See `Files.regular`."""
        self._note("regular", self._path(descriptor), None)
        return super().regular(descriptor)

    def read(self, descriptor: int, size: int) -> bytes:
        """See `Files.read`."""
        self._note("read", self._path(descriptor), None)
        return super().read(descriptor, min(size, self.most))

    def read_into(self, descriptor: int, buffer: bytearray) -> int:
        """See `Files.read_into`."""
        self._note("read", self._path(descriptor), None)
        return super().read_into(descriptor, buffer)

    def read_small(self, name: str, dir_fd: int, most: int) -> tuple[bytes, int | None]:
        """See `Files.read_small`."""
        self._note("open", name, dir_fd)
        self._note("read", name, dir_fd)
        octets, descriptor = super().read_small(name, dir_fd, most)
        if descriptor is not None:
            found = os.fstat(descriptor)
            self._opened[descriptor] = (found.st_dev, found.st_ino)
        return octets, descriptor

    def stat(self, name: str | bytes, dir_fd: int | None = None) -> os.stat_result:
        """See `Files.stat`."""
        self._note("stat", name, dir_fd)
        return super().stat(name, dir_fd)
