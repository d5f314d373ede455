"""What ``mailframe check`` finds out by asking: whether ports are free and name servers answer."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from twisted.names import dns

from mailframe.authorisation.networks import Networks
from mailframe.cli.endpoints import Place, listening_place, socket_file
from mailframe.cli.findings import Finding
from mailframe.cli.running import run
from mailframe.delivery.addresses import is_loopback
from mailframe.delivery.resolver import make_resolver, parse_server
from mailframe.guard import as_deferred
from mailframe.listening import PROXIED
from mailframe.settings import ServerSettings, Settings

ANSWER_TIME = 2.0  # seconds that a server of ours or a name server gets
MAX_PATH = 107  # octets of the path of a socket file
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
        questions = [
            as_deferred(_ask(reactor, server, settings.dns.validating)) for server in servers
        ]
        return [finding for question in questions for finding in await question]

    return run(ask)


def _system_servers(resolv_conf: str) -> Sequence[str]:
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            return _NAME_SERVER.findall(file.read())
    except OSError:
        return ()


async def _ask(reactor: Any, server: str, validating: bool) -> list[Finding]:
    try:
        resolver: Any = make_resolver([server], reactor)  # Any: queryUDP has no types
        # any answer shows that it lives, a refusal too
        answer = await resolver.queryUDP([dns.Query(b"", dns.NS)], (ANSWER_TIME,))
    except Exception as error:  # ports that are closed, time-outs, addresses that aren't any
        problem = f"{server} does not answer ({type(error).__name__})"
        mend = "mail to other domains waits until it does; see [dns] servers"
        return [Finding("warn", "dns", problem, mend)]
    found = [Finding("ok", "dns", f"{server} answers")]
    return found + list(_of_trust(server, answer)) if validating else found


def _of_trust(server: str, answer: Any) -> Iterator[Finding]:
    """Whether a name server is worth the trust that ``validating = true`` puts in it.

    :param answer: to a question about the root, which is signed
    """
    if not answer.authenticData:
        yield Finding(
            "warn",
            "dns",
            f"{server} does not say that the root zone is genuine: it does not validate DNSSEC",
            "have it validate, or drop validating = true: as it is, no DANE is found",
        )
    host, _ = parse_server(server)
    if not is_loopback(host):
        yield Finding(
            "warn",
            "dns",
            f"{server} is trusted to validate DNSSEC, and its answers can be changed on their way",
            "run a name server that validates on this machine, and name it in [dns] servers",
        )


def of_ports(
    settings: Settings, bindv6only: str = "/proc/sys/net/ipv6/bindv6only"
) -> Iterator[Finding]:
    """Whether every listening socket can be opened, or is open already and ours.

    :param bindv6only: where the system says whether IPv4 connections go to a socket at :: as well
    """
    yield from _of_families(settings, bindv6only)
    for server in settings.servers:
        subject = f"server {server.name}"
        yield from _of_proxies(server, subject)
        for listen in server.listen:
            place, path = listening_place(listen), socket_file(listen)
            if place is not None:
                yield _port(settings.hostname, server, listen, place, subject)
            elif path is not None:
                yield _file(settings.hostname, server, listen, path, subject)
            else:
                yield Finding("ok", subject, f"{listen} is not examined")


def _of_families(settings: Settings, bindv6only: str) -> Iterator[Finding]:
    """Whether sockets for all IPv4 addresses and for all IPv6 addresses share a port."""
    try:
        with open(bindv6only, encoding="ascii") as file:
            if file.read().strip() != "0":
                return
    except OSError:
        return  # no IPv6, or another system
    every = [(server, each) for server in settings.servers for each in server.listen]
    places = [(server, each, listening_place(each)) for server, each in every]
    ports = {each.port: listen for _, listen, each in places if each and each.interface == "::"}
    for server, listen, place in places:
        if place is not None and place.port in ports and place.port and ":" not in place.interface:
            yield Finding(
                "error",
                f"server {server.name}",
                f"{listen} can't be opened beside {ports[place.port]}, which takes IPv4 as well",
                f"drop {listen}",
            )


def _of_proxies(server: ServerSettings, subject: str) -> Iterator[Finding]:
    """Whether those in ``proxies`` get in, and nobody else."""
    networks = Networks(server.proxies)
    for network in networks.networks:
        if not network.prefixlen:
            yield Finding(
                "warn",
                subject,
                f"proxies = {network}: anybody may come as whomever he likes",
                "name the addresses of the proxies alone",
            )
    for listen in server.listen:
        by_file = listen.startswith(PROXIED) and socket_file(listen) is not None
        if by_file and networks.find("127.0.0.1") is None:
            yield Finding(
                "error",
                subject,
                f"{listen} lets nobody in: who comes through a socket file counts as 127.0.0.1",
                'add "127.0.0.1" to proxies',
            )


def _port(
    hostname: str, server: ServerSettings, listen: str, place: Place, subject: str
) -> Finding:
    try:
        bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(place.interface, place.interface)  # noqa: S104  # not bound to: compared with
            return _in_use(
                *(hostname, server, listen, subject),
                lambda: socket.create_connection((host, place.port), timeout=ANSWER_TIME),
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


def _file(hostname: str, server: ServerSettings, listen: str, path: str, subject: str) -> Finding:
    """Whether a socket file can be made, or is ours; it is not made."""
    folder = os.path.dirname(path)
    if not os.path.isabs(path):
        problem = "has no absolute path: where it is depends on where the server is started"
        return Finding("warn", subject, f"{listen} {problem}", "write the whole path")
    if len(os.fsencode(path)) > MAX_PATH:
        problem = f"has a path of more than {MAX_PATH} octets"
        return Finding("error", subject, f"{listen} {problem}", "choose a shorter one")
    if not os.path.isdir(folder):
        mend = f"make it, with mkdir, or with RuntimeDirectory= in the systemd unit: {folder}"
        return Finding("error", subject, f"{listen}: there is no folder {folder}", mend)
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        return Finding("error", subject, f"{listen}: {path} is no socket", "move it away")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "warn",
            subject,
            f"{listen}: {folder} can't be written to by this user",
            "start the server as root with twistd -u USER, or change the folder's owner",
        )
    if not os.path.lexists(path):
        return Finding("ok", subject, f"{listen} is free")
    try:
        connect(path).close()
    except ConnectionRefusedError:
        problem = "was left by a server that has ended, and will be replaced"
        return Finding("ok", subject, f"{listen} {problem}")
    except OSError as error:
        reason = error.strerror or error
        mend = "check as the user whom the server runs as"
        return Finding("warn", subject, f"{listen} can't be examined: {reason}", mend)
    return _in_use(hostname, server, listen, subject, lambda: connect(path))


def connect(path: str) -> socket.socket:
    """Connect to a socket file.

    :raises OSError: it can't be done
    """
    with ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(ANSWER_TIME)
        connection.connect(path)
        stack.pop_all()
    return connection


def _in_use(
    hostname: str,
    server: ServerSettings,
    listen: str,
    subject: str,
    connect: Callable[[], socket.socket],
) -> Finding:
    """Whose it is, by what is said there."""
    proxied = listen.startswith(PROXIED)
    try:
        said = _greeting(server, proxied, connect)
    except OSError:
        said = b""
    if hostname.encode("ascii") in said or (server.protocol == "console" and b'"status"' in said):
        return Finding("ok", subject, f"{listen} is in use by this server")
    if proxied and not said:
        problem = "is in use, by what talks to its proxies alone, as this server does"
        return Finding("ok", subject, f"{listen} {problem}")
    return Finding(
        "error",
        subject,
        f"{listen} is in use by another program",
        "stop that program or choose another port",
    )


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


def _greeting(server: ServerSettings, proxied: bool, connect: Callable[[], socket.socket]) -> bytes:
    """What is said to a client of ours.

    :raises OSError: nobody is there, or nothing comes
    """
    with ExitStack() as stack:
        connection = stack.enter_context(connect())
        if proxied:
            connection.sendall(b"PROXY UNKNOWN\r\n")
        if server.tls == "implicit":
            connection = stack.enter_context(_any_tls().wrap_socket(connection))
        if server.protocol == "console":
            connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return _read(connection)


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
