"""What a message asks of the next server, and what is done where the server does not offer it.

====================  ============================  ============================================
the message           needs                         otherwise
====================  ============================  ============================================
has 8-bit content     8BITMIME (RFC 6152)           it is encoded, or 5.6.3
has binary content    BINARYMIME (RFC 3030)         it is encoded, or 5.6.3
has more than ASCII   SMTPUTF8 (RFC 6531)           550 5.6.7 for those whom it concerns: with a
in address or header                                sender or header like that, for all
demands REQUIRETLS    REQUIRETLS over verified TLS  the next exchanger, and in the end 550
                      (RFC 8689 §4.2.1)             5.7.30; notices go on nevertheless (§5)
is to return when     DELIVERBY (RFC 2852)          the next exchanger, and in the end 5.3.3;
it is late                                          once it is late: 5.4.7
====================  ============================  ============================================

What was only declared, and turns out not to be so when the content is looked at, is not needed.
DSN, SIZE, and a deadline after which only a notice is sent, are left out where they are not
offered. A server on a UNIX socket is a mailbox as far as REQUIRETLS and deadlines are concerned;
any that speaks LMTP is one as far as deadlines are.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.delivery.attempt import Attempt
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.content_stream import OpenContent
from mailframe.delivery.conversion import Conversion, Unconvertible
from mailframe.envelope import Body, Envelope
from mailframe.reply import Reply
from mailframe.wire.sender_events import Transaction
from mailframe.wire.sender_parameters import Limits, takes_binary

log = Logger()

MOST_GROWTH = 4  # each octet as three (RFC 2045 §6.7), line ends, and what headers say of it
MAX_SECONDS = 999_999_999  # nine digits, RFC 2852 §4
_NO_SMTPUTF8 = Reply(
    550, "5.6.7", "the message is internationalised, and the server does not offer SMTPUTF8"
)
_NO_REQUIRETLS = Reply(
    550, "5.7.30", "the server does not offer REQUIRETLS, which the sender asks for"
)
_NO_DELIVERBY = Reply(
    554, "5.3.3", "the server does not offer DELIVERBY, and the message is to be in time or return"
)
_TOO_LATE = Reply(554, "5.4.7", "the time by which the sender wanted it delivered is over")
_NOT_IN_TIME = Reply(554, "5.4.7", "the server does not promise delivery in so short a time")
_NOT_ENCODED = Reply(
    554, "5.6.3", "the server does not take the content as it is, and it is not to be encoded here"
)
_UNREADABLE = Reply(451, "4.3.0", "the content could not be read here")


@attrs.frozen(kw_only=True)
class Fitted:
    """A transaction that the server can be given.

    :ivar indices: which of the job's recipients it is for
    :ivar open: opens the content, in the form in which it is sent
    """

    indices: tuple[int, ...]
    transaction: Transaction
    open: OpenContent


async def fit(
    attempt: Attempt, connection: RelayConnection, *, convert: bool, now: float
) -> Fitted | Reply | None:
    """Prepare the next transaction for the recipients that are not settled yet.

    Recipients whom the server can't be told of, or all of them, are settled here.

    :param convert: whether content may be encoded
    :param now: POSIX seconds UTC
    :returns: ``None`` when nobody is left; a reply when the server is to be passed over
    """
    try:
        return await _fit(attempt, connection, convert, now)
    except CancelledError:
        raise
    except Exception:
        log.failure("{id}: the content could not be read", id=attempt.job.id)
        attempt.settle_all(connection.where, _UNREADABLE)
        return None


async def _fit(
    attempt: Attempt, connection: RelayConnection, convert: bool, now: float
) -> Fitted | Reply | None:
    job = attempt.job
    envelope = job.envelope
    by: str | None = None
    require_tls = smtputf8 = False
    if envelope.require_tls:
        require_tls = connection.is_encrypted and connection.offers("REQUIRETLS")
        if not require_tls and envelope.sender is not None and not connection.local:
            return _NO_REQUIRETLS
    if envelope.deliver_by is not None:
        answer = _deadline(attempt, connection, now)
        if isinstance(answer, Reply):
            return answer
        by = answer
    if connection.offers("SMTPUTF8"):
        smtputf8 = envelope.smtputf8
    else:
        await _without_smtputf8(attempt, connection, envelope)
    if not attempt.unsettled:
        return None

    body: Body = envelope.body
    size: int | None = job.size
    open_content: OpenContent = job.open
    content: bytes | None = None
    if _goes_as_it_is(body, connection):
        content = await attempt.content.in_hand()
    else:
        conversion = await _conversion(attempt, connection, convert)
        if conversion is None:
            return None
        body = conversion.body
        if conversion.is_needed:
            size = await _encoded_size(connection, conversion, job.size)
            open_content = conversion.open
        else:
            content = await attempt.content.in_hand()
    indices = _within(connection.limits, attempt.unsettled[: attempt.room], job.recipients)
    return Fitted(
        indices=indices,
        transaction=Transaction(
            sender=envelope.sender,
            recipients=tuple([job.recipients[index] for index in indices]),
            originals=tuple([job.originals[index] for index in indices]),
            size=size,
            body=body,
            smtputf8=smtputf8,
            require_tls=require_tls,
            ret=envelope.ret,
            envid=envelope.envid,
            by=by,
            content=content,
        ),
        open=open_content,
    )


def _goes_as_it_is(body: Body, connection: RelayConnection) -> bool:
    if body == "BINARYMIME":
        return connection.sender is not None and takes_binary(connection.sender.extensions)
    return body == "7BIT" or connection.offers(body)


def _deadline(attempt: Attempt, connection: RelayConnection, now: float) -> str | Reply | None:
    """The value of BY for a message with a deadline; a reply to pass the server over."""
    deliver_by = attempt.job.envelope.deliver_by
    assert deliver_by is not None
    left = max(-MAX_SECONDS, min(MAX_SECONDS, int(deliver_by.at - now)))
    returns = deliver_by.mode == "R"
    if returns and left <= 0:
        attempt.settle_all(connection.where, _TOO_LATE)
    if connection.offers("DELIVERBY"):
        least = connection.parameters("DELIVERBY").partition(",")[0]
        if returns and least.isdecimal() and 0 < left < int(least[:9]):
            return _NOT_IN_TIME
        return f"{left};{deliver_by.mode}{'T' if deliver_by.trace else ''}"
    if returns and left > 0 and not (connection.local or connection.lmtp):
        return _NO_DELIVERBY
    return None


async def _without_smtputf8(
    attempt: Attempt, connection: RelayConnection, envelope: Envelope
) -> None:
    """Settle those whom a server without SMTPUTF8 can't be told of."""
    recipients = attempt.job.recipients
    wide = [index for index in attempt.unsettled if not _is_ascii(recipients[index])]
    if wide:
        attempt.settle(connection.where, wide, _NO_SMTPUTF8)
    if not _is_ascii(envelope.sender) or (
        envelope.smtputf8 and attempt.unsettled and not await attempt.content.header_is_ascii()
    ):
        attempt.settle_all(connection.where, _NO_SMTPUTF8)


