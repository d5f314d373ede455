"""Who uses the server while it is cut off again and again: senders, readers, a server elsewhere.

Each is a thread that goes on through every crash.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from tests.crash.books import MARK, Books, Letter, body
from tests.crash.server import DOMAIN, MAILBOXES, PASSWORD, SENDER

AWAY = 0.004  # seconds until the next look whether the server is there again
SIZES = (300, 300, 3_000, 3_000, 3_000, 18_000, 40_000, 120_000)
LARGE = 400_000  # more than is held in memory on its way into a mailbox


class Client(threading.Thread):
    """One who goes on until told to stop."""

    def __init__(self, books: Books, seed: str) -> None:
        super().__init__(daemon=True)
        self.books = books
        self.chance = random.Random(seed)  # to be repeated, not to be secret
        self.stopped = threading.Event()

    def run(self) -> None:
        """Go on, whatever becomes of the server."""
        while not self.stopped.is_set():
            try:
                self.session()
            except ConnectionRefusedError:
                with self.books.away:  # one after the other: each look costs time
                    time.sleep(AWAY)
            except (OSError, EOFError):
                time.sleep(AWAY)

    def session(self) -> None:
        """Talk to the server once. :raises OSError, EOFError: it broke off"""

    def stop(self) -> None:
        """Come to an end."""
        self.stopped.set()
        self.join(30)


@contextlib.contextmanager
def connection(port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A connection to a port here, and a file to read from it."""
    with (
        contextlib.closing(socket.create_connection(("127.0.0.1", port), 10)) as sock,
        sock.makefile("rb") as file,
    ):
        yield sock, file


def answer(file: BinaryIO) -> bytes:
    """The last line of a reply. :raises EOFError: there is none any more"""
    while True:
        line = file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        if line[3:4] != b"-":
            return line


class Sender(Client):
    """Sends letters.

    :ivar acknowledged: called, in this thread, as soon as one was
    :ivar sending: held while one is sent, or to have none be sent
    :ivar refusals: replies other than 250 to a message
    """

    def __init__(self, books: Books, seed: str, port: int) -> None:
        super().__init__(books, seed)
        self.port = port
        self.acknowledged: Callable[[], None] = lambda: None
        self.sending = threading.Lock()
        self.refusals: list[bytes] = []

    def session(self) -> None:
        """One connection; some are ended soon."""
        with connection(self.port) as (sock, file):
            answer(file)
            sock.sendall(b"EHLO client.example\r\n")
            answer(file)
            for _ in range(self.chance.choice((1, 20, 20))):
                with self.sending:
                    if self.stopped.is_set():
                        return
                    self.send(sock, file, self.write())

    def write(self) -> Letter:
        """A letter for somebody."""
        kind = self.chance.random()
        boxes = self.chance.sample(MAILBOXES, 1 if kind < 0.7 else self.chance.randint(1, 3))
        if kind > 0.95:
            boxes = []
        size = LARGE if kind < 0.01 else self.chance.choice(SIZES)
        return self.books.new_letter(size, boxes, remote=kind > 0.85, refused=0.7 < kind < 0.75)

    def send(self, sock: socket.socket, file: BinaryIO, letter: Letter) -> None:
        """Send one."""
        switched = self.books.switched
        to = [f"{box}@{DOMAIN}" for box in letter.boxes]
        to += ["x@far.example"] * letter.remote + ["refused@far.example"] * letter.refused
        commands = [f"MAIL FROM:<{SENDER}> ENVID={letter.mark.decode()}"]
        commands += [*(f"RCPT TO:<{each}>" for each in to), "DATA"]
        sock.sendall("".join(f"{command}\r\n" for command in commands).encode())
        good = [answer(file)[:1] in b"23" for _ in commands]
        text = body(letter.mark).replace(b"\n", b"\r\n") + b".\r\n"
        if good[-1]:
            sock.sendall(text)
        reply = answer(file) if good[-1] else b"refused before the content\n"
        if reply.startswith(b"250") and all(good):
            self.books.acknowledge(letter, switched)
            self.acknowledged()
            return
        if reply.startswith(b"250"):
            raise AssertionError(f"some recipients were refused: {good}")
        self.refusals.append(reply)
        if not good[-1]:
            sock.sendall(b"RSET\r\n")
            answer(file)


