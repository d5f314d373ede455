"""mailframe's POP3 server beside Dovecot's on this machine, in one run:

    python -m benchmarks.pop3 [--messages 10000] [--rounds 5] [work …]

Each server has a Maildir of its own with the same messages of 4 KB, all in ``new`` and under the
names that our delivery agent gives them. The same clients do the work:

first      opens that Maildir for the first time: login, STAT and UIDL
foreign    the same where the names tell no sizes, as other delivery agents write them
later      opens it again
added      opens it again after one message came
flagged    the same after another program flagged one, which moves it from new to cur
removed    the same after another program removed one
poplib     fetches all messages one by one with Python's own client
retr       the same with a client that looks for nothing but the end of each message
pipelined  the same, asking for 50 at a time

Both servers run at the same time and take turns at each work, for the machine is noisy. Shown are
the medians, and the median of the ratios of neighbouring measurements, which is what is to be
quoted. Needs root and Debian's dovecot-pop3d. Ends what it started, by process id.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import poplib
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeAlias

from benchmarks.programs import listens, running, wait_until
from mailframe.address import Address
from mailframe.delivery.maildir_index import QUIET
from mailframe.delivery.maildir_layout import delivery_name, delivery_stem
from tests.interop.dovecot_pop3 import write_dovecot
from tests.interop.programs import free_ports

DOMAIN = "demo.example"
LOGIN = b"jsmith@demo.example"
PASSWORD = "sesame"
SIZE = 4096
BATCH = 50
CHANGES = ("added", "flagged", "removed")
OPENINGS = ("first", "foreign", "later", *CHANGES)
WORKS = (*OPENINGS, "poplib", "retr", "pipelined")
_END = b"\r\n.\r\n"


class Failed(Exception):
    """A server did not answer as it should."""


class Client:
    """A POP3 client that does little work itself."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line()

    def _line(self) -> bytes:
        received = b""
        while not received.endswith(b"\r\n"):
            received += self._more()
        if not received.startswith(b"+OK"):
            raise Failed(received.decode(errors="replace"))
        return received

    def _more(self) -> bytes:
        octets = self._socket.recv(1 << 18)
        if not octets:
            raise Failed("the connection was closed")
        return octets

    def command(self, line: bytes) -> bytes:
        """Say something that has an answer of one line."""
        self._socket.sendall(line + b"\r\n")
        return self._line()

    def multi(self, octets: bytes, answers: int) -> int:
        """Send commands with answers of many lines; gives the octets that came."""
        self._socket.sendall(octets)
        total = 0
        tail = b""
        while True:
            tail += self._more()
            answers -= tail.count(_END)
            if answers <= 0 and tail.endswith(_END):
                return total + len(tail)
            # What may be part of a terminator is kept; a whole one must not be counted twice.
            keep = 0 if tail.endswith(_END) else len(_END) - 1
            total += len(tail) - min(keep, len(tail))
            tail = tail[len(tail) - keep :] if keep else b""

    def login(self) -> int:
        """Log in; gives the number of messages."""
        self.command(b"USER " + LOGIN)
        self.command(b"PASS " + PASSWORD.encode())
        return int(self.command(b"STAT").split()[1])

    def leave(self) -> None:
        """Say goodbye."""
        self.command(b"QUIT")
        self._socket.close()


def fill(maildir: Path, messages: int, *, sizes: bool) -> None:
    """Make a Maildir of messages in ``new``."""
    for sub in ("tmp", "new", "cur"):
        (maildir / sub).mkdir(parents=True)
    now = time.time() - messages - 10
    for number in range(messages):
        put(maildir, number, now + number, sizes=sizes)


