"""What the receiver knows of a command: how to read it, and when it is in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from mailframe.reply import Reply
from mailframe.wire import smtp_replies as replies
from mailframe.wire.smtp_events import Event
from mailframe.wire.smtp_replies import Refusal

if TYPE_CHECKING:
    from mailframe.wire.smtp_receiver import Receiver

State: TypeAlias = Literal["start", "ready", "mail", "rcpt", "chunks"]
"""Before EHLO; between transactions; a sender is given; a recipient is given too; content has begun
to come in chunks."""


@attrs.frozen(kw_only=True)
class Command:
    """How one command is dealt with.

    :ivar read: gets the receiver and the argument (printable, no spaces at its end), and returns
        the event to report, the reply that settles it, or ``None`` when the receiver has seen to
        both; raises `Refusal`
    :ivar help: its arguments and what it is for, on one line
    :ivar refused: the reply in each state in which the command is out of sequence
    :ivar room: octets that the line may have beyond the limit
    :ivar junk: whether it does nothing for a message, so that many of them are abuse
    :ivar utf8: the argument may hold characters beyond ASCII (RFC 6531)
    :ivar fatal: what follows it can't be read when its argument can't
    """

    read: Callable[[Receiver, str], Event | Reply | None]
    help: str = ""
    refused: Mapping[State, Reply] = attrs.field(factory=dict)
    room: int = 0
    junk: bool = False
    utf8: bool = False
    fatal: bool = False


def no_argument(argument: str) -> None:
    """Refuse an argument."""
    if argument:
        raise Refusal(replies.NO_ARGUMENT_ALLOWED)
