"""The service extensions of the SMTP server: what EHLO shows, and what MAIL and RCPT may carry.

An extension is one entry of `EXTENSIONS`, whose line is shown and whose parameters are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from mailframe.reply import Reply
from mailframe.wire import smtp_parameters as read
from mailframe.wire import smtp_replies as replies
from mailframe.wire.grammar import GrammarError, parse_parameters
from mailframe.wire.smtp_replies import Refusal, syntax

ParameterParser: TypeAlias = Callable[[str | None], dict[str, Any]]
"""Reads a parameter's value into fields of an event; see `mailframe.wire.smtp_parameters`."""

XCLIENT_NAMES = (
    *("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME"),
)


@attrs.frozen(kw_only=True)
class Offer:
    """What may be used at this moment; it changes with TLS and login.

    :ivar size: octets of the largest message taken, 0 when there is no limit
    :ivar starttls: TLS may be started
    :ivar tls: TLS is active
    :ivar mechanisms: the SASL mechanisms of this server; empty where nobody can log in
    :ivar login: a login may be tried now, because nobody can listen in
    :ivar recipients: how many recipients a message may have, 0 when there is no limit
    :ivar hold: for how many seconds at most a message may be put off; 0 when it may not
    :ivar hold_until: until when at most, POSIX seconds
    :ivar xclient: the client may say that it speaks for another
    """

    size: int = 0
    starttls: bool = False
    tls: bool = False
    mechanisms: tuple[str, ...] = ()
    login: bool = False
    recipients: int = 0
    hold: int = 0
    hold_until: float = 0.0
    xclient: bool = False


@attrs.frozen(kw_only=True)
class Extension:
    """One service extension of RFC 5321 §2.2.

    :ivar shown: the EHLO line, or ``None`` when it is not offered now
    :ivar mail: the parameters it adds to MAIL
    :ivar rcpt: the parameters it adds to RCPT
    :ivar refusal: what the parameters are answered with when it is not offered; ``None``: it always
        is, or they are read all the same
    """

    shown: Callable[[Offer], str | None]
    mail: Mapping[str, ParameterParser] = attrs.field(factory=dict)
    rcpt: Mapping[str, ParameterParser] = attrs.field(factory=dict)
    refusal: Reply | None = None


def _hold(offer: Offer) -> str | None:
    if not offer.hold:
        return None
    return f"FUTURERELEASE {offer.hold} {read.date_time(offer.hold_until)}"


EXTENSIONS = (
    Extension(shown=lambda offer: "PIPELINING"),  # RFC 2920
    Extension(shown=lambda offer: f"SIZE {offer.size}", mail={"SIZE": read.size}),  # RFC 1870
    Extension(shown=lambda offer: "8BITMIME", mail={"BODY": read.body}),  # RFC 6152
    Extension(shown=lambda offer: "ENHANCEDSTATUSCODES"),  # RFC 2034
    Extension(shown=lambda offer: "STARTTLS" if offer.starttls else None),  # RFC 3207
    Extension(  # RFC 4954
        shown=lambda offer: "AUTH " + " ".join(offer.mechanisms) if offer.login else None,
        mail={"AUTH": read.auth},
    ),
    Extension(  # RFC 3461
        shown=lambda offer: "DSN",
        mail={"RET": read.ret, "ENVID": read.envid},
        rcpt={"NOTIFY": read.notify, "ORCPT": read.orcpt},
    ),
    Extension(shown=lambda offer: "CHUNKING"),  # RFC 3030
    Extension(shown=lambda offer: "BINARYMIME"),  # RFC 3030; its parameter is that of 8BITMIME
    Extension(shown=lambda offer: "SMTPUTF8", mail={"SMTPUTF8": read.smtputf8}),  # RFC 6531
    Extension(  # RFC 8689
        shown=lambda offer: "REQUIRETLS" if offer.tls else None,
        mail={"REQUIRETLS": read.require_tls},
        refusal=replies.REQUIRETLS_NEEDS_TLS,
    ),
    Extension(shown=lambda offer: f"DELIVERBY {read.MIN_BY}", mail={"BY": read.by}),  # RFC 2852
    Extension(  # RFC 4865
        shown=_hold,
        mail={"HOLDFOR": read.hold_for, "HOLDUNTIL": read.hold_until},
        refusal=replies.UNKNOWN_PARAMETER,
    ),
    Extension(  # RFC 9422
        shown=lambda offer: f"LIMITS RCPTMAX={offer.recipients}" if offer.recipients else None
    ),
    Extension(  # of Postfix
        shown=lambda offer: "XCLIENT " + " ".join(XCLIENT_NAMES) if offer.xclient else None
    ),
)

_Parameters: TypeAlias = Mapping[str, tuple[Extension, ParameterParser]]
MAIL_PARAMETERS: _Parameters = {
    keyword: (extension, parser)
    for extension in EXTENSIONS
    for keyword, parser in extension.mail.items()
}
RCPT_PARAMETERS: _Parameters = {
    keyword: (extension, parser)
    for extension in EXTENSIONS
    for keyword, parser in extension.rcpt.items()
}


def read_parameters(text: str, known: _Parameters, offer: Offer) -> dict[str, Any]:
    """Read the parameters of MAIL or RCPT.

    :param text: what follows the path
    :param known: `MAIL_PARAMETERS` or `RCPT_PARAMETERS`
    :returns: fields of the event
    :raises Refusal: one is malformed, unknown or not offered now
    """
    fields: dict[str, Any] = {}
    try:
        for keyword, value in parse_parameters(text):
            found = known.get(keyword)
            if found is None:
                raise Refusal(replies.UNKNOWN_PARAMETER)
            extension, parser = found
            if extension.refusal is not None and extension.shown(offer) is None:
                raise Refusal(extension.refusal)
            fields.update(parser(value))
    except GrammarError as error:
        raise Refusal(syntax("5.5.4", str(error))) from None
    return fields


def hello_reply(hostname: str, esmtp: bool, offer: Offer) -> Reply:
    """The answer to EHLO, which names the extensions offered now, or to HELO, which doesn't."""
    if not esmtp:
        return Reply(250, None, hostname)
    shown = (extension.shown(offer) for extension in EXTENSIONS)
    return Reply(250, None, [hostname, *(line for line in shown if line)])
