"""What ``mailframe check`` finds out by asking: whether ports are free and name servers answer."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from twisted.names import dns

from mailframe.cli.endpoints import Place, listening_place
from mailframe.cli.findings import Finding
from mailframe.cli.running import run
from mailframe.delivery.resolver import make_resolver
from mailframe.guard import as_deferred
from mailframe.settings import ServerSettings, Settings

ANSWER_TIME = 2.0  # seconds that a server of ours or a name server gets
_NAME_SERVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)


def of_name_servers(settings: Settings, resolv_conf: str = "/etc/resolv.conf") -> list[Finding]:
    """Whether each name server answers a question; all are asked at the same time.

    :param resolv_conf: where the system's are named
    """
    servers = settings.dns.servers or _system_servers(resolv_conf)
    if not servers:
        return [
            Finding(
                "warn",
                "dns",
                f"no name server is named in {resolv_conf}",
                'name them: [dns] servers = ["192.0.2.53:53"]',
            )
        ]

    async def ask(reactor: Any) -> list[Finding]:
        questions = [as_deferred(_ask(reactor, server)) for server in servers]
        return [await question for question in questions]

    return run(ask)


def _system_servers(resolv_conf: str) -> Sequence[str]:
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            return _NAME_SERVER.findall(file.read())
    except OSError:
        return ()


async def _ask(reactor: Any, server: str) -> Finding:
    try:
        resolver: Any = make_resolver([server], reactor)  # Any: queryUDP has no types
        # any answer shows that it lives, a refusal too
        await resolver.queryUDP([dns.Query(b"", dns.NS)], (ANSWER_TIME,))
    except Exception as error:  # ports that are closed, time-outs, addresses that aren't any
        return Finding(
            "warn",
            "dns",
            f"{server} does not answer ({type(error).__name__})",
            "mail to other domains waits until it does; see [dns] servers",
        )
    return Finding("ok", "dns", f"{server} answers")


def of_ports(settings: Settings) -> Iterator[Finding]:
    """Whether every listening socket can be opened, or is open already and ours."""
    for server in settings.servers:
        for listen in server.listen:
            place = listening_place(listen)
            subject = f"server {server.name}"
            if place is None:
                yield Finding("ok", subject, f"{listen} is not examined")
            else:
                yield _port(settings.hostname, server, listen, place, subject)


def _port(
    hostname: str, server: ServerSettings, listen: str, place: Place, subject: str
) -> Finding:
    try:
        bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            if _is_ours(hostname, server, place):
                return Finding("ok", subject, f"{listen} is in use by this server")
            return Finding(
                "error",
                subject,
                f"{listen} is in use by another program",
                "stop that program or choose another port",
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return Finding(
                "warn",
                subject,
                f"{listen} can't be opened by this user",
                "start the server as root with twistd -u USER, or with CAP_NET_BIND_SERVICE",
            )
        return Finding(
            "error",
            subject,
            f"{listen} can't be opened: {error.strerror or error}",
            "listen on an address of this machine",
        )
    return Finding("ok", subject, f"{listen} is free")


def bind(place: Place) -> None:
    """Try to listen there.

    :raises OSError: it can't be done
    """
    found = socket.getaddrinfo(
        place.interface, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    with closing(socket.socket(family, kind, protocol)) as probe:
        # as Twisted does, so that connections in TIME_WAIT don't count as use
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def _is_ours(hostname: str, server: ServerSettings, place: Place) -> bool:
    """Whether what listens there greets as we would."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(place.interface, place.interface)  # noqa: S104  # not bound to: compared with
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(
                socket.create_connection((host, place.port), timeout=ANSWER_TIME)
            )
            if server.tls == "implicit":
                connection = stack.enter_context(_any_tls().wrap_socket(connection))
            if server.protocol == "console":
                connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return b'"status"' in _read(connection)
            return hostname.encode("ascii") in _read(connection)
    except OSError:
        return False


def _any_tls() -> ssl.SSLContext:
    """TLS with whoever answers: only the greeting matters here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(connection: socket.socket) -> bytes:
    """What comes within the time, up to the end of a first packet or of the answer."""
    received = b""
    while len(received) < 4096:
        piece = connection.recv(4096)
        received += piece
        if not piece or received.startswith((b"2", b"4", b"5", b"+", b"-")):
            break
    return received
