"""Many idle connections to one process: ``python -m benchmarks.idle [--connections N] [kind …]``.

plain     SMTP in the clear
starttls  SMTP, with STARTTLS done
implicit  SMTP inside TLS from the start
pop3      POP3 in the clear, not logged in

Each client gets as far as its EHLO (or CAPA) and then says nothing more. Printed are the KB of
resident memory that each connection adds to the server, and the longest of some times that a new
client takes to connect and hand over a message meanwhile. The aims are 10 KB in the clear, 64 KB
with TLS, and one second.

The clients live in this process and keep nothing but a socket each. Ends what it started, by
process id.
"""

from __future__ import annotations

import argparse
import os
import resource
import smtplib
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

from benchmarks.programs import Failed, listens, running, wait_until
from tests.interop.programs import free_ports

KINDS = ("plain", "starttls", "implicit", "pop3")
WARM_UP = 200  # connections before the first measurement
ADDRESSES = 50  # from which the clients come
NEW_CLIENTS = 10
AIMS = {"plain": 10.0, "starttls": 64.0, "implicit": 64.0, "pop3": 10.0}  # KB


def configure(folder: Path, kind: str, ports: tuple[int, int]) -> Path:
    """Write a configuration: the server that is measured, and one for new clients."""
    certificate = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    with (folder / "chain.pem").open("wb") as chain:
        for blob in certificate.cert_chain_pems:
            chain.write(blob.bytes())
    key = folder / "key.pem"
    key.touch(0o600)
    key.write_bytes(certificate.private_key_pem.bytes())
    (folder / "accounts.toml").write_text('[[account]]\naddress = "a@demo.example"\n')
    tls = {"starttls": "starttls", "implicit": "implicit"}.get(kind, "none")
    protocol = "pop3" if kind == "pop3" else "smtp"
    configuration = folder / "mailframe.toml"
    configuration.write_text(
        'hostname = "mx.demo.example"\nlocal_domains = ["demo.example"]\n'
        f'[[server]]\nname = "idle"\nprotocol = "{protocol}"\ntls = "{tls}"\n'
        f'listen = "tcp:{ports[0]}:interface=127.0.0.1:backlog=1000"\n'
        f'[[server]]\nname = "new"\nprotocol = "smtp"\ntls = "none"\n'
        f'listen = "tcp:{ports[1]}:interface=127.0.0.1"\n'
        '[tls]\ncertificate = "chain.pem"\nprivate_key = "key.pem"\n'
        '[accounts]\nplugin = "file"\npath = "accounts.toml"\n'
        '[authorisation]\nplugin = "providers"\n[routing]\nplugin = "table"\n'
        '[queue]\nplugin = "memory"\n[delivery]\nplugin = "maildir"\n'
        'path = "mail/{domain}/{mailbox}"\n'
        '[limits]\nidle = "2h"\nconnections = 100000\nconnections_per_address = 100000\n'
        "connections_per_network = 100000\n"
    )
    return configuration


def read_to(connection: socket.socket, end: bytes) -> None:
    """Read a whole reply."""
    octets = b""
    while not octets.endswith(b"\n") or end not in octets:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"the server closed after {octets!r}")
        octets += piece


def connect(kind: str, port: int, number: int, context: ssl.SSLContext) -> socket.socket:
    """One client, until it has nothing more to say."""
    source = f"127.0.1.{1 + number % ADDRESSES}"
    connection = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
    if kind == "pop3":
        read_to(connection, b"+OK")
        connection.sendall(b"CAPA\r\n")
        read_to(connection, b"\r\n.\r\n")
        return connection
    if kind == "implicit":
        connection = context.wrap_socket(connection, server_hostname="localhost")
    read_to(connection, b"220 ")
    connection.sendall(b"EHLO client.example\r\n")
    read_to(connection, b"250 ")
    if kind == "starttls":
        connection.sendall(b"STARTTLS\r\n")
        read_to(connection, b"220 ")
        connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(b"EHLO client.example\r\n")
        read_to(connection, b"250 ")
    if isinstance(connection, ssl.SSLSocket):
        # The TLS state of ten thousand clients would fill this process's memory.
        connection = socket.socket(fileno=connection.detach())
    return connection


def resident(process: int) -> float:
    """The KB of memory that a process has."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise ValueError(f"no VmRSS for {process}")


def served(port: int) -> float:
    """Seconds for a new client to hand over a message."""
    start = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=60) as client:
        client.sendmail("b@there.example", "a@demo.example", b"Subject: x\r\n\r\nhello\r\n")
    return time.monotonic() - start


def measure(kind: str, count: int) -> Iterator[str]:
    """One kind; yields what is to be printed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing secret is sent
    port, new = free_ports(2)
    clients: list[socket.socket] = []
    with tempfile.TemporaryDirectory(prefix="mailframe-idle.") as name:
        folder = Path(name)
        configuration = configure(folder, kind, (port, new))
        command = [sys.executable, "-m", "twisted", "--log-level=error", "mailframe"]
        with running(*command, "-c", configuration, cwd=folder) as process:
            wait_until("the server listens", lambda: listens(new, process))
            try:
                for number in range(WARM_UP):
                    connect(kind, port, number, context).close()
                served(new)
                time.sleep(1)
                before = resident(process.pid)
                start = time.monotonic()
                for number in range(count):
                    clients.append(connect(kind, port, number, context))
                took = time.monotonic() - start
                slowest = max(served(new) for _ in range(NEW_CLIENTS))
                each = (resident(process.pid) - before) / count
                held = len(os.listdir(f"/proc/{process.pid}/fd"))
                if held < count:
                    raise Failed(f"the server holds {held} descriptors only")
            finally:
                for client in clients:
                    client.close()
    verdict = "within" if each <= AIMS[kind] and slowest < 1 else "BEYOND"
    yield (
        f"{kind:9} {count:6} connections, made at {count / took:5.0f}/s: {each:5.1f} KB each "
        f"(aim {AIMS[kind]:.0f}); a new client is served in {slowest * 1000:.0f} ms: {verdict}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=", ".join(KINDS))
    parser.add_argument("--connections", type=int, default=10_000)
    options = parser.parse_args()
    if set(options.kinds) - set(KINDS):
        parser.error(f"kinds are {', '.join(KINDS)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.connections > most - 500:
        parser.error(f"the system allows {most} open files in a process")
    for kind in options.kinds or KINDS:
        for line in measure(kind, options.connections):
            print(line, flush=True)


if __name__ == "__main__":
    main()
