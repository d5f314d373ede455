"""What stands in answers of DNS (RFC 1035 §4.1), as far as it belongs to the question. Pure."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.names import dns
from twisted.names.error import (
    DNSFormatError,
    DNSNotImplementedError,
    DNSQueryRefusedError,
    DNSServerError,
    ResolverError,
)
from twisted.names.error import DNSQueryTimeoutError as QueryTimeout

from mailframe.delivery.exchanges import Exchange, LookupFault, NoSuchName

T = TypeVar("T")

_EMPTY, _RECORD = 500, 150  # octets of memory, beside what a record says
MAX_CNAMES = 16  # links of a chain within one answer
LONGEST_KEPT = 3600.0  # seconds
KEPT_WITHOUT_RECORDS = 60.0  # seconds that "no such name" and "no such record" are kept


@attrs.frozen
class Found(Generic[T]):
    """Records that answer a question, or that there are none.

    :ivar owner: whose they are, at the end of a chain of CNAMEs
    :ivar is_secure: DNSSEC says that they are genuine
    """

    records: tuple[T, ...]
    owner: str
    is_secure: bool


class EndlessChain(ResolverError):
    """A chain of CNAMEs leads in a circle, or is longer than any that is meant to be followed."""


Answer: TypeAlias = Found[T] | NoSuchName | LookupFault


def read_records(
    name: str, kind: int, answers: Any, read: Callable[[Any], T | None], secure: bool
) -> tuple[Found[T], float]:
    """The records that answer a question, and for how many seconds they hold.

    Others don't count: neither those of names that were not asked for, unless a chain of CNAMEs in
    the same answer leads there, nor those of other classes.

    :param kind: the type that was asked for
    :param answers: the answer section
    :param read: makes a value of a record; ``None``: it is no good
    :param secure: DNSSEC vouches for the answer
    :raises EndlessChain: nobody can say then that there is no record
    """
    owner = name.lower()
    aliases: dict[str, tuple[str, int]] = {}
    records: dict[str, list[tuple[T, int]]] = {}
    for header in answers:
        if header.cls != dns.IN:
            continue
        said_of = _text(header.name)
        if header.type == dns.CNAME != kind:
            aliases.setdefault(said_of, (_text(header.payload.name), int(header.ttl or 0)))
        elif header.type == kind:
            value = read(header.payload)
            if value is not None:
                records.setdefault(said_of, []).append((value, int(header.ttl or 0)))
    seconds = LONGEST_KEPT
    for _ in range(MAX_CNAMES):
        if owner in records or owner not in aliases:
            break
        owner, ttl = aliases[owner]
        seconds = min(seconds, ttl)
    if owner not in records and owner in aliases:
        raise EndlessChain
    found = records.get(owner, [])
    if not found:
        return Found((), owner, secure), min(seconds, KEPT_WITHOUT_RECORDS)
    return (
        Found(tuple(dict.fromkeys(value for value, _ in found)), owner, secure),
        max(0.0, min(seconds, *(float(ttl) for _, ttl in found))),
    )


def records_of(answer: Answer[T]) -> tuple[T, ...] | NoSuchName | LookupFault:
    """What was found, or why nothing was."""
    return answer.records if isinstance(answer, Found) else answer


def records_or_none(answer: Answer[T]) -> tuple[T, ...]:
    """What was found, if anything."""
    return answer.records if isinstance(answer, Found) else ()


def octets_of(answer: Answer[Any]) -> int:
    """How much memory an answer needs, roughly."""
    values = (getattr(record, "name", record) for record in records_or_none(answer))
    return _EMPTY + sum(_RECORD + len(value) for value in values)


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").lower().removesuffix(".")


def read_exchange(payload: Any) -> Exchange | None:
    """Of MX."""
    return Exchange(int(payload.preference), _text(payload.name))


def read_ipv4(payload: Any) -> str | None:
    """Of A."""
    return socket.inet_ntop(socket.AF_INET, payload.address)


def read_ipv6(payload: Any) -> str | None:
    """Of AAAA."""
    return str(ipaddress.IPv6Address(payload.address))


def read_alias(payload: Any) -> str | None:
    """Of CNAME."""
    return _text(payload.name)


def read_joined(payload: Any) -> bytes | None:
    """Of TXT: all strings together."""
    return b"".join(payload.data)


def read_octets(payload: Any) -> bytes | None:
    """Of a type that Twisted does not know: as it is."""
    data: bytes = payload.data
    return data


def fault_reason(error: Exception) -> str:
    """Why there is no answer, in a few words."""
    if isinstance(error, QueryTimeout | DeferredTimeout):
        return "did not answer in time"
    if isinstance(error, EndlessChain):
        return "gave a chain of CNAMEs without end"
    if isinstance(error, DNSServerError):
        return "failed (SERVFAIL)"
    if isinstance(error, DNSQueryRefusedError | DNSNotImplementedError):
        return "refused to answer"
    if isinstance(error, DNSFormatError):
        return "did not understand the question"
    return "gave no usable answer"
