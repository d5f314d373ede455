"""What goes into an SMTP client's session and what comes out of it, as values."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.envelope import Body, Recipient, Return
from mailframe.reply import Reply
from mailframe.wire.sasl import Derivation

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
    """What the envelope says. What the server does not offer is left out, or refused at once.

    :ivar originals: the recipient of the envelope that each of ``recipients`` goes back to, with
        what its sender asked for (RFC 3461); or empty, and nothing is said of that
    :ivar size: octets of the content as it is kept; ``None`` when it is not known beforehand
    :ivar body: what was declared of the content. ``8BITMIME`` and ``BINARYMIME`` need a server that
        offers them. Content that was declared ``7BIT``, or not at all, goes out as it is
    :ivar smtputf8: addresses or header are internationalised (RFC 6531)
    :ivar require_tls: to be demanded of the server (RFC 8689)
    :ivar ret: what a notice is to return of the message (RFC 3461 §4.3)
    :ivar envid: the sender's name for this envelope (RFC 3461 §4.4), decoded
    :ivar by: the value of BY (RFC 2852 §4), such as ``"120;R"``
    :ivar content: the whole content where it is in hand already: then it goes out without being
        asked for, and together with the envelope where the server takes that
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    originals: tuple[Recipient, ...] = ()
    size: int | None
    body: Body = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: Return | None = None
    envid: str | None = None
    by: str | None = None
    content: bytes | None = None


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
    :ivar is_ours: it ended for a reason of ours
    """

    reply: Reply
    stage: Stage
    replies: tuple[Reply | None, ...] = ()
    untouched: bool = False
    is_ours: bool = False


@attrs.frozen
class Ended:
    """The server has answered to QUIT, or closed without; the connection must be closed."""


# A `Derivation` is work to be done elsewhere than in the reactor thread; its result goes to
# `Sender.derived`.
Event: TypeAlias = Ready | StartTls | Derivation | ContentWanted | Settled | Failed | Ended
