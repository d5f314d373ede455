"""XCLIENT: a program that is trusted says for whom it speaks (Postfix's XCLIENT_README).

Mail filters and proxies that stand before a server use it, and so do tests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

from mailframe.address import Address, AddressError
from mailframe.wire.grammar import GrammarError, parse_helo_name, parse_xtext
from mailframe.wire.smtp_extensions import XCLIENT_NAMES

_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


def parse_xclient(argument: str) -> Mapping[str, str | None]:
    """Read the argument of XCLIENT.

    :returns: each attribute by its upper-case name; ``None`` where it is not known. Addresses are
        in their shortest form, ``PROTO`` is ``SMTP`` or ``ESMTP``, ``LOGIN`` an address in normal
        form
    :raises GrammarError: it is not one
    """
    attributes: dict[str, str | None] = {}
    for word in argument.split(" "):
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in XCLIENT_NAMES:
            raise GrammarError(f"XCLIENT takes NAME=value, of {', '.join(XCLIENT_NAMES)}")
        if name in attributes:
            raise GrammarError(f"the attribute {name} is given twice")
        text = parse_xtext(value)
        known = bool(text) and text.upper() not in _UNKNOWN
        attributes[name] = _NORMAL[name](text) if known else None
    return attributes


def _address(text: str) -> str:
    try:
        if text[:5].upper() == "IPV6:":
            address = ipaddress.IPv6Address(text[5:])
            if address.scope_id is not None:
                raise ValueError
            return str(address.ipv4_mapped or address)
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise GrammarError("the address is no IP address; one of IPv6 begins with IPV6:") from None


def _port(text: str) -> str:
    if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise GrammarError("the port is no number up to 65535")
    return str(int(text))


def _protocol(text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP"):
        raise GrammarError("PROTO is SMTP or ESMTP")
    return text.upper()


def _login(text: str) -> str:
    try:
        return str(Address.parse(text))
    except AddressError as error:
        raise GrammarError(f"LOGIN is no address: {error}") from None


_NORMAL: Mapping[str, Callable[[str], str]] = {
    "NAME": str,
    "REVERSE_NAME": str,
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _protocol,
    "HELO": parse_helo_name,
    "LOGIN": _login,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
