"""How many clients each worker has, so that one that has more lets the others take the next.

Without this, who happens to run when many clients come at once takes most of them, and keeps them
for as long as they stay. The numbers lie in memory that all processes share; each worker writes its
own, and the supervising process that of a worker which has ended.
"""

from __future__ import annotations

import mmap
import os
from typing import Protocol

from mailframe.workers.memory import make_memory

ABSENT = -1  # the number of a worker that serves nobody
_WIDTH = 4  # octets of a number


class Connection(Protocol):
    """A client's connection: what `adoptStreamConnection` gives."""

    connected: int


class Counts:
    """The numbers of all workers.

    :param workers: how many there are
    :param descriptor: of the memory; when not given, memory is made, with all workers absent
    :ivar descriptor: of the memory
    """

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        size = workers * _WIDTH
        self.descriptor = make_memory(size) if descriptor is None else descriptor
        self._memory = mmap.mmap(self.descriptor, size)
        self._numbers = memoryview(self._memory).cast("i")
        if descriptor is None:
            for worker in range(1, workers + 1):
                self.set(worker, ABSENT)

    def set(self, worker: int, number: int) -> None:
        """Tell how many clients a worker has; ``ABSENT`` when it serves nobody.

        :param worker: its number, from 1 on
        """
        self._numbers[worker - 1] = number

    def least(self) -> int:
        """How many clients the worker has that has the fewest; 0 when none serves."""
        return min((number for number in self._numbers if number != ABSENT), default=0)

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._memory.close()
        os.close(self.descriptor)


class Balance:
    """What one worker has, beside the others.

    :param counts: of all
    :param worker: its number
    """

    def __init__(self, counts: Counts, worker: int) -> None:
        self._counts = counts
        self._worker = worker
        self._connections: list[Connection] = []

    def begin(self) -> None:
        """The worker serves from now on, and others may leave clients to it."""
        self._counts.set(self._worker, len(self._connections))

    def took(self, connection: Connection) -> None:
        """A client was let in."""
        self._connections.append(connection)
        self._counts.set(self._worker, len(self._connections))

    def is_ahead(self) -> bool:
        """Whether another worker should rather take the next client: it has notably fewer."""
        self._connections = [each for each in self._connections if each.connected]
        own = len(self._connections)
        self._counts.set(self._worker, own)
        return own > self._counts.least() + 1 + own // 8
