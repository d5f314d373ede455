"""What the server has learned of its next hops, for other processes to read.

Each process of the server writes what it knows into a file of its own in ``state_dir`` every few
seconds, when it has changed, and removes the file when it stops. Who reads ignores what is left of
a process that was killed. What is shown is a few seconds old, and nothing depends on it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailframe.interfaces import Site

log = Logger()

EVERY = 5.0  # seconds from one look to the next
AGAIN = 60.0  # seconds after which a file is written again though nothing has changed
TOO_OLD = 200.0  # seconds; a file that is older belongs to a process that hangs, or to another
MAX_SHOWN = 200  # next hops in one file
MAX_FILE = 1024 * 1024  # octets that are read of one
_FOLDER = "relay"


@attrs.frozen(kw_only=True)
class LiveHop:
    """What one process has learned of a next hop, and does there now.

    :ivar pid: the process
    :ivar written: when this was so, POSIX seconds
    :ivar where: the next hop, as routing writes it
    :ivar tls: what its route asks of TLS
    :ivar protocol: ``smtp`` or ``lmtp``
    :ivar connections: how many it gets at present
    :ivar most: the most it may get
    :ivar in_use: how many are in use
    :ivar waiting: how many messages wait for one
    :ivar left_alone_until: when a probe may be sent there, POSIX seconds; ``None``: it is not dead
    :ivar reason: why it is dead, or ``""``
    :ivar rates: for each rate that was made use of, in words, for how many messages or connections
        there is room at once
    """

    pid: int
    written: float
    where: str
    tls: str
    protocol: str
    connections: int
    most: int
    in_use: int
    waiting: int
    left_alone_until: float | None
    reason: str
    rates: Mapping[str, int]


class Learned(Protocol):
    """Knows of next hops: `mailframe.delivery.relay.RelayAgent`."""

    def learned(self) -> Sequence[Mapping[str, Any]]:
        """What is known of each, as in `LiveHop`; the ones of most interest first."""


class LiveLimits(Service):
    """Writes the file of this process.

    :param agent: knows
    :param site: what the server lends
    """

    def __init__(self, agent: Learned, site: Site) -> None:
        self._agent = agent
        self._reactor = site.reactor
        self._in_thread: Callable[..., Deferred[Any]] = site.in_thread
        self._path = os.path.join(site.state_dir, _FOLDER, f"{os.getpid()}.json")
        self._written: Sequence[Mapping[str, Any]] = ()
        self._written_at = float("-inf")
        self._told = False
        self._looking: LoopingCall | None = None

    def startService(self) -> None:
        """Look every few seconds."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._reactor
        self._looking.start(EVERY, now=False)

    def stopService(self) -> Deferred[None] | None:
        """Remove the file."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        looking, self._looking = self._looking, None
        if looking is None:
            return None
        return Deferred.fromCoroutine(self._stop(looking))

    async def _stop(self, looking: LoopingCall) -> None:
        ended = looking.deferred if looking.running else None
        looking.stop()
        if ended is not None:
            await ended  # when a file is being written
        if self._written_at >= 0:
            await self._in_thread(_remove, self._path)

    async def _look(self) -> None:
        learned = self._agent.learned()[:MAX_SHOWN]
        now = self._reactor.seconds()
        if not learned and not self._written:
            return
        if learned == self._written and 0 <= now - self._written_at < AGAIN:
            return
        self._written, self._written_at = learned, now
        document = {"pid": os.getpid(), "written": now, "hops": list(learned)}
        try:
            await self._in_thread(_write, self._path, document)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warn("{path} can't be written: {error}", path=self._path, error=str(error))


def read_live(state_dir: str, now: float | None = None) -> tuple[LiveHop, ...]:
    """What the processes of a running server know of next hops. It waits for the disk.

    :param state_dir: the server's
    :param now: POSIX seconds; by default the system's time
    :returns: nothing when no server runs, or when it has not sent anything of late
    """
    now = time.time() if now is None else now
    folder = os.path.join(state_dir, _FOLDER)
    found: list[LiveHop] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    for name in names:
        pid, dot, suffix = name.partition(".")
        if suffix == "json" and dot and pid.isdecimal() and _is_alive(int(pid)):
            found += _read(os.path.join(folder, name), int(pid), now)
    return tuple(found)


def _read(path: str, pid: int, now: float) -> list[LiveHop]:
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_FILE))
        written = float(document["written"])
        if document["pid"] != pid or not now - TOO_OLD < written < now + TOO_OLD:
            return []
        return [LiveHop(pid=pid, written=written, **hop) for hop in document["hops"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # it is being removed, or another version wrote it


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's
    except (OSError, OverflowError):
        return False
    return True


def _write(path: str, document: Mapping[str, Any]) -> None:
    """Replace the file, and remove those of processes that are gone."""
    folder = os.path.dirname(path)
    if not os.path.lexists(path):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name in os.listdir(folder):
            pid = name.partition(".")[0]
            if pid.isdecimal() and not _is_alive(int(pid)):
                _remove(os.path.join(folder, name))
    later = f"{path}.new"
    descriptor = os.open(later, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(later, path)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
