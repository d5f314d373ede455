"""A mail server for tests, at as many addresses as are wanted, each with a certificate of its own.

It takes every message, and remembers over what it came.
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.delivery.chains import Party


@attrs.frozen
class Taken:
    """One recipient that a server took.

    :ivar address: of the server
    :ivar recipient: what stood in RCPT
    :ivar encrypted: whether it came over TLS
    :ivar name: of the server, as the client said it in the handshake
    """

    address: str
    recipient: str
    encrypted: bool
    name: str | None


class _Named(ssl.SSLSocket):
    """Knows what the client calls the server."""

    named: str | None = None


class TlsServers:
    """Servers at loopback addresses.

    :param port: that all of them listen on
    :param folder: for keys

    :ivar taken: what they were given, in the order in which it came
    :ivar said: every line that was said to each address, without the content
    """

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._folder = folder
        self._listening: list[socket.socket] = []
        self.taken: list[Taken] = []
        self.said: list[tuple[str, str]] = []

    def add(self, address: str, shown: Party | None) -> None:
        """Listen at one more address.

        :param shown: its certificate; ``None``: it has no TLS
        """
        context = None if shown is None else self._context(address, shown)
        listening = socket.create_server((address, self._port))
        self._listening.append(listening)
        threading.Thread(
            target=self._listen, args=(listening, address, context), daemon=True
        ).start()

    def close(self) -> None:
        """Listen no longer."""
        for listening in self._listening:
            listening.close()

    def _context(self, address: str, shown: Party) -> ssl.SSLContext:
        file = self._folder / f"{address}.pem"
        parties = (shown, *shown.above)
        file.write_bytes(
            shown.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + b"".join(party.certificate.public_bytes(Encoding.PEM) for party in parties)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.sslsocket_class = _Named
        context.sni_callback = lambda socket, name, _: setattr(socket, "named", name)
        return context

    def _listen(
        self, listening: socket.socket, address: str, context: ssl.SSLContext | None
    ) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(connection, address, context), daemon=True
            ).start()

    def _serve(
        self, connection: socket.socket, address: str, context: ssl.SSLContext | None
    ) -> None:
        encrypted = False
        try:
            connection.settimeout(30)
            connection.sendall(b"220 mx ESMTP\r\n")
            lines = connection.makefile("rb")
            while line := lines.readline():
                text = line.decode("ascii", "replace").strip()
                self.said.append((address, text))
                verb = text.partition(" ")[0].upper()
                reply = b"250 2.0.0 well\r\n"
                if verb == "EHLO" and context is not None and not encrypted:
                    reply = b"250-mx\r\n250 STARTTLS\r\n"
                elif verb == "STARTTLS" and context is not None:
                    connection.sendall(b"220 2.0.0 go ahead\r\n")
                    connection = context.wrap_socket(connection, server_side=True)
                    lines, encrypted = connection.makefile("rb"), True
                    continue
                elif verb == "RCPT":
                    recipient = text.partition("<")[2].partition(">")[0]
                    named = getattr(connection, "named", None)
                    self.taken.append(Taken(address, recipient, encrypted, named))
                elif verb == "DATA":
                    connection.sendall(b"354 go on\r\n")
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                elif verb == "QUIT":
                    reply = b"221 2.0.0 bye\r\n"
                connection.sendall(reply)
        except OSError:
            pass  # the client has enough
        finally:
            connection.close()
