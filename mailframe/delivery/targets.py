"""From the next hops of a route to the servers that are connected to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import attrs
from twisted.internet.abstract import isIPAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from mailframe.address import AddressError, normal_domain
from mailframe.clocks import Elapsed
from mailframe.delivery.exchanges import Host
from mailframe.delivery.families import Families, Impatient
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.source import Chosen, Family, Source, Sources, family_of
from mailframe.delivery.tls_demand import TlsDemand
from mailframe.interfaces import Site
from mailframe.outcome import NextHop
from mailframe.reply import Reply

log = Logger()
_MX = "mx:"


@attrs.frozen(kw_only=True)
class Target:
    """One server to connect to.

    :ivar where: the next hop it stands for, as routing wrote it
    :ivar host: its name, for which a verified certificate must be good
    :ivar address: the IP address that is connected to, or ``""`` when that is left to the endpoint
    :ivar port: its port, or ``None`` likewise
    :ivar endpoint: connects to it
    :ivar is_local: it is a UNIX socket of this machine
    :ivar is_tls: the endpoint begins with TLS
    :ivar is_verified: it does, and verifies the certificate whatever the route says
    :ivar source: the address of ours that it is connected to from, and our name there; ``None``
        when the operating system is to choose
    :ivar tlsa_bases: names under which its TLSA records may stand, the better one first
        (`mailframe.delivery.exchanges.Host`)
    :ivar alias_of: what DNSSEC says that the domain is an alias of, or ``""``
    :ivar is_genuine: DNSSEC vouches for its being an exchanger of the domain
    """

    where: str
    host: str
    address: str = ""
    port: int | None = None
    endpoint: IStreamClientEndpoint = attrs.field(eq=False, repr=False)
    is_local: bool = False
    is_tls: bool = False
    is_verified: bool = False
    source: Source | None = None
    tlsa_bases: tuple[str, ...] = ()
    alias_of: str = ""
    is_genuine: bool = False

    def __str__(self) -> str:
        """``mx.example [192.0.2.1]:25``, or the endpoint string."""
        return f"{self.host} [{self.address}]:{self.port}" if self.address else self.where


@attrs.frozen(kw_only=True)
class PlannedHop:
    """What a delivery would do about one next hop.

    :ivar hop: the next hop
    :ivar targets: the servers it would try, in order
    :ivar demands: what is asked of TLS with each of them
    :ivar reply: why there are none, or why none of them is connected to; else ``None``
    """

    hop: NextHop
    targets: tuple[Target, ...] = ()
    demands: tuple[TlsDemand, ...] = ()
    reply: Reply | None = None


class Targets:
    """Turns next hops into servers.

    :param site: lends the reactor
    :param lookup: asks DNS
    :param port: for hosts found through MX
    :param sources: the addresses of ours that mail goes out from
    """

    def __init__(
        self, *, site: Site, lookup: Lookup, port: int, sources: Sequence[Source] = ()
    ) -> None:
        self._reactor = site.reactor
        self._lookup = lookup
        self._port = port
        self._sources = Sources(sources)
        self._families = Families(Elapsed(site.reactor))

    async def of(self, hop: NextHop) -> tuple[Target, ...] | Reply:
        """The servers that a next hop stands for, in order, or the reply that says why none."""
        if not hop.where.startswith(_MX):
            return self._named(hop)
        try:
            domain = normal_domain(hop.where.removeprefix(_MX))
        except AddressError as error:
            return _our_fault(hop, f"the route's domain can't be used: {error}")
        try:
            chosen = self._sources.of(hop.source, domain)
        except KeyError:
            return _no_source(hop)
        hosts = await self._lookup.hosts(domain)
        if isinstance(hosts, Reply):
            return hosts
        if chosen is not None:
            usable = tuple(host for host in hosts if family_of(host.address) in chosen)
            if not usable:
                family = "IPv6" if ":" in hosts[0].address else "IPv4"
                text = (
                    f"{domain} is reached over {family} alone, and no source address here is of it"
                )
                return Reply(451, "4.4.4", text)
            hosts = usable
        return tuple(self._to_hosts(hop, hosts, chosen))

    def _to_hosts(
        self, hop: NextHop, hosts: Sequence[Host], chosen: Chosen | None
    ) -> Iterator[Target]:
        for name, group in groupby(hosts, lambda host: host.name):
            by_address = {host.address: host for host in group}
            for address, seconds in self._families.in_order(tuple(by_address)):
                source = None if chosen is None else chosen[family_of(address)]
                yield Target(
                    where=hop.where,
                    host=name,
                    address=address,
                    port=self._port,
                    endpoint=self._endpoint(address, source, seconds),
                    source=source,
                    tlsa_bases=by_address[address].tlsa_bases,
                    alias_of=by_address[address].alias_of,
                    is_genuine=by_address[address].is_genuine,
                )

    def _endpoint(
        self, address: str, source: Source | None, seconds: float | None
    ) -> IStreamClientEndpoint:
        """An endpoint for an IP address: nothing is looked up again.

        :param seconds: how long connecting may take, if that is less than for others
        """
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        bind = None if source is None else (source.address, 0)
        endpoint = kind(self._reactor, address, self._port, bindAddress=bind)
        if seconds is None:
            return endpoint
        return Impatient(endpoint, address, seconds, self._families, Elapsed(self._reactor))

    def _named(self, hop: NextHop) -> tuple[Target, ...] | Reply:
        kind, host = endpoint_parts(hop.where)
        where, source = hop.where, None
        if hop.source is not None and kind != "unix":
            try:
                chosen = self._sources.of(hop.source, host)
            except KeyError:
                return _no_source(hop)
            assert chosen
            family, only = _family_needed(kind, host)
            source = chosen.get(family) or next(iter(chosen.values()))
            if "bindAddress=" not in where:
                if only and source.family != family:
                    words = "IPv6" if family == "ipv6" else "IPv4"
                    text = f"{kind}: connects to {host} over {words} alone"
                    return _our_fault(
                        hop, f"{text}; no [[relay.source]] {hop.source!r} has such an address"
                    )
                where += ":bindAddress=" + source.address.replace(":", "\\:")
        try:
            endpoint = clientFromString(  # type: ignore[no-untyped-call]  # Twisted has none here
                self._reactor, where
            )
        except Exception as error:  # endpoint parsers raise whatever they like
            return _our_fault(
                hop, f"the route names no valid endpoint: {type(error).__name__} {error}"
            )
        if hop.tls == "verify" and kind == "ssl":
            return _our_fault(hop, "an ssl: endpoint verifies no certificate; write tls: instead")
        target = Target(
            where=hop.where,
            host=_as_servers_say(host),
            endpoint=endpoint,
            is_local=kind == "unix",
            is_tls=kind in ("tls", "ssl"),
            is_verified=kind == "tls",
            source=source,
        )
        return (target,)


def endpoint_parts(where: str) -> tuple[str, str]:
    """The kind of an endpoint string and the host it names (``""`` when it names none).

    The syntax is that of `twisted.internet.endpoints.clientFromString`: parts divided by colons, a
    backslash before a colon that belongs to a part, and ``name=value`` for those out of order.
    """
    parts = where.replace("\\:", "\0").split(":")
    values = [part.replace("\0", ":").replace("\\", "") for part in parts]
    kind = values.pop(0).lower()
    if kind == "unix":
        return kind, ""
    for value in values:
        if value.startswith("host="):
            return kind, value.removeprefix("host=")
    return kind, values[0] if values and "=" not in values[0] else ""


def _as_servers_say(host: str) -> str:
    """A host as certificates and handshakes name it: without a final dot, in ASCII."""
    try:
        return normal_domain(host)
    except AddressError:  # no name, but maybe an address
        return host


def _family_needed(kind: str, host: str) -> tuple[Family, bool]:
    """The family of the addresses that an endpoint connects to, and whether it knows no other.

    Of a name Twisted's ``tcp:`` and ``ssl:`` look up IPv4 addresses alone, and ``tls:`` both.
    """
    if ":" in host:
        return "ipv6", True
    return "ipv4", kind in ("tcp", "ssl") or isIPAddress(host)


def _no_source(hop: NextHop) -> Reply:
    return _our_fault(hop, f"there is no [[relay.source]] of the name {hop.source!r}")


def _our_fault(hop: NextHop, reason: str) -> Reply:
    log.error("the next hop {where!r} can't be used: {reason}", where=hop.where, reason=reason)
    return Reply(451, "4.3.5", "the route to the next server is not configured well here")
