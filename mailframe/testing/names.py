"""The host names that endpoint strings may use on a virtual network."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

LOOPBACK = "127.0.0.1"


@implementer(IHostnameResolver)
class Names:
    """Answers at once for the names it was told; IP addresses stand for themselves.

    :ivar known: the addresses of each name
    """

    def __init__(self) -> None:
        self.known: dict[str, Sequence[str]] = {"localhost": (LOOPBACK,)}

    def resolve(self, name: str) -> Deferred[str]:
        """The first address of a name."""
        addresses = self.known.get(name)
        return succeed(addresses[0]) if addresses else fail(DNSLookupError(name))

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Answer at once."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in self.known.get(hostName, (hostName,)):
            try:
                version = ipaddress.ip_address(address).version
            except ValueError:
                continue  # an unknown name
            kind = IPv6Address if version == 6 else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolution:
    """A resolution that is over as soon as it began."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing is under way."""