def _is_ascii(address: Address | None) -> bool:
    return address is None or address.local_part.isascii()  # domains are A-labels


async def _conversion(
    attempt: Attempt, connection: RelayConnection, convert: bool
) -> Conversion | None:
    """How the content is brought into a form that the server takes; ``None`` when it can't be."""
    try:
        conversion = await attempt.content.conversion(eight_bit=connection.offers("8BITMIME"))
    except Unconvertible as error:
        attempt.settle_all(connection.where, Reply(554, error.status, str(error)))
        return None
    if conversion.is_needed and not convert:
        attempt.settle_all(connection.where, _NOT_ENCODED)
        return None
    return conversion


async def _encoded_size(
    connection: RelayConnection, conversion: Conversion, size: int
) -> int | None:
    """How large content is once it is encoded, where that may be more than the server takes.

    It is not to be sent in vain: that is looked at before anything is.

    :param size: before
    """
    said = connection.parameters("SIZE")
    limit = int(said) if said.isdecimal() else 0
    if limit < size:
        return size if limit else None  # it does not get smaller
    return await conversion.size() if limit < size * MOST_GROWTH else None


def _within(
    limits: Limits, indices: tuple[int, ...], recipients: Sequence[Address]
) -> tuple[int, ...]:
    """The first of the recipients, as many as one transaction may have (RFC 9422 §4)."""
    if limits.recipients is not None:
        indices = indices[: limits.recipients]
    if limits.domains is not None:
        domains: set[str] = set()
        for place, index in enumerate(indices):
            domains.add(recipients[index].domain)
            if len(domains) > limits.domains:
                return indices[:place]
    return indices
