"""A client's session under test, and what its server may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailframe.address import Address
from mailframe.wire.sasl import Login
from mailframe.wire.sender_events import (
    Event,
    Ready,
    Transaction,
)
from mailframe.wire.smtp_sender import Sender

ANGELO = Address.parse("angelo@rosse.example")
BOB = Address.parse("bob@blu.example")
CAROL = Address.parse("carol@blu.example")
LOGIN = Login(authzid=b"", user=b"user", password=b"secret")
GREETING = b"220 mx.blu.example ready\r\n"


def ehlo(*extensions: str) -> bytes:
    """A reply to EHLO."""
    lines = ["mx.blu.example", *extensions]
    return b"".join(
        f"250{' ' if index == len(lines) - 1 else '-'}{line}\r\n".encode()
        for index, line in enumerate(lines)
    )


def transaction(
    recipients: Sequence[Address] = (BOB,), size: int = 100, **kwargs: Any
) -> Transaction:
    """A transaction from Angelo."""
    return Transaction(sender=ANGELO, recipients=tuple(recipients), size=size, **kwargs)


class Dialogue:
    """A sender, and what it said and told."""

    def __init__(self, **kwargs: Any) -> None:
        self.sender = Sender(hostname="mx.rosse.example", **kwargs)
        self.events: list[Event] = []

    def hear(self, octets: bytes, *, split: bool = False) -> bytes:
        """Have the server say something; returns what the client says then."""
        said = b""
        for piece in [bytes([octet]) for octet in octets] if split else [octets]:
            self.sender.receive(piece)
            said += self.take()
        return said

    def take(self) -> bytes:
        """What the client says now."""
        self.events += self.sender.take_events()
        return self.sender.take_output()

    def ready(self, *extensions: str) -> Dialogue:
        """Get as far as the first transaction."""
        self.hear(GREETING)
        self.hear(ehlo(*extensions))
        assert self.events == [Ready()], self.events
        self.events.clear()
        return self

    def begin(self, *args: Any, **kwargs: Any) -> bytes:
        """Begin a transaction; returns what the client says."""
        self.sender.begin(transaction(*args, **kwargs))
        return self.take()

    def send(self, *pieces: bytes) -> bytes:
        """Give the content; returns what the client says."""
        for piece in pieces:
            self.sender.content(piece)
        self.sender.end_of_content()
        return self.take()

    @property
    def last(self) -> Event:
        """The last event."""
        return self.events[-1]
