"""Mail addresses: the one parser that authorisation, routing and the wire share.

An `Address` is a mailbox of RFC 5321 §4.1.2 or RFC 6531 §3.3 in normal form: the local part without
its quoting and in Unicode's composed form (NFC), the domain as a lower-case A-label (or an address
literal such as ``[192.0.2.1]``). Because an `Address` can't hold a control character, nothing built
from one can break a line on the wire, in a header or in a log.

Nothing here gives ``%``, ``!`` or a second ``@`` in a quoted local part a meaning: an address that
authorisation judged is the address that routing uses, letter for letter.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import attrs

from mailframe import unicode_names

# RFC 5321 §4.5.3.1 asks to impose no limit on the local part where that is possible: VERP and
# forwarding schemes write reverse-paths whose local part is longer than its 64 octets.
MAX_DOMAIN = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_PATH = 254  # octets of a path without its brackets, RFC 5321 §4.5.3.1.3

# RFC 5321 §4.1.2:  Dot-string = Atom *("." Atom);  Atom = 1*atext (RFC 5322 §3.2.3)
_DOT_STRING = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
# Quoted-string = DQUOTE *(qtextSMTP / quoted-pairSMTP) DQUOTE
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')
_UNQUOTED_TEXT = re.compile(r"[\x20-\x7e]*")
# RFC 6531 §3.3: the same two with all characters beyond ASCII.
_WIDE_ATOM = r"[^\x00-\x20\x22\x28\x29\x2c\x2e\x3a-\x3c\x3e\x40\x5b-\x5d\x7f]+"
_WIDE_DOT_STRING = re.compile(rf"{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*")
_WIDE_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\x20-\x7e])*"')
# sub-domain = Let-dig [Ldh-str], with the underscore that real-world hosts carry.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class AddressError(ValueError):
    """The text is not an address. ``str(error)`` says what to mend, in printable ASCII."""


@attrs.frozen
class Address:
    """A mailbox: ``Address("jsmith", "mindspring.com")``.

    :ivar local_part: printable, without its quoting, in Unicode's normal form C; its case is kept
    :ivar domain: a lower-case A-label without a final dot, or an address literal in brackets
    """

    local_part: str
    domain: str
    _text: str = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not _UNQUOTED_TEXT.fullmatch(self.local_part):
            _check_wide(self.local_part)
        if not self.local_part:
            raise AddressError("the local part is empty")
        if normal_domain(self.domain) != self.domain:
            raise AddressError("the domain is not in normal form")
        text = f"{quote_local_part(self.local_part)}@{self.domain}"
        if len(text) > MAX_PATH or len(text.encode()) > MAX_PATH:
            raise AddressError(f"the address is longer than {MAX_PATH} octets")
        # Kept, for it is asked for a dozen times on a message's way.
        object.__setattr__(self, "_text", text)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``local-part@domain`` (RFC 5321 §4.1.2, ``Mailbox``).

        :param text: the address, without angle brackets, comments or a display name
        :raises AddressError: when it is not one; the message says why
        """
        return _parse(text)

    @property
    def is_ascii(self) -> bool:
        """Whether a server without SMTPUTF8 (RFC 6531) can be told of it."""
        return self.local_part.isascii()

    def __str__(self) -> str:
        """The address as it stands on the wire, quoted where it must be; encode it as UTF-8."""
        return self._text


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address:
    dot_string, quoted_string = _DOT_STRING, _QUOTED
    if not text.isascii():
        text = unicode_names.composed(_without_imitations(text))
        dot_string, quoted_string = _WIDE_DOT_STRING, _WIDE_QUOTED
    quoted = quoted_string.match(text)
    if quoted:
        local = re.sub(r"\\(.)", r"\1", quoted.group()[1:-1])
        rest = text[quoted.end() :]
    else:
        plain = dot_string.match(text)
        if not plain:
            raise AddressError("the local part is missing or needs quoting")
        local, rest = plain.group(), text[plain.end() :]
    if not rest.startswith("@"):
        if not rest:
            raise AddressError("the address has no @domain")
        raise AddressError("the local part holds a character that needs quoting")
    return Address(local, normal_domain(rest[1:]))


def _without_imitations(text: str) -> str:
    """The text, as long as composing it can't turn a character of it into one with a meaning."""
    reason = unicode_names.fault(text)
    if reason:
        raise AddressError(f"the address {reason}")
    return text


def _check_wide(local_part: str) -> None:
    if not _UNQUOTED_TEXT.fullmatch("".join(filter(str.isascii, local_part))):
        raise AddressError("the local part holds a control character")
    reason = unicode_names.fault(local_part)
    if reason:
        raise AddressError(f"the local part {reason}")
    if unicode_names.composed(local_part) != local_part:
        raise AddressError("the local part is not in Unicode's normal form C")


def quote_local_part(local_part: str) -> str:
    """The local part as it stands on the wire: quoted only where RFC 5321 §4.1.2 asks for it."""
    if _DOT_STRING.fullmatch(local_part) or _WIDE_DOT_STRING.fullmatch(local_part):
        return local_part
    return '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'


@lru_cache(maxsize=4096)
def normal_domain(text: str) -> str:
    """Bring a domain or an address literal into normal form.

    :param text: a domain name as A-labels or U-labels (RFC 5890) in any case, with or without the
        final dot of the DNS root; or an address literal in brackets (RFC 5321 §4.1.3)
    :returns: the lower-case name without the final dot, or ``[192.0.2.1]`` / ``[IPv6:2001:db8::1]``
    :raises AddressError: when it is neither
    """
    if text.startswith("["):
        return _address_literal(text)
    domain = (text if text.isascii() else _a_labels(text)).lower().removesuffix(".")
    if not domain:
        raise AddressError("the domain is empty")
    if len(domain) > MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} characters")
    if not _DOMAIN.fullmatch(domain):
        raise AddressError("the domain is not a host name")
    if unicode_names.A_LABEL in domain:
        _check_a_labels(domain)
    return domain


def _a_labels(text: str) -> str:
    """Each label as it stands in DNS."""
    if len(text) > MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} characters")
    try:
        labels = [
            label if label.isascii() else unicode_names.to_a_label(label)
            for label in text.split(".")
        ]
    except ValueError as error:
        raise AddressError(f"the domain {error}") from None
    return ".".join(labels)


def _check_a_labels(domain: str) -> None:
    try:
        for label in domain.split("."):
            if label.startswith(unicode_names.A_LABEL):
                unicode_names.check_a_label(label)
    except ValueError as error:
        raise AddressError(f"the domain {error}") from None


def _address_literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressError("the address literal has no closing bracket")
    inside = text[1:-1]
    try:
        if inside.lower().startswith("ipv6:"):
            address = ipaddress.IPv6Address(inside[5:])
            if address.scope_id is not None:
                # A zone may hold any character, and RFC 5321 §4.1.3 knows none.
                raise ValueError
            return f"[IPv6:{address}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        raise AddressError("the address literal holds no IP address") from None


def literal_address(domain: str) -> str | None:
    """The IP address inside an address literal in normal form, or ``None`` for a domain name."""
    if not domain.startswith("["):
        return None
    return domain[1:-1].removeprefix("IPv6:")
