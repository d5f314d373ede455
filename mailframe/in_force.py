"""Which configuration a running server works by, told to the commands that run beside it.

A server holds a lock on a small file in its ``state_dir`` for as long as it runs, and writes there
what its configuration file was when it was read. So a command can say that a changed file is not in
force yet, instead of explaining decisions that the server does not take. Nothing depends on it: a
server that can't write the file serves nevertheless.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import suppress

import attrs
from twisted.logger import Logger

log = Logger()

NAME = "in-force.json"
_MOST = 65_536  # octets of the file that are read


@attrs.frozen(kw_only=True)
class Serving:
    """What a running server works by.

    :ivar path: its configuration file
    :ivar digest: of that file when it was read
    """

    path: str
    digest: str


class InForce:
    """The server's side; several processes of one server may hold the same file.

    :param state_dir: of the server
    """

    def __init__(self, state_dir: str) -> None:
        self._name = os.path.join(state_dir, NAME)
        self._file: int | None = None

    def publish(self, path: str) -> None:
        """Tell that a configuration has been put in force.

        :param path: its file; ``""``: there is none, and nothing is told
        """
        if not path:
            return
        try:
            octets = json.dumps({"path": path, "digest": digest(path)}).encode() + b"\n"
            if self._file is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._name, flags, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_SH)
            os.pwrite(self._file, octets, 0)
            os.ftruncate(self._file, len(octets))
        except OSError as error:
            log.warn("{name} can't be written: {reason}", name=self._name, reason=str(error))

    def close(self) -> None:
        """Tell that this process does not serve any more."""
        if self._file is not None:
            os.close(self._file)  # the lock goes with it
            self._file = None


def serving(state_dir: str) -> Serving | None:
    """What the server works by that keeps its state in a folder; ``None``: none is running.

    A server that was made by a program, without a file, is not seen.
    """
    try:
        file = os.open(os.path.join(state_dir, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None  # nobody holds it
        found = json.loads(os.read(file, _MOST))
        return Serving(path=str(found["path"]), digest=str(found["digest"]))
    except (ValueError, TypeError, KeyError):
        return Serving(path="", digest="")  # it is being written
    finally:
        os.close(file)


def digest(path: str) -> str:
    """What tells a file from what it was before; ``""`` for one that can't be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
