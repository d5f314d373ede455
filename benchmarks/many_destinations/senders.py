"""What has the messages to send: mailframe, and Postfix."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Protocol

import attrs

from benchmarks.against_postfix.servers import CPUS
from benchmarks.many_destinations.internet import Destination
from benchmarks.programs import Failed, find_program, greeted, running, wait_until
from benchmarks.usage import family
from mailframe.address import Address
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue.ids import QueueIds
from mailframe.queue.ledger import Arrival, Ledger
from tests.interop.postfix import write_postfix
from tests.interop.programs import free_ports

CONTENT = b"From: a@far.example\r\nSubject: news\r\n\r\n" + (b"x" * 76 + b"\r\n") * 52
# Seconds that a server gets from the filling of its queue until all are due, on an idle machine.
START = 8.0
_CLIENT = Client(server="mx", protocol="smtp", address="192.0.2.7", port=4711, helo="far.example")
_PERMIT = Permit(reason="a customer", rule="network", plugin="providers", provider="load")
_SESSIONS = 8


@attrs.frozen
class Sending:
    """A server that has something to send.

    :ivar due: when all of it is due, monotonic
    :ivar pid: the process that all its others descend from
    """

    due: float
    pid: int


class Sender(Protocol):
    """A server that is measured.

    :ivar name: how it is called in the table
    """

    name: str

    def missing(self) -> str:
        """Why it can't be measured here, or nothing."""

    def sending(
        self, root: Path, recipients: Sequence[Destination], port: int, dns: int
    ) -> contextlib.AbstractContextManager[Sending]:
        """Have one message for each of the recipients become due at the same time.

        :param recipients: where they go
        :param port: the exchangers'
        :param dns: the name server's
        """


class Mailframe:
    """Our server, in a number of processes."""

    def __init__(self, processes: int) -> None:
        self.name = f"mailframe, {processes} process{'es' if processes > 1 else ''}"
        self._processes = processes

    def missing(self) -> str:
        """Nothing."""
        return ""

    @contextlib.contextmanager
    def sending(
        self, root: Path, recipients: Sequence[Destination], port: int, dns: int
    ) -> Iterator[Sending]:
        """See `Sender.sending`."""
        (smtp,) = free_ports(1)
        accounts = root / "accounts.toml"
        accounts.touch(0o600)
        configuration = root / "mailframe.toml"
        configuration.write_text(
            f'hostname = "mx.demo.example"\nprocesses = {self._processes}\n'
            f'[[server]]\nname = "mx"\nprotocol = "smtp"\n'
            f'listen = "tcp:{smtp}:interface=127.0.0.1"\n'
            f'[dns]\nservers = ["127.0.0.1:{dns}"]\n'
            f"[relay]\nport = {port}\nallow_private = true\n"
        )
        due = time.time() + START * max(1.0, os.getloadavg()[0] / CPUS)
        _fill(root / "state" / "queue" / "queue.db", recipients, due)
        command = (sys.executable, "-m", "twisted", "--log-level=warn", "mailframe")
        # Deliveries that hang need not come to an end.
        with running(*command, "-c", configuration, cwd=root, at_once=True) as process:
            greeted(smtp, process)
            rest = due - time.time()
            if rest < 1:  # the other processes were started at the same time
                raise Failed("the server was not ready when its messages became due")
            time.sleep(rest)
            yield Sending(time.monotonic(), process.pid)


def _fill(path: Path, recipients: Sequence[Destination], due: float) -> None:
    path.parent.mkdir(parents=True)
    ledger = Ledger(str(path))
    ids, now = QueueIds(Random(821)), time.time()
    ledger.begin()
    ledger.insert(
        [
            Arrival(
                key=ids.make(now),
                envelope=Envelope(
                    sender=Address("a", "far.example"),
                    recipients=(
                        Recipient(address=Address("jsmith", each.domain), evidence=_PERMIT),
                    ),
                    client=_CLIENT,
                    arrived=now,
                    not_before=due,
                ),
                size=len(CONTENT),
                content=CONTENT,
            )
            for each in recipients
        ]
    )
    ledger.commit()
    ledger.close()


class Postfix:
    """Debian's Postfix with folders of its own, and settings as they come."""

    name = "Postfix"

    def missing(self) -> str:
        """It needs root."""
        if os.geteuid() != 0:
            return "Postfix has to be started by root"
        return "" if find_program("postfix") else "Postfix is not installed"

    @contextlib.contextmanager
    def sending(
        self, root: Path, recipients: Sequence[Destination], port: int, dns: int
    ) -> Iterator[Sending]:
        """See `Sender.sending`. The time begins as it starts with a queue manager."""
        (smtp,) = free_ports(1)
        home, spool, table = root / "postfix", root / "spool", root / "exchangers"
        table.write_text(
            "".join(f"{each.domain} smtp:[{each.address}]:{port}\n" for each in set(recipients))
        )
        # As it starts, it names each file of somebody else's below its configuration, one by one:
        # were its queue there, that would be all messages.
        spool.mkdir()
        write_postfix(
            *(home, smtp, "demo.example"),
            f"queue_directory = {spool}",
            "mynetworks = 127.0.0.0/8",
            "smtpd_client_connection_count_limit = 0",
            f"transport_maps = texthash:{table}",
            "in_flow_delay = 0",
        )
        master = home / "master.cf"
        services = master.read_text() + "scache unix - - n - 1 scache\n"
        # Without a queue manager messages are accepted, and stay.
        master.write_text("".join(line for line in _lines(services) if "qmgr" not in line))
        with _postfix(home, spool, smtp):
            _submit(smtp, recipients)
        master.write_text(services)
        begin = time.monotonic()
        with _postfix(home, spool, smtp) as pid:
            yield Sending(begin, pid)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@contextlib.contextmanager
def _postfix(home: Path, spool: Path, port: int) -> Iterator[int]:
    """It runs; gives the process id of its master."""
    pid_file = spool / "pid" / "master.pid"
    with running("postfix", "-c", home, "start-fg", cwd=spool.parent) as process:
        try:
            greeted(port, process)
            yield int(pid_file.read_text())
        finally:
            # The script is not the master's parent, so that ending it would leave the master.
            pids: list[int] = []
            with contextlib.suppress(OSError, ValueError):
                pids = sorted(family(int(pid_file.read_text())))  # the oldest starts others
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    # Any of them holds the port open, and who connects then to the next one is cut off.
    wait_until("Postfix has ended", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def _submit(port: int, recipients: Sequence[Destination]) -> None:
    """Hand over one message for each."""

    def submit(some: Sequence[Destination]) -> None:
        with smtplib.SMTP("127.0.0.1", port, "far.example", timeout=60) as client:
            for each in some:
                client.sendmail("a@far.example", f"jsmith@{each.domain}", CONTENT)

    with ThreadPoolExecutor(_SESSIONS) as pool:
        list(pool.map(submit, [recipients[start::_SESSIONS] for start in range(_SESSIONS)]))
