"""mailframe, Postfix, and the sink that is the ceiling of what the load can do."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import argon2
import attrs

from benchmarks.programs import count, greeted, running
from benchmarks.usage import family
from tests.interop.postfix import write_postfix

DOMAIN = "demo.example"
MAILBOX = f"jsmith@{DOMAIN}"
CPUS = len(os.sched_getaffinity(0))
MAX_SIZE = 10**8  # octets of a message


@attrs.frozen
class Serving:
    """A server that serves.

    :ivar pid: the process that all its others descend from
    :ivar delivered: counts what lies in the Maildir
    """

    pid: int
    delivered: Callable[[], int] = lambda: 0


class Server(Protocol):
    """A server that is measured.

    :ivar name: its column in the table
    :ivar promise: what it has done before it says 250
    """

    name: str
    promise: str

    def missing(self) -> str:
        """Why it can't be measured here, or nothing."""

    def serve(
        self, root: Path, port: int, *, local: bool, sink: int
    ) -> AbstractContextManager[Serving]:
        """Serve on a loopback port.

        :param root: an empty folder for all that it writes
        :param local: mail for the domain goes into a Maildir, else to the sink
        :param sink: the sink's port
        """


class Mailframe:
    """Our server, in a number of processes."""

    name = "mailframe"
    promise = "content and envelope are synced; the folder, too"

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def missing(self) -> str:
        """Nothing."""
        return ""

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, *, local: bool, sink: int) -> Iterator[Serving]:
        """Serve, with all processes ready."""
        configuration = self.configure(root, port, local=local, sink=sink)
        command = (sys.executable, "-m", "twisted", "--log-level=warn", "mailframe")
        # Its spool is thrown away: deliveries that hang need not come to an end.
        with running(*command, "-c", configuration, cwd=root, at_once=True) as process:
            greeted(port, process)
            time.sleep(1)  # the other processes were started at the same time
            inbox = root / "mail" / DOMAIN / "jsmith" / "new"
            yield Serving(process.pid, lambda: count(inbox))

    def configure(self, root: Path, port: int, *, local: bool, sink: int, more: str = "") -> Path:
        """Write the configuration.

        :param more: tables to add to it
        """
        way = 'via = "local"' if local else f'via = "tcp:127.0.0.1:{sink}"\ntls = "none"'
        # The cheapest hash: nobody logs in.
        hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("nobody")
        accounts = root / "accounts.toml"
        accounts.write_text(f'[[account]]\naddress = "{MAILBOX}"\npassword = "{hashed}"\n')
        accounts.chmod(0o600)
        configuration = root / "mailframe.toml"
        configuration.write_text(
            f'hostname = "mx.{DOMAIN}"\nlocal_domains = ["{DOMAIN}"]\n'
            f"processes = {self.processes}\n"
            f'[[server]]\nname = "mx"\nprotocol = "smtp"\n'
            f'listen = "tcp:{port}:interface=127.0.0.1"\n'
            f"[limits]\nmessage_size = {MAX_SIZE}\nconnections_per_address = 100\n"
            f'[[routing.rule]]\nrecipients = ["*@{DOMAIN}"]\n{way}\n'
            '[accounts]\nplugin = "file"\npath = "accounts.toml"\n'
            # The stranger of the benchmark may have its mail carried.
            '[[authorisation.provider]]\nname = "load"\nnetworks = ["127.0.0.0/8"]\n'
            f"{more}"
        )
        return configuration


class Postfix:
    """Debian's Postfix with folders of its own."""

    name = "Postfix"
    promise = "content and envelope are synced in a file"

    def missing(self) -> str:
        """Nothing: without it there is nothing to compare with."""
        return ""

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, *, local: bool, sink: int) -> Iterator[Serving]:
        """Serve."""
        settings = [
            "smtpd_recipient_restrictions = permit",
            "smtpd_client_connection_count_limit = 0",
            f"message_size_limit = {MAX_SIZE}",
            "mailbox_size_limit = 0",
            "virtual_mailbox_limit = 0",
        ]
        if not local:
            settings += [
                f"transport_maps = inline:{{{{{DOMAIN} = smtp:[127.0.0.1]:{sink}}}}}",
                "default_destination_concurrency_limit = 50",
            ]
        home = root / "postfix"
        inbox = write_postfix(home, port, DOMAIN, *settings)
        with running("postfix", "-c", home, "start-fg", cwd=root) as process:
            pid_file = home / "spool" / "pid" / "master.pid"
            try:
                greeted(port, process)
                yield Serving(int(pid_file.read_text()), lambda: count(inbox / "new"))
            finally:
                # The script is not the master's parent, so that ending it would leave the master.
                _end_all(pid_file)


def _end_all(pid_file: Path) -> None:
    """End a program that wrote its process id into a file, and all that it started."""
    with contextlib.suppress(OSError, ValueError):
        for pid in sorted(family(int(pid_file.read_text()))):  # the oldest starts the others
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Sink:
    """Postfix's ``smtp-sink``, written in C: as much as the load itself can do."""

    name = "smtp-sink"
    promise = "nothing: it keeps nothing"

    def missing(self) -> str:
        """Nothing: it comes with Postfix."""
        return ""

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, *, local: bool, sink: int) -> Iterator[Serving]:
        """Take everything, and forget it."""
        with running("smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1000", cwd=root) as process:
            greeted(port, process)
            yield Serving(process.pid)
