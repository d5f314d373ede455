"""mailframe's POP3 server beside Dovecot's on this machine, in one run:

    python -m benchmarks.pop3 [--messages 10000] [--rounds 3] [work …]

Each server has a Maildir of its own with the same messages of 4 KB, all in ``new`` and under the
names that our delivery agent gives them. One client, the same for both, does the work:

first      opens that Maildir for the first time: login, STAT and UIDL
foreign    the same where the names tell no sizes, as other delivery agents write them
later      opens it again
retr       fetches all messages, each after the one before
pipelined  fetches all messages, asking for 50 at a time

The two servers take turns and the best of the rounds counts, for the machine is noisy; what is to
be quoted are the ratios. Needs root and Debian's dovecot-pop3d. Ends what it started, by process
id.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.against_postfix import listens, running, wait_until
from mailframe.address import Address
from mailframe.delivery.maildir_layout import delivery_name, delivery_stem
from tests.interop.programs import free_ports

DOMAIN = "demo.example"
LOGIN = b"jsmith@demo.example"
PASSWORD = "sesame"
SIZE = 4096
BATCH = 50
WORKS = ("first", "foreign", "later", "retr", "pipelined")
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
    line = b"x" * 70 + b"\n"
    recipient = Address("jsmith", DOMAIN)
    now = time.time() - messages
    for number in range(messages):
        head = b"From: a@far.example\nTo: jsmith@demo.example\nSubject: %d\n\n" % number
        body = head + line * ((SIZE - len(head)) // len(line))
        queue_id = hashlib.sha256(b"%d" % number).hexdigest()[:13]
        stem = delivery_stem(now + number, queue_id, recipient)
        name = delivery_name(stem, "mx.demo.example", len(body), len(body) + body.count(b"\n"))
        (maildir / "new" / (name if sizes else name.partition(",")[0])).write_bytes(body)


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
        owner = pwd.getpwnam("nobody")  # Dovecot serves no mailbox to root
        maildir = self.maildir(root)
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        (root / "dovecot.conf").write_text(
            f"base_dir = {root}/run\nstate_dir = {root}/state\n"
            f"mail_location = maildir:{maildir}\n"
            "protocols = pop3\nlog_path = /dev/stderr\nssl = no\ndisable_plaintext_auth = no\n"
            "first_valid_uid = 1\nfirst_valid_gid = 1\ndefault_internal_user = dovecot\n"
            "listen = 127.0.0.1\n"
            f"service pop3-login {{\n  inet_listener pop3 {{\n    port = {port}\n  }}\n"
            "  inet_listener pop3s {\n    port = 0\n  }\n}\n"
            "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
            "userdb {\n  driver = static\n"
            f"  args = uid={owner.pw_uid} gid={owner.pw_gid} home={root}/home\n}}\n"
        )
        with running("dovecot", "-F", "-c", root / "dovecot.conf", cwd=root) as process:
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


def measure(server: Mailframe | Dovecot, works: list[str], messages: int) -> dict[str, float]:
    """One round: seconds of the openings, messages a second of the rest."""
    found: dict[str, float] = {}
    for sizes in (True, False):
        if not sizes and "foreign" not in works:
            continue
        root = Path(tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
        root.chmod(0o755)
        try:
            fill(server.maildir(root), messages, sizes=sizes)
            (port,) = free_ports(1)
            with server.serve(root, port):
                Client(port).leave()  # Dovecot starts a process for the first client
                found["first" if sizes else "foreign"] = opening(port, messages)
                if sizes:
                    found["later"] = opening(port, messages)
                    for work, batch in (("retr", 1), ("pipelined", BATCH)):
                        if work in works:
                            found[work] = fetching(port, messages, batch)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return found


def main() -> None:
    """Run the works that were named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", default=WORKS, metavar="work", help=", ".join(WORKS))
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    unknown = set(chosen.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if os.geteuid() != 0:
        parser.error("Dovecot has to be started by root")
    os.environ["PATH"] += ":/usr/sbin"
    best: dict[tuple[str, str], float] = {}
    for _ in range(chosen.rounds):
        for server in (Mailframe(), Dovecot()):
            for work, value in measure(server, list(chosen.works), chosen.messages).items():
                better: Callable[..., float] = max if work in ("retr", "pipelined") else min
                key = (server.name, work)
                best[key] = better(best.get(key, value), value)
    print(f"{'work':12}{'mailframe':>12}{'Dovecot':>12}{'ratio':>8}   ({chosen.messages} messages)")
    for work in [w for w in WORKS if w in chosen.works]:
        ours, theirs = best["mailframe", work], best["Dovecot", work]
        unit = "/s" if work in ("retr", "pipelined") else " s"
        form = "10.0f" if unit == "/s" else "10.3f"
        print(f"{work:12}{ours:{form}}{unit}{theirs:{form}}{unit}{ours / theirs:7.2f}x")


if __name__ == "__main__":
    main()
