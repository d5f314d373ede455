"""Hosts, each with a network of its own, and the wires between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from tests.interop.internet import caretaker
from tests.interop.internet.namespaces import Namespace
from tests.interop.internet.packets import Packet
from tests.interop.internet.wires import Moment, Wires

SMTP = 25


@attrs.frozen(eq=False)
class Host:
    """A host.

    :ivar addresses: its IP addresses
    """

    addresses: tuple[str, ...]
    namespace: Namespace


Place = Host | str
"""A host with all of its addresses, or one address, which nobody needs to have."""


class Internet:
    """Hosts and what they say to each other, until it is closed.

    :param addresses: of each host, by its name
    :raises OSError: this is not permitted, or the kernel can't
    """

    def __init__(self, **addresses: Iterable[str]) -> None:
        self.hosts: dict[str, Host] = {}
        self._wires = Wires()
        with ExitStack() as made:
            for name, own in addresses.items():
                namespace = Namespace(*own)
                made.callback(namespace.close)
                self.hosts[name] = Host(tuple(own), namespace)
                self._wires.join(namespace.wire, own)
            self._wires.start()
            made.callback(self._wires.close)
            self._caretaker = _start_caretaker(self.hosts.values())
            made.callback(self._end_programs)
            self._made = made.pop_all()

    def close(self) -> None:
        """End all programs, and take everything away."""
        self._made.close()

    @contextmanager
    def at(self, name: str) -> Iterator[Host]:
        """Be at a host: what this thread starts or connects to then is there."""
        host = self.hosts[name]
        with host.namespace.entered():
            yield host

    def addresses(self, place: Place) -> tuple[str, ...]:
        """The addresses of a host, by its name, or the address itself."""
        if isinstance(place, Host):
            return place.addresses
        return self.hosts[place].addresses if place in self.hosts else (place,)

    def cut(self, one: Place, other: Place) -> None:
        """Drop everything between two places; nobody is told."""
        self._wires.cut(self.addresses(one), self.addresses(other))

    def mend(self, one: Place, other: Place) -> None:
        """Carry what is said between them again."""
        self._wires.mend(self.addresses(one), self.addresses(other))

    def cut_when(
        self, sender: Place, other: Place, found: Callable[[Packet], bool], *, forward: bool
    ) -> Moment:
        """Cut as soon as the sender says something to the other (`Wires.cut_when`)."""
        return self._wires.cut_when(
            self.addresses(sender), self.addresses(other), found, forward=forward
        )

    def openings(self, one: Place, other: Place, port: int = SMTP) -> int:
        """How often one asked the other for a connection, packets sent again included."""
        return self._wires.openings(self.addresses(one), self.addresses(other), port)

    def _end_programs(self) -> None:
        assert self._caretaker.stdin is not None
        self._caretaker.stdin.close()
        self._caretaker.wait()


def _start_caretaker(hosts: Iterable[Host]) -> subprocess.Popen[bytes]:
    program = Path(caretaker.__file__)
    inodes = (str(host.namespace.inode) for host in hosts)
    return subprocess.Popen(
        (sys.executable, "-S", "-E", program, *inodes),
        stdin=subprocess.PIPE,
        start_new_session=True,  # it outlives whoever kills the test with all that it started
    )