class Reader(Client):
    """Fetches mail by POP3, and deletes some of it."""

    def __init__(self, books: Books, seed: str, port: int) -> None:
        super().__init__(books, seed)
        self.port = port

    def session(self) -> None:
        """Look into one mailbox."""
        box = self.chance.choice(MAILBOXES)
        with connection(self.port) as (sock, file):

            def ask(command: str) -> bytes:
                sock.sendall(f"{command}\r\n".encode())
                reply = file.readline()
                if not reply.startswith(b"+OK"):
                    raise EOFError
                return reply

            def lines() -> Iterator[bytes]:
                while (line := file.readline()) != b".\r\n":
                    if not line.endswith(b"\r\n"):
                        raise EOFError
                    yield line[1:-2] if line.startswith(b".") else line[:-2]

            file.readline()
            ask(f"USER {box}@{DOMAIN}")
            ask(f"PASS {PASSWORD.decode()}")
            ask("UIDL")
            ids = [line.split() for line in lines()]
            deleting = []
            for number, uid in self.chance.sample(ids, min(len(ids), 8)):
                at = time.monotonic()
                ask(f"RETR {number.decode()}")
                text = b"".join(line + b"\n" for line in lines())
                # The id is the file's name without what stands behind it; its size is not in it.
                what = self.books.saw(box, uid.decode(), text, at)
                if what is not None and self.chance.random() < 0.7:
                    ask(f"DELE {number.decode()}")
                    deleting.append(what)
            if self.chance.random() < 0.1:
                return  # without QUIT nothing is deleted
            switched = self.books.switched
            for what in deleting:
                self.books.deleting(what)
            ask("QUIT")
            for what in deleting:
                self.books.confirm_deleted(what, switched)
        time.sleep(self.chance.random() * 0.02)


class Mover(Client):
    """Another program that uses the Maildirs: it moves messages on, and removes some.

    :ivar busy: held while it has a file open
    """

    def __init__(self, books: Books, seed: str, mail: str) -> None:
        super().__init__(books, seed)
        self.mail = mail
        self.busy = threading.Lock()

    def session(self) -> None:
        """Look into one mailbox's folder."""
        time.sleep(self.chance.random() * 0.03)
        box = self.chance.choice(MAILBOXES)
        with self.busy:
            for name in self.chance.sample(
                names := os.listdir(f"{self.mail}/{box}/new"), min(3, len(names))
            ):
                path = f"{self.mail}/{box}/new/{name}"
                at = time.monotonic()
                with open(path, "rb") as file:
                    what = self.books.saw(box, name, file.read(), at)
                if self.chance.random() < 0.5:
                    os.rename(path, f"{self.mail}/{box}/cur/{name}:2,S")
                elif what is not None:
                    self.books.deleting(what)
                    os.unlink(path)


class Sink:
    """A mail server elsewhere, which keeps what it takes in the books.

    It refuses one recipient for good, and now and then another one for now.

    :ivar crashes: when our server was cut off
    """

    def __init__(self, books: Books, seed: str) -> None:
        self.books = books
        self.crashes: list[float] = []
        self.chance = random.Random(seed)  # as above
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as file:
            sock.settimeout(60)
            sock.sendall(b"220 far.example ESMTP\r\n")
            accepted = 0
            while line := file.readline():
                word = line[:4].upper()
                reply = b"250 2.0.0 fine\r\n"
                if word == b"EHLO":
                    reply, accepted = b"250-far.example\r\n250 PIPELINING\r\n", 0
                elif word == b"MAIL":
                    accepted = 0
                elif word == b"RCPT":
                    if b"refused@" in line:
                        reply = b"550 5.1.1 nobody here\r\n"
                    elif self.chance.random() < 0.05:
                        reply = b"450 4.2.1 come again\r\n"
                    else:
                        accepted += 1
                elif word == b"DATA":
                    if accepted:
                        sock.sendall(b"354 go on\r\n")
                        reply = self._take(file)
                        if not reply:
                            return
                    else:
                        reply = b"503 5.5.1 for whom?\r\n"
                elif word == b"QUIT":
                    sock.sendall(b"221 bye\r\n")
                    return
                sock.sendall(reply)

    def _take(self, file: BinaryIO) -> bytes:
        text = b""
        while not text.endswith(b"\r\n.\r\n"):
            line = file.readline()
            if not line:
                return b""
            text += line
        text = text[:-3].replace(b"\r\n", b"\n")
        found = MARK.search(text)
        if found is None or not text.endswith(b"\n" + body(found[1])):
            self.books.find("torn", f"to the sink: {text[:200]!r}")
        else:
            self.books.sink_took(found[1], self.crashes)
        return b"250 2.0.0 taken\r\n"

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # its thread would wait on
        self._listening.close()
