"""What is done to the servers: smtp-source in front, and a next hop behind."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.against_postfix.servers import MAILBOX
from benchmarks.programs import greeted, run, running
from tests.interop.programs import free_ports

SESSIONS = 20
SIZE = 4096


def load(
    port: int, messages: int, *, size: int = SIZE, sessions: int = SESSIONS, kept: bool = True
) -> None:
    """Send messages with smtp-source, and wait until all were acknowledged.

    :param kept: over connections that are kept, else over one for each message
    """
    run(
        *("smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(size)),
        *(("-d",) if kept else ()),
        *("-f", "a@far.example", "-t", MAILBOX, f"127.0.0.1:{port}"),
    )


@contextlib.contextmanager
def silent_hop() -> Iterator[int]:
    """A next hop that takes connections and never says a word; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
        yield silent.getsockname()[1]


@contextlib.contextmanager
def counting_sink(root: Path, messages: int) -> Iterator[tuple[int, Callable[[], bool]]]:
    """A next hop that ends after so many messages; gives its port, and tells whether it has."""
    (port,) = free_ports(1)
    command = ("smtp-sink", "-u", "nobody", "-M", str(messages), f"127.0.0.1:{port}", "1000")
    with running(*command, cwd=root) as process:
        greeted(port, process)
        yield port, lambda: process.poll() is not None
