"""What a client may say with MAIL and RCPT to a server that offers certain extensions. Pure.

``extensions`` are the keywords of the server's EHLO reply in upper case, with their parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import attrs

from mailframe.reply import Reply
from mailframe.wire.sender_dialogue import command_line
from mailframe.wire.sender_events import Transaction

# xchar of RFC 3461 §4: "!" to "~" except "+" and "="
_NOT_XCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")
# QCHAR of RFC 6533 §3: the same, except the backslash
_NOT_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")
_NUMBER = re.compile(r"[0-9]{1,9}")


def refusal(
    transaction: Transaction, extensions: Mapping[str, str], *, encrypted: bool
) -> Reply | None:
    """Why a server that offers these extensions can't be given this transaction, or ``None``.

    - 552 5.3.4: it is larger than the server takes (RFC 1870 §6.1)
    - 554 5.6.3: it needs a transport of 8 bits or more that the server does not offer (RFC 6152 §3,
      RFC 3030 §3)
    - 550 5.6.7: it needs SMTPUTF8 (RFC 6531 §3.2)
    - 550 5.7.30: it needs REQUIRETLS over TLS (RFC 8689 §4.2.1)
    """
    limit = extensions.get("SIZE", "")
    if transaction.size is not None and limit.isdecimal() and 0 < int(limit) < transaction.size:
        return Reply(552, "5.3.4", f"the server takes no more than {int(limit)} octets")
    if transaction.body == "8BITMIME" and "8BITMIME" not in extensions:
        text = "the content has octets beyond ASCII, which the server does not take"
        return Reply(554, "5.6.3", text)
    if transaction.body == "BINARYMIME" and not takes_binary(extensions):
        return Reply(554, "5.6.3", "the content is binary, which the server does not take")
    if "SMTPUTF8" not in extensions and needs_smtputf8(transaction):
        text = "the message is internationalised, and the server does not offer SMTPUTF8"
        return Reply(550, "5.6.7", text)
    if transaction.require_tls and not (encrypted and "REQUIRETLS" in extensions):
        return Reply(
            550, "5.7.30", "the server does not offer REQUIRETLS, which the sender asks for"
        )
    return None


def needs_smtputf8(transaction: Transaction) -> bool:
    """Whether a server without SMTPUTF8 can't be told of the transaction (RFC 6531 §3.2)."""
    if transaction.smtputf8:
        return True
    # Domains are A-labels, which every server understands.
    for recipient in transaction.recipients:
        if not recipient.local_part.isascii():
            return True
    return transaction.sender is not None and not transaction.sender.local_part.isascii()


def takes_binary(extensions: Mapping[str, str]) -> bool:
    """Whether binary content can be sent. Chunks are never sent without PIPELINING here."""
    return extensions.keys() >= {"BINARYMIME", "CHUNKING", "PIPELINING"}


def mail_command(transaction: Transaction, extensions: Mapping[str, str]) -> bytes:
    """MAIL with the parameters that are needed and offered."""
    command = f"MAIL FROM:<{transaction.sender or ''}>"
    if "SIZE" in extensions and transaction.size is not None:
        command += f" SIZE={transaction.size}"
    if transaction.body != "7BIT":
        command += f" BODY={transaction.body}"
    if needs_smtputf8(transaction):
        command += " SMTPUTF8"
    if transaction.require_tls:
        command += " REQUIRETLS"
    if "DSN" in extensions:
        if transaction.ret is not None:
            command += f" RET={transaction.ret}"
        if transaction.envid is not None:
            command += f" ENVID={xtext(transaction.envid)}"
    if transaction.by is not None and "DELIVERBY" in extensions:
        command += f" BY={transaction.by}"
    return command_line(command)


def rcpt_command(transaction: Transaction, place: int, extensions: Mapping[str, str]) -> bytes:
    """RCPT for one of the recipients, with the parameters that are needed and offered.

    The original recipient is named even when the client named none: it is the one of the envelope
    (RFC 3461 §5.2.1).

    :param place: which of the transaction's recipients
    """
    command = f"RCPT TO:<{transaction.recipients[place]}>"
    if transaction.originals and "DSN" in extensions:
        original = transaction.originals[place]
        if original.notify:
            command += f" NOTIFY={','.join(original.notify)}"
        orcpt = original.orcpt
        if orcpt is None:
            kind = "rfc822" if original.address.local_part.isascii() else "utf-8"
            orcpt = f"{kind};{original.address}"
        command += f" ORCPT={_orcpt(orcpt)}"
    return command_line(command)


def xtext(text: str) -> str:
    """The form of RFC 3461 §4, in which any octets can be a parameter's value."""
    return _NOT_XCHAR.sub(_in_hex, text)


def _in_hex(match: re.Match[str]) -> str:
    return "".join(f"+{octet:02X}" for octet in match[0].encode())


@lru_cache(maxsize=1024)
def _orcpt(orcpt: str) -> str:
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":  # utf-8-addr-xtext of RFC 6533 §3
        return f"{kind};" + _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address)
    return f"{kind};{xtext(address)}"


@attrs.frozen(kw_only=True)
class Limits:
    """What a server said of itself with LIMITS (RFC 9422); ``None`` where it said nothing usable.

    :ivar transactions: how many one session may have
    :ivar recipients: how many one transaction may have
    :ivar domains: how many different domains they may have
    """

    transactions: int | None = None
    recipients: int | None = None
    domains: int | None = None


def limits(extensions: Mapping[str, str]) -> Limits:
    """Read the parameters of LIMITS; those that are unknown or make no sense are ignored."""
    said: dict[str, int] = {}
    for parameter in extensions.get("LIMITS", "").split():
        name, _, value = parameter.partition("=")
        if _NUMBER.fullmatch(value) and int(value) > 0:
            said[name.upper()] = int(value)
    return Limits(
        transactions=said.get("MAILMAX"),
        recipients=said.get("RCPTMAX"),
        domains=said.get("RCPTDOMAINMAX"),
    )
