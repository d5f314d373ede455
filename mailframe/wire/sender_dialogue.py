"""Commands and the replies that answer them, for the client's side of SMTP and LMTP.

A `Dialogue` belongs to one `mailframe.wire.smtp_sender.Sender` and is shared by the parts that take
turns in leading it: `mailframe.wire.sender_opening` up to the first transaction, then a
`mailframe.wire.sender_transfer` for each. Replies come in the order of the commands (RFC 5321
§4.2), so that a queue of what is expected is all there is to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from mailframe.reply import Reply
from mailframe.wire.reply_parser import ReplyParser
from mailframe.wire.sender_events import Event, Failed, Stage

OnReply: TypeAlias = Callable[[Reply], None]

_WAITING_FOR: dict[Stage, str] = {
    "greeting": "the greeting",
    "hello": "the reply to EHLO",
    "starttls": "the reply to STARTTLS",
    "tls": "the TLS handshake",
    "auth": "the reply to AUTH",
    "idle": "the next message",
    "reset": "the reply to RSET",
    "mail": "the reply to MAIL",
    "recipient": "the reply to RCPT",
    "data": "the reply to DATA",
    "content": "the content to be taken",
    "final": "the reply to the end of data",
    "quit": "the reply to QUIT",
}
# RFC 5321 §4.5.3.2.6 and RFC 1047: nobody knows who has the message now.
AFTER_THE_END = "after the final dot: the message may have been delivered, and may arrive twice"


class UnderWay(Protocol):
    """A transaction, as far as the end of its session concerns it."""

    replies: list[Reply | None]

    @property
    def untouched(self) -> bool:
        """Whether the server has not even answered to MAIL."""

    def may_be_taken(self, *, lost: bool) -> bool:
        """Whether the server may have the message although it didn't say so.

        :param lost: the connection was, rather than that the server said or left out something
        """


class Dialogue:
    """What is expected, what is to be written, and what is to be told.

    :ivar expected: of each command that is not answered yet, the stage it belongs to and who takes
        the reply
    :ivar resting: the stage while nothing is expected
    :ivar output: what is to be written
    :ivar events: what is to be told
    :ivar parser: reads the replies
    :ivar under_way: the transaction, if there is one
    :ivar refusal: of EHLO, while an old server may still take HELO
    :ivar closed: the session has ended
    :ivar parting: it ended with a QUIT of ours, to which the server may still answer
    """

    __slots__ = (
        "closed",
        "events",
        "expected",
        "output",
        "parser",
        "parting",
        "refusal",
        "resting",
        "under_way",
    )

    def __init__(self) -> None:
        self.expected: deque[tuple[Stage, OnReply]] = deque()
        self.resting: Stage = "idle"
        self.output: list[bytes] = []
        self.events: list[Event] = []
        self.parser = ReplyParser()
        self.under_way: UnderWay | None = None
        self.refusal: Reply | None = None
        self.closed = self.parting = False

    @property
    def stage(self) -> Stage:
        """What is waited for, or ``closed``."""
        if self.expected:
            return self.expected[0][0]
        return self.resting

    def send(self, stage: Stage, on_reply: OnReply, line: bytes) -> None:
        """Send a command.

        :param stage: what is waited for while it is the next one to be answered
        :param on_reply: takes the reply, except 421, which ends the session
        """
        self.expected.append((stage, on_reply))
        self.output.append(line)

    # --- the end ------------------------------------------------------------------------------

    def said(self, reply: Reply, stage: Stage | None = None) -> None:
        """End the session with words of the server.

        :param stage: of the opening, after which the server waits for QUIT (RFC 5321 §3.1,
            §4.1.1.10) unless it closes by itself
        """
        under_way = self.under_way
        if stage is not None and reply.code != 421:
            self.parting = True
            self.output.append(b"QUIT\r\n")
        if under_way is not None and self.stage == "final":
            _fill(under_way.replies, reply)
        self._fail(reply, stage)

    def broke(self, how: str, *, lost: bool = False) -> None:
        """End the session because nothing more comes, in time or at all."""
        stage = self.stage
        under_way = self.under_way
        if under_way is not None and under_way.may_be_taken(lost=lost):
            reply = Reply(451, "4.4.2", f"{how} {AFTER_THE_END}")
            _fill(under_way.replies, reply)
        elif self.refusal is not None:
            reply = Reply(451, "4.4.2", f"{how} after EHLO was answered with: {self.refusal}")
        else:
            reply = Reply(451, "4.4.2", f"{how} while waiting for {_WAITING_FOR[stage]}")
        self._fail(reply)

    def protocol_error(self, how: str, stage: Stage | None = None) -> None:
        """End the session because what the server says makes no sense."""
        text = f"the server broke the protocol: {how}"
        under_way = self.under_way
        if under_way is not None and under_way.may_be_taken(lost=False):
            reply = Reply(451, "4.5.0", f"{text}, {AFTER_THE_END}")
            _fill(under_way.replies, reply)
        else:
            reply = Reply(451, "4.5.0", text)
        self._fail(reply, stage)

    def give_up(self, reply: Reply, stage: Stage | None = None) -> None:
        """End the session for a reason of ours; no recipient is to be tried elsewhere for it."""
        under_way = self.under_way
        if under_way is not None:
            if under_way.may_be_taken(lost=False):
                text = f"{' '.join(reply.text)} {AFTER_THE_END}"
                reply = Reply(reply.code, reply.status, text)
            _fill(under_way.replies, reply)
        self._fail(reply, stage, is_ours=True)

    def close(self) -> None:
        """Nothing is expected, sent or understood any more."""
        self.under_way = None
        self.closed = True
        self.resting = "closed"
        self.expected.clear()

    def _fail(self, reply: Reply, stage: Stage | None = None, *, is_ours: bool = False) -> None:
        under_way = self.under_way
        self.events.append(
            Failed(
                reply=reply,
                stage=stage or self.stage,
                replies=() if under_way is None else tuple(under_way.replies),
                untouched=under_way is not None and under_way.untouched,
                is_ours=is_ours,
            )
        )
        self.close()


def _fill(replies: list[Reply | None], reply: Reply) -> None:
    replies[:] = [said or reply for said in replies]


def command_line(command: str) -> bytes:
    """A command as it goes over the wire, which it can only do as one line.

    :raises ValueError: it would be more than one
    """
    line = command.encode()
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise ValueError(f"a command of more than one line: {command!r}")
    return line + b"\r\n"
