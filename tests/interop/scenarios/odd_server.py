"""Servers that behave oddly: ``python odd_server.py FOLDER WAY=PORT...``

Started as a foreign program, one port for each way (`WAYS`). In the folder it finds ``chain.pem``
and ``key.pem``, and writes every content that it has acknowledged to ``WAY-NUMBER``, its recipients
first; and into ``names`` the server names of the TLS handshakes, one in each line.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(sys.argv[1])
NUMBERS = itertools.count()


class Session:
    """One client. What is said to a command can be changed in ``replies``.

    A reply is octets, or a function that is called instead, or ``None`` to close.
    """

    greeting: bytes | None = b"220 odd.example ESMTP\r\n"
    extensions: tuple[bytes, ...] = ()
    pause = 0.0  # seconds before each octet that is sent
    tls = False

    def __init__(self, way: str, connection: socket.socket) -> None:
        self.way, self.connection = way, connection
        self.buffered = b""
        self.recipients: list[bytes] = []
        self.messages = 0
        self.replies: dict[bytes, bytes | Callable[[bytes], bytes | None] | None] = {
            b"EHLO": lambda _: self.lines(b"odd.example", *self.extensions),
            b"LHLO": lambda _: self.lines(b"odd.example", *self.extensions),
            b"RCPT": self.rcpt,
            b"DATA": b"354 go ahead\r\n",
            b"QUIT": b"221 bye\r\n",
            b"STAR": self.starttls,
        }

    def lines(self, *texts: bytes) -> bytes:
        """A reply of several lines."""
        *first, last = texts
        return b"".join(b"250-%b\r\n" % text for text in first) + b"250 %b\r\n" % last

    def send(self, octets: bytes) -> None:
        if not self.pause:
            self.connection.sendall(octets)
        for octet in octets if self.pause else b"":
            time.sleep(self.pause)
            self.connection.sendall(bytes([octet]))

    def line(self) -> bytes | None:
        """The next line, or nothing when the client has left."""
        while b"\n" not in self.buffered:
            more = self.connection.recv(65536)
            if not more:
                return None
            self.buffered += more
        line, _, self.buffered = self.buffered.partition(b"\n")
        return line.rstrip(b"\r")

    def rcpt(self, command: bytes) -> bytes | None:
        self.recipients.append(command[9 : command.index(b">")])
        return b"250 2.1.5 ok\r\n"

    def starttls(self, _command: bytes) -> bytes | None:
        self.connection.sendall(b"220 go ahead\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(FOLDER / "chain.pem", FOLDER / "key.pem")
        context.sni_callback = self.named
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.buffered, self.tls = b"", True
        return b""

    def named(self, _socket: object, name: str | None, _context: object) -> None:
        with (FOLDER / "names").open("a") as names:
            names.write(f"{name}\n")

    def serve(self) -> None:
        """Until one of the two leaves."""
        if self.greeting is None:
            return
        self.send(self.greeting)
        while (command := self.line()) is not None:
            reply = self.replies.get(command[:4].upper(), b"250 2.0.0 ok\r\n")
            if callable(reply):
                reply = reply(command)
            if reply is None:
                return
            self.send(reply)
            if reply.startswith(b"354") and command[:4].upper() == b"DATA":
                self.take()

    def take(self) -> None:
        """Take a content."""
        content: list[bytes] = []
        while (line := self.line()) != b".":
            if line is None:
                return
            content.append(line[1:] if line.startswith(b".") else line)
        (FOLDER / f"{self.way}-{next(NUMBERS)}").write_bytes(
            b" ".join(self.recipients) + b"\n" + b"\n".join(content) + b"\n"
        )
        self.recipients = []
        self.messages += 1
        self.taken()

    def taken(self) -> None:
        """Acknowledge a content."""
        self.send(b"250 2.0.0 taken\r\n")


class Dripping(Session):
    """Sends its replies octet by octet."""

    pause = 0.01


class Wordy(Session):
    """Says more than anybody reads."""

    greeting = b"".join(b"220-line %d of the rules of this place\r\n" % n for n in range(100_000))


class LongLine(Session):
    """Greets with a line that does not end."""

    greeting = b"220 " + b"x" * 1_000_000


class Foreign(Session):
    """Speaks another protocol."""

    greeting = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


class Eager(Session):
    """Has answered to everything before it is asked."""

    greeting = b"220 odd.example\r\n250 odd.example\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"


class Escaping(Session):
    """Has a terminal's escape sequences and line ends in what it says."""

    def rcpt(self, command: bytes) -> bytes:
        return b"550 5.1.1 \x1b[2J\x07no\xff such\x00 user\r250 2.0.0 taken\r\n"


