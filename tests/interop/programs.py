"""Starting foreign programs and our own server for the tests that talk to real ones.

Each runs on free loopback ports, in folders of its own, and is ended by its process id. A program
that is missing skips the test and says which package has it; with ``MAILFRAME_REQUIRE_FOREIGN``
set, as in CI, it fails the test instead.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import SkipTest, SynchronousTestCase

# Seconds until something that should happen has not happened. On a busy machine a server may have
# been so slow that ours leaves it alone for a minute.
DEADLINE = 90.0
# Below those that Linux gives to clients, of which there are thousands at some moments.
SERVER_PORTS = range(15000, 32000)
SHARE = 1000  # ports that one of several processes with tests may use
ADMIN_PATHS = "/usr/sbin:/sbin:/usr/local/sbin"


def inherited(program: str | Path) -> dict[str, str]:
    """What a program inherits: not where our Python finds its modules, unless it is run by ours."""
    environment = dict(os.environ)
    if Path(program).parent != Path(sys.executable).parent:
        environment.pop("PYTHONPATH", None)
    return environment


class InteropCase(SynchronousTestCase):
    """A test with a folder of its own that other users may enter, and programs that it ends."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mailframe-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self._log_number = 0
        self.environment: dict[str, str] = {}  # of started programs, beside ours

    # --- programs --------------------------------------------------------------------------------

    def program(self, name: str, package: str) -> str:
        """The path of a foreign program."""
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ADMIN_PATHS}")
        if path is None:
            self.missing(f"{name} is not installed (Debian: apt-get install {package})")
        return path

    def missing(self, message: str) -> NoReturn:
        """Skip the test, or fail it where nothing may be missing."""
        if os.environ.get("MAILFRAME_REQUIRE_FOREIGN"):
            self.fail(message)
        raise SkipTest(message)

    def need_root(self) -> None:
        """For programs that have to change their user."""
        if os.geteuid() != 0:
            raise SkipTest("this needs to be started by root")

    def start(self, *command: str | Path, **options: object) -> subprocess.Popen[bytes]:
        """Start a program that is ended with the test; its output goes to a log in the folder."""
        self._log_number += 1
        log = self.folder / f"{self._log_number}-{Path(str(command[0])).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**inherited(command[0]), **self.environment},
                **options,  # type: ignore[call-overload]  # passed on as they are
            )
        process.log = log
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """End a program that `start` started, with all that it started, and wait for it."""
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def run_program(
        self, *command: str | Path, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; fails the test with its output unless it ends well."""
        done = subprocess.run(
            [str(word) for word in command],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * DEADLINE,
            env={**inherited(command[0]), "HOME": str(self.folder), "USER": "root"},
        )
        if check and done.returncode:
            output = done.stdout.decode(errors="replace")
            self.fail(f"{command[0]} ended with {done.returncode}:\n{output}")
        return done

    # --- waiting ---------------------------------------------------------------------------------

    def wait_for(self, what: str, test: Callable[[], object], seconds: float = DEADLINE) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                self.fail(f"after {seconds:g} s still not: {what}\n{self.logs()}")
            time.sleep(0.02)

    def wait_for_port(self, port: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until a program listens."""

        def listens() -> bool:
            if process.poll() is not None:
                self.fail(f"{process.args} ended with {process.returncode}\n{self.logs()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        self.wait_for(f"port {port} open", listens)

    def logs(self) -> str:
        """The ends of what the programs printed."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    # --- our own server --------------------------------------------------------------------------

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def serve(self, configuration: Path, *ports: int) -> subprocess.Popen[bytes]:
        """Start mailframe as users do, and wait until it listens."""
        process = self.start(
            sys.executable,
            "-m",
            "twisted",
            "--log-level=info",
            "mailframe",
            "-c",
            configuration,
            cwd=self.folder,
        )
        for port in ports:
            self.wait_for_port(port, process)
        return process

    def mailframe(
        self, *arguments: str | Path, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the ``mailframe`` command."""
        return self.run_program(
            sys.executable,
            "-c",
            "from mailframe.cli import main; main()",
            *arguments,
            input=input,
            check=check,
        )


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses at the moment, and that no client is given by the system.

    A server binds its port later than it is found here. So no other process with tests is given one
    of them meanwhile, and nobody here: they are given out in turn.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_ports())
        if _is_free(port):
            found.append(port)
    return found


@functools.cache
def _ports() -> Iterator[int]:
    """The ports of this process, over and over."""
    shares = [SERVER_PORTS[n : n + SHARE] for n in range(0, len(SERVER_PORTS), SHARE)]
    random.shuffle(shares)
    chosen = next(filter(_is_ours, shares), shares[0])
    first = random.randrange(SHARE)  # what an earlier process was given has time to come to rest
    return itertools.cycle([*chosen[first:], *chosen[:first]])


_CLAIMS: list[socket.socket] = []


def _is_ours(share: range) -> bool:
    """Claim a share for as long as this process runs, by a name that only one can have (Linux)."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0mailframe-tests-{share.start}")
    except OSError:
        claim.close()
        return False
    _CLAIMS.append(claim)
    return True


def _is_free(port: int) -> bool:
    """Whether nobody listens there, over TCP or UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def maildir(path: Path) -> list[bytes]:
    """The messages of a Maildir."""
    files: Iterator[Path] = (f for sub in ("new", "cur") for f in (path / sub).glob("*"))
    return [file.read_bytes() for file in sorted(files)]


def toml_list(words: Sequence[str]) -> str:
    """A list of texts as TOML."""
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
