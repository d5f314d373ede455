"""A thousand destinations on loopback, some of them dead."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from benchmarks.programs import Failed, environment, listens, running, wait_until
from tests.interop.programs import free_ports

WAYS = ("closed", "unanswered", "mute", "deaf", "busy")
_GREETING = b"220 dead.example ESMTP\r\n"
_BUSY = b"421 4.3.2 too busy, come back later\r\n"
_LIFE = 0.1  # seconds until the dead look whether they may go


@attrs.frozen(kw_only=True)
class Destination:
    """A domain and its only exchanger.

    :ivar address: the exchanger's
    :ivar dead: in which of the `WAYS`, or ``""``
    """

    domain: str
    address: str
    dead: str = ""


def destinations(count: int, dead: int) -> tuple[Destination, ...]:
    """So many destinations.

    :param dead: how many of them are dead; they are spread evenly
    """
    every = count // dead if dead else count + 1
    return tuple(
        Destination(
            domain=f"d{number:05}.example",
            address=f"127.1.{number // 250}.{1 + number % 250}",
            dead=WAYS[number // every % len(WAYS)] if number % every == 0 else "",
        )
        for number in range(1, count + 1)
    )


@contextlib.contextmanager
def name_server(root: Path, every: Sequence[Destination]) -> Iterator[int]:
    """A DNS server that knows the exchangers; gives its port."""
    (port,) = free_ports(1)
    records = "".join(
        f"mx-host={each.domain},mx.{each.domain},10\nhost-record=mx.{each.domain},{each.address}\n"
        for each in every
    )
    configuration = root / "dnsmasq.conf"
    configuration.write_text(
        f"port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n"
        f"local=/example/\nlocal-ttl=3600\npid-file=\nuser=root\nlog-facility=-\n{records}"
    )
    command = ("dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}")
    with running(*command, cwd=root) as process:
        wait_until("dnsmasq listens", lambda: listens(port, process))
        yield port


class Sinks:
    """An ``smtp-sink`` for each healthy destination.

    :param messages: for each
    """

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._counts: list[Path] = []  # of those that have not got all

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, healthy: Sequence[Destination]) -> Iterator[None]:
        """Take messages."""
        processes = []
        try:
            for each in healthy:
                count = root / f"{each.domain}.count"
                with count.open("wb") as output:
                    processes.append(
                        subprocess.Popen(
                            ["smtp-sink", "-c", "-u", "nobody", f"{each.address}:{port}", "100"],
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                            env=environment(),
                        )
                    )
                self._counts.append(count)
            for each in healthy:
                wait_until(f"{each.domain} listens", lambda each=each: _listens(each, port))  # type: ignore[misc]  # bound for this turn
            yield
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()

    def waits_for(self) -> int:
        """How many destinations have not got all their messages."""
        self._counts = [count for count in self._counts if _taken(count) < self._messages]
        return len(self._counts)


def _taken(count: Path) -> int:
    """How many messages a sink has taken: it prints that again and again."""
    figure = count.read_bytes().rpartition(b"mesg=")[2].strip()
    return int(figure) if figure else 0


def _listens(destination: Destination, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((destination.address, port)) == 0


@contextlib.contextmanager
def dead(every: Sequence[Destination], port: int) -> Iterator[None]:
    """The dead destinations are as dead as they should be."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for each in every:
            if each.dead in ("", "closed"):
                continue
            listening = stack.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((each.address, port))
            listening.listen(0 if each.dead == "unanswered" else 1000)
            if each.dead == "unanswered":
                # The one place of its queue is taken: Linux drops what else would connect.
                stack.enter_context(socket.create_connection((each.address, port)))
            elif each.dead in ("deaf", "busy"):
                listening.setblocking(False)
                selector.register(listening, selectors.EVENT_READ, each.dead)
            # Nobody ever accepts the connections to a mute one: the system does.
        over = threading.Event()
        thread = threading.Thread(target=_answer, args=(selector, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _answer(selector: selectors.BaseSelector, over: threading.Event) -> None:
    """Say to those who come the one thing that is said."""
    deaf: list[socket.socket] = []
    while not over.is_set():
        for key, _ in selector.select(_LIFE):
            listening = key.fileobj
            assert isinstance(listening, socket.socket)
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                connection.sendall(_BUSY if key.data == "busy" else _GREETING)
                if key.data == "busy":
                    connection.close()
                else:
                    deaf.append(connection)
    for connection in deaf:
        connection.close()


def wait_until_taken(sinks: Sinks, begin: float, patience: float) -> float:
    """Wait until every healthy destination has its messages.

    :param begin: when all became due, monotonic
    :returns: seconds from then
    :raises Failed: it took longer than ``patience`` seconds
    """
    while missing := sinks.waits_for():
        if time.monotonic() - begin > patience:
            raise Failed(f"{missing} healthy destinations still wait after {patience:g} s")
        time.sleep(0.1)
    return time.monotonic() - begin
