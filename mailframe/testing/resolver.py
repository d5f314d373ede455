"""A resolver that answers from a dictionary, and fails on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError

from mailframe.delivery.resolver import TLSA, Sections

Zone: TypeAlias = Mapping[str, Mapping[str, Sequence[Any]]]
Answer: TypeAlias = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]

_KINDS = {**dns.QUERY_TYPES, TLSA: "TLSA"}
MAX_ALIASES = 8  # a chain of CNAMEs longer than this is a loop


class FakeResolver(ResolverBase):
    """Provides `twisted.internet.interfaces.IResolver`.

        FakeResolver({
            "mindspring.example": {"MX": [(10, "mx.mindspring.example")]},
            "mx.mindspring.example": {"A": ["192.0.2.25"], "AAAA": ["2001:db8::25"]},
            "www.example": {"CNAME": ["mx.mindspring.example"]},
            "_25._tcp.mx.mindspring.example": {"TLSA": [b"\\x03\\x01\\x01..."]},
        })

    A name that is not in the zone does not exist (NXDOMAIN); one that is, without records of the
    type asked for, has none (an empty answer).

    :param zone: for each name its records: MX as ``(preference, host)``, the others as text,
        except TLSA, which are octets
    :param clock: measures the time until a timeout; without one it comes at once
    :ivar servfail: names for which the server fails (SERVFAIL)
    :ivar timeouts: names for which no answer comes
    :ivar secure: domains, for all names in which it says that DNSSEC vouches for the answers
    :ivar asked: every question, as ``(name, type)``
    """

    def __init__(self, zone: Zone | None = None, clock: IReactorTime | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.zone = {name.lower(): records for name, records in (zone or {}).items()}
        self.servfail: set[str] = set()
        self.timeouts: set[str] = set()
        self.secure: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._clock = clock

    def lookupTLSA(self, name: bytes | str, timeout: Any = None) -> Deferred[Answer]:
        """As `mailframe.delivery.resolver.StubResolver.lookupTLSA`."""
        return self._lookup(name, dns.IN, TLSA, timeout)

    def _lookup(
        self, name: bytes | str, cls: int, type: int, timeout: Sequence[int] | None
    ) -> Deferred[Answer]:
        """What every ``lookup…`` method of Twisted's base class comes down to."""
        text = (name.decode("ascii") if isinstance(name, bytes) else name).lower().rstrip(".")
        kind = "ANY" if type == dns.ALL_RECORDS else _KINDS[type]
        self.asked.append((text, kind))
        if text in self.timeouts:
            return self._time_out(text, timeout)
        if text in self.servfail:
            return fail(DNSServerError(text))
        answer: list[dns.RRHeader] = []
        secure = True
        for _ in range(MAX_ALIASES):
            records = self.zone.get(text)
            secure = secure and any(f".{text}".endswith(f".{each}") for each in self.secure)
            if records is None:
                return fail(DNSNameError(text))
            for each in records if kind == "ANY" else [kind]:
                answer += [_header(text, each, record) for record in records.get(each, ())]
            aliases = records.get("CNAME", ())
            if kind in ("ANY", "CNAME") or not aliases:
                break
            answer.append(_header(text, "CNAME", aliases[0]))
            text = aliases[0].lower()
        sections = Sections((answer, [], []))
        sections.authenticated = secure
        return succeed(sections)

    def _time_out(self, name: str, timeout: Sequence[int] | None) -> Deferred[Answer]:
        unanswered: Deferred[Answer] = Deferred()
        error = DNSQueryTimeoutError(name)  # type: ignore[no-untyped-call]  # Twisted's
        if self._clock is None:
            unanswered.errback(error)
            return unanswered
        # Twisted's own resolver asks again after each of these times (RFC 1035 §4.2.1).
        give_up = self._clock.callLater(sum(timeout or (1, 3, 11, 45)), unanswered.errback, error)
        unanswered.addBoth(_cancelled, give_up)
        return unanswered


def _cancelled(result: Any, give_up: Any) -> Any:
    if give_up.active():
        give_up.cancel()
    return result


def _header(name: str, kind: str, record: Any) -> dns.RRHeader:
    """One record as `twisted.names` hands it out."""
    make: Any = dns.UnknownRecord if kind == "TLSA" else getattr(dns, f"Record_{kind}")
    if kind == "MX":
        payload = make(*record)
    else:
        payload = make(record.encode("ascii") if kind == "TXT" else record)
    number = {kind: number for number, kind in _KINDS.items()}[kind]
    return dns.RRHeader(name=name, type=number, ttl=300, payload=payload, auth=True)
