"""What a domain publishes about TLS with its exchangers: MTA-STS (RFC 8461). Pure.

A TXT record says that there is a policy and which one; the policy itself is a short text, fetched
over HTTPS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import attrs

from mailframe.address import AddressError, normal_domain

Mode: TypeAlias = Literal["enforce", "testing", "none"]

LONGEST_AGE = 31_557_600  # seconds (RFC 8461 §3.2)
MAX_PATTERNS = 1000  # exchangers that a policy may name
MAX_LINES = 2000  # that it may have; reading them is done in the reactor thread
_MODES = ("enforce", "testing", "none")

# RFC 8461 §3.1; the record is ASCII, and what is no extension field is no valid record.
_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+")
_ID = re.compile(r"id=([A-Za-z0-9]{1,32})")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}")
_AGE = re.compile(r"[0-9]{1,10}")


@attrs.frozen(kw_only=True)
class StsPolicy:
    """A policy that a domain published.

    :ivar mode: ``enforce``: no mail without TLS that is verified; ``testing``: as ever, but what is
        wrong is counted; ``none``: there is no policy any more
    :ivar mx: names of exchangers in normal form, or ``*.`` and a domain; empty only for ``none``
    :ivar max_age: seconds that it holds after it was fetched
    """

    mode: Mode
    mx: tuple[str, ...] = ()
    max_age: int

    def names(self, host: str) -> bool:
        """Whether a host is one of the exchangers (RFC 8461 §4.1).

        :param host: its name as it stands in the MX record, in normal form
        """
        _, dot, parent = host.partition(".")
        return host in self.mx or bool(dot and f"*.{parent}" in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """The policy as it may be published."""
        exchangers = (f"mx: {pattern}" for pattern in self.mx)
        return "version: STSv1", f"mode: {self.mode}", *exchangers, f"max_age: {self.max_age}"


class BadPolicy(ValueError):
    """The text is no policy; ``str(error)`` says why."""


def record_id(records: Sequence[bytes]) -> str | None:
    """The policy's id, from the TXT records of ``_mta-sts`` (RFC 8461 §3.1).

    :param records: of each all its strings together
    :returns: ``None`` when there is no policy: no such record, several, or one that is not valid
    """
    ours = [record for record in records if re.match(rb"v=STSv1[ \t]*;", record)]
    if len(ours) != 1 or not ours[0].isascii():
        return None
    _, *fields = (field.strip(" \t") for field in ours[0].decode("ascii").split(";"))
    if fields and not fields[-1]:
        fields.pop()  # the last one may end like the others
    found = None
    for field in fields:
        if not _FIELD.fullmatch(field):
            return None
        if field.startswith("id=") and found is None:
            match = _ID.fullmatch(field)
            if match is None:
                return None
            found = match.group(1)
    return found


def read_policy(octets: bytes) -> StsPolicy:
    """Read a policy (RFC 8461 §3.2).

    Keys that are not known are ignored; of one that is repeated the first counts, but for ``mx``.
    One that would hold longer than a year holds a year.

    :raises BadPolicy: it is none
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPolicy("it is not UTF-8") from None
    fields: dict[str, str] = {}
    patterns: dict[str, None] = {}
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise BadPolicy(f"it has more than {MAX_LINES} lines")
    for line in lines:
        if not line.strip(" \t"):
            continue
        key, colon, value = line.partition(":")
        key, value = key.rstrip(" \t"), value.strip(" \t")
        if not colon or not _KEY.fullmatch(key):
            raise BadPolicy(f"{line[:80]!a} is no key and value")
        if key == "mx":
            patterns[_pattern(value)] = None
            if len(patterns) > MAX_PATTERNS:
                raise BadPolicy(f"it names more than {MAX_PATTERNS} exchangers")
        else:
            fields.setdefault(key, value)
    if fields.get("version") != "STSv1":
        raise BadPolicy("its version is not STSv1")
    mode = fields.get("mode")
    if mode not in _MODES:
        raise BadPolicy("its mode is not enforce, testing or none")
    if not _AGE.fullmatch(fields.get("max_age", "")):
        raise BadPolicy("its max_age is no number of seconds")
    if not patterns and mode != "none":
        raise BadPolicy("it names no exchanger")
    return StsPolicy(
        mode=cast(Mode, mode),
        mx=tuple(patterns),
        max_age=min(int(fields["max_age"]), LONGEST_AGE),
    )


def _pattern(value: str) -> str:
    """An ``mx`` value in normal form."""
    name = value.removeprefix("*.")
    try:
        domain = normal_domain(name)
    except AddressError as error:
        raise BadPolicy(f"its mx {value[:80]!a} is no name of a host: {error}") from None
    if domain.startswith("["):
        raise BadPolicy(f"its mx {value[:80]!a} is an address")
    return f"*.{domain}" if value.startswith("*.") else domain
