"""What a measurement was made on."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.programs import Failed, find_program, folder, run

SYNCS = 300


def file_system(path: Path) -> tuple[str, str]:
    """The kind of the file system that a folder is on, and its device."""
    found = ("", "unknown", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, mounted, kind, *_ = line.split()
        place = mounted.encode().decode("unicode_escape")  # blanks are written \040
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind, device)
    return found[1], found[2]


def working_folder() -> Path:
    """Where the spools of the measured servers are made."""
    return Path(os.environ.get("BENCHMARK_DIR") or tempfile.gettempdir()).resolve()


def syncs_a_second() -> float:
    """How often a second the disk syncs 4 KB that are appended to a file."""
    with folder() as root, (root / "syncs").open("wb", buffering=0) as file:
        begin = time.monotonic()
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        return SYNCS / (time.monotonic() - begin)


def describe() -> str:
    """One sentence each about the machine, the disk and the programs."""
    kind, _ = file_system(working_folder())
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} CPUs ({_cpu()}), {memory:.0f} GB of memory,"
        f" {platform.system()} {platform.release()}. {kind},"
        f" {syncs_a_second():.0f} syncs a second of 4 KB one after the other."
        f" Python {platform.python_version()}, Twisted {version('twisted')},"
        f" SQLite {sqlite3.sqlite_version}, Postfix {_postfix()}."
        f" Load average at the start: {load:.1f}."
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postfix() -> str:
    program = find_program("postconf")
    if program is not None:
        with contextlib.suppress(Failed):
            return run(program, "-h", "-d", "mail_version").decode().strip()
    return "not installed"
