"""The commands that hand a message over: MAIL, RCPT, DATA, BDAT and RSET."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailframe.reply import Reply
from mailframe.wire import smtp_replies as replies
from mailframe.wire.grammar import GrammarError, parse_forward_path, parse_reverse_path
from mailframe.wire.smtp_command import no_argument
from mailframe.wire.smtp_events import Data, Event, Mail, Rcpt, Reset, Wishes
from mailframe.wire.smtp_extensions import MAIL_PARAMETERS, RCPT_PARAMETERS, Offer, read_parameters
from mailframe.wire.smtp_replies import Refusal, syntax

if TYPE_CHECKING:
    from mailframe.wire.smtp_receiver import Receiver

# chunk-size = 1*DIGIT (RFC 3030 §2), the digits bounded as those of SIZE are (RFC 1870 §4).
_BDAT = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE | re.ASCII)
_USUAL = frozenset({"size", "body"})  # what nearly every client says in MAIL
_DATA = Data()


def read_mail(receiver: Receiver, argument: str) -> Event | Reply:
    """MAIL (RFC 5321 §4.1.1.2)."""
    if argument[:5].upper() != "FROM:":
        raise Refusal(syntax("5.5.4", "MAIL FROM:<address> is needed"))
    try:
        sender, rest = parse_reverse_path(argument[5:])
    except GrammarError as error:
        raise Refusal(syntax("5.1.7", str(error))) from None
    event = Mail(sender=sender, **_mail_fields(receiver, rest)) if rest else Mail(sender=sender)
    if not argument.isascii() and not event.wishes.smtputf8:
        raise Refusal(replies.SENDER_NEEDS_SMTPUTF8)
    receiver.mail = event
    return event


def _mail_fields(receiver: Receiver, text: str) -> dict[str, Any]:
    fields = read_parameters(text, MAIL_PARAMETERS, receiver.offer)
    if fields.keys() <= _USUAL:
        return fields
    wishes = {name: value for name, value in fields.items() if name not in _USUAL}
    if "hold_for" in wishes or "hold_until" in wishes:
        _check_hold(wishes, receiver.offer)
    usual = {name: value for name, value in fields.items() if name in _USUAL}
    return {**usual, "wishes": Wishes(**wishes)}


def _check_hold(wishes: Mapping[str, Any], offer: Offer) -> None:
    """HOLDFOR and HOLDUNTIL (RFC 4865 §4), beside each other, our limits and BY."""
    if "hold_for" in wishes and "hold_until" in wishes:
        raise Refusal(syntax("5.5.4", "HOLDFOR and HOLDUNTIL exclude each other"))
    # For how long, from the offer on, which was made with EHLO: the dialogue has no clock.
    hold = wishes["hold_until"] - offer.hold_until + offer.hold if "hold_until" in wishes else 0
    hold = wishes.get("hold_for", hold)
    if hold > offer.hold:
        raise Refusal(replies.HELD_TOO_LONG)
    if hold <= 0:
        raise Refusal(replies.HELD_NO_MORE)
    by = wishes.get("by")
    if by is not None and by.returns and by.seconds <= hold:
        raise Refusal(replies.HELD_BEYOND_BY)


def read_rcpt(receiver: Receiver, argument: str) -> Event | Reply:
    """RCPT (RFC 5321 §4.1.1.3)."""
    if argument[:3].upper() != "TO:":
        raise Refusal(syntax("5.5.4", "RCPT TO:<address> is needed"))
    try:
        recipient, rest = parse_forward_path(argument[3:], receiver.default_domain)
    except GrammarError as error:
        raise Refusal(syntax("5.1.3", str(error))) from None
    if not argument.isascii() and not receiver.mail.wishes.smtputf8:
        raise Refusal(replies.RECIPIENT_NEEDS_SMTPUTF8)
    if not rest:
        return Rcpt(recipient=recipient)
    return Rcpt(recipient=recipient, **read_parameters(rest, RCPT_PARAMETERS, receiver.offer))


def read_data(receiver: Receiver, argument: str) -> Event | Reply:
    """DATA (RFC 5321 §4.1.1.4)."""
    no_argument(argument)
    if receiver.mail.body == "BINARYMIME":
        return replies.BINARY_NEEDS_BDAT
    return _DATA


def read_bdat(receiver: Receiver, argument: str) -> Event | Reply | None:
    """BDAT (RFC 3030 §2)."""
    match = _BDAT.fullmatch(argument)
    if not match:
        # How many octets follow can't be known, and none of them may be taken for a command.
        receiver.closing = True
        return replies.BAD_CHUNK_SIZE
    return receiver.begin_chunk(int(match[1]), last=match[2] is not None)


def read_rset(receiver: Receiver, argument: str) -> Event | Reply:
    """RSET (RFC 5321 §4.1.1.5)."""
    no_argument(argument)
    in_chunks = receiver.state == "chunks"
    receiver.reset()
    return Reset() if in_chunks else replies.OK
