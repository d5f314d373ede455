"""What the SMTP receiver reports: each event, but `Content`, waits for exactly one reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from mailframe.address import Address
from mailframe.envelope import Body, Notify, Return
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
class By:
    """The value of BY (RFC 2852 §4).

    :ivar seconds: from now on; not positive when the time is over already
    :ivar returns: after it the message is to be returned, instead of going on with a notice
    :ivar trace: a notice is wanted of each server that the message passes
    """

    seconds: int
    returns: bool
    trace: bool = False


@attrs.frozen(kw_only=True)
class Wishes:
    """What few clients say in MAIL.

    :ivar smtputf8: the message is internationalised (RFC 6531)
    :ivar require_tls: it is never to be sent without verified TLS (RFC 8689)
    :ivar ret: what a failure notice is to return (RFC 3461 §4.3)
    :ivar envid: the client's name for the envelope (RFC 3461 §4.4), decoded
    :ivar by: by when it is to be delivered
    :ivar hold_for: for how many seconds it is not to be delivered (RFC 4865 §4)
    :ivar hold_until: until when it is not, POSIX seconds
    """

    smtputf8: bool = False
    require_tls: bool = False
    ret: Return | None = None
    envid: str | None = None
    by: By | None = None
    hold_for: int | None = None
    hold_until: float | None = None


NO_WISHES = Wishes()


@attrs.frozen(kw_only=True)
class Mail:
    """MAIL.

    :ivar sender: ``None`` for the null reverse-path
    :ivar size: the octets that the client declared (RFC 1870), or ``None``
    :ivar body: what it declared of the content (RFC 6152, RFC 3030)
    :ivar wishes: all the other parameters
    """

    sender: Address | None
    size: int | None = None
    body: Body = "7BIT"
    wishes: Wishes = NO_WISHES


@attrs.frozen(kw_only=True)
class Rcpt:
    """RCPT.

    :ivar notify: of what the sender wants to be told (RFC 3461 §4.1), empty when nothing is said
    :ivar orcpt: the original recipient (RFC 3461 §4.2), decoded, such as ``rfc822;a@x.example``
    """

    recipient: Address
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


@attrs.frozen(kw_only=True)
class Reset:
    """RSET, while content was being handed over in chunks."""


@attrs.frozen(kw_only=True)
class Xclient:
    """XCLIENT: somebody trusted says who the client is.

    The dialogue begins anew when this is answered with a greeting.

    :ivar attributes: upper-case names and their values, decoded; ``None`` where the other side does
        not know
    """

    attributes: Mapping[str, str | None]


@attrs.frozen(kw_only=True)
class Data:
    """DATA, with at least one recipient accepted. Go ahead with 354, or refuse.

    :ivar chunked: the content comes in chunks instead (RFC 3030), which a positive reply, whatever
        it says, lets begin
    """

    chunked: bool = False


@attrs.frozen(kw_only=True)
class Content:
    """A piece of the content, without stuffed dots. Takes no reply."""

    octets: bytes


@attrs.frozen(kw_only=True)
class EndOfChunk:
    """The end of a chunk that is not the last.

    :ivar octets: how many it had
    :ivar refusal: what to answer, and why the message must be given up, when its form or size is
        not allowed
    """

    octets: int
    refusal: Reply | None = None


@attrs.frozen(kw_only=True)
class EndOfData:
    """The end of the content.

    :ivar refusal: what to answer, instead of keeping the message, when its form is not allowed
    """

    refusal: Reply | None = None


Event: TypeAlias = (
    Hello
    | StartTls
    | Authenticate
    | Xclient
    | Mail
    | Rcpt
    | Reset
    | Data
    | Content
    | EndOfChunk
    | EndOfData
)
