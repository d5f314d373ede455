"""The trace header that every accepted message gets: ``Received`` (RFC 5321 §4.4).

Its grammar is fixed and holds nothing of the peer's that was not matched against a narrow pattern.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache

from mailframe.address import Address
from mailframe.envelope import Client, Recipient

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?|\[[A-Za-z0-9:.]{2,64}\]")
_NOT_IN_COMMENT = re.compile(r"[^A-Za-z0-9 ._:@/*-]")


def received(
    client: Client,
    by: str,
    id: str,
    recipients: Sequence[Recipient],
    now: float,
    smtputf8: bool = False,
    show_login: bool = False,
) -> bytes:
    """Make the field, CRLF at its end included.

    :param client: who handed the message over
    :param by: our own host name
    :param id: the queue id
    :param recipients: named in the field only when there is just one, so as to disclose no other
    :param now: POSIX seconds UTC
    :param smtputf8: the message is internationalised (RFC 6531)
    :param show_login: say by which login the client proved who it is
    """
    opening = _opening(client, by, smtputf8, show_login)
    customer = _customer(recipients)
    only = recipients[0].address if len(recipients) == 1 else None
    text = f"{opening} id {id}{customer}{_for(only)};\r\n\t{_date(int(now))}\r\n"
    return text.encode()


@lru_cache(maxsize=1024)
def _opening(client: Client, by: str, smtputf8: bool, show_login: bool) -> str:
    literal = f"[IPv6:{client.address}]" if ":" in client.address else f"[{client.address}]"
    name = client.helo if client.helo and _NAME.fullmatch(client.helo) else literal
    tls = f"\r\n\t({_comment(client.tls)})" if client.tls else ""
    login = ""
    if show_login and client.login:
        login = f"\r\n\t(authenticated as {_comment(client.login)})"
    how = protocol(client, smtputf8)
    return f"Received: from {name} ({literal})\r\n\tby {by} with {how}{tls}{login}"


def protocol(client: Client, smtputf8: bool = False) -> str:
    """The keyword for how the message came: SMTP, ESMTPSA, UTF8LMTP (RFC 3848, RFC 6531 §4.3)."""
    lmtp = client.protocol == "lmtp"
    if not (lmtp or client.esmtp or client.tls or client.login):
        return "SMTP"
    plain, wide = ("LMTP", "UTF8LMTP") if lmtp else ("ESMTP", "UTF8SMTP")
    name = wide if smtputf8 else plain
    return name + ("S" if client.tls else "") + ("A" if client.login else "")


def _customer(recipients: Sequence[Recipient]) -> str:
    providers = {recipient.evidence.provider for recipient in recipients}
    if len(providers) != 1:
        return ""
    provider = providers.pop()
    return f"\r\n\t(carried for a customer of {_comment(provider)})" if provider else ""


def _comment(text: str) -> str:
    return _NOT_IN_COMMENT.sub("?", text)[:200]


def _for(recipient: Address | None) -> str:
    return f"\r\n\tfor <{recipient}>" if recipient else ""


@lru_cache(maxsize=4)
def _date(now: int) -> str:
    """``Mon, 23 Nov 2026 12:00:00 +0000`` (RFC 5322 §3.3), whatever the process's locale is."""
    at = time.gmtime(now)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
    )
