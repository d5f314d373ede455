"""Where the sockets of a virtual network meet: addresses, faults, and who is told of what when.

Every event is handed out from ``clock.callLater(0, …)``, in the order in which it came about, so
that a test that runs twice runs the same way twice.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias
from weakref import WeakSet

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorTime
from twisted.python import failure

from mailframe.testing.sockets import (
    Endpoint,
    ListeningSocket,
    SocketAddress,
    StreamSocket,
    refuse,
)

Fault: TypeAlias = Literal["down", "unreachable"]

Failure: Any = failure.Failure  # whose constructor Twisted has not annotated

_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 - what to listen on is compared with, never bound


def is_loopback(host: str) -> bool:
    """Whether an address belongs to the host itself and to nobody else."""
    return ipaddress.ip_address(host).is_loopback


class Switch:
    """One virtual network.

    :param clock: hands events out
    :ivar segment: how many octets are read at once at the most; ``None`` for as many as there are
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.segment: int | None = None
        self._clock = clock
        self._listening: dict[tuple[str, str, int], ListeningSocket] = {}
        self._streams: WeakSet[StreamSocket] = WeakSet()
        self._faults: dict[str, Fault] = {}
        self._ports = itertools.count(49152)
        self._readers: set[Any] = set()
        self._writers: set[Any] = set()
        # A dictionary keeps the order of insertion, which a set does not.
        self._ready: dict[Any, None] = {}
        self._turn_due = False

    # --- addresses and connections -----------------------------------------------------------

    def bind(self, socket: ListeningSocket, address: SocketAddress) -> SocketAddress:
        """Reserve an address to listen on."""
        host, port = address[0], address[1] or next(self._ports)
        key = self._key(socket.owner, host, port)
        if key in self._listening:
            raise refuse(errno.EADDRINUSE)
        self._listening[key] = socket
        return (host or "0.0.0.0", port, *address[2:])  # noqa: S104 - nothing real is bound

    def unbind(self, socket: ListeningSocket) -> None:
        """Give an address up."""
        for key, bound in list(self._listening.items()):
            if bound is socket:
                del self._listening[key]

    @staticmethod
    def _key(owner: str, host: str, port: int) -> tuple[str, str, int]:
        if host in _ANY:
            return owner, "", port
        # Loopback is every host's own; another address is the same for all.
        return (owner if is_loopback(host) else ""), host, port

    def _find(self, owner: str, host: str, port: int) -> ListeningSocket | None:
        target = owner if is_loopback(host) else host
        found = self._listening.get(self._key(owner, host, port))
        return found or self._listening.get((target, "", port))

    def connect(self, socket: StreamSocket, address: SocketAddress) -> None:
        """Begin a connection; how it ends shows in a later turn, or never."""
        self._streams.add(socket)
        host, port = address[0], address[1]
        owner = socket.owner
        source = socket.local[0] or (host if is_loopback(host) else owner)
        shown = f"::ffff:{source}" if len(address) == 4 and ":" not in source else source
        socket.local = (shown, socket.local[1] or next(self._ports), *address[2:])
        faults = {self._faults.get(source), self._faults.get(host)}
        if "unreachable" in faults:
            return
        listening = None if "down" in faults else self._find(owner, host, port)
        # An IPv4 port does not take IPv6 connections, nor the other way about.
        if listening is None or len(listening.local) != len(address):
            socket.fail(errno.ECONNREFUSED)
            return
        listening.offer(socket, socket.local, address)
        if socket.peer is not None:
            self._streams.add(socket.peer)

    # --- faults ------------------------------------------------------------------------------

    def set_fault(self, host: str, fault: Fault | None) -> None:
        """Break a host, or mend it."""
        self._faults.pop(host, None)
        if fault is not None:
            self._faults[host] = fault
        if fault == "down":
            self.cut(host)
        for stream in self._of(host):
            stream.silence(fault == "unreachable")

    def cut(self, host: str) -> None:
        """Break every connection from and to a host."""
        for stream in self._of(host):
            stream.fail(errno.ECONNRESET)

    def _of(self, host: str) -> Iterable[StreamSocket]:
        mine = [
            s
            for s in self._streams
            if s.peer is not None
            and not s.closed
            and host in (s.local[0], s.remote[0] if s.remote else "")
        ]
        return sorted(mine, key=lambda stream: stream.fileno())

    # --- events ------------------------------------------------------------------------------

    def watch(self, descriptor: Any, reading: bool) -> None:
        """Tell a transport or port when it can read, or write."""
        (self._readers if reading else self._writers).add(descriptor)
        descriptor.socket.descriptor = descriptor
        self.wake(descriptor.socket)

    def unwatch(self, descriptor: Any, reading: bool) -> None:
        """Tell it no more."""
        (self._readers if reading else self._writers).discard(descriptor)

    @property
    def readers(self) -> list[Any]:
        """Those that want to be told when they can read."""
        return list(self._readers)

    @property
    def writers(self) -> list[Any]:
        """Those that want to be told when they can write."""
        return list(self._writers)

    def wake(self, socket: Endpoint) -> None:
        """A socket may have become readable or writable."""
        if socket.descriptor is None:
            return
        self._ready[socket.descriptor] = None
        if not self._turn_due:
            self._turn_due = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        ready, self._ready = self._ready, {}
        for descriptor in ready:
            self._serve(descriptor)

    def _serve(self, descriptor: Any) -> None:
        socket = getattr(descriptor, "socket", None)
        if socket is None:
            return
        if descriptor in self._readers and socket.readable:
            why = descriptor.doRead()
            if why is not None:
                self._disconnect(descriptor, why, reading=True)
                return
        socket = getattr(descriptor, "socket", None)
        if descriptor in self._writers and socket is not None and socket.writable:
            why = descriptor.doWrite()
            if why is not None:
                self._disconnect(descriptor, why, reading=False)
                return
        socket = getattr(descriptor, "socket", None)
        if socket is not None and (
            (descriptor in self._readers and socket.readable)
            or (descriptor in self._writers and socket.writable)
        ):
            self.wake(socket)

    def _disconnect(self, descriptor: Any, why: Exception, reading: bool) -> None:
        self._readers.discard(descriptor)
        reason = Failure(why)
        if (
            reading
            and isinstance(why, ConnectionDone)
            and IHalfCloseableDescriptor.providedBy(descriptor)
        ):
            descriptor.readConnectionLost(reason)
        else:
            self._writers.discard(descriptor)
            descriptor.connectionLost(reason)
