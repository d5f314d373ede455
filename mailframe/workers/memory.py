"""Memory that several processes share, by a descriptor that they inherit."""

from __future__ import annotations

import os
import tempfile


def make_memory(size: int) -> int:
    """A descriptor of memory that nobody else can get at, for `mmap.mmap`; all zero.

    :param size: in octets
    """
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return os.dup(file.fileno())
