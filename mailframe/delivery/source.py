"""From which of this machine's addresses mail goes out, and under which name.

Others know a mail server by its address: what they think of it, and which name DNS has for it, may
differ from one address to the other. Every ``[[relay.source]]`` is one of them, with the name that
is said in EHLO. Those without a name of their own serve mail to exchangers found through MX;
those with one serve the routes that ask for it.

A destination is always served from the same source of a family, so that others see no mail of one
domain come from everywhere. Once a source is named, a family of which none is there is not used.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from mailframe.address import AddressError, normal_domain

Family: TypeAlias = Literal["ipv4", "ipv6"]


def _address(instance: object, attribute: Any, value: str) -> None:
    try:
        ip = ipaddress.ip_address(value)
    except ValueError:
        ip = None
    if ip is None or ip.is_unspecified or ip.is_multicast:
        raise ValueError(
            f"'{attribute.name}' found {value!r}; allowed: an IP address of this machine, such as "
            '"192.0.2.7" or "2001:db8::7"'
        )


def _name(_instance: object, attribute: Any, value: str | None) -> None:
    if value is not None and not (value.strip() and value.isprintable() and value.isascii()):
        raise ValueError(f"'{attribute.name}' found {value!r}; allowed: a name in printable ASCII")


def _host(_instance: object, attribute: Any, value: str | None) -> None:
    try:
        if value is not None:
            normal_domain(value)
    except AddressError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


@attrs.frozen(kw_only=True)
class Source:
    """One ``[[relay.source]]``: an address that mail goes out from.

    :ivar name: what the ``source`` of a routing rule calls it; several may share one. ``None``: it
        serves mail to exchangers found through MX whose rule names no source
    :ivar address: an IP address of this machine
    :ivar hostname: what is said in EHLO; ``None``: our own name
    """

    name: str | None = attrs.field(default=None, validator=_name)
    address: str = attrs.field(validator=_address)
    hostname: str | None = attrs.field(default=None, validator=_host)

    @property
    def family(self) -> Family:
        """Of its address."""
        return family_of(self.address)


Chosen: TypeAlias = Mapping[Family, Source]


class Sources:
    """Chooses among the sources.

    :param sources: all of them
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._pools: dict[str | None, dict[Family, list[Source]]] = {}
        for source in sources:
            self._pools.setdefault(source.name, {}).setdefault(source.family, []).append(source)

    def of(self, name: str | None, destination: str) -> Chosen | None:
        """The source of each family for a destination, always the same ones.

        :param name: what the route asks for
        :returns: ``None`` where the operating system is to choose
        :raises KeyError: there is none of that name
        """
        if name is None and None not in self._pools:
            return None
        return {
            family: _for_destination(pool, destination)
            for family, pool in self._pools[name].items()
        }


def _for_destination(pool: Sequence[Source], destination: str) -> Source:
    """One of several: by rendezvous, so that another one more moves as few as can be."""

    def weight(source: Source) -> bytes:
        text = f"{source.address} {destination}"
        return hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()

    return max(pool, key=weight)


def family_of(address: str) -> Family:
    """Of an IP address in textual form."""
    return "ipv6" if ":" in address else "ipv4"
