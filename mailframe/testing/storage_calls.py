"""Everything a server does to its files, one call at a time, before and after it is done.

A `Watch` is told of each call by `mailframe.testing.watched_files` (what goes through
`mailframe.files.Files`) and by `mailframe.testing.watched_sqlite` (what SQLite does by itself). It
may have the call fail, end the process before or after it, or write down what was done.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class StorageCall:
    """One operation on a file or folder.

    :ivar operation: ``open``, ``create`` (an open that may make the file), ``mkdir``,
        ``rename``, ``unlink``, ``read``, ``write``, ``truncate``, ``fsync``, ``close``,
        ``stat`` or ``list``
    :ivar path: what it is done to
    :ivar descriptor: of the open file, or what identifies it among SQLite's; that of an ``open`` is
        known after it only
    :ivar to: the name that a ``rename`` gives
    :ivar octets: what is written
    :ivar offset: where it is written; ``None``: where the last write ended
    :ivar size: what a file is truncated to
    :ivar syncs_folder: an ``fsync`` or ``unlink`` that syncs the folder as well
    """

    operation: str
    path: str
    descriptor: int | None = None
    to: str = ""
    octets: bytes = attrs.field(default=b"", repr=False)
    offset: int | None = None
    size: int = 0
    syncs_folder: bool = False


class Watch(Protocol):
    """Who is told. Called in whatever thread the call is made."""

    def before(self, call: StorageCall) -> int | None:
        """A call is about to be made.

        :returns: how many octets a write may write at the most; ``None``: all
        :raises OSError: the call fails so, and is not made
        """

    def after(self, call: StorageCall) -> None:
        """A call was made, and succeeded."""


def place_of(call: StorageCall) -> str:
    """What a call is and where in the program it is made, as one text: its *site*.

    Two calls of one line are told apart by the kind of file they are made to.
    """
    frame = sys._getframe(1)  # what else tells who calls?
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("mailframe.") and not name.startswith(_ASIDE):
            where = f"{name.removeprefix('mailframe.')}.{frame.f_code.co_qualname}:{frame.f_lineno}"
            return f"{call.operation} {_kind(call.path)} at {where}"
        frame = frame.f_back
    return f"{call.operation} {_kind(call.path)}"


def is_at(call: StorageCall, site: str) -> bool:
    """Whether a call is one of a site."""
    return site.startswith(call.operation) and place_of(call) == site


def _kind(path: str) -> str:
    name = os.path.basename(path)
    if name.startswith("queue.db"):
        return name
    folder = os.path.basename(os.path.dirname(path))
    return name if name in _FOLDERS else folder if folder in _FOLDERS else "-"


_ASIDE = ("mailframe.testing.", "mailframe.files")
_FOLDERS = {"tmp", "new", "cur", "incoming", "large", "owners", "queue"}


def fault(number: int) -> OSError:
    """The error that a system call ends with."""
    return OSError(number, os.strerror(number))


FAULTS = {
    name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EMFILE", "EROFS", "ENFILE")
}
