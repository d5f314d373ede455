"""Asks DNS for the mail exchangers of a domain and their addresses.

Whatever comes back, the answer is one of three: records, the certainty that the name does not
exist, or a `LookupFault`. Only records that belong to the question count: those whose owner is the
name asked for, or one that a chain of CNAMEs in the same answer leads to. Answers are kept for as
long as their TTL says, within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any, TypeAlias, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, ResolverError
from twisted.python.failure import Failure

from mailframe.address import literal_address
from mailframe.delivery.dns_answers import (
    KEPT_WITHOUT_RECORDS,
    LONGEST_KEPT,
    Answer,
    Found,
    fault_reason,
    octets_of,
    read_alias,
    read_exchange,
    read_ipv4,
    read_ipv6,
    read_joined,
    read_octets,
    read_records,
    records_of,
    records_or_none,
)
from mailframe.delivery.exchanges import (
    MAX_LOOKUPS,
    NO_SUCH_NAME,
    Addresses,
    Exchange,
    Exchanges,
    Host,
    LookupFault,
    NoSuchName,
    dns_fault,
    exchanges_in_order,
    hosts_in_order,
    is_ours,
)
from mailframe.delivery.families import alternating
from mailframe.delivery.remembered import Remembered
from mailframe.delivery.resolver import TLSA
from mailframe.reply import Reply

log = Logger()
T = TypeVar("T")
Both: TypeAlias = tuple[Answer[str], Answer[str]]  # IPv4 and IPv6 addresses

MAX_KEPT = 4096  # answers
MAX_OCTETS = 16 * 1024 * 1024  # of them together; others choose how long they are


class Lookup:
    """Finds the hosts that take mail for a domain.

    :param resolver: a `twisted.internet.interfaces.IResolver`
    :param clock: measures how long answers are kept and questions may take
    :param seconds: how long one question may take
    :param hostname: our own name
    :param own_addresses: addresses at which we would talk to ourselves, in normal form
    :param prohibited: says of an IP address that it must not be connected to
    :param random: shuffles exchangers of equal preference
    :param validating: the resolver validates DNSSEC, and nobody can change its answers on their way
    """

    def __init__(
        self,
        *,
        resolver: Any,
        clock: IReactorTime,
        seconds: float,
        hostname: str,
        own_addresses: Collection[str],
        prohibited: Callable[[str], bool],
        random: Random,
        validating: bool = False,
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._seconds = seconds
        self._hostname = hostname.lower()
        self._own_addresses = frozenset(own_addresses)
        self._prohibited = prohibited
        self._random = random
        self._validating = validating
        self._kept: Remembered[tuple[int, str], tuple[float, Any]] = Remembered(
            MAX_KEPT, MAX_OCTETS
        )

    async def hosts(self, domain: str) -> tuple[Host, ...] | Reply:
        """The hosts to try for a domain, in order, or the reply that says why there is none.

        :param domain: a domain or an address literal in normal form
        """
        literal = literal_address(domain)
        if literal is not None:
            return self._literal_host(domain, literal)
        answer = await self._exchanges(domain)
        exchanges = exchanges_in_order(
            domain, records_of(answer), hostname=self._hostname, random=self._random
        )
        if isinstance(exchanges, Reply):
            return exchanges
        names = list(dict.fromkeys(exchange.name for exchange in exchanges))
        answers: dict[str, Both] = {}
        known: dict[str, Addresses] = {}
        # The first few should do. Only when none of them has an address the others are looked up.
        for start in range(0, len(names), MAX_LOOKUPS):
            answers.update(await self._answers_for(names[start : start + MAX_LOOKUPS]))
            known = {name: _addresses(*both) for name, both in answers.items()}
            hosts = hosts_in_order(
                domain,
                [exchange for exchange in exchanges if exchange.name in known],
                known,
                own_addresses=self._own_addresses,
                prohibited=self._prohibited,
            )
            if not isinstance(hosts, Reply):
                break
            if any(is_ours(addresses, self._own_addresses) for addresses in known.values()):
                break  # all that follow are no better than we are
        if isinstance(hosts, Reply) or not (isinstance(answer, Found) and answer.is_secure):
            return hosts
        alias_of = answer.owner if answer.records and answer.owner != domain else ""
        return await self._with_bases(domain, alias_of, hosts, answers)

    async def _with_bases(
        self, domain: str, alias_of: str, hosts: tuple[Host, ...], answers: dict[str, Both]
    ) -> tuple[Host, ...] | Reply:
        """The hosts with their `Host.tlsa_bases`, without those of which DNS does not tell them."""
        bases: dict[str, tuple[str, ...]] = {}
        fault = LookupFault("")
        for name in {host.name: None for host in hosts}:
            found = await self._bases(name, *answers[name])
            if isinstance(found, LookupFault):
                fault = found
            else:
                bases[name] = found
        if not bases:
            return dns_fault(domain, fault)
        return tuple(
            [
                Host(host.name, host.address, bases[host.name], alias_of, is_genuine=True)
                for host in hosts
                if host.name in bases
            ]
        )

    async def _answers_for(self, names: list[str]) -> dict[str, Both]:
        questions = [Deferred.fromCoroutine(self._both(name)) for name in names]
        try:
            answers = [await question for question in questions]
        except CancelledError:
            for question in questions:
                question.addErrback(lambda failure: None)
                question.cancel()
            raise
        return dict(zip(names, answers, strict=True))

    def _literal_host(self, domain: str, address: str) -> tuple[Host, ...] | Reply:
        if address in self._own_addresses:
            return Reply(554, "5.4.6", f"{domain} is this server, but not one of its domains")
        if self._prohibited(address):
            return Reply(550, "5.4.4", f"{domain} is a private, loopback or reserved address")
        return (Host(address, address),)

    async def exchanges(self, domain: str) -> Exchanges:
        """The MX records of a domain; an empty tuple when it has none."""
        return records_of(await self._exchanges(domain))

    async def _exchanges(self, domain: str) -> Answer[Exchange]:
        return await self._ask(domain, dns.MX, self._resolver.lookupMailExchange, read_exchange)

    async def addresses(self, name: str) -> Addresses:
        """The addresses of a host, IPv6 and IPv4 in turn; an empty tuple when it has none."""
        return _addresses(*await self._both(name))

    async def _both(self, name: str) -> Both:
        v4_question = Deferred.fromCoroutine(
            self._ask(name, dns.A, self._resolver.lookupAddress, read_ipv4)
        )
        v6_question = Deferred.fromCoroutine(
            self._ask(name, dns.AAAA, self._resolver.lookupIPV6Address, read_ipv6)
        )
        try:
            return await v4_question, await v6_question
        except CancelledError:
            v6_question.addErrback(lambda failure: None)
            v6_question.cancel()
            raise

    async def _bases(
        self, name: str, v4: Answer[str], v6: Answer[str]
    ) -> tuple[str, ...] | LookupFault:
        """The names under which TLSA records of a host may stand (RFC 7672 §2.2.2).

        If its addresses are genuine that is the name they belong to, then the one it is an alias
        of. If they are not, because an alias leads to a domain without DNSSEC, the alias itself may
        be genuine. A fault of DNS is no word on that: who can bring one about could else switch
        DANE off (RFC 7672 §2.1.2).

        :param v4: its IPv4 addresses, of which these or the others were found
        :param v6: its IPv6 addresses
        """
        found = [answer for answer in (v4, v6) if isinstance(answer, Found) and answer.records]
        for answer in found:
            if answer.is_secure:
                return tuple(dict.fromkeys((answer.owner, name)))
        if any(answer.owner == name for answer in found):
            return ()  # the name itself is in a domain without DNSSEC
        alias = await self._ask(name, dns.CNAME, self._resolver.lookupCanonicalName, read_alias)
        if isinstance(alias, LookupFault):
            return alias
        if isinstance(alias, Found) and alias.is_secure and alias.records:
            return (name,)
        return ()

    async def tlsa(self, name: str) -> tuple[bytes, ...] | LookupFault:
        """The genuine TLSA records of a name such as ``_25._tcp.mx.example``, as they are.

        Records whose origin DNSSEC does not vouch for are none (RFC 7672 §2.1.2).
        """
        answer = await self._ask(name, TLSA, self._resolver.lookupTLSA, read_octets)
        if isinstance(answer, Found):
            return answer.records if answer.is_secure else ()
        return answer if isinstance(answer, LookupFault) else ()

    async def texts(self, name: str) -> tuple[bytes, ...] | NoSuchName | LookupFault:
        """The TXT records of a name, of each all its strings together."""
        return records_of(await self._ask(name, dns.TXT, self._resolver.lookupText, read_joined))

    async def _ask(
        self,
        name: str,
        kind: int,
        question: Callable[[str], Deferred[Any]],
        read: Callable[[Any], T | None],
    ) -> Answer[T]:
        now = self._clock.seconds()
        kept = self._kept.get((kind, name))
        if kept and now < kept[0]:
            return cast(Answer[T], kept[1])
        answer: Answer[T]
        try:
            waiting = _shielded(maybeDeferred(question, name))
            if not waiting.called:
                waiting.addTimeout(self._seconds, self._clock)
            sections = await waiting
            secure = self._validating and getattr(sections, "authenticated", False)
            answer, seconds = read_records(name, kind, sections[0], read, secure)
        except (DNSNameError, AuthoritativeDomainError):
            answer, seconds = NO_SUCH_NAME, KEPT_WITHOUT_RECORDS
        except CancelledError:
            raise
        except Exception as error:
            # Servers that fail, time out or refuse, and whatever a malformed answer brings about.
            reason = fault_reason(error)
            log.info(
                "DNS gave no answer for {kind} {name}: {reason}",
                kind=dns.QUERY_TYPES.get(kind, kind),
                name=name,
                reason=reason,
                error=repr(error),
            )
            return LookupFault(f"DNS {reason} for {name}")
        until = now + min(seconds, LONGEST_KEPT)
        self._kept.put((kind, name), (until, answer), octets_of(answer))
        return answer


def _addresses(v4: Answer[str], v6: Answer[str]) -> Addresses:
    found = alternating(records_or_none(v4), records_or_none(v6))
    if found:
        return found
    for answer in (v4, v6):
        if isinstance(answer, LookupFault):
            return answer
    return NO_SUCH_NAME if v4 is NO_SUCH_NAME else ()


def _shielded(question: Deferred[T]) -> Deferred[T]:
    """The same answer in a Deferred of our own.

    The resolver may let several who ask the same share one question: if one of them cancelled that,
    because it was given up or took too long, it would fail for all.
    """
    own: Deferred[T] = Deferred()

    def failed(failure: Failure) -> None:
        own.errback(
            ResolverError("cancelled") if isinstance(failure.value, CancelledError) else failure
        )

    question.addCallbacks(own.callback, failed)
    return own
