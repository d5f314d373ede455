"""What ``mailframe check`` finds out by asking."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import fail, succeed
from twisted.names import dns
from twisted.names.error import DNSQueryTimeoutError

from mailframe.cli import network_findings
from mailframe.cli.endpoints import Place
from mailframe.cli.findings import Finding
from mailframe.cli.network_findings import bind, of_name_servers, of_ports
from mailframe.settings import DnsSettings, ServerSettings
from tests.cli.test_findings import FindingsCase

CONSOLE = ServerSettings(name="console", protocol="console", listen=("tcp:8025",), tls="none")


class Connection:
    """A socket that has somebody's first words, a piece at a time."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def sendall(self, octets: bytes) -> None:
        self.sent += octets

    def recv(self, _size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


class Ports(FindingsCase):
    """Whether every listening socket can be opened."""

    def bind_fails(self, number: int) -> None:
        def bind(_place: Place) -> None:
            raise OSError(number, os.strerror(number))

        self.patch(network_findings, "bind", bind)

    def answers(self, connect: Callable[[], Any]) -> None:
        self.patch(socket, "create_connection", lambda *_, **__: connect())

    def find(self, server: ServerSettings | None = None) -> list[Finding]:
        settings = self.settings if server is None else self.change(servers=(server,))
        return list(of_ports(settings))

    def test_free(self) -> None:
        """A configuration that can be started would be complained about."""
        self.patch(network_findings, "bind", lambda _place: None)
        self.assert_well(self.find())

    def test_families(self) -> None:
        """Both are free by themselves, and the second one could not be opened beside the first."""
        self.patch(network_findings, "bind", lambda _place: None)
        both = self.change(servers=(attrs.evolve(CONSOLE, listen=("tcp:25", "tcp6:25")),))
        for system, level in (("0\n", "error"), ("1\n", "ok")):
            said = self.write("bindv6only", system)
            self.assert_found(of_ports(both, said), level, "tcp:25")
        self.assert_well(of_ports(both, self.path("nowhere")))
        for listen in (("tcp6:25", "tcp:26"), ("tcp:0", "tcp6:0"), ("unix:/x/y", "tcp:25")):
            one = self.change(servers=(attrs.evolve(CONSOLE, listen=listen),))
            said = self.write("bindv6only", "0\n")
            self.assertFalse([f for f in of_ports(one, said) if "beside" in f.message])

    def test_ours(self) -> None:
        """Checking beside the running server would find errors."""
        self.bind_fails(errno.EADDRINUSE)
        self.answers(lambda: Connection(b"220 mx.rosse.example ESMTP mailframe\r\n"))
        self.assert_well(self.find())
        connection = Connection(b"HTTP/1.1 200 OK\r\n", b"\r\n", b'{"status": "ok"}')
        self.answers(lambda: connection)
        self.assert_well(self.find(CONSOLE))
        self.assertTrue(connection.sent.startswith(b"GET /health "))

    def test_ours_over_tls(self) -> None:
        """Checking beside a running server with implicit TLS would find errors."""

        class Context:
            def wrap_socket(self, connection: Connection) -> Connection:
                return connection

        self.bind_fails(errno.EADDRINUSE)
        self.patch(ssl, "create_default_context", Context)
        self.answers(lambda: Connection(b"+OK mx.rosse.example POP3 server ready\r\n"))
        (server,) = self.settings.servers
        self.assert_well(self.find(attrs.evolve(server, tls="implicit")))

    def test_taken(self) -> None:
        """The server would fail when it starts, beside another mail server."""
        self.bind_fails(errno.EADDRINUSE)
        for connect in (
            lambda: Connection(b"220 other.example ESMTP Postfix\r\n"),
            lambda: Connection(b""),
            lambda: Connection(*[b"x" * 4096] * 3),
        ):
            self.answers(connect)
            self.assert_found(self.find(), "error", "another program")

        def refused() -> None:
            raise ConnectionRefusedError

        self.answers(refused)
        self.assert_found(self.find(), "error", "another program")
        self.answers(lambda: Connection(b"HTTP/1.1 404 Not Found\r\n\r\n"))
        self.assert_found(self.find(CONSOLE), "error", "another program")

    def test_not_allowed(self) -> None:
        """A user would not learn that port 25 needs a privilege."""
        self.bind_fails(errno.EACCES)
        self.assert_found(self.find(), "warn", "CAP_NET_BIND_SERVICE")

    def test_other_faults(self) -> None:
        """An address of another machine would only be found out at the start."""
        self.bind_fails(errno.EADDRNOTAVAIL)
        self.assert_found(self.find(), "error", "address of this machine")

    def proxied(self, listen: str, *proxies: str) -> list[Finding]:
        (server,) = self.settings.servers
        return self.find(attrs.evolve(server, listen=(listen,), proxies=proxies))

    def test_proxied(self) -> None:
        """A port for proxies would be examined by nobody, or checking beside the running server
        would find errors.
        """
        self.patch(network_findings, "bind", lambda _place: None)
        self.assert_well(self.proxied("haproxy:tcp:25", "10.0.0.0/8"))
        self.bind_fails(errno.EADDRINUSE)
        connection = Connection(b"220 mx.rosse.example ESMTP mailframe\r\n")
        self.answers(lambda: connection)
        self.assert_found(self.proxied("haproxy:tcp:25", "::1"), "ok", "by this server")
        self.assertEqual(connection.sent, b"PROXY UNKNOWN\r\n")
        self.answers(Connection)
        self.assert_found(self.proxied("haproxy:tcp:25", "::1"), "ok", "to its proxies alone")
        self.answers(lambda: Connection(b"220 other.example\r\n"))
        self.assert_found(self.proxied("haproxy:tcp:25", "::1"), "error", "another program")

    def test_who_is_a_proxy(self) -> None:
        """Anybody could claim any address, or the proxy could not get in."""
        self.patch(network_findings, "bind", lambda _place: None)
        found = self.proxied("haproxy:tcp:25", "10.0.0.1", "::/0")
        self.assert_found(found, "warn", "anybody may come")
        listen = f"haproxy:unix:{self.path('s')}"
        self.assert_found(self.proxied(listen, "10.0.0.1"), "error", "counts as 127.0.0.1")
        self.assert_well(self.proxied(listen, "127.0.0.0/8"))

    def file(self, path: str) -> list[Finding]:
        (server,) = self.settings.servers
        return self.find(attrs.evolve(server, listen=(f"unix:{path}:mode=660",)))

    def test_socket_files(self) -> None:
        """The server would not start, and the check would have said nothing."""
        self.patch(network_findings, "MAX_PATH", 1000)
        self.assert_well(self.file(self.path("s")))
        self.assert_found(self.file("run/s"), "warn", "no absolute path")
        self.assert_found(self.file("/" + "x" * 1000), "error", "1000 octets")
        folder = self.path("missing")
        self.assert_found(self.file(f"{folder}/s"), "error", f"there is no folder {folder}")
        self.assert_found(self.file(self.write("file", "")), "error", "is no socket")
        self.patch(os, "access", lambda path, mode: False)
        self.assert_found(self.file(self.path("s")), "warn", "can't be written to by this user")

    def test_socket_files_in_use(self) -> None:
        """Checking beside the running server would find errors, or another server none."""
        self.patch(network_findings, "MAX_PATH", 1000)
        path = self.path("s")
        os.mknod(path, stat.S_IFSOCK | 0o600)

        def raising(error: OSError) -> Callable[[str], Any]:
            def connect(_path: str) -> Any:
                raise error

            return connect

        for connect, level, words in (
            (raising(ConnectionRefusedError()), "ok", "will be replaced"),
            (raising(PermissionError(13, "Permission denied")), "warn", "Permission denied"),
            (lambda _: Connection(b"220 mx.rosse.example\r\n"), "ok", "by this server"),
            (lambda _: Connection(b"220 other.example\r\n"), "error", "another program"),
        ):
            self.patch(network_findings, "connect", connect)
            self.assert_found(self.file(path), level, words)

    def test_connect(self) -> None:
        """Every socket file would seem to be left over; or descriptors would be."""
        opened: list[Any] = []

        class Socket(Connection):
            def __init__(self, family: int) -> None:
                super().__init__()
                self.family, self.closed = family, False
                opened.append(self)

            def __exit__(self, *_: object) -> None:
                self.closed = True

            def settimeout(self, _seconds: float) -> None:
                pass

            def connect(self, path: str) -> None:
                if path == "/gone":
                    raise ConnectionRefusedError

        self.patch(socket, "socket", Socket)
        self.assertIs(network_findings.connect("/there"), opened[0])
        self.assertFalse(opened[0].closed)
        self.assertRaises(ConnectionRefusedError, network_findings.connect, "/gone")
        self.assertTrue(opened[1].closed)

    def test_other_kinds(self) -> None:
        """A socket that systemd opens would be called wrong."""
        (server,) = self.settings.servers
        server = attrs.evolve(server, listen=("systemd:domain=INET:index=0",))
        self.assert_found(self.find(server), "ok", "systemd")

    def test_bind(self) -> None:
        """The check would say of every port that it is free."""
        opened: list[Any] = []

        class Socket:
            def __init__(self, *_: object) -> None:
                opened.append(self)
                self.closed = False

            def setsockopt(self, *_: object) -> None:
                pass

            def bind(self, address: tuple[object, ...]) -> None:
                self.address = address

            def listen(self, _backlog: int) -> None:
                raise OSError(errno.EADDRINUSE, "in use")

            def close(self) -> None:
                self.closed = True

        self.patch(socket, "socket", Socket)
        with self.assertRaises(OSError):
            bind(Place("127.0.0.1", 2525))
        self.assertEqual(opened[0].address, ("127.0.0.1", 2525))
        self.assertTrue(opened[0].closed)


class NameServers(FindingsCase):
    """Whether each name server answers."""

    def answer(self, answers: dict[str, Any]) -> None:
        class Resolver:
            def __init__(self, servers: list[str], _reactor: object) -> None:
                self.server = servers[0]

            def queryUDP(self, _queries: object, _timeout: object) -> Any:
                answer = answers[self.server]
                return fail(answer) if isinstance(answer, Exception) else succeed(answer)

        self.patch(network_findings, "make_resolver", Resolver)

    def test_configured(self) -> None:
        """Mail would wait for days because of a mistyped name server."""
        good, bad = "192.0.2.1:53", "192.0.2.2:53"
        self.answer({good: object(), bad: DNSQueryTimeoutError([])})
        settings = self.change(dns=DnsSettings(servers=(good, bad)))
        findings = of_name_servers(settings)
        self.assertEqual([each.level for each in findings], ["ok", "warn"])
        self.assert_found(findings, "warn", bad, "DNSQueryTimeoutError")

    def test_of_the_system(self) -> None:
        """The name servers of the system would not be examined."""
        path = self.write("resolv.conf", "# nameserver 192.0.2.8\nnameserver 192.0.2.9\n")
        self.answer({"192.0.2.9": object()})
        (finding,) = of_name_servers(self.settings, path)
        self.assertEqual(finding.level, "ok")
        self.assertIn("192.0.2.9", finding.message)

    def test_validating(self) -> None:
        """DANE would be believed in where nobody validates, or where anybody may answer."""
        near, far, idle = "127.0.0.1:53", "192.0.2.1:53", "[::1]:53"
        self.answer(
            {
                near: dns.Message(authenticData=1),
                far: dns.Message(authenticData=1),
                idle: dns.Message(),
            }
        )
        servers = DnsSettings(servers=(near, far, idle), validating=True)
        findings = of_name_servers(self.change(dns=servers))
        self.assertEqual([f.level for f in findings], ["ok", "ok", "warn", "ok", "warn"])
        self.assert_found(findings, "warn", far, "changed on their way")
        self.assert_found(findings, "warn", idle, "does not validate")
        servers = DnsSettings(servers=(far, idle))
        findings = of_name_servers(self.change(dns=servers))
        self.assertEqual({finding.level for finding in findings}, {"ok"})

    def test_none(self) -> None:
        """A machine without name servers would pass."""
        findings = of_name_servers(self.settings, self.path("missing"))
        self.assert_found(findings, "warn", "[dns]")
