"""Starting the programs that are measured, each in a folder of its own, and ending them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 120.0  # seconds
START = 45.0  # seconds for a server to serve
ADMIN_PATHS = "/usr/sbin:/sbin"


class Failed(Exception):
    """A server or the load did not do what it should."""


def environment() -> dict[str, str]:
    """Ours, with the folders where an administrator's programs are."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{ADMIN_PATHS}"}


def find_program(name: str) -> str | None:
    """The path of a program, or ``None`` when it is not installed."""
    return shutil.which(name, path=environment()["PATH"])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder that other users may enter, below ``$BENCHMARK_DIR`` or the system's
    temporary one; it is removed when the block is left.
    """
    root = Path(tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def running(
    *command: str | Path, cwd: Path, at_once: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended, with all that it started, when the block is left.

    :param at_once: it is not given the time to finish what is under way
    """
    with (cwd / f"{Path(str(command[0])).name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment(),
        )
    try:
        yield process
    finally:
        if process.poll() is None and not at_once:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(*command: str | Path, patience: float = PATIENCE) -> bytes:
    """Run a program to its end; its output. :raises Failed: it did not end well"""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            timeout=patience,
            env=environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} took longer than {patience:g} s") from error
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def wait_until(
    what: str, test: Callable[[], bool], every: float = 0.01, patience: float = PATIENCE
) -> None:
    """Wait until something is so. :raises Failed: it did not come to that"""
    end = time.monotonic() + patience
    while not test():
        if time.monotonic() > end:
            raise Failed(f"gave up waiting: {what}")
        time.sleep(every)


def listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether a program accepts connections on a loopback port."""
    if process.poll() is not None:
        raise Failed(f"{process.args!r} ended with {process.returncode}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greeted(port: int, process: subprocess.Popen[bytes], every: float = 0.01) -> None:
    """Wait for a program to greet on a loopback port: it may listen long before that.

    :raises Failed: it does not
    """
    wait_until(f"{process.args!r} listens", lambda: listens(port, process), every, START)
    try:
        with socket.create_connection(("127.0.0.1", port), START) as client:
            client.recv(4)
    except OSError as error:
        raise Failed(f"{process.args!r} does not greet: {error}") from error


def count(path: Path) -> int:
    """The files of a folder."""
    try:
        return len(os.listdir(path))
    except FileNotFoundError:
        return 0
