"""Plays an SMTP dialogue, written as ``C:`` and ``S:`` lines, against a `Receiver`."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mailframe.reply import Reply
from mailframe.wire.smtp_events import (
    Authenticate,
    Content,
    Data,
    EndOfChunk,
    EndOfData,
    Event,
    Hello,
    Mail,
    Rcpt,
    Reset,
    StartTls,
    Xclient,
)
from mailframe.wire.smtp_extensions import Offer, hello_reply
from mailframe.wire.smtp_receiver import Receiver

ANSWERS = {
    StartTls: Reply(220, "2.0.0", "tls"),
    Mail: Reply(250, "2.1.0", "sender"),
    Rcpt: Reply(250, "2.1.5", "recipient"),
    Data: Reply(354, None, "go"),
    EndOfData: Reply(250, "2.0.0", "queued"),
    Authenticate: Reply(235, "2.7.0", "in"),
    Reset: Reply(250, "2.0.0", "ok"),
    Xclient: Reply(220, None, "here.example"),
}
REFUSED_RECIPIENT = Reply(550, "5.1.1", "nobody")


@attrs.define
class Player:
    """Answers a receiver's events as a simple server would, and keeps what it saw.

    Recipients whose local part begins with ``no`` are refused.
    """

    receiver: Receiver
    events: list[Event] = attrs.field(factory=list)
    output: bytes = b""
    answer: Callable[[Event], Reply | None] | None = None

    def feed(self, octets: bytes) -> None:
        """Let octets arrive, and answer all there is to answer."""
        self.receiver.receive(octets)
        while (event := self.receiver.next_event()) is not None:
            self.events.append(event)
            reply = self.reply_to(event)
            if reply is not None:
                assert self.receiver.next_event() is None, "an event before the reply"
                self.receiver.reply(reply)
        self.output += self.receiver.take_output()

    def reply_to(self, event: Event) -> Reply | None:
        """What this server says."""
        if self.answer is not None and (reply := self.answer(event)) is not None:
            return reply
        if isinstance(event, Content):
            return None
        if isinstance(event, Hello):
            return hello_reply("here.example", event.esmtp, self.receiver.offer)
        if isinstance(event, Rcpt) and event.recipient.local_part.startswith("no"):
            return REFUSED_RECIPIENT
        if isinstance(event, EndOfData | EndOfChunk) and event.refusal:
            return event.refusal
        if isinstance(event, EndOfChunk):
            return Reply(250, "2.0.0", f"{event.octets} octets received")
        return ANSWERS[type(event)]

    @property
    def content(self) -> bytes:
        """All content so far."""
        return b"".join(event.octets for event in self.events if isinstance(event, Content))


def player(offer: Offer | None = None, **limits: int) -> Player:
    """A fresh receiver and its server."""
    return Player(
        Receiver(default_domain="here.example", offer=offer or Offer(size=1000), **limits)
    )


def sides(script: str) -> tuple[bytes, bytes]:
    """What client and server say in a script; Python's escapes are allowed in its lines."""
    client = server = b""
    for line in script.strip().splitlines():
        who, _, text = line.lstrip().partition(" ")
        if not who:
            continue
        octets = text.encode("ascii").decode("unicode_escape").encode("latin-1") + b"\r\n"
        if who == "C:":
            client += octets
        else:
            assert who == "S:", line
            server += octets
    return client, server
