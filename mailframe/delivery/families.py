"""IPv6 first, and IPv4 soon after where IPv6 leads nowhere.

Of a host with addresses of both families those of IPv6 come first (RFC 6724 §2.1). Where its
packets are lost on the way nobody says so, and waiting as long as for a host that has no other
address would hold up the mail: as long as an IPv4 address of the same host comes next, an attempt
to connect over IPv6 gets two seconds. If that was not enough, IPv4 comes first for a while, for
that address and, shorter, for all; an IPv6 address that comes last has all the time there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

PATIENCE = 2.0  # seconds that IPv6 gets to connect while IPv4 is to be had
ADDRESS_DOUBTED = 86_400.0  # seconds that IPv4 goes before an address that took longer
FAMILY_DOUBTED = 300.0  # seconds that IPv4 goes before all others after that
MOST_DOUBTED = 4096  # addresses


def alternating(v4: Sequence[str], v6: Sequence[str]) -> tuple[str, ...]:
    """The addresses of a host, the first of IPv6, then one of each in turn (RFC 8305 §4)."""
    both = min(len(v4), len(v6))
    pairs = [each for pair in zip(v6, v4, strict=False) for each in pair]
    return (*pairs, *v6[both:], *v4[both:])


class Families:
    """Remembers over which of the two families hosts were not reached in time.

    :param clock: measures the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, float] = OrderedDict()  # until when; the oldest first
        self._family = 0.0

    def in_order(self, addresses: Sequence[str]) -> Iterator[tuple[str, float | None]]:
        """The addresses of one host as they are to be tried.

        :returns: each with the seconds it gets to connect; ``None``: as long as any
        """
        v6 = [address for address in addresses if ":" in address]
        if v6 and len(v6) < len(addresses):
            now = self._clock.seconds()
            if now < self._family or any(now < self._addresses.get(each, 0.0) for each in v6):
                addresses = [*(each for each in addresses if ":" not in each), *v6]
        for place, address in enumerate(addresses):
            others = addresses[place + 1 :]
            is_quick = ":" in address and any(":" not in other for other in others)
            yield address, PATIENCE if is_quick else None

    def too_slow(self, address: str) -> None:
        """An IPv6 address was not reached in the seconds it got."""
        now = self._clock.seconds()
        self._family = now + FAMILY_DOUBTED
        self._addresses[address] = now + ADDRESS_DOUBTED
        self._addresses.move_to_end(address)
        if len(self._addresses) > MOST_DOUBTED:
            self._addresses.popitem(last=False)

    def reached(self, address: str) -> None:
        """An IPv6 address was reached in the seconds it got."""
        self._family = 0.0
        self._addresses.pop(address, None)


@implementer(IStreamClientEndpoint)
class Impatient:
    """An endpoint for an IPv6 address after which IPv4 is tried.

    :param endpoint: connects to it
    :param address: it
    :param seconds: how long that may take
    :param families: is told how it went
    :param clock: measures the time
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        address: str,
        seconds: float,
        families: Families,
        clock: Any,
    ) -> None:
        self._endpoint = endpoint
        self._address = address
        self._seconds = seconds
        self._families = families
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `twisted.internet.interfaces.IStreamClientEndpoint.connect`."""
        connecting = self._endpoint.connect(protocolFactory)
        connecting.addTimeout(self._seconds, self._clock, onTimeoutCancel=self._timed_out)
        connecting.addCallback(self._connected)
        return connecting

    def _timed_out(self, _value: object, _seconds: float) -> Failure:
        self._families.too_slow(self._address)
        raise ConnectTimeout

    def _connected(self, protocol: IProtocol) -> IProtocol:
        self._families.reached(self._address)
        return protocol
