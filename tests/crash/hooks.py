"""What is changed in a server before it starts: mutants, and who watches what it does to its files.

An order from outside reaches a running server as a datagram, one JSON text each, to the socket
`control_path`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import threading
import time
from collections import Counter
from typing import Any

from mailframe.queue import runner
from mailframe.queue.ledger import Ledger
from mailframe.testing.storage_calls import StorageCall, fault, is_at, place_of
from mailframe.testing.watched_files import WatchedFiles
from mailframe.testing.watched_sqlite import WatchedSqlite
from tests.crash.disks import FS_IOC_SHUTDOWN, WITHOUT_FLUSHING
from tests.crash.server import Place

SURVEY = 0.2  # seconds between two notes of what was reached


def install(
    place: Place,
    *,
    mutant: str = "",
    watched: bool = False,
    survey: str = "",
    strike: dict[str, Any] | None = None,
    small_log: int = 0,
    impatient: bool = False,
) -> None:
    """Change the process that calls this, for good.

    :param mutant: one of `tests.crash.mutants.MUTANTS`
    :param watched: take orders for faults
    :param survey: the file into which it is noted how often each site was reached
    :param strike: the end of the process at a certain call, see `Striking`
    :param small_log: pages after which SQLite copies from its log into the database
    :param impatient: wait no longer than a moment after a fault of the storage
    """
    if impatient:
        runner.RECORD_AGAIN = runner.LOOK_AFTER = 0.3
        runner.LEASE = 4.0
    if small_log:
        prepare = Ledger._prepare

        def prepared(ledger: Ledger) -> None:
            prepare(ledger)
            ledger.connection.execute(f"PRAGMA wal_autocheckpoint = {small_log:d}")

        Ledger._prepare = prepared  # type: ignore[method-assign]  # for good
    if mutant:
        from tests.crash.mutants import MUTANTS

        MUTANTS[mutant].install()
    watch: Survey | Striking | Faulting | None = None
    if survey:
        watch = Survey(survey)
    elif strike is not None:
        watch = Striking(place.disk, **strike)
    elif watched:
        watch = Faulting(control_path(place))
    if watch is not None:
        from mailframe.delivery import maildir
        from mailframe.queue import spool

        files = WatchedFiles(watch)
        maildir.Files = spool.Files = lambda: files  # type: ignore[misc, assignment]  # for good
        WatchedSqlite(watch).__enter__()


def control_path(place: Place) -> str:
    """Where a server takes orders."""
    return f"{place.log}.control"


class Survey:
    """Notes how often each site was reached."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        threading.Thread(target=self._note, daemon=True).start()

    def _note(self) -> None:
        while True:
            time.sleep(SURVEY)
            with self._lock:
                counts = dict(self._counts)
            with open(f"{self._path}.draft", "w", encoding="utf-8") as file:
                json.dump(counts, file)
            os.rename(f"{self._path}.draft", self._path)

    def before(self, call: StorageCall) -> None:
        """Count it."""
        site = place_of(call)
        with self._lock:
            self._counts[site] += 1

    def after(self, call: StorageCall) -> None:
        """Nothing."""


class Striking:
    """Ends the process at a certain call.

    From the end of the power to that of the process no Python thread runs, so that nobody is told
    anything that was not true before.

    :param disk: its power is cut as well, if ``by`` says ``cut``
    :param site: which call; empty for any
    :param nth: at how manieth, from 1
    :param when: ``before`` or ``after``
    """

    def __init__(self, disk: str, *, site: str, nth: int, when: str, by: str) -> None:
        self._site, self._left, self._when = site, nth, when
        self._lock = threading.Lock()
        self._descriptor = os.open(disk, os.O_RDONLY) if by == "cut" else -1
        self._libc = ctypes.PyDLL(None)  # whose functions keep the interpreter's lock

    def before(self, call: StorageCall) -> None:
        """Strike, if it is time."""
        if self._when == "before":
            self._look(call)

    def after(self, call: StorageCall) -> None:
        """Strike, if it is time."""
        if self._when == "after":
            self._look(call)

    def _look(self, call: StorageCall) -> None:
        if self._site and not is_at(call, self._site):
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
            if self._descriptor >= 0:
                flags = ctypes.create_string_buffer(struct.pack("I", WITHOUT_FLUSHING))
                self._libc.ioctl(self._descriptor, ctypes.c_ulong(FS_IOC_SHUTDOWN), flags)
            self._libc.kill(os.getpid(), signal.SIGKILL)


class Faulting:
    """Has calls fail as ordered: ``{"site", "errno" or "short", "times", "answer"}``.

    :param path: where orders come in; an order is answered at its ``answer`` once it is done
    """

    def __init__(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._order: dict[str, Any] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._take_orders, daemon=True).start()

    def _take_orders(self) -> None:
        while True:
            order = json.loads(self._socket.recv(65536))
            with self._lock:
                self._order = order or None

    def before(self, call: StorageCall) -> int | None:
        """Fail, if it was ordered."""
        order = self._order
        if order is None or not is_at(call, order["site"]):
            return None
        with self._lock:
            order = self._order
            if order is None:
                return None
            order["times"] -= 1
            if not order["times"]:
                self._order = None
                with contextlib.suppress(OSError):
                    self._socket.sendto(b"done", order["answer"])
            if "short" in order:
                return int(order["short"])
            raise fault(order["errno"])

    def after(self, call: StorageCall) -> None:
        """Nothing."""
