"""Whose turn it is to write: the processes that share a queue take turns.

SQLite lets one process write at a time, and has the others sleep and look again, in steps of up to
100 ms. A lock of the kernel's wakes the next one at once. It costs two system calls where nobody
else wants it, and ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
from typing import Protocol


class Turn(Protocol):
    """What is held while a batch is written; taking it may block."""

    def __enter__(self) -> object:
        """Wait for the turn."""

    def __exit__(self, *error: object) -> None:
        """Let the next one write."""

    def close(self) -> None:
        """It is not needed any more."""


class WriteTurn:
    """A turn among processes, by a lock on a file.

    :param path: the file; it is created when missing
    :raises OSError: it can't be opened
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class NoTurn:
    """Whoever has a queue to itself may always write."""

    def __enter__(self) -> None:
        """At once."""

    def __exit__(self, *error: object) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """There is nothing to close."""
