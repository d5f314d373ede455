"""A server and all who use it, through one crash after the other."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tests.crash.books import Books
from tests.crash.clients import Mover, Reader, Sender, Sink
from tests.crash.disks import Disk, Folder
from tests.crash.hooks import control_path, cut_path
from tests.crash.server import Place
from tests.crash.zygote import Process, Zygote

SENDERS = 3
DRAIN = 60.0  # seconds until what was acknowledged must have arrived
PATIENCE = 2.0  # seconds until a call must have been made
LOOK = 0.05  # seconds between two looks whether the server lives
STALL = 30.0  # seconds without any acknowledgement: the server does not serve


By: TypeAlias = Literal["cut", "kill"]


class Broken(Exception):
    """The server does not serve any more, or does not deliver; the message says what is known."""


class World:
    """Everything there is.

    :param disk: where the server keeps its things
    :param zygote: starts the server
    :param seed: what chance there is
    """

    def __init__(self, disk: Disk | Folder, zygote: Zygote, seed: str) -> None:
        self.disk = disk
        self.chance = random.Random(seed)  # to be repeated, not to be secret
        self.books = Books()
        self.sink = Sink(self.books, f"{seed}/sink")
        smtp, pop3 = _free_ports(2)
        self.place = Place(
            disk=disk.path, log=f"{disk.path}.log", smtp=smtp, pop3=pop3, sink=self.sink.port
        )
        self._zygote = zygote
        self.senders = [Sender(self.books, f"{seed}/{n}", smtp) for n in range(SENDERS)]
        self.mover = Mover(self.books, f"{seed}/mover", self.mail)
        self.clients = [*self.senders, Reader(self.books, f"{seed}/reader", pop3), self.mover]
        self.server = Process(0, -1)
        self.hooks: dict[str, Any] = {}
        self.starts = 0

    @property
    def mail(self) -> str:
        """The folder of the mailboxes."""
        return f"{self.disk.path}/mail"

    def __enter__(self) -> World:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.stopped.set()
        for client in self.clients:
            client.stop()
        self.server.kill()
        self.sink.close()
        log = self.place.log
        for path in (log, f"{log}.accounts", control_path(self.place)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def start(self, **hooks: Any) -> None:
        """Start the server."""
        self.starts += 1
        self.server = self._zygote.start(self.place, **{**self.hooks, **hooks})

    # --- crashes -----------------------------------------------------------------------------

    def wait_for_mail(self, count: int) -> None:
        """Wait until so many more were acknowledged. :raises Broken: none is, any more"""
        tally = self.books.tally
        with self.books.changed:
            wanted = tally.acknowledged + count
            before, until = tally.acknowledged, time.monotonic() + STALL
            while tally.acknowledged < wanted:
                if tally.acknowledged > before:
                    before, until = tally.acknowledged, time.monotonic() + STALL
                if time.monotonic() > until or not self.server.is_alive():
                    raise Broken(f"the server takes no mail\n{self.log()}")
                self.books.changed.wait(LOOK)

    def at_an_acknowledgement(self, act: Callable[[], None]) -> None:
        """Do something in the very moment in which a client has read 250."""
        done = threading.Event()
        first = threading.Lock()

        def acknowledged() -> None:
            if first.acquire(blocking=False):
                act()
                done.set()

        for sender in self.senders:
            sender.acknowledged = acknowledged
        if not done.wait(STALL):
            raise Broken(f"the server takes no mail\n{self.log()}")
        for sender in self.senders:
            sender.acknowledged = lambda: None

    def end_at_random(self, by: By) -> None:
        """Start the server, and end it at a moment that has to do with nothing, or with a reply."""
        self.start()
        self._strike_at_random(by)

    def _strike_at_random(self, by: By) -> None:
        if self.chance.random() < 0.5:
            self.wait_for_mail(self.chance.randint(1, 12))
            time.sleep(self.chance.random() * 0.03)
            self.end(by)
        else:
            self.wait_for_mail(self.chance.randint(1, 4))
            self.at_an_acknowledgement(lambda: self._strike(by))
            self._ended(by)

    def end_at(self, by: By, site: str, when: str, nth: int, patience: float = PATIENCE) -> bool:
        """Start the server, and have it end before or after a certain call.

        :param site: which; empty for any
        :param nth: at how manieth, from 1
        :returns: whether that came; if not it is ended all the same
        """
        self.start(strike={"site": site, "when": when, "nth": nth, "by": by})
        try:
            self.server.wait(patience)
            reached = True
        except TimeoutError:
            reached = False
            # Without that it came to it just now, and the power is off.
            with contextlib.suppress(OSError):
                self._strike(by)
        self._ended(by)
        return reached

    def end_several(self, by: By) -> int:
        """Start the server in several processes; kill workers, and end it as `end_at_random`.

        :returns: how often something was ended
        """
        self.starts += 1
        family = self._zygote.start_several(self.place)
        self.server = family
        kills = self.chance.randint(0, 3)
        for _ in range(kills):
            self.wait_for_mail(self.chance.randint(1, 20))
            time.sleep(self.chance.random() * 0.03)
            # Two may be gone at once. Who comes instead takes its time, as do clients.
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(self.chance.choice(family.workers()), signal.SIGKILL)
            self.sink.crashes.append(time.monotonic())
        if by == "cut" or self.chance.random() < 0.5:
            self._strike_at_random(by)
        else:
            self.wait_for_mail(self.chance.randint(1, 12))
            family.kill_first()
            self.sink.crashes.append(time.monotonic())
            if self.chance.random() < 0.5:
                time.sleep(self.chance.random() * 0.2)  # in the middle of their last work
            else:
                family.wait()
            self._ended(by)
        return kills + 1

    def end(self, by: By) -> None:
        """End the server, now."""
        self._strike(by)
        self._ended(by)

    def stop(self) -> None:
        """Have the server stop as an operator would."""
        self.server.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self.server.wait(STALL)
        self._ended("kill")

    def _switch(self) -> None:
        with self.books.lock:
            self.books.switched += 1

    def _strike(self, by: By) -> None:
        if by == "cut":
            assert isinstance(self.disk, Disk)
            self._switch()
            self.disk.cut()
        else:
            self.server.kill()

    def _ended(self, by: By) -> None:
        self.server.kill()
        self.sink.crashes.append(time.monotonic())
        with self.mover.busy:
            if by == "cut":
                assert isinstance(self.disk, Disk)
                self.disk.remount()
                if self.books.switched % 2:
                    self._switch()
                with contextlib.suppress(FileNotFoundError):
                    self.books.void_since(float(Path(cut_path(self.disk.path)).read_text()))
                    os.unlink(cut_path(self.disk.path))
            self.books.scan(self.mail)

    def wipe(self) -> None:
        """Empty the disk while no server runs, and forget what was on it."""
        with self.mover.busy:
            self.books.forget()
            for path in Path(self.disk.path).iterdir():
                if path.name != "lost+found":
                    shutil.rmtree(path)
            self.disk.sync()

    # --- the judgement -------------------------------------------------------------------------

    def drain(self, *, restart: bool = True) -> None:
        """Let everything arrive, see whether it does, and empty the mailboxes.

        :param restart: the server does not run, and is to be started for it and killed then
        """
        if restart:
            self.start()
        with contextlib.ExitStack() as stack:
            for sender in self.senders:
                stack.enter_context(sender.sending)
            self._wait_and_judge()
        if restart:
            self.server.kill()
            self.sink.crashes.append(time.monotonic())

    def _wait_and_judge(self) -> None:
        until = time.monotonic() + DRAIN
        while time.monotonic() < until and self.server.is_alive():
            if self.queue_length() == 0:
                with self.mover.busy:
                    self.books.scan(self.mail)
                if not self.books.missing():
                    break
            time.sleep(0.02)
        with self.mover.busy:
            if not self.books.end(self.mail):
                self.books.findings += [f"in the queue: {row}" for row in self.queue()]
            self._empty()

    def queue_length(self) -> int:
        """How many messages wait in the queue; -1 when that can't be told now."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.place.disk}/state/queue/queue.db?mode=ro", uri=True)
            ) as connection:
                (length,) = connection.execute("SELECT count(*) FROM message").fetchone()
                return int(length)
        except sqlite3.Error:
            return -1

    def queue(self) -> list[object]:
        """What waits in the queue."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.place.disk}/state/queue/queue.db?mode=ro", uri=True)
        ) as connection:
            rows = connection.execute(
                "SELECT key, due - ?, owner, held, recipients, (SELECT group_concat(events) FROM"
                " history WHERE history.key = message.key) FROM message",
                (time.time(),),
            )
            return rows.fetchmany(20)

    def _empty(self) -> None:
        for path in Path(self.mail).glob("*/[nc]*/*"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self.disk.sync()

    def log(self) -> str:
        """The end of what the server has logged."""
        with contextlib.suppress(FileNotFoundError):
            return Path(self.place.log).read_text(errors="replace")[-6000:]
        return ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
