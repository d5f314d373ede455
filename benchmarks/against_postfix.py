"""mailframe beside Postfix on this machine, in one run: ``make benchmark``, or

    python -m benchmarks.against_postfix [--messages 5000] [--rounds 3] [--processes N] [work …]

Three kinds of work, each with ``smtp-source`` as the client and messages of 4 KB:

accept   acknowledged, while the next hop takes connections and never says a word
maildir  from the first connection until all of them lie in a Maildir
relay    from the first connection until ``smtp-sink`` has taken all of them

The two servers take turns, each on the same file system with a fresh queue, and the best of the
rounds counts, for the machine is noisy; what is to be quoted are the ratios. ``memory`` sends one
message of 50 MB to a server of one process and says how much its memory grew.

Needs root and Debian's postfix. Ends what it started, by process id.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.interop.postfix import write_postfix
from tests.interop.programs import free_ports

SESSIONS = 20
SIZE = 4096
CPUS = len(os.sched_getaffinity(0))
DOMAIN = "demo.example"
PATIENCE = 120.0  # seconds
WORKS = ("accept", "maildir", "relay", "memory")


class Failed(Exception):
    """A server or the load did not do what it should."""


@contextlib.contextmanager
def running(*command: str | Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended, with all that it started, when the block is left."""
    with (cwd / f"{Path(str(command[0])).name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(what: str, test: Callable[[], bool], every: float = 0.01) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not test():
        if time.monotonic() > end:
            raise Failed(f"gave up waiting: {what}")
        time.sleep(every)


def listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether a program accepts connections on a loopback port."""
    if process.poll() is not None:
        raise Failed(f"{process.args} ended with {process.returncode}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greeted(port: int) -> None:
    """Wait for somebody to serve: the sockets of several processes are open before that."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.recv(4)


def load(port: int, messages: int, recipient: str) -> None:
    """Send messages with smtp-source over connections that are kept."""
    done = subprocess.run(
        [
            *("smtp-source", "-s", str(SESSIONS), "-m", str(messages), "-l", str(SIZE), "-d"),
            *("-f", "a@far.example", "-t", recipient, f"127.0.0.1:{port}"),
        ],
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )
    if done.returncode:
        raise Failed(f"smtp-source: {done.stderr.decode(errors='replace')}")


def count(folder: Path) -> int:
    """The files of a folder."""
    try:
        return len(os.listdir(folder))
    except FileNotFoundError:
        return 0


class Mailframe:
    """Our server; how each work is configured.

    :param processes: how many; by default ``$MAILFRAME_PROCESSES``, or one for each CPU
    """

    name = "mailframe"

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or int(os.environ.get("MAILFRAME_PROCESSES", CPUS))

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, work: str, sink: int) -> Iterator[Callable[[], int]]:
        """Serve from ``root``; gives a function that counts what was delivered locally."""
        rule = {
            "accept": f'via = "tcp:127.0.0.1:{sink}"\ntls = "none"',
            "relay": f'via = "tcp:127.0.0.1:{sink}"\ntls = "none"',
            "maildir": 'via = "local"',
            "memory": 'via = "local"',
        }[work]
        (root / "accounts.toml").write_text(
            '[[account]]\naddress = "jsmith@demo.example"\npassword = "' + _some_hash() + '"\n'
        )
        (root / "accounts.toml").chmod(0o600)
        (root / "mailframe.toml").write_text(
            f'hostname = "mx.{DOMAIN}"\nlocal_domains = ["{DOMAIN}"]\n'
            f"processes = {self.processes}\n"
            f'[[server]]\nname = "mx"\nprotocol = "smtp"\n'
            f'listen = "tcp:{port}:interface=127.0.0.1"\n'
            '[limits]\nmessage_size = "100MB"\nconnections_per_address = 100\n'
            f'[[routing.rule]]\nrecipients = ["*@{DOMAIN}"]\n{rule}\n'
            '[accounts]\nplugin = "file"\npath = "accounts.toml"\n'
            # The stranger of the benchmark may have its mail carried.
            '[[authorisation.provider]]\nname = "load"\nnetworks = ["127.0.0.0/8"]\n'
        )
        command = (sys.executable, "-m", "twisted", "--log-level=warn", "mailframe")
        with running(*command, "-c", root / "mailframe.toml", cwd=root) as process:
            self.process = process
            wait_until("mailframe listens", lambda: listens(port, process))
            greeted(port)
            time.sleep(1)  # the other workers were started at the same time
            yield lambda: count(root / "mail" / DOMAIN / "jsmith" / "new")


