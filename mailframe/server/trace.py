"""The trace header that every accepted message gets: ``Received`` (RFC 5321 §4.4).

Its grammar is fixed and holds nothing of the peer's that was not matched against a narrow pattern.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Sequence
from functools import lru_cache

import attrs

from mailframe.address import Address
from mailframe.envelope import Client, Recipient
from mailframe.outcome import Permit

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?|\[[A-Za-z0-9:.]{2,64}\]")
_NOT_IN_COMMENT = re.compile(r"[^A-Za-z0-9 ._:,'@/*-]")
_WIDTH = 76  # columns of a line of a comment


@attrs.frozen(kw_only=True)
class Shown:
    """What the field tells of the client besides its name and address; anybody may read it.

    :ivar login: by which login it proved who it is
    :ivar reason: why it was let in, and by which plugin and rule; its login is left out of this
        unless ``login`` says otherwise
    """

    login: bool = False
    reason: bool = True


USUAL = Shown()


def received(
    client: Client,
    by: str,
    id: str,
    recipients: Sequence[Recipient],
    now: float,
    smtputf8: bool = False,
    shown: Shown = USUAL,
) -> bytes:
    """Make the field, CRLF at its end included.

    :param client: who handed the message over
    :param by: our own host name
    :param id: the queue id
    :param recipients: named in the field only when there is just one, so as to disclose no other
    :param now: POSIX seconds UTC
    :param smtputf8: the message is internationalised (RFC 6531)
    :param shown: what is told of the client
    """
    opening = _opening(client, by, smtputf8, shown.login)
    let_in = _let_in(client, recipients, shown)
    only = recipients[0].address if len(recipients) == 1 else None
    text = f"{opening} id {id}{let_in}{_for(only)};\r\n\t{_date(int(now))}\r\n"
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


def _let_in(client: Client, recipients: Sequence[Recipient], shown: Shown) -> str:
    """The decision to take the message, unless it was another for another recipient."""
    verdict = recipients[0].evidence
    if len(recipients) > 1 and any(each.evidence != verdict for each in recipients[1:]):
        return ""
    return _verdict(verdict, None if shown.login else client.login, shown.reason)


@lru_cache(maxsize=1024)
def _verdict(verdict: Permit, secret: str | None, with_reason: bool) -> str:
    if not with_reason:
        customer = f"carried for a customer of {_comment(verdict.provider or '')}"
        return f"\r\n\t({customer})" if verdict.provider else ""
    who = ", ".join(filter(None, (verdict.plugin, verdict.rule and f"rule {verdict.rule}")))
    reason = verdict.reason.replace(secret, "the client") if secret else verdict.reason
    text = f"(let in by {_comment(who)}: {_comment(reason)})"
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"\r\n\t{line}" for line in lines)


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
