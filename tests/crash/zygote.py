"""Starts servers quickly: a process that has everything imported already, and forks.

A server's start costs most of a second of imports, which prove nothing. What is forked here has
imported, but opened and started nothing: from there on it is a server like any other.

The process reads one JSON text a line, `Order`, and answers with the id of the process it started.
"""

from __future__ import annotations

import ctypes
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
PARTS = (
    "twisted.internet.epollreactor",
    "twisted.names.client",
    "mailframe.delivery.maildir",
    "mailframe.delivery.relay",
    "mailframe.queue.sqlite",
    "mailframe.routing.table",
    "mailframe.tap",
    "tests.crash.hooks",
    "tests.crash.server",
)


@attrs.define
class Process:
    """A server that was started, or rather one's descriptor of it, which no other process takes."""

    pid: int
    descriptor: int

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.descriptor >= 0 and not select.select([self.descriptor], [], [], 0)[0]

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        if self.is_alive():
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait for its end. :raises TimeoutError: it does not end"""
        if self.descriptor >= 0:
            if not select.select([self.descriptor], [], [], seconds)[0]:
                raise TimeoutError(f"process {self.pid} does not end")
            os.close(self.descriptor)
            self.descriptor = -1


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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"place": attrs.asdict(place), "hooks": hooks}) + "\n")
        pid = int(self._process.stdout.readline())
        for _ in range(100):
            try:
                return Process(pid, os.pidfd_open(pid))
            except ProcessLookupError:  # it is over already
                time.sleep(0.01)
        return Process(pid, -1)

    def close(self) -> None:
        """End it, and every server with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def main() -> None:
    """Read orders until there are no more."""
    preload()
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
        from tests.crash import hooks, server

        hooks.install(place, **order["hooks"])
        server.run(place)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def preload() -> None:
    """Import what a server needs; nothing of it is started."""
    for name in PARTS:
        importlib.import_module(name)
    if "twisted.internet.reactor" in sys.modules:
        raise AssertionError("a reactor must not be shared by processes")


if __name__ == "__main__":
    main()
