"""From the next hops of a route to the servers that are connected to."""

from __future__ import annotations

import attrs
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from mailframe.address import AddressError, normal_domain
from mailframe.delivery.lookup import Lookup
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
    """

    where: str
    host: str
    address: str = ""
    port: int | None = None
    endpoint: IStreamClientEndpoint = attrs.field(eq=False, repr=False)
    is_local: bool = False
    is_tls: bool = False
    is_verified: bool = False

    def __str__(self) -> str:
        """``mx.example [192.0.2.1]:25``, or the endpoint string."""
        return f"{self.host} [{self.address}]:{self.port}" if self.address else self.where


@attrs.frozen(kw_only=True)
class PlannedHop:
    """What a delivery would do about one next hop.

    :ivar hop: the next hop
    :ivar targets: the servers it would try, in order
    :ivar demands: what is asked of TLS with each of them
    :ivar reply: why there are none, or ``None``
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
    """

    def __init__(self, *, site: Site, lookup: Lookup, port: int) -> None:
        self._reactor = site.reactor
        self._lookup = lookup
        self._port = port

    async def of(self, hop: NextHop) -> tuple[Target, ...] | Reply:
        """The servers that a next hop stands for, in order, or the reply that says why none."""
        if not hop.where.startswith(_MX):
            return self._named(hop)
        try:
            domain = normal_domain(hop.where.removeprefix(_MX))
        except AddressError as error:
            return _our_fault(hop, f"the route's domain can't be used: {error}")
        hosts = await self._lookup.hosts(domain)
        if isinstance(hosts, Reply):
            return hosts
        return tuple(
            Target(
                where=hop.where,
                host=host.name,
                address=host.address,
                port=self._port,
                endpoint=self._endpoint(host.address),
            )
            for host in hosts
        )

    def _endpoint(self, address: str) -> IStreamClientEndpoint:
        """An endpoint for an IP address: nothing is looked up again."""
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return kind(self._reactor, address, self._port)

    def _named(self, hop: NextHop) -> tuple[Target, ...] | Reply:
        try:
            endpoint = clientFromString(  # type: ignore[no-untyped-call]  # Twisted has none here
                self._reactor, hop.where
            )
        except Exception as error:  # endpoint parsers raise whatever they like
            return _our_fault(
                hop, f"the route names no valid endpoint: {type(error).__name__} {error}"
            )
        kind, host = endpoint_parts(hop.where)
        if hop.tls == "verify" and kind == "ssl":
            return _our_fault(hop, "an ssl: endpoint verifies no certificate; write tls: instead")
        target = Target(
            where=hop.where,
            host=host,
            endpoint=endpoint,
            is_local=kind == "unix",
            is_tls=kind in ("tls", "ssl"),
            is_verified=kind == "tls",
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


def _our_fault(hop: NextHop, reason: str) -> Reply:
    log.error("the next hop {where!r} can't be used: {reason}", where=hop.where, reason=reason)
    return Reply(451, "4.3.5", "the route to the next server is not configured well here")
