"""Starts servers quickly: a process that has everything imported already, and forks.

A server's start costs most of a second of imports, which prove nothing. What is forked here has
imported, but opened and started nothing: from there on it is a server like any other.

The process reads one JSON text a line, with a place and hooks, and answers with the id of the
process it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

import attrs

from tests.crash.server import Place

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARTS = (
    "encodings.idna",
    "twisted.internet.epollreactor",
    "twisted.names.client",
    "mailframe.accounts.file",
    "mailframe.authorisation.providers",
    "mailframe.delivery.maildir",
    "mailframe.delivery.relay",
    "mailframe.queue.sqlite",
    "mailframe.routing.table",
    "mailframe.tap",
    "tests.crash.hooks",
    "tests.crash.server",
    "tests.crash.several",
)


@attrs.define
class Process:
    """A server that was started, or rather one's descriptor of it, which no other process takes."""

    pid: int
    descriptor: int

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.descriptor >= 0 and not select.select([self.descriptor], [], [], 0)[0]

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self.descriptor >= 0:
                signal.pidfd_send_signal(self.descriptor, number)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait for its end. :raises TimeoutError: it does not end"""
        if self.descriptor >= 0:
            if not select.select([self.descriptor], [], [], seconds)[0]:
                raise TimeoutError(f"process {self.pid} does not end")
            os.close(self.descriptor)
            self.descriptor = -1


class Family(Process):
    """A server in several processes: the supervising one, and its workers in its process group."""

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        with contextlib.suppress(OSError):
            path = f"/proc/{self.pid}/task/{self.pid}/children"
            with open(path, encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        return []

    def kill_first(self) -> None:
        """End the supervising process only; its workers come to their end by themselves."""
        super().kill()

    def kill(self) -> None:
        """End all of them at once, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait for the end of the supervising process, and of its workers when that has ended."""
        super().wait(seconds)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.002)
        raise TimeoutError(f"the workers of process {self.pid} do not end")


class Zygote:
    """The process that starts servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, place: Place, **hooks: Any) -> Process:
        """Start a server.

        :param hooks: see `tests.crash.hooks.install`
        """
        pid = self._order(place, hooks)
        return Process(pid, _pidfd(pid))

    def start_several(self, place: Place) -> Family:
        """Start a server in several processes."""
        pid = self._order(place, None)
        return Family(pid, _pidfd(pid))

    def _order(self, place: Place, hooks: dict[str, Any] | None) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"place": attrs.asdict(place), "hooks": hooks}) + "\n")
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and every server with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:  # it is over already
        return -1


def main() -> None:
    """Read orders until there are no more."""
    preload()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # of workers that outlive their parent
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            serve(order)
        print(pid, flush=True)


def serve(order: dict[str, Any]) -> None:
    """Be a server, in the process that was just made for it; does not return."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        place = Place(**order["place"])
        log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        from tests.crash import hooks, server, several

        if order["hooks"] is None:
            several.run(place)
        else:
            hooks.install(place, **order["hooks"])
            server.run(place)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def preload() -> None:
    """Import what a server needs, plugins and all; nothing of it is started."""
    for name in PARTS:
        importlib.import_module(name)
    from tests.crash.server import make_server

    make_server(Place(disk="/", log="/", smtp=1, pop3=2, sink=3))
    gc.collect()
    gc.freeze()  # what is never looked at again is never copied
    if "twisted.internet.reactor" in sys.modules:
        raise AssertionError("a reactor must not be shared by processes")


if __name__ == "__main__":
    main()
