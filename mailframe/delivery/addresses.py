"""Which IP addresses mail exchangers found in DNS must not have.

Anyone can publish an MX record that points into our own network, and so have us connect to hosts
and ports that only we can reach. The addresses are judged after the last lookup, and the connection
is made to the very address that was judged.

The networks that are set aside for documentation are not here: nobody routes them, so that they are
no way in, and simulated networks are made of them.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_PROHIBITED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 1122 §3.2.1.3
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, RFC 3927
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.168.0.0/16",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
_PROHIBITED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::/96",  # unspecified, loopback, and the IPv4-compatible addresses
        "::ffff:0:0/96",  # IPv4-mapped: the operating system would make an IPv4 connection of it
        "64:ff9b:1::/48",  # local NAT64, RFC 8215: into somebody's own network
        "100::/64",  # discard, RFC 6666
        "fc00::/7",  # unique local, RFC 4193
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, RFC 3879
        "ff00::/8",  # multicast
    )
)
# The IPv4 address stands at the end: NAT64 (RFC 6052), and what stateless translators send on to
# hosts that have IPv4 alone (RFC 2765 §2.1).
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))


@lru_cache(maxsize=4096)
def is_prohibited(address: str) -> bool:
    """Whether an address is no place for a public mail exchanger.

    :param address: an IP address in textual form; anything else is prohibited
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv4Address):
        return any(ip in network for network in _PROHIBITED_V4)
    if ip.scope_id is not None:
        return True
    if any(ip in network for network in _TRANSLATED):
        return is_prohibited(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if ip.sixtofour is not None:  # 2002::/16, RFC 3056
        return is_prohibited(str(ip.sixtofour))
    if ip.teredo is not None:  # 2001::/32, RFC 4380: the server and the client
        return any(is_prohibited(str(each)) for each in ip.teredo)
    return any(ip in network for network in _PROHIBITED_V6)


def normal_address(address: str) -> str:
    """An IP address in its shortest textual form.

    :raises ValueError: it is none
    """
    return str(ipaddress.ip_address(address))


def is_loopback(address: str) -> bool:
    """Whether nobody outside of this machine can listen in on a connection to an IP address.

    :param address: or anything else, which is none
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
