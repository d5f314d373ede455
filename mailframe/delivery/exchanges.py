"""From MX and address records to the hosts to try, in order (RFC 5321 §5.1). Pure.

Two steps, for between them the addresses have to be looked up: `exchanges_in_order` says which
names are worth looking up, `hosts_in_order` makes of their addresses the list of hosts. Either may
end in a `Reply` instead: 5yz when the domain as it stands can't get mail, 4yz when DNS did not say.
"""

from __future__ import annotations

import ipaddress
import random as random_module
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Literal, TypeAlias

import attrs

from mailframe.address import AddressError, normal_domain
from mailframe.reply import Reply

MAX_EXCHANGES = 50  # MX records that are looked at, the most preferred ones
MAX_READ = 4 * MAX_EXCHANGES  # of which some may name no host
MAX_LOOKUPS = 10  # exchangers whose addresses are looked up at once
MAX_HOSTS = 10  # hosts that are tried in one attempt


@attrs.frozen
class Exchange:
    """One MX record: the name as it stands in DNS, ``""`` for the root."""

    preference: int
    name: str


@attrs.frozen
class Host:
    """A host to try, by the IP address that was looked up for it.

    :ivar tlsa_bases: names under which its TLSA records may stand (RFC 7672 §2.2.3), the better
        one first; none unless DNSSEC vouches for all that led to the host
    :ivar alias_of: the domain whose MX records these are, where DNSSEC vouches for it that the
        domain asked for is an alias of that one; else ``""``
    :ivar is_genuine: DNSSEC vouches for its being an exchanger, though maybe not for its address
    """

    name: str
    address: str
    tlsa_bases: tuple[str, ...] = ()
    alias_of: str = ""
    is_genuine: bool = False


class Absent(Enum):
    """DNS says for certain that the name does not exist at all."""

    NO_SUCH_NAME = "no such name"


@attrs.frozen
class LookupFault:
    """DNS gave no usable answer: it may later. ``reason`` is one clause."""

    reason: str


NoSuchName: TypeAlias = Literal[Absent.NO_SUCH_NAME]
NO_SUCH_NAME: NoSuchName = Absent.NO_SUCH_NAME
Exchanges: TypeAlias = tuple[Exchange, ...] | NoSuchName | LookupFault
Addresses: TypeAlias = tuple[str, ...] | NoSuchName | LookupFault


def exchanges_in_order(
    domain: str, answer: Exchanges, *, hostname: str, random: random_module.Random
) -> tuple[Exchange, ...] | Reply:
    """The mail exchangers of a domain, the most preferred first.

    Those of equal preference are shuffled. A domain without MX records is its own exchanger. If our
    own name is among them, it is dropped with all that are not more preferred.

    :param domain: in normal form
    :param answer: what DNS says of its MX records
    :param hostname: our own name, in normal form
    """
    if isinstance(answer, LookupFault):
        return dns_fault(domain, answer)
    if answer is NO_SUCH_NAME:
        return Reply(550, "5.1.2", f"the domain {domain} does not exist")
    if not answer:
        return (Exchange(0, domain),)
    if all(exchange.name in ("", ".") for exchange in answer):  # RFC 7505 §3
        return Reply(556, "5.1.10", f"the domain {domain} accepts no mail (null MX)")
    by_preference = list(answer)
    random.shuffle(by_preference)
    by_preference.sort(key=lambda exchange: exchange.preference)
    usable = [
        Exchange(exchange.preference, name)
        for exchange in by_preference[:MAX_READ]  # an answer over TCP may have thousands
        if (name := _host_name(exchange.name)) is not None
    ]
    if not usable:
        return Reply(550, "5.4.4", f"the MX records of {domain} name no host")
    del usable[MAX_EXCHANGES:]
    ours = [exchange.preference for exchange in usable if exchange.name == hostname]
    return _better_than(min(ours), usable, domain) if ours else tuple(usable)


def hosts_in_order(
    domain: str,
    exchanges: Sequence[Exchange],
    addresses: Mapping[str, Addresses],
    *,
    own_addresses: Collection[str],
    prohibited: Callable[[str], bool],
) -> tuple[Host, ...] | Reply:
    """The hosts to try, in order; of each its addresses as they are given.

    :param domain: in normal form
    :param exchanges: as `exchanges_in_order` gave them
    :param addresses: what DNS says of the addresses of those among them that were looked up
    :param own_addresses: addresses at which we would talk to ourselves: such an exchanger is
        dropped with all that are not more preferred
    :param prohibited: says of an IP address that it must not be connected to
    """
    ours = [
        exchange.preference
        for exchange in exchanges
        if is_ours(addresses.get(exchange.name), own_addresses)
    ]
    remaining: Sequence[Exchange] = exchanges
    if ours:
        better = _better_than(min(ours), exchanges, domain)
        if isinstance(better, Reply):
            return better
        remaining = better
    hosts: list[Host] = []
    faults: list[LookupFault] = []
    barred = False
    for exchange in remaining:
        answer = addresses.get(exchange.name, ())
        if isinstance(answer, LookupFault):
            faults.append(answer)
        elif answer is not NO_SUCH_NAME:
            for address in answer:
                if prohibited(address):
                    barred = True
                elif (host := Host(exchange.name, address)) not in hosts:
                    hosts.append(host)
    if hosts:
        return tuple(hosts[:MAX_HOSTS])
    if faults:
        return dns_fault(domain, faults[0])
    if barred:
        text = f"the mail exchangers of {domain} have only private, loopback or reserved addresses"
        return Reply(550, "5.4.4", text)
    if [exchange.name for exchange in exchanges] == [domain]:
        return Reply(550, "5.1.2", f"the domain {domain} has neither MX records nor addresses")
    return Reply(550, "5.4.4", f"no mail exchanger of {domain} has an address")


def _better_than(
    preference: int, exchanges: Sequence[Exchange], domain: str
) -> tuple[Exchange, ...] | Reply:
    better = tuple(exchange for exchange in exchanges if exchange.preference < preference)
    if better:
        return better
    text = f"we are the best mail exchanger of {domain}, but it is not one of our domains"
    return Reply(554, "5.4.6", text)


def is_ours(answer: Addresses | None, own_addresses: Collection[str]) -> bool:
    """Whether a host is this server.

    :param answer: what DNS says of its addresses
    """
    return isinstance(answer, tuple) and any(address in own_addresses for address in answer)


def _host_name(name: str) -> str | None:
    """The name of an MX record in normal form; ``None`` for what can't be a host's name."""
    try:
        host = normal_domain(name)
    except AddressError:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None if host.startswith("[") else host
    return None  # RFC 1035 §3.3.9 wants a name; some write an address


def dns_fault(domain: str, fault: LookupFault) -> Reply:
    """The reply where DNS did not say which hosts take the mail of a domain."""
    return Reply(451, "4.4.3", f"no mail exchanger of {domain} could be found: {fault.reason}")
