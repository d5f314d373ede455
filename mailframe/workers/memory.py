"""Memory that several processes share, by a descriptor that they inherit."""

from __future__ import annotations

import os
import tempfile


def make_memory(size: int) -> int:
    """A descriptor of memory that nobody else can get at, for `mmap.mmap`; all zero.

    Where the system has no other kind it is a file without a name, whose room is taken at once:
    who writes into memory for which the disk has no room is killed.

    :param size: in octets
    :raises OSError: there is not so much
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mailframe")
        os.ftruncate(descriptor, size)
        return descriptor
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return os.dup(file.fileno())