class Postfix:
    """Debian's Postfix with its own folders."""

    name = "Postfix"

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, work: str, sink: int) -> Iterator[Callable[[], int]]:
        """Serve from ``root``; gives a function that counts what was delivered locally."""
        settings = [
            "smtpd_recipient_restrictions = permit",
            "smtpd_client_connection_count_limit = 0",
        ]
        if work in ("accept", "relay"):
            settings += [
                "virtual_mailbox_domains =",
                f"relay_domains = {DOMAIN}",
                f"transport_maps = inline:{{{{{DOMAIN} = smtp:[127.0.0.1]:{sink}}}}}",
                "default_destination_concurrency_limit = 50",
            ]
        inbox = write_postfix(root / "postfix", port, DOMAIN, *settings)
        with running("postfix", "-c", root / "postfix", "start-fg", cwd=root) as process:
            wait_until("Postfix listens", lambda: listens(port, process))
            try:
                yield lambda: count(inbox / "new")
            finally:
                # The script is not the master's parent, so that ending it would leave the master.
                subprocess.run(["postfix", "-c", root / "postfix", "abort"], capture_output=True)


def _some_hash() -> str:
    import argon2

    return argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("nobody logs in")


@contextlib.contextmanager
def sink_for(work: str, root: Path, messages: int) -> Iterator[tuple[int, Callable[[], bool]]]:
    """The next hop of a work: a sink that ends after so many messages, or one that is silent."""
    if work != "relay":
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
            yield silent.getsockname()[1], lambda: False
        return
    (port,) = free_ports(1)
    with running(
        *("smtp-sink", "-u", "nobody", "-M", str(messages), f"127.0.0.1:{port}", "1000"), cwd=root
    ) as process:
        wait_until("the sink listens", lambda: listens(port, process))
        yield port, lambda: process.poll() is not None


def measure(server: Mailframe | Postfix, work: str, messages: int) -> float:
    """Messages a second of one round."""
    folder = tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCHMARK_DIR"))
    root = Path(folder)
    root.chmod(0o755)
    try:
        (port,) = free_ports(1)
        with (
            sink_for(work, root, messages) as (sink, is_done),
            server.serve(root, port, work, sink) as delivered,
        ):
            begin = time.monotonic()
            load(port, messages, f"jsmith@{DOMAIN}")
            if work == "maildir":
                wait_until("all in the Maildir", lambda: delivered() >= messages)
            if work == "relay":
                wait_until("all at the sink", is_done)
            return messages / (time.monotonic() - begin)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def memory_of(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Resident memory now and at its highest, in octets."""
    with open(f"/proc/{process.pid}/status") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024


def measure_memory() -> tuple[float, float]:
    """MB that a message of 50 MB adds to the server at its highest, and how large that was."""
    root = Path(tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    try:
        (port,) = free_ports(1)
        server = Mailframe(processes=1)
        with server.serve(root, port, "memory", 1) as delivered:
            load(port, 200, f"jsmith@{DOMAIN}")
            wait_until("all in the Maildir", lambda: delivered() >= 200)
            time.sleep(1)
            with open(f"/proc/{server.process.pid}/clear_refs", "w") as file:
                file.write("5")  # VmHWM begins anew
            before, _ = memory_of(server.process)
            subprocess.run(
                [
                    *("smtp-source", "-s", "1", "-m", "1", "-l", str(50 * 10**6)),
                    *("-f", "a@far.example", "-t", f"jsmith@{DOMAIN}", f"127.0.0.1:{port}"),
                ],
                check=True,
                timeout=PATIENCE,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
            )
            wait_until("the large one in the Maildir", lambda: delivered() >= 201)
            _, highest = memory_of(server.process)
            return (highest - before) / 1e6, highest / 1e6
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Run the works that were named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", default=WORKS, metavar="work", help=", ".join(WORKS))
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, help="of mailframe; by default one for each CPU")
    chosen = parser.parse_args()
    unknown = set(chosen.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if os.geteuid() != 0:
        parser.error("Postfix has to be started by root")
    os.environ["PATH"] += ":/usr/sbin"
    print(
        f"{'work':10}{'mailframe':>12}{'Postfix':>12}{'ratio':>8}   (messages a second, best round)"
    )
    for work in [w for w in WORKS if w in chosen.works]:
        if work == "memory":
            added, highest = measure_memory()
            print(
                f"{'memory':10}{added:9.1f} MB added by a message of 50 MB, {highest:.0f} MB in all"
            )
            continue
        best = {"mailframe": 0.0, "Postfix": 0.0}
        for _ in range(chosen.rounds):
            for server in (Mailframe(chosen.processes), Postfix()):
                rate = measure(server, work, chosen.messages)
                best[server.name] = max(best[server.name], rate)
        ours, theirs = best["mailframe"], best["Postfix"]
        print(f"{work:10}{ours:12.0f}{theirs:12.0f}{ours / theirs:7.1f}x", flush=True)


if __name__ == "__main__":
    main()
