"""IP networks as they stand in a configuration, and which of them an address is in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4-mapped addresses, RFC 4291 §2.5.5.2


def parse_network(text: str) -> Network:
    """Read a network such as ``192.0.2.0/24`` or ``2001:db8::/32``; one address is a network too.

    A network of IPv4-mapped addresses is read as the IPv4 network it stands for.

    :raises ValueError: it is none, or has bits set beyond its prefix; the message says what to
        write
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network; allowed: an IP address, or one with the length of its "
            'prefix, such as "192.0.2.0/24" or "2001:db8::/32"'
        ) from None
    host = ipaddress.ip_address(text.partition("/")[0])
    if host != network.network_address:
        one = f"{host}/{host.max_prefixlen}"
        raise ValueError(
            f"{text!r} has bits set beyond its prefix; write {str(network)!r} for the whole "
            f"network or {one!r} for the one address"
        )
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(mapped or 0), network.prefixlen - 96))
    return network


class Networks:
    """Several networks; looking up an address takes one step for each length of prefix.

    :param texts: the networks as they are written
    :raises ValueError: one of them is no network
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.networks = tuple(map(parse_network, texts))
        self._by_length: dict[tuple[int, int], dict[int, Network]] = {}
        for network in self.networks:
            shift = network.max_prefixlen - network.prefixlen
            known = self._by_length.setdefault((network.version, shift), {})
            known.setdefault(int(network.network_address) >> shift, network)

    def find(self, address: str) -> Network | None:
        """A network that an address is in, or ``None``; so also when the text is no address."""
        read = _parse_address(address)
        if read is None:
            return None
        number = int(read)
        for (version, shift), known in self._by_length.items():
            if version == read.version:
                network = known.get(number >> shift)
                if network is not None:
                    return network
        return None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