class Confused(Session):
    """Says 250 where it should say 354."""

    def __init__(self, way: str, connection: socket.socket) -> None:
        super().__init__(way, connection)
        self.replies[b"DATA"] = b"250 ok\r\n"


class Small(Session):
    """Takes small messages alone."""

    extensions = (b"SIZE 500", b"8BITMIME")


class Few(Session):
    """Takes two recipients at a time."""

    extensions = (b"PIPELINING",)

    def rcpt(self, command: bytes) -> bytes | None:
        if len(self.recipients) == 2:
            return b"452 4.5.3 too many recipients\r\n"
        return super().rcpt(command)


class Lmtp(Session):
    """Has a reply of its own for each recipient, after the content."""

    extensions = (b"PIPELINING",)

    def taken(self) -> None:
        self.send(b"250 2.1.5 taken\r\n552 5.2.2 over quota\r\n451 4.3.0 later\r\n")


class Leaving(Session):
    """Leaves after each message, without a word."""

    def taken(self) -> None:
        super().taken()
        self.connection.shutdown(socket.SHUT_RDWR)


class Impatient(Session):
    """Says 421 a moment after each message, unasked."""

    def taken(self) -> None:
        super().taken()
        time.sleep(0.2)
        self.send(b"421 4.4.2 idle for too long\r\n")
        self.connection.shutdown(socket.SHUT_RDWR)


class Secure(Session):
    """Offers TLS and logins."""

    @property
    def extensions(self) -> tuple[bytes, ...]:  # type: ignore[override]  # they change with TLS
        return (b"AUTH PLAIN",) if self.tls else (b"STARTTLS",)


class RefusingTls(Secure):
    """Offers TLS, and has none."""

    def starttls(self, _command: bytes) -> bytes | None:
        return b"454 4.7.0 TLS is not available now\r\n"


class BreakingTls(Secure):
    """Begins a handshake that can't come to an end."""

    def starttls(self, _command: bytes) -> bytes | None:
        self.connection.sendall(b"220 go ahead\r\n")
        self.connection.recv(65536)
        self.connection.sendall(b"this is no handshake\r\n")
        return None


class InjectingTls(Secure):
    """Somebody in between adds a reply to that to STARTTLS."""

    def starttls(self, _command: bytes) -> bytes | None:
        self.connection.sendall(b"220 go ahead\r\n250 as you like\r\n")
        self.connection.recv(65536)
        return None


class NoLogin(Secure):
    """Refuses the login."""

    def __init__(self, way: str, connection: socket.socket) -> None:
        super().__init__(way, connection)
        self.replies[b"AUTH"] = b"535 5.7.8 no such login\r\n"


class LoginLater(Secure):
    """Can't tell whether a login is right."""

    def __init__(self, way: str, connection: socket.socket) -> None:
        super().__init__(way, connection)
        self.replies[b"AUTH"] = b"454 4.7.0 ask again later\r\n"


class Login(Secure):
    """Takes the login."""

    def __init__(self, way: str, connection: socket.socket) -> None:
        super().__init__(way, connection)
        self.replies[b"AUTH"] = b"235 2.7.0 welcome\r\n"


WAYS = {
    "plain": Session,
    "dripping": Dripping,
    "wordy": Wordy,
    "longline": LongLine,
    "foreign": Foreign,
    "eager": Eager,
    "escaping": Escaping,
    "confused": Confused,
    "small": Small,
    "few": Few,
    "lmtp": Lmtp,
    "leaving": Leaving,
    "impatient": Impatient,
    "secure": Secure,
    "refusingtls": RefusingTls,
    "breakingtls": BreakingTls,
    "injectingtls": InjectingTls,
    "nologin": NoLogin,
    "loginlater": LoginLater,
    "login": Login,
}


def listen(way: str, port: int) -> None:
    """Serve each client in a thread of its own."""

    def serve(connection: socket.socket) -> None:
        try:
            session = WAYS[way](way, connection)
            session.serve()
            session.connection.close()
        except OSError:  # the client has left
            connection.close()

    with socket.create_server(("", port), backlog=100) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def main() -> None:
    """Serve in every way that was asked for, for ever."""
    threads = []
    for each in sys.argv[2:]:
        way, _, port = each.partition("=")
        threads.append(threading.Thread(target=listen, args=(way, int(port)), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
