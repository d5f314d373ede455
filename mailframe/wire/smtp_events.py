"""What the SMTP receiver reports: each event, but `Content`, waits for exactly one reply."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from mailframe.address import Address
from mailframe.envelope import Body
from mailframe.reply import Reply
from mailframe.wire.sasl import Claim


@attrs.frozen(kw_only=True)
class Hello:
    """EHLO or HELO. Any transaction is over.

    :ivar name: as the client gave it: one word of printable ASCII
    """

    name: str
    esmtp: bool


@attrs.frozen(kw_only=True)
class StartTls:
    """STARTTLS, which the offer allows. A positive reply means that TLS begins right after it."""


@attrs.frozen(kw_only=True)
class Authenticate:
    """AUTH: the client claims to be somebody. Its reply is 334 when the exchange goes on."""

    login: Claim


@attrs.frozen(kw_only=True)
class Mail:
    """MAIL.

    :ivar sender: ``None`` for the null reverse-path
    :ivar size: the octets that the client declared (RFC 1870), or ``None``
    :ivar body: what it declared of the content (RFC 6152)
    """

    sender: Address | None
    size: int | None = None
    body: Body = "7BIT"


@attrs.frozen(kw_only=True)
class Rcpt:
    """RCPT."""

    recipient: Address


@attrs.frozen(kw_only=True)
class Data:
    """DATA, with at least one recipient accepted. Go ahead with 354, or refuse."""


@attrs.frozen(kw_only=True)
class Content:
    """A piece of the content, without stuffed dots. Takes no reply."""

    octets: bytes


@attrs.frozen(kw_only=True)
class EndOfData:
    """The end of the content.

    :ivar refusal: what to answer, instead of keeping the message, when its form is not allowed
    """

    refusal: Reply | None = None


Event: TypeAlias = Hello | StartTls | Authenticate | Mail | Rcpt | Data | Content | EndOfData
