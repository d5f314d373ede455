"""Sockets in memory, as far as `twisted.internet.tcp` makes use of a socket.

Because Twisted's own TCP transports run on top of them, buffering, producers, half-close,
STARTTLS and the order of events are those of production. Each direction holds a bounded number of
octets, so a reader that stops reading stops the writer.
"""

from __future__ import annotations

import errno
import itertools
import socket
from collections import deque
from typing import Any, Protocol, TypeAlias

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

CAPACITY = 64 * 1024  # octets that one direction of a connection holds

_numbers = itertools.count(1000)


class Exchange(Protocol):
    """Where sockets find each other; `mailframe.testing.switch.Switch`."""

    segment: int | None

    def wake(self, socket: Endpoint) -> None:
        """A socket may have become readable or writable."""

    def connect(self, socket: StreamSocket, address: SocketAddress) -> None:
        """Begin a connection."""

    def bind(self, socket: ListeningSocket, address: SocketAddress) -> SocketAddress:
        """Reserve an address to listen on; the one that was reserved."""

    def unbind(self, socket: ListeningSocket) -> None:
        """Give the address up."""


def refuse(code: int) -> OSError:
    """The error as the kernel's sockets raise it."""
    return OSError(code, errno.errorcode[code])


class Endpoint:
    """What listening and connected sockets have in common.

    :ivar descriptor: the Twisted transport or port on top, once it asked to be told of events
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.descriptor: Any = None
        self.local: SocketAddress = ("", 0)
        self.closed = False
        self._options: dict[tuple[int, int], object] = {}
        self._number = next(_numbers)

    def setblocking(self, flag: bool) -> None:
        """There is nothing to block on."""

    def fileno(self) -> int:
        """A number that no real descriptor has."""
        return self._number

    def setsockopt(self, level: int, option: int, value: object) -> None:
        """Keep an option; only SO_LINGER has an effect."""
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int) -> object:
        """An option that was set, or 0."""
        return self._options.get((level, option), 0)

    def getsockname(self) -> SocketAddress:
        """Our own address."""
        return self.local


class StreamSocket(Endpoint):
    """One end of a connection.

    :ivar owner: the address of the host it belongs to
    :ivar silent: what arrives is held back
    """

    def __init__(self, exchange: Exchange, owner: str) -> None:
        super().__init__(exchange)
        self.owner = owner
        self.remote: SocketAddress | None = None
        self.peer: StreamSocket | None = None
        self.silent = False
        self._received = bytearray()
        self._ended = False
        self._error = 0

    @property
    def readable(self) -> bool:
        """Whether ``recv`` has something to tell."""
        if self._error:
            return True
        return not self.silent and bool(self._received or self._ended)

    @property
    def writable(self) -> bool:
        """Whether ``send`` takes octets, or has an error to tell."""
        if self._error:
            return True
        peer = self.peer
        return peer is not None and (peer.closed or len(peer._received) < CAPACITY)

    def bind(self, address: SocketAddress) -> None:
        """Choose the address to connect from."""
        self.local = address

    def connect_ex(self, address: SocketAddress) -> int:
        """Begin to connect, or tell that the connection stands."""
        if self.peer is not None:
            return errno.EISCONN
        if self.remote is None:
            self.remote = address
            self.exchange.connect(self, address)
        return errno.EINPROGRESS

    def join(self, peer: StreamSocket) -> None:
        """Become connected."""
        self.peer = peer
        self.exchange.wake(self)

    def getsockopt(self, level: int, option: int) -> object:
        """As `Endpoint.getsockopt`; SO_ERROR is told once."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            code, self._error = self._error, 0
            return code
        return super().getsockopt(level, option)

    def fail(self, code: int) -> None:
        """Have the connection, or the attempt at one, end with an error."""
        self._error = code
        self.exchange.wake(self)

    def silence(self, silent: bool) -> None:
        """Let nothing arrive here any more, or all that was held back."""
        self.silent = silent
        self.exchange.wake(self)

    def recv(self, size: int) -> bytes:
        """Read what arrived; what was sent before an error is read before the error is told."""
        if self._received and not self.silent:
            segment = self.exchange.segment
            size = size if segment is None else min(size, segment)
            octets = bytes(self._received[:size])
            del self._received[:size]
            if self.peer is not None:
                self.exchange.wake(self.peer)
            return octets
        if self._error:
            raise refuse(self._error)
        if self._ended and not self.silent:
            return b""
        raise refuse(errno.EWOULDBLOCK)

    def send(self, octets: memoryview) -> int:
        """Send what there is room for."""
        peer = self.peer
        if self._error or peer is None:
            raise refuse(self._error or errno.ENOTCONN)
        if peer.closed:
            # The octets leave, and a reset comes back.
            self.fail(errno.ECONNRESET)
            return len(octets)
        room = CAPACITY - len(peer._received)
        if room <= 0:
            raise refuse(errno.EWOULDBLOCK)
        taken = octets[:room]
        peer._received += taken
        self.exchange.wake(peer)
        return len(taken)

    def shutdown(self, how: int) -> None:
        """Tell the peer that nothing more comes."""
        if self.peer is None:
            raise refuse(errno.ENOTCONN)
        self.peer._ended = True
        self.exchange.wake(self.peer)

    def close(self) -> None:
        """Close; a reset, when that was asked for or unread octets are lost by it."""
        if self.closed:
            return
        self.closed = True
        peer = self.peer
        if peer is None or peer.closed:
            return
        peer._ended = True
        if self._received or (socket.SOL_SOCKET, socket.SO_LINGER) in self._options:
            peer.fail(errno.ECONNRESET)
        else:
            self.exchange.wake(peer)

    def getpeername(self) -> SocketAddress:
        """The other end's address."""
        if self.remote is None:
            raise refuse(errno.ENOTCONN)
        return self.remote


class ListeningSocket(Endpoint):
    """A socket that takes connections."""

    def __init__(self, exchange: Exchange, owner: str) -> None:
        super().__init__(exchange)
        self.owner = owner
        self._backlog = 0
        self._waiting: deque[StreamSocket] = deque()

    @property
    def readable(self) -> bool:
        """Whether ``accept`` has a connection to give."""
        return bool(self._waiting)

    @property
    def writable(self) -> bool:
        """Never: nothing is sent here."""
        return False

    def bind(self, address: SocketAddress) -> None:
        """Reserve an address."""
        self.local = self.exchange.bind(self, address)

    def listen(self, backlog: int) -> None:
        """Take up to ``backlog`` connections before they are accepted."""
        self._backlog = backlog

    def offer(self, client: StreamSocket, source: SocketAddress, here: SocketAddress) -> None:
        """A client wants to connect; with a full backlog it gets no answer, as with TCP."""
        if len(self._waiting) >= self._backlog:
            return
        served = StreamSocket(self.exchange, self.owner)
        served.local, served.remote = here, source
        served.silent = client.silent
        served.peer = client
        self._waiting.append(served)
        client.join(served)
        self.exchange.wake(self)

    def accept(self) -> tuple[StreamSocket, SocketAddress]:
        """The next connection and its source."""
        if not self._waiting:
            raise refuse(errno.EWOULDBLOCK)
        served = self._waiting.popleft()
        return served, served.getpeername()

    def shutdown(self, how: int) -> None:
        """Nothing to shut down before `close`."""

    def close(self) -> None:
        """Stop listening; connections that were not accepted are reset."""
        if self.closed:
            return
        self.closed = True
        self.exchange.unbind(self)
        for served in self._waiting:
            served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 1)
            served.close()
        self._waiting.clear()
