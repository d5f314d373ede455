"""The commands of SMTP and LMTP as tables: verb → what reads it, and in which states it may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire import smtp_replies as replies
from mailframe.wire.grammar import GrammarError, parse_helo_name
from mailframe.wire.smtp_command import Command, State, no_argument
from mailframe.wire.smtp_events import Event, Hello, StartTls, Xclient
from mailframe.wire.smtp_replies import Refusal, syntax
from mailframe.wire.smtp_transaction import (
    read_bdat,
    read_data,
    read_mail,
    read_rcpt,
    read_rset,
)
from mailframe.wire.xclient import parse_xclient

if TYPE_CHECKING:
    from mailframe.wire.smtp_receiver import Receiver

# Parameters make the lines longer than 512 octets: SIZE by 26 (RFC 1870 §3), BODY by 17 (RFC 6152
# §2), AUTH by 500 (RFC 4954 §3), RET and ENVID by 107 and NOTIFY and ORCPT by 529 (RFC 3461), BY by
# 17 (RFC 2852), HOLDUNTIL by 34 (RFC 4865 §3), SMTPUTF8 by 10 (RFC 6531 §3.1), REQUIRETLS by 11.
_MAIL_ROOM = 26 + 17 + 500 + 107 + 17 + 34 + 10 + 11
_RCPT_ROOM = 529
_AUTH_ROOM = sasl.MAX_LINE - 512
_XCLIENT_ROOM = 2048 - 512


def _ehlo(receiver: Receiver, argument: str) -> Event | Reply:
    return _hello(receiver, argument, esmtp=True)


def _helo(receiver: Receiver, argument: str) -> Event | Reply:
    return _hello(receiver, argument, esmtp=False)


def _use_lhlo(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.USE_LHLO


def _hello(receiver: Receiver, argument: str, *, esmtp: bool) -> Event:
    try:
        name = parse_helo_name(argument)
    except GrammarError as error:
        raise Refusal(syntax("5.5.4", str(error))) from None
    receiver.reset()
    return Hello(name=name, esmtp=esmtp)


def _noop(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.OK


def _quit(receiver: Receiver, argument: str) -> Event | Reply:
    no_argument(argument)
    receiver.closing = True
    return replies.BYE


def _vrfy(receiver: Receiver, argument: str) -> Event | Reply:
    # Never says whether there is such a user, which RFC 5321 §7.3 allows.
    user, _, parameter = argument.rpartition(" ")
    if parameter.upper() != "SMTPUTF8":
        if not argument.isascii():
            return replies.RECIPIENT_NEEDS_SMTPUTF8
        user = argument
    return replies.CANNOT_VERIFY if user else replies.ARGUMENT_NEEDED


def _not_implemented(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.NOT_IMPLEMENTED


def _help(receiver: Receiver, argument: str) -> Event | Reply:
    if not argument:
        known = " ".join(name for name, command in receiver.commands.items() if command.help)
        return Reply(214, "2.0.0", f"{known}; HELP and one of these says more")
    command = receiver.commands.get(argument.upper())
    if command is None or not command.help:
        return replies.NO_HELP
    return Reply(214, "2.0.0", f"{argument.upper()} {command.help}")


def _starttls(receiver: Receiver, argument: str) -> Event | Reply:
    no_argument(argument)
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


def _xclient(receiver: Receiver, argument: str) -> Event | Reply:
    if not receiver.offer.xclient:
        return replies.NOT_IMPLEMENTED
    try:
        return Xclient(attributes=parse_xclient(argument))
    except GrammarError as error:
        raise Refusal(syntax("5.5.4", str(error))) from None


def _wrong_protocol(receiver: Receiver, argument: str) -> Event | Reply:
    return replies.WRONG_PROTOCOL


_IN_TRANSACTION: Mapping[State, Reply] = {
    "mail": replies.NOT_IN_TRANSACTION,
    "rcpt": replies.NOT_IN_TRANSACTION,
    "chunks": replies.NOT_IN_TRANSACTION,
}
_COMMON: Mapping[str, Command] = {
    "MAIL": Command(
        read=read_mail,
        help="FROM:<sender> [parameters] begins a message",
        refused={
            "start": replies.HELLO_FIRST,
            "mail": replies.NESTED_MAIL,
            "rcpt": replies.NESTED_MAIL,
            "chunks": replies.NESTED_MAIL,
        },
        room=_MAIL_ROOM,
        utf8=True,
    ),
    "RCPT": Command(
        read=read_rcpt,
        help="TO:<recipient> [parameters] names one recipient of it",
        refused={
            "start": replies.HELLO_FIRST,
            "ready": replies.MAIL_FIRST,
            "chunks": replies.CHUNKS_BEGUN,
        },
        room=_RCPT_ROOM,
        utf8=True,
    ),
    "DATA": Command(
        read=read_data,
        help="hands its content over, ended by a line with a single dot",
        refused={
            "start": replies.HELLO_FIRST,
            "ready": replies.MAIL_FIRST,
            "mail": replies.NO_RECIPIENTS,
            "chunks": replies.CHUNKS_BEGUN,
        },
    ),
    "BDAT": Command(
        read=read_bdat,
        help="size [LAST] hands so many octets of its content over, which follow at once",
        fatal=True,
    ),
    "RSET": Command(read=read_rset, help="gives the message up", junk=True),
    "NOOP": Command(read=_noop, help="[text] does nothing", junk=True),
    "QUIT": Command(read=_quit, help="ends the session"),
    "VRFY": Command(read=_vrfy, help="user [SMTPUTF8] is never told", junk=True, utf8=True),
    "EXPN": Command(read=_not_implemented, junk=True, utf8=True),
    "HELP": Command(read=_help, help="[command] says what there is", junk=True),
    "STARTTLS": Command(
        read=_starttls,
        help="begins TLS",
        refused={"chunks": replies.NOT_IN_TRANSACTION},
    ),
    "AUTH": Command(
        read=_auth,
        help="mechanism [response] logs in",
        refused={"start": replies.HELLO_FIRST, **_IN_TRANSACTION},
        room=_AUTH_ROOM,
    ),
    "XCLIENT": Command(read=_xclient, refused=_IN_TRANSACTION, room=_XCLIENT_ROOM),
    # A web browser can be made to post mail commands to us; what it says first gives it away.
    "GET": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "POST": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "PUT": Command(read=_wrong_protocol, room=_AUTH_ROOM),
    "CONNECT": Command(read=_wrong_protocol, room=_AUTH_ROOM),
}
COMMANDS: Mapping[str, Command] = {
    "EHLO": Command(
        read=_ehlo, help="name opens the session, and tells what is offered", junk=True
    ),
    "HELO": Command(read=_helo, help="name opens the session", junk=True),
    **_COMMON,
}
LMTP_COMMANDS: Mapping[str, Command] = {  # RFC 2033 §4.1
    "LHLO": Command(
        read=_ehlo, help="name opens the session, and tells what is offered", junk=True
    ),
    **_COMMON,
    # Mail servers that take us for one of SMTP are told so, before they hand anything over.
    "EHLO": Command(read=_use_lhlo, junk=True),
    "HELO": Command(read=_use_lhlo, junk=True),
}
