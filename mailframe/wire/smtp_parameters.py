"""The values of the parameters of MAIL and RCPT, each read strictly.

Every function here reads one value, ``None`` when there was none, into fields of the `Mail`, its
`Wishes`, or the `Rcpt` event. It raises `GrammarError`, which is answered with 501, or `Refusal`.
"""

from __future__ import annotations

import calendar
import re
import time
from typing import Any

from mailframe.envelope import Notify
from mailframe.reply import Reply
from mailframe.wire.grammar import GrammarError, parse_size, parse_xtext
from mailframe.wire.smtp_events import By
from mailframe.wire.smtp_replies import Refusal

MAX_ENVID = 100  # octets as they are sent, RFC 3461 §4.4
MAX_ORCPT = 500  # octets as they are sent, RFC 3461 §4.2
MIN_BY = 60  # seconds: what is sooner is no time for a second attempt (RFC 2852 §3)
_NOTIFY: tuple[Notify, ...] = ("SUCCESS", "FAILURE", "DELAY")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")
_BY = re.compile(r"([+-]?[0-9]{1,9});([NRnr])([Tt]?)")
_SECONDS = re.compile(r"[1-9][0-9]{0,8}")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:(?:[0-5][0-9]|60))(\.[0-9]{1,9})?Z"
)
# RFC 6533 §3: what stands for a character in an address of type utf-8 that is sent in ASCII.
_HEXPOINT = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_JOINERS = str.maketrans("", "", "\u200c\u200d")
BY_TOO_SOON = Reply(555, "5.5.4", f"BY in mode R needs {MIN_BY} seconds or more")


def size(value: str | None) -> dict[str, Any]:
    """SIZE (RFC 1870)."""
    return {"size": parse_size(value)}


def body(value: str | None) -> dict[str, Any]:
    """BODY (RFC 6152, RFC 3030)."""
    if value is None or value.upper() not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise GrammarError("BODY is 7BIT, 8BITMIME or BINARYMIME")
    return {"body": value.upper()}


def auth(value: str | None) -> dict[str, Any]:
    """AUTH (RFC 4954 §5): who submitted the message elsewhere.

    We trust nobody to say so, which the RFC lets us do by treating it as ``AUTH=<>``.
    """
    parse_xtext(value)
    return {}


def smtputf8(value: str | None) -> dict[str, Any]:
    """SMTPUTF8 (RFC 6531 §3.4)."""
    return {"smtputf8": _alone("SMTPUTF8", value)}


def require_tls(value: str | None) -> dict[str, Any]:
    """REQUIRETLS (RFC 8689 §2)."""
    return {"require_tls": _alone("REQUIRETLS", value)}


def _alone(keyword: str, value: str | None) -> bool:
    if value is not None:
        raise GrammarError(f"{keyword} takes no value")
    return True


def ret(value: str | None) -> dict[str, Any]:
    """RET (RFC 3461 §4.3)."""
    if value is None or value.upper() not in ("FULL", "HDRS"):
        raise GrammarError("RET is FULL or HDRS")
    return {"ret": value.upper()}


def envid(value: str | None) -> dict[str, Any]:
    """ENVID (RFC 3461 §4.4)."""
    if value is not None and len(value) > MAX_ENVID:
        raise GrammarError(f"ENVID is longer than {MAX_ENVID} characters")
    return {"envid": parse_xtext(value)}


def notify(value: str | None) -> dict[str, Any]:
    """NOTIFY (RFC 3461 §4.1)."""
    wanted = (value or "").upper().split(",")
    if wanted == ["NEVER"]:
        return {"notify": ("NEVER",)}
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(_NOTIFY):
        raise GrammarError("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    return {"notify": tuple(each for each in _NOTIFY if each in wanted)}


def orcpt(value: str | None) -> dict[str, Any]:
    """ORCPT (RFC 3461 §4.2; RFC 6533 §3 for the type utf-8)."""
    kind, semicolon, address = (value or "").partition(";")
    if not (semicolon and address and _ADDRESS_TYPE.fullmatch(kind)):
        raise GrammarError("ORCPT is an address type, a semicolon and an address")
    if len(value or "") > MAX_ORCPT:
        raise GrammarError(f"ORCPT is longer than {MAX_ORCPT} characters")
    decode = _utf8_address if kind.lower() == "utf-8" else parse_xtext
    return {"orcpt": f"{kind};{decode(address)}"}


def _utf8_address(text: str) -> str:
    if text.isascii():
        try:
            text = _HEXPOINT.sub(lambda match: chr(int(match[1], 16)), parse_xtext(text))
        except ValueError:  # beyond the last character
            raise GrammarError("the value holds what is no character") from None
    if "\\" in text or not text.translate(_JOINERS).isprintable():
        raise GrammarError("the value holds a character that is not printable")
    return text


def by(value: str | None) -> dict[str, Any]:
    """BY (RFC 2852 §4)."""
    match = _BY.fullmatch(value or "")
    if not match:
        raise GrammarError("BY is seconds, a semicolon, and R or N, maybe with T")
    seconds, returns = int(match[1]), match[2].upper() == "R"
    if returns and seconds <= 0:
        raise GrammarError("BY in mode R needs a time to come")
    if returns and seconds < MIN_BY:
        raise Refusal(BY_TOO_SOON)
    return {"by": By(seconds=seconds, returns=returns, trace=bool(match[3]))}


def hold_for(value: str | None) -> dict[str, Any]:
    """HOLDFOR (RFC 4865 §4.1)."""
    if value is None or not _SECONDS.fullmatch(value):
        raise GrammarError("HOLDFOR is a number of seconds")
    return {"hold_for": int(value)}


def hold_until(value: str | None) -> dict[str, Any]:
    """HOLDUNTIL (RFC 4865 §4.1): a date and time of RFC 3339 §5.6 in UTC."""
    match = _DATE_TIME.fullmatch((value or "").upper())
    if match:
        try:
            at = time.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
        except ValueError:  # a 13th month or the like
            pass
        else:
            return {"hold_until": calendar.timegm(at) + float(match[2] or 0)}
    raise GrammarError("HOLDUNTIL is a date and time such as 2030-12-31T23:59:59Z")


def date_time(at: float) -> str:
    """A time as HOLDUNTIL has it.

    :param at: POSIX seconds
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