def put(maildir: Path, number: int, arrived: float, *, sizes: bool) -> Path:
    """Put a message into ``new``."""
    line = b"x" * 70 + b"\n"
    head = b"From: a@far.example\nTo: jsmith@demo.example\nSubject: %d\n\n" % number
    body = head + line * ((SIZE - len(head)) // len(line))
    queue_id = hashlib.sha256(b"%d" % number).hexdigest()[:13]
    stem = delivery_stem(arrived, queue_id, Address("jsmith", DOMAIN))
    name = delivery_name(stem, "mx.demo.example", len(body), len(body) + body.count(b"\n"))
    path = maildir / "new" / (name if sizes else name.partition(",")[0])
    path.write_bytes(body)
    return path


def change(maildir: Path, what: str, number: int) -> None:
    """Do to one message what another program does.

    :param number: of the message that comes
    """
    if what == "added":
        owner = maildir.stat()
        os.chown(put(maildir, number, time.time(), sizes=False), owner.st_uid, owner.st_gid)
        return
    path = next((maildir / "new").iterdir(), None) or next((maildir / "cur").iterdir())
    if what == "removed":
        path.unlink()
    else:
        base, _, flags = path.name.partition(":2,")
        path.rename(maildir / "cur" / f"{base}:2,{'' if 'S' in flags else 'S'}")


class Mailframe:
    """Our server."""

    name = "mailframe"

    def maildir(self, root: Path) -> Path:
        """Where jsmith's messages lie."""
        return root / "mail" / DOMAIN / "jsmith"

    @contextlib.contextmanager
    def serve(self, root: Path, port: int) -> Iterator[None]:
        """Serve from ``root``."""
        import argon2

        # The cheapest hash: what is measured is not how a password is proved.
        hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        (root / "accounts.toml").write_text(
            f'[[account]]\naddress = "{LOGIN.decode()}"\npassword = "{hashed}"\n'
        )
        (root / "accounts.toml").chmod(0o600)
        (root / "mailframe.toml").write_text(
            f'hostname = "mx.{DOMAIN}"\nlocal_domains = ["{DOMAIN}"]\n'
            f'[[server]]\nname = "pop"\nprotocol = "pop3"\n'
            f'listen = "tcp:{port}:interface=127.0.0.1"\n'
            '[accounts]\nplugin = "file"\npath = "accounts.toml"\n'
        )
        command = (sys.executable, "-m", "twisted", "--log-level=warn", "mailframe")
        with running(*command, "-c", root / "mailframe.toml", cwd=root) as process:
            wait_until("mailframe listens", lambda: listens(port, process))
            yield


class Dovecot:
    """Debian's Dovecot with its own configuration and folders."""

    name = "Dovecot"

    def maildir(self, root: Path) -> Path:
        """Where jsmith's messages lie."""
        return root / "maildir"

    @contextlib.contextmanager
    def serve(self, root: Path, port: int) -> Iterator[None]:
        """Serve from ``root``."""
        configuration = write_dovecot(root, port, self.maildir(root))
        with running("dovecot", "-F", "-c", configuration, cwd=root) as process:
            wait_until("Dovecot listens", lambda: listens(port, process))
            yield


def opening(port: int, messages: int) -> float:
    """Seconds until a client knows what there is."""
    client = Client(port)
    begin = time.monotonic()
    if client.login() != messages:
        raise Failed("not all messages are there")
    client.multi(b"UIDL\r\n", 1)
    seconds = time.monotonic() - begin
    client.leave()
    return seconds


def with_poplib(port: int, messages: int) -> float:
    """Messages a second."""
    client = poplib.POP3("127.0.0.1", port, timeout=60)
    client.user(LOGIN.decode())
    client.pass_(PASSWORD)
    begin = time.monotonic()
    octets = sum(client.retr(number)[2] for number in range(1, messages + 1))
    rate = messages / (time.monotonic() - begin)
    if octets < messages * SIZE * 0.9:
        raise Failed("less came than there is")
    client.quit()
    return rate


def fetching(port: int, messages: int, batch: int) -> float:
    """Messages a second."""
    client = Client(port)
    client.login()
    octets = 0
    begin = time.monotonic()
    for first in range(1, messages + 1, batch):
        numbers = range(first, min(first + batch, messages + 1))
        octets += client.multi(b"".join(b"RETR %d\r\n" % n for n in numbers), len(numbers))
    rate = messages / (time.monotonic() - begin)
    if octets < messages * SIZE * 0.9:
        raise Failed("less came than there is")
    client.leave()
    return rate


Folders: TypeAlias = dict[int, Path]
Measured: TypeAlias = dict[str, list[tuple[float, float]]]  # by work: ours and Dovecot's, in turn


@contextlib.contextmanager
def both(messages: int, *, sizes: bool) -> Iterator[Folders]:
    """Run the two servers, each with a fresh Maildir; gives those by their ports."""
    with contextlib.ExitStack() as stack:
        folders: Folders = {}
        for server, port in zip((Mailframe(), Dovecot()), free_ports(2), strict=True):
            folder = tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCHMARK_DIR"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            root = Path(folder)
            root.chmod(0o755)
            folders[port] = server.maildir(root)
            fill(folders[port], messages, sizes=sizes)
            stack.enter_context(server.serve(root, port))
            Client(port).leave()  # Dovecot starts a process for the first client
        yield folders


def measure(measured: Measured, works: Collection[str], messages: int) -> None:
    """One round."""

    def take(work: str, how: Callable[[int], float]) -> None:
        if work in works:
            ours, theirs = map(how, folders)
            measured.setdefault(work, []).append((ours, theirs))

    def changed(what: str, there: int) -> Callable[[int], float]:
        def measured_opening(port: int) -> float:
            change(folders[port], what, messages)
            time.sleep(QUIET + 1)
            return opening(port, there)

        return measured_opening

    with both(messages, sizes=True) as folders:
        if "first" not in works:
            for port in folders:
                opening(port, messages)
        take("first", lambda port: opening(port, messages))
        if not {"later", *CHANGES}.isdisjoint(works):
            time.sleep(QUIET)
            for port in folders:
                opening(port, messages)
        take("later", lambda port: opening(port, messages))
        for work, there in zip(CHANGES, (1, 1, 0), strict=True):
            take(work, changed(work, messages + there))
        take("poplib", lambda port: with_poplib(port, messages))
        take("retr", lambda port: fetching(port, messages, 1))
        take("pipelined", lambda port: fetching(port, messages, BATCH))
    if "foreign" in works:
        with both(messages, sizes=False) as folders:
            take("foreign", lambda port: opening(port, messages))


def main() -> None:
    """Run the works that were named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", default=WORKS, metavar="work", help=", ".join(WORKS))
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    unknown = set(chosen.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if os.geteuid() != 0:
        parser.error("Dovecot has to be started by root")
    os.environ["PATH"] += ":/usr/sbin"
    measured: Measured = {}
    for _ in range(chosen.rounds):
        measure(measured, chosen.works, chosen.messages)
    print(f"{'work':12}{'mailframe':>12}{'Dovecot':>12}{'ratio':>8}   ({chosen.messages} messages)")
    for work in [w for w in WORKS if w in chosen.works]:
        ours, theirs = (statistics.median(each) for each in zip(*measured[work], strict=True))
        ratio = statistics.median(our / their for our, their in measured[work])
        seconds = work in OPENINGS
        unit, form = (" s", "10.3f") if seconds else ("/s", "10.0f")
        print(f"{work:12}{ours:{form}}{unit}{theirs:{form}}{unit}{ratio:7.2f}x")


if __name__ == "__main__":
    main()
