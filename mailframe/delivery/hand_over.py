"""Hands a message over to one server, in as many transactions as that takes."""

from __future__ import annotations

from mailframe.delivery.attempt import Attempt
from mailframe.delivery.connection import BROKEN_OFF, RelayConnection
from mailframe.delivery.fitting import fit
from mailframe.reply import Reply
from mailframe.wire.sender_events import Failed

_LOST = Reply(451, "4.4.2", "lost connection before the transaction")
# The failure that says: the server did what it was asked, over another connection it does the rest.
USED_UP = Reply(451, "4.5.3", "the server takes no more messages over one connection")


async def hand_over(
    connection: RelayConnection, attempt: Attempt, *, convert: bool, now: float
) -> Failed | None:
    """Carry a message over a connection.

    :param convert: whether content may be encoded for a server that does not take it as it is
    :param now: POSIX seconds UTC
    :returns: ``None`` when every recipient is settled and the connection stands, else why the
        server can't be used (further); recipients may be left, and the connection may be fit for
        other messages nevertheless
    """
    while attempt.unsettled:
        if connection.used_up:
            return Failed(reply=USED_UP, stage="idle", untouched=True)
        fitted = await fit(attempt, connection, convert=convert, now=now)
        if fitted is None:
            break
        if isinstance(fitted, Reply):
            return Failed(reply=fitted, stage="idle")
        if not connection.usable:  # its server may have closed it with the words that opened it
            return Failed(reply=_LOST, stage="idle", untouched=True)
        result = await connection.transact(fitted.transaction, fitted.open)
        attempt.record(
            connection.where,
            fitted.indices,
            # Of those whom we broke off nothing was said: they are not done with.
            [None if reply == BROKEN_OFF else reply for reply in result.replies]
            or (None,) * len(fitted.indices),
            again=connection.usable and not connection.lmtp,
            dsn=connection.offers("DSN"),
            deliver_by=connection.offers("DELIVERBY"),
            lmtp=connection.lmtp,
        )
        if isinstance(result, Failed):
            return result
    return None
