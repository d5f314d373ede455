"""What a program with all that it started uses: memory and CPU time, as Linux counts them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def _stat(pid: int, proc: Path) -> list[str]:
    """The fields of a process behind its name, which may have blanks and brackets itself."""
    text = (proc / str(pid) / "stat").read_text(errors="replace")
    return text.rpartition(")")[2].split()


def family(pid: int, proc: Path = PROC) -> set[int]:
    """A process, and all that descend from it."""
    parents: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            parents[int(folder.name)] = int(_stat(int(folder.name), proc)[1])
    found = {pid} & parents.keys()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """The CPU time that a program with all that it started has used, the ended ones as well."""
    ticks = 0
    for each in family(pid, proc):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(each, proc)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int, field: str = "Pss", proc: Path = PROC) -> int:
    """The octets that a program with all that it started has resident.

    :param field: ``Pss`` counts a page that several share once, ``Rss`` with each of them
    """
    total = 0
    for each in family(pid, proc):
        with contextlib.suppress(OSError):
            for line in (proc / str(each) / "smaps_rollup").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1]) * 1024
    return total


class Peak:
    """The most memory that was seen, octets."""

    def __init__(self, start: int) -> None:
        self.start = self.highest = start


@contextlib.contextmanager
def watched(pid: int, every: float = 0.1) -> Iterator[Peak]:
    """Look at the memory of a program with all that it started, as long as the block lasts.

    :param every: seconds between looks
    """
    peak = Peak(memory(pid))
    over = threading.Event()

    def look() -> None:
        while not over.wait(every):
            peak.highest = max(peak.highest, memory(pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.highest = max(peak.highest, memory(pid))
