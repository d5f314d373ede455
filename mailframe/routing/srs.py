"""The Sender Rewriting Scheme (SRS): reverse-paths for mail that is forwarded.

Who forwards mail for others speaks for their domains, and fails their SPF (RFC 7208). So the
reverse-path becomes an address of our own that holds the old one, with its date and a hash that
only we can make. A bounce to it comes to us, and goes on to the old one. Forms::

    SRS0=HHHHHHHH=TT=mindspring.com=jsmith@rosse.example
    SRS1=HHHHHHHH=other.example==XXX=TT=mindspring.com=jsmith@rosse.example

The second is for what another forwarder has rewritten: it points back to that one, whose own part
stays as it is, so that addresses don't grow with each forwarder. Letters may change their case on
the way: the hash is of the lower case.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Any

import attrs

from mailframe.address import Address, AddressError, normal_domain
from mailframe.units import FilePath, Seconds

DAY = 86_400
HASH = 8  # characters of 5 bits
SHORTEST = 16  # characters of a secret
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_CYCLE = len(_DIGITS) ** 2  # days after which dates come round again
# The separator behind the tag may be any of three; those within are "=".
_ANY = re.compile(r"srs[01][=+-]", re.IGNORECASE)
_SRS0 = re.compile(r"srs0[=+-]([^=]+)=([a-z2-7]{2})=([^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
_SRS1 = re.compile(r"srs1[=+-]([^=]+)=([^=]+)=([=+-].+)", re.IGNORECASE | re.DOTALL)


def _domain(_instance: object, attribute: Any, value: str) -> None:
    try:
        normal_domain(value)
    except AddressError as error:
        raise ValueError(f"'{attribute.name}' found {value!a}: {error}") from None


def _age(_instance: object, attribute: Any, value: float) -> None:
    if not DAY <= value <= (_CYCLE // 2) * DAY:
        raise ValueError(f"'{attribute.name}' found {value:g} s; allowed: 1d to {_CYCLE // 2}d")


@attrs.frozen(kw_only=True)
class SrsSettings:
    """``[routing.srs]``.

    :ivar domain: one of ``local_domains``, of the addresses that are made
    :ivar secret_file: a secret in each line; the first makes hashes, all of them verify
    :ivar max_age: how long bounces are taken
    """

    domain: str = attrs.field(validator=_domain)
    secret_file: FilePath
    max_age: Seconds = attrs.field(default=Seconds(21.0 * DAY), validator=_age)


class SrsError(ValueError):
    """An address was not made by us, or too long ago. ``str(error)`` says which, in one clause."""


class Srs:
    """Makes addresses, and reads them.

    :param domain: of those that it makes, in normal form
    :param secrets: at least one
    :param max_age: seconds
    """

    def __init__(self, domain: str, secrets: Sequence[bytes], max_age: float) -> None:
        self.domain = domain
        self._secrets = tuple(secrets)
        self._max_days = int(max_age // DAY)

    def is_meant(self, address: Address) -> bool:
        """Whether an address looks like one of those that we make."""
        return address.domain == self.domain and _ANY.match(address.local_part) is not None

    def forward(self, sender: Address, now: float) -> Address:
        """The reverse-path to forward mail with.

        :param sender: that of the message
        :param now: POSIX seconds
        :raises AddressError: it would be too long
        """
        local_part, domain = sender.local_part, sender.domain
        first = _SRS0.fullmatch(local_part)
        again = _SRS1.fullmatch(local_part)
        if again is not None:
            return self._chained(again[2], again[3])
        if first is not None:
            return self._chained(domain, local_part[4:])
        date = _date(now)
        made = self._hash(self._secrets[0], date, domain, local_part)
        return Address(f"SRS0={made}={date}={domain}={local_part}", self.domain)

    def reverse(self, address: Address, now: float) -> Address:
        """The address that one of ours was made from.

        :param now: POSIX seconds
        :raises SrsError: it was not made by us, or too long ago
        """
        again = _SRS1.fullmatch(address.local_part)
        if again is not None:
            made, host, rest = again.groups()
            self._verify(made, host, rest)
            return _address(f"SRS0{rest}", host)
        first = _SRS0.fullmatch(address.local_part)
        if first is None:
            raise SrsError("it is no address that SRS makes")
        made, date, domain, local_part = first.groups()
        self._verify(made, date, domain, local_part)
        age = (_day(now) - _days_of(date)) % _CYCLE
        if age > self._max_days and age != _CYCLE - 1:  # tomorrow, by a clock that is slow
            raise SrsError(f"it was made {age} days ago; taken are {self._max_days}")
        return _address(local_part, domain)

    def _chained(self, host: str, rest: str) -> Address:
        made = self._hash(self._secrets[0], host, rest)
        return Address(f"SRS1={made}={host}={rest}", self.domain)

    def _verify(self, made: str, *parts: str) -> None:
        given = made.lower().encode()
        known = [self._hash(secret, *parts).encode() for secret in self._secrets]
        # All are compared, so that the time tells nothing.
        if not sum(hmac.compare_digest(given, each) for each in known):
            raise SrsError("its hash is not ours")

    def _hash(self, secret: bytes, *parts: str) -> str:
        text = "=".join(parts).lower().encode()
        digest = hmac.digest(secret, text, "sha256")
        return base64.b32encode(digest).decode().lower()[:HASH]


def read_secrets(path: str) -> tuple[bytes, ...]:
    """The secrets of a file.

    :raises ValueError: it can't be read, or holds none that can be used
    """
    try:
        with open(path, "rb") as file:
            secrets = tuple(line.strip() for line in file if line.strip())
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"srs secret_file {path} can't be read: {reason}; `openssl rand -hex 32` makes a secret"
        ) from error
    if not secrets or any(len(secret) < SHORTEST for secret in secrets):
        raise ValueError(
            f"srs secret_file {path} needs at least one line, and each of {SHORTEST} characters or "
            "more; `openssl rand -hex 32` makes a secret"
        )
    return secrets


def _address(local_part: str, domain: str) -> Address:
    try:
        return Address(local_part, normal_domain(domain))
    except AddressError as error:
        raise SrsError(f"it holds no address: {error}") from None


def _day(now: float) -> int:
    return int(now // DAY) % _CYCLE


def _date(now: float) -> str:
    high, low = divmod(_day(now), len(_DIGITS))
    return _DIGITS[high] + _DIGITS[low]


def _days_of(date: str) -> int:
    return _DIGITS.index(date[0].lower()) * len(_DIGITS) + _DIGITS.index(date[1].lower())
