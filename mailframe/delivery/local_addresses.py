"""Which IP addresses this machine has, as Linux tells in ``/proc/net``.

The resolver knows of those alone that the machine's name has, and on many machines that is
127.0.1.1 and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LEAF = "|--"  # goes before an address in fib_trie; what it is stands in the lines below
_OWN = "/32 host LOCAL"


def every_address(folder: Path = Path("/proc/net")) -> frozenset[str]:
    """The addresses of all interfaces, in normal form; as many as can be found out.

    :param folder: holds ``fib_trie`` and ``if_inet6``
    """
    found = (*_v4(_lines(folder / "fib_trie")), *_v6(_lines(folder / "if_inet6")))
    return frozenset(map(str, found))


def _v4(lines: list[str]) -> Iterator[ipaddress.IPv4Address]:
    """Routes to one address each, which end in this machine."""
    address = ""
    for line in map(str.strip, lines):
        if line.startswith(_LEAF):
            address = line.removeprefix(_LEAF).strip()
        elif line == _OWN:
            with suppress(ValueError):
                yield ipaddress.IPv4Address(address)


def _v6(lines: list[str]) -> Iterator[ipaddress.IPv6Address]:
    for line in lines:
        with suppress(ValueError):  # bytes.fromhex and the address alike
            yield ipaddress.IPv6Address(bytes.fromhex(line[:32]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
