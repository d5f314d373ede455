"""Address patterns, as authorisation and routing tables hold them.

======================= ========================================================================
``*``                   anything, the null reverse-path included
``<>``                  the null reverse-path, nothing else
``*@rosse.example``     every mailbox of one domain
``*@*.rosse.example``   every mailbox of its subdomains, at any depth, but not of itself
``*@*``                 every address, but not the null reverse-path
``user@rosse.example``  one mailbox; in the local part ``*`` stands for any text and ``?`` for any
                        one character
``"a b"@rosse.example`` one mailbox whose local part needs quoting; nothing in quotes is a wildcard
======================= ========================================================================

Domains and local parts are compared without regard to case. RFC 5321 §2.4 leaves the local part's
case to its own domain; a table that let ``Angelo@`` slip past a rule for ``angelo@`` would surprise
everyone. Patterns are not regular expressions, and the time that matching takes is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from mailframe import unicode_names
from mailframe.address import Address, AddressError, normal_domain

ALLOWED = '"*", "<>", "user@domain", "*@domain", "*@*.domain"'
_LOCAL = re.compile(r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|[^\x00-\x7f])+")


@attrs.frozen
class AddressPattern:
    """One pattern; see the module for the forms. Made by `parse`.

    :ivar text: as it was written
    :ivar local_part: lower case; ``*`` for any; ``None`` for the patterns without an ``@``
    :ivar domain: in normal form; ``*`` for any domain, ``*.domain`` for subdomains; ``""`` for the
        patterns without an ``@``
    :ivar literal: the local part was quoted and holds no wildcards
    """

    text: str
    local_part: str | None
    domain: str
    literal: bool = False

    @classmethod
    def parse(cls, text: str) -> AddressPattern:
        """Read a pattern.

        :raises ValueError: it is not one; the message says what is allowed
        """
        if text in ("*", "<>"):
            return cls(text, None, "")
        try:
            if text.startswith('"'):
                address = Address.parse(text)
                return cls(text, address.local_part.lower(), address.domain, True)
            local, at, domain = text.rpartition("@")
            if not at:
                raise AddressError("it has no @domain")
            if not local:
                raise AddressError(f"for every mailbox of the domain write *@{ascii(domain)[1:-1]}")
            if not _LOCAL.fullmatch(local):
                raise AddressError("the local part holds a character that needs quoting")
            if not local.isascii():
                reason = unicode_names.fault(local)
                if reason:
                    raise AddressError(f"the local part {reason}")
            local = unicode_names.composed(local)
            return cls(text, local.lower(), _domain_pattern(domain))
        except AddressError as error:
            raise ValueError(
                f"{text!r} is not an address pattern: {error}; allowed: {ALLOWED}"
            ) from None

    def matches(self, address: Address | None) -> bool:
        """Whether an address, or the null reverse-path ``None``, fits."""
        if self.local_part is None:
            return self.text == "*" or address is None
        if address is None or not self._fits_domain(address.domain):
            return False
        local = address.local_part.lower()
        return local == self.local_part if self.literal else _fits(local, self.local_part)

    def _fits_domain(self, domain: str) -> bool:
        if self.domain.startswith("*"):
            return domain.endswith(self.domain[1:])
        return domain == self.domain

    def __str__(self) -> str:
        return self.text


class AddressPatterns:
    """Several patterns, any of which may fit; quick however many name whole domains.

    :param texts: the patterns as they are written
    :raises ValueError: one of them is not a pattern
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = tuple(map(AddressPattern.parse, texts))
        self._for_null: AddressPattern | None = None
        self._for_any: AddressPattern | None = None
        self._whole_domains: dict[str, AddressPattern] = {}
        self._in_domain: dict[str, list[AddressPattern]] = {}
        self._elsewhere: list[AddressPattern] = []
        for pattern in self.patterns:
            if pattern.local_part is None:
                self._for_null = self._for_null or pattern
                if pattern.text == "*":
                    self._for_any = self._for_any or pattern
            elif pattern.domain.startswith("*"):
                self._elsewhere.append(pattern)
            elif pattern.local_part == "*" and not pattern.literal:
                self._whole_domains.setdefault(pattern.domain, pattern)
            else:
                self._in_domain.setdefault(pattern.domain, []).append(pattern)

    @property
    def domains(self) -> frozenset[str] | None:
        """The only domains that any of them can fit, or ``None`` when that is not a fixed set."""
        if self._for_null or self._elsewhere:
            return None
        return frozenset(self._whole_domains) | frozenset(self._in_domain)

    def find(self, address: Address | None) -> AddressPattern | None:
        """A pattern that fits, or ``None``.

        :param address: ``None`` is the null reverse-path
        """
        if self._for_any is not None:
            return self._for_any
        if address is None:
            return self._for_null
        whole = self._whole_domains.get(address.domain)
        if whole is not None:
            return whole
        for pattern in self._in_domain.get(address.domain, ()):
            if pattern.matches(address):
                return pattern
        for pattern in self._elsewhere:
            if pattern.matches(address):
                return pattern
        return None

    def matches(self, address: Address | None) -> bool:
        """Whether any of them fits."""
        return self.find(address) is not None

    def __str__(self) -> str:
        return ", ".join(pattern.text for pattern in self.patterns)


def _domain_pattern(text: str) -> str:
    if text == "*":
        return text
    if text.startswith("*."):
        return "*." + normal_domain(text[2:])
    if "*" in text or "?" in text:
        raise AddressError("in the domain only a leading *. is a wildcard")
    return normal_domain(text)


def _fits(text: str, pattern: str) -> bool:
    """Compare with ``*`` and ``?``.

    On a mismatch only the last ``*`` takes one character more, so the time is bounded by the
    product of both lengths, and the address parser bounds those.
    """
    at = in_pattern = 0
    star = resume = -1
    while at < len(text):
        wanted = pattern[in_pattern : in_pattern + 1]
        if wanted == "*":
            star, resume = in_pattern, at
            in_pattern += 1
        elif wanted and wanted in ("?", text[at]):
            at += 1
            in_pattern += 1
        elif star >= 0:
            resume += 1
            at, in_pattern = resume, star + 1
        else:
            return False
    return not pattern[in_pattern:].strip("*")
