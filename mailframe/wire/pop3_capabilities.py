"""What CAPA shows (RFC 2449 §5), and the languages of LANG (RFC 6856 §3).

What a client may use before the login is shown after it as well, as RFC 2449 §5 asks.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailframe.wire.pop3_events import Offer

# The words that follow +OK and -ERR are English, and there are no others.
LANGUAGES: Mapping[str, str] = {"en": "English", "i-default": "Default language"}

_ALWAYS = (
    b"TOP",
    b"UIDL",
    b"RESP-CODES",
    b"AUTH-RESP-CODE",
    b"PIPELINING",
    b"EXPIRE NEVER",
    b"LANG",
    b"IMPLEMENTATION mailframe",
)


def capabilities(offer: Offer) -> list[bytes]:
    """The capabilities, one a line.

    :param offer: what the client may use now
    """
    shown = list(_ALWAYS)
    # USER: what follows USER and PASS may be UTF-8 (RFC 6856 §2.3).
    by_name = offer.login and "PLAIN" in offer.mechanisms
    shown.append(b"UTF8 USER" if by_name else b"UTF8")
    if offer.login_delay:
        shown.append(b"LOGIN-DELAY %d" % offer.login_delay)
    if by_name:
        shown.append(b"USER")
    if offer.login and offer.mechanisms:
        shown.append(b"SASL " + " ".join(offer.mechanisms).encode("ascii"))
    if offer.stls:
        shown.append(b"STLS")
    return shown


def language(wanted: str) -> str | None:
    """The tag of the language that a client asks for, or ``None`` when there is none like it.

    :param wanted: a basic language range (RFC 4647 §2.1), looked up as in §3.4; ``*`` is ours to
        choose
    """
    wanted = wanted.lower()
    while wanted not in LANGUAGES:
        if wanted == "*":
            return "en"
        wanted = wanted.rpartition("-")[0]
        if not wanted:
            return None
    return wanted
