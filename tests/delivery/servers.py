"""SMTP servers for the relay client to meet: they do as they are told, sense or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Factory, Protocol

Answer = bytes | None | Exception
CLOSE = ConnectionError("close the connection instead of answering")
SILENCE = None

DEFAULTS: dict[str, bytes] = {
    "GREETING": b"220 mx ready\r\n",
    "EHLO": b"250-mx\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
    "LHLO": b"250-mx\r\n250 PIPELINING\r\n",
    "HELO": b"250 mx\r\n",
    "STARTTLS": b"220 go\r\n",
    "AUTH": b"235 2.7.0 welcome\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go\r\n",
    "BDAT": b"250 2.0.0 octets received\r\n",
    ".": b"250 2.0.0 taken\r\n",
    "RSET": b"250 2.0.0 reset\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}


class ScriptedServer(Factory):
    """A server that gives each command the answer it was told.

    :param answers: by verb (``GREETING`` and ``.`` included) an answer, or a list of answers that
        are given in turn before the default takes over again. An answer is octets, `SILENCE`, or
        `CLOSE`
    :param tls: what STARTTLS begins, or ``None`` to go on in clear
    :ivar pause_at: the verb of a command after whose answer nothing more is read
    :ivar commands: every line that was understood as a command, by connection
    :ivar messages: the content of every message that was answered to, in its wire form; of chunks,
        of which the last is answered as ``.``, the octets
    :ivar connections: those that are open
    """

    noisy = False

    def __init__(self, tls: Any = None, **answers: Answer | Sequence[Answer]) -> None:
        self.answers: dict[str, Any] = {
            "." if verb == "DOT" else verb: answer for verb, answer in answers.items()
        }
        self.tls = tls
        self.pause_at = ""
        self.commands: list[list[bytes]] = []
        self.messages: list[bytes] = []
        self.connections: list[_Connection] = []

    def answer(self, verb: str) -> Answer:
        """The next answer to a command."""
        answer = self.answers.get(verb, DEFAULTS.get(verb, b"500 5.5.1 what\r\n"))
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else DEFAULTS[verb]
        return answer

    @property
    def verbs(self) -> list[str]:
        """The verbs of all commands, in order of the connections."""
        return [line.split()[0].decode() for lines in self.commands for line in lines]

    def buildProtocol(self, addr: Any) -> _Connection:
        """One connection."""
        connection = _Connection()
        connection.factory = self
        return connection


class _Connection(Protocol):
    factory: ScriptedServer
    transport: Any

    def connectionMade(self) -> None:
        self.buffer = b""
        self.content: bytes | None = None
        self.chunks = b""
        self.commands: list[bytes] = []
        self.factory.commands.append(self.commands)
        self.factory.connections.append(self)
        self.reply("GREETING")

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.connections.remove(self)

    def reply(self, verb: str) -> bool:
        answer = self.factory.answer(verb)
        if isinstance(answer, Exception):
            self.transport.loseConnection()
            return False
        if answer:
            self.transport.write(answer)
        if verb == self.factory.pause_at:
            self.transport.pauseProducing()
        return bool(answer) and answer[:1] in b"23"

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while True:
            if self.content is not None:
                octets = b"\r\n" + self.buffer
                end = octets.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self.factory.messages.append(octets[2 : end + 2])
                self.buffer = octets[end + 5 :]
                self.content = None
                self.reply(".")
                continue
            line, ended, rest = self.buffer.partition(b"\r\n")
            if not ended:
                return
            verb = line.split(b" ")[0].decode("latin-1").upper()
            if verb == "BDAT":
                size = int(line.split(b" ")[1])
                if len(rest) < size:
                    return
                self.chunks += rest[:size]
                rest = rest[size:]
            self.buffer = rest
            self.commands.append(line)
            if verb == "BDAT" and line.endswith(b" LAST"):
                self.factory.messages.append(self.chunks)
                verb = "."
            if verb in (".", "MAIL"):
                self.chunks = b""
            positive = self.reply(verb)
            if verb == "DATA" and positive:
                self.content = b""
            elif verb == "STARTTLS" and positive and self.factory.tls is not None:
                self.transport.startTLS(self.factory.tls)
            elif verb == "QUIT":
                self.transport.loseConnection()
