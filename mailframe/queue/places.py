"""A place among the processes that share a queue: a small number that no other of them has.

It is part of the ids that a process makes, so that no two of them ever make the same one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from random import Random

PLACE_BITS = 6
_PLACES = 1 << PLACE_BITS


class Place:
    """The first place that nobody has, from when it is first asked for until it is closed.

    It is held by a lock on a file, which ends with the process. Where no file can be locked, or all
    places are taken, it is a place at random: what is random in ids keeps them apart then, as a
    rule.

    :param folder: of the queue
    :param random: chooses a place at random
    """

    def __init__(self, folder: str, random: Random) -> None:
        self._folder = folder
        self._random = random
        self._descriptor: int | None = None

    def __call__(self) -> int:
        """The number."""
        for number in range(_PLACES):
            path = os.path.join(self._folder, f"place-{number}.lock")
            # To be read by all who may enter the folder: root may have made it, who looked after
            # the queue once.
            flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                descriptor = os.open(path, flags, 0o644)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(descriptor)
                    continue
                self._descriptor = descriptor
                return number
        return self._random.randrange(_PLACES)

    def close(self) -> None:
        """Leave it to others."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
