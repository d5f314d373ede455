"""What is changed in a server before it starts: mutants, and who watches what it does to its files.

An order from outside reaches a running server as a datagram, one JSON text each, to the socket
`control_path`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections import Counter
from types import FrameType
from typing import Any

from mailframe.queue import recording, runner
from mailframe.queue.ledger import Ledger
from mailframe.queue.turns import WriteTurn
from mailframe.testing.storage_calls import StorageCall, fault, is_at, place_of
from mailframe.testing.watched_files import WatchedFiles
from mailframe.testing.watched_sqlite import WatchedSqlite
from tests.crash.disks import FS_IOC_SHUTDOWN, WITHOUT_FLUSHING
from tests.crash.server import Place

SERVING = signal.SIGUSR1
NOTED = (1, 2, 3, 5, 9)


def install(
    place: Place,
    *,
    mutant: str = "",
    orders: list[dict[str, Any]] | None = None,
    survey: str = "",
    strike: dict[str, Any] | None = None,
    small_log: int = 0,
    small_memory: int = 0,
    slow_turns: float = 0.0,
    impatient: bool = False,
) -> None:
    """Change the process that calls this, for good.

    :param mutant: one of `tests.crash.mutants.MUTANTS`
    :param orders: take orders for faults, of which these are the first
    :param survey: the file into which it is noted what calls are made, see `Noting`
    :param strike: the end of the process at a certain call, see `Striking`
    :param small_log: pages after which SQLite copies from its log into the database
    :param small_memory: pages of its database that SQLite remembers; it reads the others again, and
        writes before the end of a transaction
    :param slow_turns: seconds that the queue waits before each batch, so that it grows
    :param impatient: wait no longer than a moment after a fault of the storage
    """
    if impatient:
        recording.RECORD_AGAIN = runner.LOOK_AFTER = 0.3
        runner.LEASE = 4.0
    settings = {"wal_autocheckpoint": small_log, "cache_size": small_memory}
    _set_up_sqlite({name: pages for name, pages in settings.items() if pages})
    if slow_turns:
        take = WriteTurn.__enter__

        def take_slowly(turn: WriteTurn) -> None:
            time.sleep(slow_turns)
            take(turn)

        WriteTurn.__enter__ = take_slowly  # type: ignore[method-assign]  # for good
    if mutant:
        from tests.crash.mutants import MUTANTS

        MUTANTS[mutant].install()
    watch: Noting | Striking | Faulting | None = None
    if survey:
        watch = Noting(survey)
    elif strike is not None:
        watch = Striking(place.disk, **strike)
    elif orders is not None:
        watch = Faulting(control_path(place), orders)
    if watch is not None:
        files = WatchedFiles(watch)
        for module in ("mailframe.delivery.maildir", "mailframe.queue.spool"):
            loaded: Any = importlib.import_module(module)
            loaded.Files = lambda: files
        WatchedSqlite(watch).__enter__()


def _set_up_sqlite(pragmas: dict[str, int]) -> None:
    prepare = Ledger._prepare

    def prepared(ledger: Ledger) -> None:
        prepare(ledger)
        for name, value in pragmas.items():
            ledger.connection.execute(f"PRAGMA {name} = {value:d}")

    Ledger._prepare = prepared  # type: ignore[method-assign, assignment]  # for good


def cut_path(disk: str) -> str:
    """Where a server writes down when it cuts the power of a disk."""
    return f"{disk}.cut"


def control_path(place: Place) -> str:
    """Where a server takes orders."""
    return f"{place.log}.control"


class Noting:
    """Notes which calls are made, and how often: a line each for the first few times of each.

    A line is the phase, the time (``before`` or ``after``), the number and the site, with tabs
    between them. `SERVING`, a signal, begins the phase ``serving``, in which it counts anew.

    :param path: the file that lines are added to
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._phase = "start"
        signal.signal(SERVING, self._begin_to_serve)

    def _begin_to_serve(self, _number: int, _frame: FrameType | None) -> None:
        self._phase = "serving"

    def before(self, call: StorageCall) -> None:
        """Note it."""
        self._note(call, "before")

    def after(self, call: StorageCall) -> None:
        """Note it."""
        self._note(call, "after")

    def _note(self, call: StorageCall, when: str) -> None:
        what = self._phase, when, place_of(call)
        with self._lock:
            self._counts[what] += 1
            number = self._counts[what]
        if number in NOTED:
            phase, when, site = what
            os.write(self._descriptor, f"{phase}\t{when}\t{number}\t{site}\n".encode())


class Striking:
    """Ends the process at a certain call.

    Between the end of the power and that of the process another thread may run for a moment, and
    tell somebody what a sync said that falsely succeeded. So the time before is written down.

    :param disk: its power is cut as well, if ``by`` says ``cut``
    :param site: which call; empty for any
    :param nth: at how manieth, from 1
    :param when: ``before`` or ``after``
    """

    def __init__(self, disk: str, *, site: str, nth: int, when: str, by: str) -> None:
        self._site, self._left, self._when = site, nth, when
        self._lock = threading.Lock()
        self._descriptor = os.open(disk, os.O_RDONLY) if by == "cut" else -1
        self._when_path = cut_path(disk)
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
                with open(self._when_path, "w", encoding="ascii") as file:
                    file.write(str(time.monotonic()))
                flags = ctypes.create_string_buffer(struct.pack("I", WITHOUT_FLUSHING))
                self._libc.ioctl(self._descriptor, ctypes.c_ulong(FS_IOC_SHUTDOWN), flags)
            self._libc.kill(os.getpid(), signal.SIGKILL)


class Faulting:
    """Has calls fail as ordered: ``{"site", "errno" or "short", "times", "answer", "number"}``.

    :param path: where orders come in, a list each time, which takes the place of the one before;
        each is answered, with its number, at its ``answer`` once it is done
    :param orders: the first ones
    """

    def __init__(self, path: str, orders: list[dict[str, Any]]) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._orders = orders
        self._lock = threading.Lock()
        threading.Thread(target=self._take_orders, daemon=True).start()

    def _take_orders(self) -> None:
        while True:
            orders = json.loads(self._socket.recv(65536))
            with self._lock:
                self._orders = orders

    def before(self, call: StorageCall) -> int | None:
        """Fail, if it was ordered."""
        if not any(is_at(call, order["site"]) for order in self._orders):
            return None
        with self._lock:
            for order in self._orders:
                if is_at(call, order["site"]):
                    return self._fail(order)
        return None

    def _fail(self, order: dict[str, Any]) -> int:
        order["times"] -= 1
        if not order["times"]:
            self._orders = [other for other in self._orders if other is not order]
            with contextlib.suppress(OSError):
                self._socket.sendto(b"%d" % order["number"], order["answer"])
        if "short" in order:
            return int(order["short"])
        raise fault(order["errno"])

    def after(self, call: StorageCall) -> None:
        """Nothing."""
