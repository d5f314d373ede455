"""The commands of SMTP as a table: verb → what reads it, and in which states it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire import smtp_replies as replies
from mailframe.wire.grammar import (
    GrammarError,
    parse_forward_path,
    parse_helo_name,
    parse_parameters,
    parse_reverse_path,
)
from mailframe.wire.smtp_events import Data, Event, Hello, Mail, Rcpt, StartTls
from mailframe.wire.smtp_extensions import MAIL_PARAMETERS, RCPT_PARAMETERS, ParameterParser
from mailframe.wire.smtp_replies import Refusal, syntax

if TYPE_CHECKING:
    from mailframe.wire.smtp_receiver import Receiver

State: TypeAlias = Literal["start", "ready", "mail", "rcpt"]
"""Before EHLO; between transactions; a sender is given; a recipient is given too."""

# Parameters make MAIL longer than the 512 octets: SIZE by 26 (RFC 1870 §3), BODY by 17 (RFC 6152
# §2) and AUTH by 500 (RFC 4954 §3).
_MAIL_ROOM = 26 + 17 + 500
_AUTH_ROOM = sasl.MAX_LINE - 512


@attrs.frozen(kw_only=True)
class Command:
    """How one command is dealt with.

    :ivar read: gets the receiver and the argument (printable ASCII, no spaces at its end), and
        returns the event to report or the reply that settles it; raises `Refusal`
    :ivar refused: the reply in each state in which the command is out of sequence
    :ivar room: octets that the line may have beyond the limit
    :ivar junk: whether it does nothing for a message, so that many of them are abuse
    """

    read: Callable[[Receiver, str], Event | Reply]
    refused: Mapping[State, Reply] = attrs.field(factory=dict)
    room: int = 0
    junk: bool = False


def _no_argument(argument: str) -> None:
    if argument:
        raise Refusal(replies.NO_ARGUMENT_ALLOWED)


def _ehlo(receiver: Receiver, argument: str) -> Event | Reply:
    return _hello(receiver, argument, esmtp=True)


def _helo(receiver: Receiver, argument: str) -> Event | Reply:
    return _hello(receiver, argument, esmtp=False)


def _hello(receiver: Receiver, argument: str, *, esmtp: bool) -> Event:
    try:
        name = parse_helo_name(argument)
    except GrammarError as error:
        raise Refusal(syntax("5.5.4", str(error))) from None
    receiver.reset()
    return Hello(name=name, esmtp=esmtp)


def _mail(receiver: Receiver, argument: str) -> Event | Reply:
    if argument[:5].upper() != "FROM:":
        raise Refusal(syntax("5.5.4", "MAIL FROM:<address> is needed"))
    try:
        sender, rest = parse_reverse_path(argument[5:])
    except GrammarError as error:
        raise Refusal(syntax("5.1.7", str(error))) from None
    if not rest:
        return Mail(sender=sender)
    return Mail(sender=sender, **_parameters(rest, MAIL_PARAMETERS))


def _rcpt(receiver: Receiver, argument: str) -> Event | Reply:
    if argument[:3].upper() != "TO:":
        raise Refusal(syntax("5.5.4", "RCPT TO:<address> is needed"))
    try:
        recipient, rest = parse_forward_path(argument[3:], receiver.default_domain)
    except GrammarError as error:
        raise Refusal(syntax("5.1.3", str(error))) from None
    if not rest:
        return Rcpt(recipient=recipient)
    return Rcpt(recipient=recipient, **_parameters(rest, RCPT_PARAMETERS))


def _parameters(text: str, parsers: Mapping[str, ParameterParser]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    try:
        for keyword, value in parse_parameters(text):
            parser = parsers.get(keyword)
            if parser is None:
                raise Refusal(replies.UNKNOWN_PARAMETER)
            fields.update(parser(value))
    except GrammarError as error:
        raise Refusal(syntax("5.5.4", str(error))) from None
    return fields


def _data(receiver: Receiver, argument: str) -> Event | Reply:
    _no_argument(argument)
    return Data()


def _rset(receiver: Receiver, argument: str) -> Event | Reply:
    _no_argument(argument)
    receiver.reset()
    return replies.OK


def _noop(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.OK


def _quit(receiver: Receiver, argument: str) -> Event | Reply:
    _no_argument(argument)
    receiver.closing = True
    return replies.BYE


def _vrfy(receiver: Receiver, argument: str) -> Event | Reply:
    # Never says whether there is such a user, which RFC 5321 §7.3 allows.
    return replies.CANNOT_VERIFY if argument else replies.ARGUMENT_NEEDED


def _not_implemented(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.NOT_IMPLEMENTED


def _help(receiver: Receiver, argument: str) -> Event | Reply:
    return _HELP


def _starttls(receiver: Receiver, argument: str) -> Event | Reply:
    _no_argument(argument)
    if receiver.offer.tls:
        return replies.TLS_ACTIVE
    return StartTls() if receiver.offer.starttls else replies.NOT_IMPLEMENTED


def _auth(receiver: Receiver, argument: str) -> Event | Reply:
    offer = receiver.offer
    if not offer.mechanisms:
        return replies.NOT_IMPLEMENTED
    if receiver.authenticated:
        return replies.AUTHENTICATED_ALREADY
    if not offer.login:
        return replies.ENCRYPTION_NEEDED
    name, *initial = argument.split(" ")
    if not name or len(initial) > 1:
        raise Refusal(syntax("5.5.4", "a mechanism is needed, and at most one initial response"))
    if name.upper() not in offer.mechanisms:
        return replies.UNKNOWN_MECHANISM
    try:
        response = sasl.decode_initial(initial[0].encode("ascii")) if initial else None
    except sasl.SaslError as error:
        raise Refusal(syntax("5.5.2", str(error))) from None
    return receiver.begin_exchange(sasl.server_mechanism(name.upper(), offer.mechanisms), response)


def _wrong_protocol(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.WRONG_PROTOCOL


def _bdat(receiver: Receiver, argument: str) -> Event | Reply:
    # CHUNKING is not offered. Octets of a chunk that comes all the same must not be read as
    # commands, so nothing after this is read at all.
    receiver.closing = True
    return replies.NOT_IMPLEMENTED


COMMANDS: Mapping[str, Command] = {
    "EHLO": Command(read=_ehlo, junk=True),
    "HELO": Command(read=_helo, junk=True),
    "MAIL": Command(
        read=_mail,
        refused={
            "start": replies.HELLO_FIRST,
            "mail": replies.NESTED_MAIL,
            "rcpt": replies.NESTED_MAIL,
        },
        room=_MAIL_ROOM,
    ),
    "RCPT": Command(
        read=_rcpt, refused={"start": replies.HELLO_FIRST, "ready": replies.MAIL_FIRST}
    ),
    "DATA": Command(
        read=_data,
        refused={
            "start": replies.HELLO_FIRST,
            "ready": replies.MAIL_FIRST,
            "mail": replies.NO_RECIPIENTS,
        },
    ),
    "RSET": Command(read=_rset, junk=True),
    "NOOP": Command(read=_noop, junk=True),
    "QUIT": Command(read=_quit),
    "VRFY": Command(read=_vrfy, junk=True),
    "EXPN": Command(read=_not_implemented, junk=True),
    "HELP": Command(read=_help, junk=True),
    "STARTTLS": Command(read=_starttls),
    "AUTH": Command(
        read=_auth,
        refused={
            "start": replies.HELLO_FIRST,
            "mail": replies.NOT_IN_TRANSACTION,
            "rcpt": replies.NOT_IN_TRANSACTION,
        },
        room=_AUTH_ROOM,
    ),
    "BDAT": Command(read=_bdat),
    # A web browser can be made to post mail commands to us; what it says first gives it away.
    "GET": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "POST": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "PUT": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "CONNECT": Command(read=_wrong_protocol, room=_AUTH_ROOM),
}
_HELP = Reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS AUTH")
