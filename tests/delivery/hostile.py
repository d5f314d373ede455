"""A server that answers whatever its script says, and remembers what was really said.

Its own view of the session is the plain one: the n-th reply answers the n-th command, the greeting
being the 0th reply. What the client makes of it can be held against that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol

from mailframe.reply import Reply
from mailframe.wire.reply_parser import ReplyError, ReplyParser
from tests.delivery.servers import DEFAULTS

EHLO = b"250-mx\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250-DSN\r\n"
OFFERS = (
    EHLO + b"250 HELP\r\n",
    EHLO + b"250 PIPELINING\r\n",
    EHLO + b"250-PIPELINING\r\n250 CHUNKING\r\n",
    EHLO + b"250-PIPELINING\r\n250-LIMITS RCPTMAX=1 MAILMAX=2\r\n250 CHUNKING\r\n",
    b"250 STARTTLS\r\n",
)
WORDS = (
    b"220 x\r\n",
    b"250 x\r\n",
    b"250-x\r\n250 y\r\n",
    b"250 x\r\n250 y\r\n",
    b"334 \r\n",
    b"354 go\r\n",
    b"354 go\r\n250 taken\r\n",
    b"421 4.3.2 bye\r\n",
    b"450 4.2.1 later\r\n",
    b"452 4.5.3 too many\r\n",
    b"550 5.1.1 no\r\n",
    b"552 too many\r\n",
    b"599-x\n599 y\n",
    b"250-x\r\n550 y\r\n",
    b"250",
    b"25",
    b"999 x\r\n",
    b"\r\n",
    b"\0\xff\r\n",
    b"x" * 5000,
    b"250-x\r\n" * 200,
    b"221 2.0.0 bye\r\n",
)
GOOD, CLOSE, SILENCE, DRIP, LEAVE = "good", "close", "silence", "drip", "good, then close"
ACTIONS = (GOOD, GOOD, GOOD, GOOD, CLOSE, SILENCE, DRIP, LEAVE, *WORDS)


@attrs.define(eq=False)
class Session:
    """One connection, as the server saw it.

    :ivar commands: what it was told, in order; ``.`` is the end of content
    :ivar replies: what it said, in order, as far as it makes sense
    :ivar contents: each content that came to its end
    """

    commands: list[str] = attrs.field(factory=list)
    replies: list[Reply] = attrs.field(factory=list)
    contents: list[bytes] = attrs.field(factory=list)

    def taken(self, lmtp: bool) -> set[tuple[str, Reply]]:
        """Each recipient that was accepted, with a reply to the content that was sent to it.

        :param lmtp: each has a reply of its own
        """
        found: set[tuple[str, Reply]] = set()
        answered, accepted = 0, []
        for command in ("GREETING", *self.commands):
            count = len(accepted) if lmtp and command == "." and accepted else 1
            answers = self.replies[answered : answered + count]
            answered += count
            if command == "." and answers:
                said = answers if lmtp else answers * len(accepted)
                found.update(zip(accepted, said, strict=False))
            elif command.startswith("MAIL"):
                accepted = []
            elif command.startswith("RCPT") and answers and answers[0].code < 300:
                accepted.append(command)
        return found


class HostileServer(Factory):
    """A server.

    :param reactor: drips words in its time
    :param offer: its good reply to EHLO
    :param script: what it does after each command, the connection counting as the first
    """

    noisy = False

    def __init__(self, reactor: Any, offer: bytes, script: Iterator[str | bytes]) -> None:
        self.reactor = reactor
        good = {**DEFAULTS, "EHLO": offer, "LHLO": offer}
        self.good = {command[:4]: reply for command, reply in good.items()}
        self.script = script
        self.spoken = 0
        self.sessions: list[Session] = []

    def buildProtocol(self, addr: Any) -> _Connection:
        """One connection."""
        connection = _Connection()
        connection.factory = self
        return connection


class _Connection(Protocol):
    factory: HostileServer
    transport: Any

    def connectionMade(self) -> None:
        self.session = Session()
        self.factory.sessions.append(self.session)
        self.parser: ReplyParser | None = ReplyParser()
        self.buffer = self.chunks = b""
        self.data_at: int | None = None  # the reply that decides about content
        self.dripping: list[IDelayedCall] = []
        self.act("GREETING")

    def connectionLost(self, reason: Any = None) -> None:
        for call in self.dripping:
            if call.active():
                call.cancel()

    def act(self, command: str) -> None:
        action = next(self.factory.script, GOOD)
        good = self.numbered(self.factory.good.get(command[:4], b"250 2.0.0 why not\r\n"))
        if isinstance(action, bytes):
            self.say(self.numbered(action))
        elif action in (GOOD, LEAVE):
            self.say(good)
        elif action == DRIP:
            for place in range(len(good)):
                later = self.factory.reactor.callLater(
                    20.0 * (place + 1), self.say, good[place : place + 1]
                )
                self.dripping.append(later)
        if action in (CLOSE, LEAVE):
            self.transport.loseConnection()

    def numbered(self, octets: bytes) -> bytes:
        """The words in a form in which they are never said again."""
        self.factory.spoken += 1
        return octets.replace(b"\r\n", b" n%d\r\n" % self.factory.spoken)

    def say(self, octets: bytes) -> None:
        self.transport.write(octets)
        if self.parser is not None:
            self.parser.feed(octets)
            try:
                while reply := self.parser.next_reply():
                    self.session.replies.append(reply)
            except ReplyError:
                self.parser = None

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while self.step():
            pass

    def step(self) -> bool:
        """Take one command, or one content, from the buffer."""
        session = self.session
        if self.data_at is not None:
            if len(session.replies) <= self.data_at:
                return False
            if session.replies[self.data_at].code == 354:
                whole = b"\r\n" + self.buffer
                end = whole.find(b"\r\n.\r\n")
                if end < 0:
                    return False
                content = whole[2 : end + 2].replace(b"\r\n..", b"\r\n.")
                session.contents.append(content[1:] if content.startswith(b"..") else content)
                self.buffer = whole[end + 5 :]
                self.data_at = None
                self.told(".")
                return True
            self.data_at = None
        line, ended, rest = self.buffer.partition(b"\r\n")
        if not ended:
            return False
        words = line.split(b" ")
        verb = words[0].decode("latin-1").upper()
        if verb == "BDAT":
            size = int(words[1])
            if len(rest) < size:
                return False
            self.chunks += rest[:size]
            rest = rest[size:]
            if words[-1] == b"LAST":
                session.contents.append(self.chunks)
                verb = "."
        elif verb in ("MAIL", "RSET"):
            self.chunks = b""
        elif verb == "DATA":
            self.data_at = len(session.commands) + 1
        self.buffer = rest
        self.told(line.decode("latin-1") if verb in ("MAIL", "RCPT") else verb)
        return True

    def told(self, verb: str) -> None:
        self.session.commands.append(verb)
        self.act(verb)
