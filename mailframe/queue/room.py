"""The reserve: when a disk is nearly full, nothing more is accepted, so that the rest can go on.

Deliveries, steps and notices need a little room themselves before they give some back. So messages
are refused (452) while some room is still left, and taken again as soon as there is more.

What is free is looked at in a thread, at most once a `LOOK_EVERY` seconds while messages come; in
between, what they take is counted. A message costs a few comparisons.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe.units import Octets

log = Logger()

LOOK_EVERY = 1.0  # seconds
RESERVE = Octets(100 * 10**6)
RESERVE_FILES = 1000


@attrs.frozen
class Free:
    """What of a file system can still be used.

    :ivar octets: by who is not root
    :ivar files: how many more there may be; infinite where the file system has no such limit
    """

    octets: float
    files: float


def free_at(folder: str) -> Free:
    """What is free on a folder's file system.

    :raises OSError: it can't be told
    """
    found = os.statvfs(folder)
    return Free(
        octets=found.f_bavail * found.f_frsize,
        files=found.f_favail if found.f_files else math.inf,
    )


class Room:
    """What may still be taken of a folder's file system before its reserve is reached.

    :param folder: there already
    :param reserve: octets that are left alone; 0: as many as there are may be taken
    :param reserve_files: likewise, how many more files there could be
    :param in_thread: runs blocking work elsewhere
    :param look: see `free_at`
    :raises OSError: what is free can't be told
    """

    def __init__(
        self,
        folder: str,
        reserve: int,
        reserve_files: int,
        *,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        look: Callable[[str], Free] = free_at,
    ) -> None:
        self._folder = folder
        self._reserve = Free(reserve, reserve_files)
        self._clock = clock
        self._in_thread = in_thread
        self._look = look
        self._looking = self._closed = self._unknown = False
        self._again: IDelayedCall | None = None
        self._is_short = False
        self._saw(look(folder))

    def has_room(self, octets: int = 0) -> bool:
        """Whether so many octets, in one file, may be taken."""
        if not (self._looking or 0 <= self._clock.seconds() - self._looked_at < LOOK_EVERY):
            self._look_again()
        return octets < self._octets and self._files > 0

    def take(self, octets: int) -> None:
        """So many octets, in one file, are being taken."""
        self._octets -= octets
        self._files -= 1

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _look_again(self) -> None:
        self._looking = True
        self._in_thread(self._look, self._folder).addCallbacks(self._saw, self._saw_nothing)

    def _saw(self, free: Free) -> None:
        self._unknown = False
        self._octets = free.octets - self._reserve.octets
        self._files = free.files - self._reserve.files
        is_short = self._octets <= 0 or self._files <= 0
        if is_short and not self._is_short:
            log.error(
                "{folder}: {octets} octets and {files} files are left, and {reserve} octets and "
                "{reserve_files} files are kept in reserve; messages are refused until there is "
                "more room",
                folder=self._folder,
                octets=free.octets,
                files=free.files,
                reserve=self._reserve.octets,
                reserve_files=self._reserve.files,
            )
        elif self._is_short and not is_short:
            log.info("{folder} has room again; messages are taken", folder=self._folder)
        self._is_short = is_short
        self._ended()

    def _saw_nothing(self, failure: Failure) -> None:
        """What was seen last holds until more can be seen."""
        if not self._unknown:
            log.failure("{folder}: can't see what is free", failure, folder=self._folder)
        self._unknown = True
        self._ended()

    def _ended(self) -> None:
        self._looking = False
        self._looked_at = self._clock.seconds()
        if self._is_short and self._again is None and not self._closed:
            self._again = self._clock.callLater(LOOK_EVERY, self._alarmed)

    def _alarmed(self) -> None:
        self._again = None
        if not self._looking:
            self._look_again()
