"""What goes into an SMTP client's session and what comes out of it, as values."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.envelope import Body
from mailframe.reply import Reply

Stage: TypeAlias = Literal[
    "greeting",
    "hello",
    "starttls",
    "tls",
    "auth",
    "idle",
    "reset",
    "mail",
    "recipient",
    "data",
    "content",
    "final",
    "quit",
    "closed",
]


@attrs.frozen(kw_only=True)
class Transaction:
    """What the envelope says.

    :ivar size: octets of the content as it is kept
    :ivar body: what was declared of the content. ``8BITMIME`` needs a server that offers it: see
        `Sender.begin`. Content that was declared ``7BIT``, or not at all, goes out as it is
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    size: int
    body: Body = "7BIT"


@attrs.frozen
class Ready:
    """The session stands: greeting, EHLO, TLS and AUTH are done."""


@attrs.frozen
class StartTls:
    """Begin the TLS handshake now, before anything else is read, then call `Sender.tls_started`."""


@attrs.frozen
class ContentWanted:
    """The server waits for the content."""


@attrs.frozen
class Settled:
    """The transaction is over.

    :ivar replies: what the server said of each recipient, in their order
    """

    replies: tuple[Reply, ...]


@attrs.frozen(kw_only=True)
class Failed:
    """The session is over; the connection must be closed.

    :ivar reply: why: the server's reply, or one of our own
    :ivar stage: where it ended
    :ivar replies: for each recipient of the transaction its reply, or ``None`` when it may be tried
        elsewhere at once; empty outside a transaction
    :ivar untouched: whether the server ended the session instead of answering to the transaction's
        MAIL, as it does when it tires of a connection
    """

    reply: Reply
    stage: Stage
    replies: tuple[Reply | None, ...] = ()
    untouched: bool = False


@attrs.frozen
class Ended:
    """The server has answered to QUIT, or closed without; the connection must be closed."""


Event: TypeAlias = Ready | StartTls | ContentWanted | Settled | Failed | Ended
