"""A file that is read again when it has changed.

It is looked at before an answer, at most once a second, and read in a thread; who asks meanwhile
waits for what it says then. While it can't be used, nobody gets an answer: an old one might be
wrong. What could not even be read is read again at each look, for what is in the way may be gone
without a change of the file: its permissions, or a lack of descriptors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe.interfaces import LookupFault

T = TypeVar("T")
log = Logger()

LOOK_EVERY = 1.0  # seconds
# Device, inode, time of change in nanoseconds and size; None when there is no file.
_Signature: TypeAlias = tuple[int, int, int, int] | None
_UNREAD: _Signature = (-1, -1, -1, -1)  # no file's


class _Unreadable(ValueError):
    """The system did not give the file's text."""


class FollowedFile(Generic[T]):
    """What a text file says.

    :param parse: reads its text; raises `ValueError` when it can't be used
    :param clock: tells when it is time to look at it again
    :param in_thread: see `mailframe.interfaces.Site`
    :raises ValueError: it can't be read or used
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[str], T],
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._in_thread = in_thread
        self._waiting: list[Deferred[None]] | None = None  # a list while it is being read
        self._fault = ""
        self._seen, self._value = self._read()
        self._looked = clock.seconds()

    async def value(self) -> T:
        """What it says now.

        :raises LookupFault: it can't be read or used
        """
        self._look()
        if self._waiting is not None:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        if self._fault:
            raise LookupFault(self._fault)
        return self._value

    def _read(self) -> tuple[_Signature, T]:
        try:
            with open(self._path, "rb") as file:
                seen = _signature(os.fstat(file.fileno()))
                return seen, self._parse(file.read().decode())
        except OSError as error:
            reason = f"{self._path} can't be read: {error.strerror or error}"
            raise _Unreadable(reason) from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._path} is not UTF-8: octet {error.start}") from None
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None

    def _look(self) -> None:
        now = self._clock.seconds()
        if self._waiting is not None or 0 <= now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            found: _Signature = _signature(os.stat(self._path))
        except OSError:
            found = None
        if found != self._seen:
            self._seen, self._waiting = found, []
            reading: Deferred[tuple[_Signature, T]] = self._in_thread(self._read)
            reading.addCallbacks(self._changed, self._broken)
            reading.addBoth(self._answer)

    def _changed(self, read: tuple[_Signature, T]) -> None:
        self._seen, self._value = read
        self._fault = ""
        log.info("read {path!r} again: it has changed", path=self._path)

    def _broken(self, failure: Failure) -> None:
        before, self._fault = self._fault, str(failure.value)
        if isinstance(failure.value, _Unreadable):
            self._seen = _UNREAD
        if self._fault != before:
            log.error("can't be used until it is mended: {reason}", reason=self._fault)

    def _answer(self, _: object) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(None)


def _signature(status: os.stat_result) -> _Signature:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
