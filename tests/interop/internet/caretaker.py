"""Ends whatever still runs in some network namespaces, once its standard input has ended.

That is when the test has no more use for them, or when the test itself was killed: there is nobody
else then who knows of the programs. Run as ``python -S caretaker.py INODE...``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PAUSE = 0.01  # seconds between two looks
ROUNDS = 1000


def inside(inodes: set[int]) -> list[int]:
    """The processes in these namespaces."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}/ns/net").st_ino in inodes:
                found.append(int(name))
    return found


def end(inodes: set[int]) -> None:
    """Kill them, until there is none: some start others meanwhile."""
    for _ in range(ROUNDS):
        if not (processes := inside(inodes)):
            return
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end({int(word) for word in sys.argv[1:]})
