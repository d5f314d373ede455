"""The service extensions that the receiver knows: what EHLO shows, and the parameters they bring.

To add one is to add an `Extension` to `EXTENSIONS` (and its commands, if it has any, to
`mailframe.wire.smtp_commands.COMMANDS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from mailframe.reply import Reply
from mailframe.wire.grammar import GrammarError, parse_size, parse_xtext

ParameterParser: TypeAlias = Callable[[str | None], dict[str, Any]]
"""Reads a parameter's value into fields of the `Mail` or `Rcpt` event; raises `GrammarError`."""


@attrs.frozen(kw_only=True)
class Offer:
    """What may be used at this moment; it changes with TLS and login.

    :ivar size: octets of the largest message taken, 0 when there is no limit
    :ivar starttls: TLS may be started
    :ivar tls: TLS is active
    :ivar mechanisms: the SASL mechanisms of this server; empty where nobody can log in
    :ivar login: a login may be tried now, because nobody can listen in
    """

    size: int = 0
    starttls: bool = False
    tls: bool = False
    mechanisms: tuple[str, ...] = ()
    login: bool = False


@attrs.frozen(kw_only=True)
class Extension:
    """One service extension of RFC 5321 §2.2.

    :ivar shown: the EHLO line, or ``None`` when it is not offered now
    :ivar mail: the parameters it adds to MAIL
    :ivar rcpt: the parameters it adds to RCPT
    """

    shown: Callable[[Offer], str | None]
    mail: Mapping[str, ParameterParser] = attrs.field(factory=dict)
    rcpt: Mapping[str, ParameterParser] = attrs.field(factory=dict)


def _size(value: str | None) -> dict[str, Any]:
    return {"size": parse_size(value)}


def _body(value: str | None) -> dict[str, Any]:
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        raise GrammarError("BODY is 7BIT or 8BITMIME")
    return {"body": value.upper()}


def _auth(value: str | None) -> dict[str, Any]:
    # RFC 4954 §5: who submitted the message elsewhere. We trust nobody to say so, which the RFC
    # lets us do by treating it as AUTH=<>.
    parse_xtext(value)
    return {}


EXTENSIONS = (
    Extension(shown=lambda offer: "PIPELINING"),  # RFC 2920
    Extension(shown=lambda offer: f"SIZE {offer.size}", mail={"SIZE": _size}),  # RFC 1870
    Extension(shown=lambda offer: "8BITMIME", mail={"BODY": _body}),  # RFC 6152
    Extension(shown=lambda offer: "ENHANCEDSTATUSCODES"),  # RFC 2034
    Extension(shown=lambda offer: "STARTTLS" if offer.starttls else None),  # RFC 3207
    Extension(  # RFC 4954
        shown=lambda offer: "AUTH " + " ".join(offer.mechanisms) if offer.login else None,
        mail={"AUTH": _auth},
    ),
)

MAIL_PARAMETERS: Mapping[str, ParameterParser] = {
    keyword: parser for extension in EXTENSIONS for keyword, parser in extension.mail.items()
}
RCPT_PARAMETERS: Mapping[str, ParameterParser] = {
    keyword: parser for extension in EXTENSIONS for keyword, parser in extension.rcpt.items()
}


def hello_reply(hostname: str, esmtp: bool, offer: Offer) -> Reply:
    """The answer to EHLO, which names the extensions offered now, or to HELO, which doesn't."""
    if not esmtp:
        return Reply(250, None, hostname)
    shown = (extension.shown(offer) for extension in EXTENSIONS)
    return Reply(250, None, [hostname, *(line for line in shown if line)])
