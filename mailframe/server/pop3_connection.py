"""One POP3 connection: carries octets between a transport and the session.

The dialogue itself is in `mailframe.wire.pop3`, and what it asks for is answered in
`mailframe.server.pop3_answers`. What is here is what needs a transport or a clock: TLS, time
limits, and back-pressure in both directions.

Flow: `dataReceived` feeds the session; `_advance` takes one event after the other and has it
answered. An answer that has to be waited for suspends `_advance`; `_answered` goes on with it. A
client that asks for much is given the rest in later turns of the reactor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.channel_binding import can_bind, server_binding
from mailframe.envelope import Client
from mailframe.guard import as_deferred
from mailframe.server.outlet import Outlet
from mailframe.server.peer import peer_address, tls_description
from mailframe.server.pop3_answers import Answers
from mailframe.wire.pop3 import Pop3Session
from mailframe.wire.pop3_events import Flush, Offer

if TYPE_CHECKING:
    from mailframe.server.pop3 import Pop3ServerFactory

log = Logger()

MAX_UNREAD = 65536  # octets of commands that may wait for an answer before reading is paused
MAX_UNSENT = 16384  # octets that the client has not taken when no more is read for it
LINGER = 30.0  # seconds that a closing connection has to take the last octets
LEAST_PATIENCE = 600.0  # seconds, RFC 1939 §3

_BROKEN = "fault here, closing the connection"
_STOPPING = "the server is shutting down, try again later"
_TOO_MANY = "too many connections, try again later"


@implementer(IPushProducer, IHalfCloseableProtocol)
class Pop3Connection(Protocol):
    """One connection to a server."""

    def __init__(self, factory: Pop3ServerFactory) -> None:
        """:param factory: the server that the client is connected to"""
        self._server = factory
        self._session = Pop3Session(
            hostname=factory.hostname, offer=Offer(), errors=factory.limits.errors
        )
        self._answers = Answers(
            server=factory, session=self._session, line=self, binding=self._binding
        )
        self._tls = False
        self._running: Deferred[None] | None = None  # an answer that is waited for
        self._turn: IDelayedCall | None = None  # goes on in a later turn of the reactor
        self.closing = False  # the transport was told to close
        self.lost = False
        self._identified = False  # the client has spoken: its address is the true one
        self._stopping = False
        self._input_ended = False  # the client sends no more
        self._input_paused = False
        self._output_full = False
        self._room: Deferred[None] | None = None  # fires when output is taken again
        self._timer: IDelayedCall | None = None
        # POSIX seconds: connection made, last sign of life
        self._connected = self._heard = 0.0

    # --- the transport's calls ---------------------------------------------------------------

    def connectionMade(self) -> None:
        """Greet the client, or send it away."""
        server = self._server
        transport = self._transport()
        self._tls = server.tls == "implicit" or ISSLTransport.providedBy(transport)
        self._outlet = Outlet(transport, tls=self._tls)
        if isinstance(transport, FileDescriptor):
            transport.bufferSize = MAX_UNSENT
        address, port = peer_address(transport)
        self._counted_as = address
        self.now_known(Client(server=server.name, protocol="pop3", address=address, port=port))
        self._connected = self._heard = server.clock.seconds()
        self._patience = max(server.limits.idle, LEAST_PATIENCE)
        self._timer = server.clock.callLater(self._patience, self._tick)
        transport.registerProducer(self, True)
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        if server.connections.arrived(self, address) is not None:
            self._session.hang_up(_TOO_MANY)
        elif server.connections.draining:
            self._session.hang_up(_STOPPING)
        else:
            self._session.greet()
        self._write()

    def dataReceived(self, data: bytes) -> None:
        """Octets arrived."""
        if not self._identified:
            self._learn_address()
        self._session.receive(data)
        if self._running is None and self._turn is None:
            self._advance()
        if len(self._session) > MAX_UNREAD and not self.closing:
            self._pause_input()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone: let go of everything. Nothing is deleted."""
        self.lost = self.closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        # What is under way runs to its end: a thread that reads or deletes can't be stopped.
        self._let_go_on()
        if self._running is None:
            self._answers.log_out()
        self._server.connections.left(self, self._counted_as)

    def readConnectionLost(self) -> None:
        """The client sends no more, but may listen: what it has asked for is answered first."""
        self._input_ended = True
        self._end_with_input()

    def writeConnectionLost(self) -> None:
        """Only who closes that side alone is told of it, and nobody here does."""

    def pauseProducing(self) -> None:
        """The client doesn't take what we send as fast as we write it."""
        # Reading goes on, as TLS may have to read before it can write; it is paused once too much
        # waits to be answered.
        self._output_full = True

    def resumeProducing(self) -> None:
        """There is room again: all that waited has been sent."""
        self._output_full = False
        self._outlet = Outlet(self._transport(), tls=self._tls)
        self._heard = self._server.clock.seconds()
        if self._running is not None:
            self._let_go_on()
        elif self._turn is None:
            self._advance()

    def stopProducing(self) -> None:
        """The transport is going away; `connectionLost` does the rest."""

    # --- events and answers ------------------------------------------------------------------

    def _advance(self) -> None:
        """Read and answer commands as long as no answer has to be waited for."""
        try:
            while not (self._output_full or self.closing):
                event = self._session.next_event()
                if event is None:
                    break
                if type(event) is Flush:
                    self.flush()
                    self._turn = self._server.clock.callLater(0, self._go_on)
                    return
                answer = self._answers.answer(event)
                if answer is not None:
                    running = as_deferred(answer)
                    if not running.called:
                        self._running = running
                        self.flush()
                        running.addBoth(self._answered)
                        return
                    if isinstance(running.result, Failure):
                        running.addErrback(self._fault)
        except Exception:
            self._fault()
        if self._stopping:
            self._say_farewell()
        self._write()
        if self._input_ended:
            self._end_with_input()
        elif self._input_paused and not (self._output_full or self.closing):
            self._input_paused = False
            self._transport().resumeProducing()

    def _end_with_input(self) -> None:
        """Close when all is answered that the client has asked for. Nothing is deleted."""
        waits = self._running is not None or self._turn is not None
        if not (waits or self._output_full or self.closing):
            self._close()

    def _go_on(self) -> None:
        self._turn = None
        self._advance()

    def _answered(self, result: Failure | None) -> None:
        """The answer that was waited for has been given."""
        self._running = None
        self._heard = self._server.clock.seconds()
        if isinstance(result, Failure):
            self._fault(result)
        if self.lost:
            self._answers.log_out()
        elif not self.closing:
            self._advance()

    def _fault(self, failure: Failure | None = None) -> None:
        log.failure("fault while answering {address}", failure=failure, address=self.client.address)
        if self._session.between_responses:
            self._session.hang_up(_BROKEN)
        else:
            self.drop()

    def _say_farewell(self) -> None:
        """The server stops: close, but not amidst a response."""
        if self._session.between_responses and not self._session.closing:
            self._session.hang_up(_STOPPING)

    def flush(self) -> None:
        """Send what the session has to say."""
        octets = self._session.take_output()
        if octets and not self.closing:
            # What counts as a sign of life is a whole command, and each has its response.
            self._heard = self._server.clock.seconds()
            self._outlet.write(octets)

    def _write(self) -> None:
        """Send the responses so far; close when the session is over."""
        self.flush()
        if self._session.closing and not self.closing:
            self._close()

    def _pause_input(self) -> None:
        if not self._input_paused and not self.lost:
            self._input_paused = True
            self._transport().pauseProducing()

    # --- what the answers need -----------------------------------------------------------------

    def start_tls(self) -> None:
        """The client asked for TLS: answer, and begin."""
        session = self._session
        session.tls_begins()
        if session.injected:
            log.warn(
                "dropped {address} on {server}: {size} octets in the clear behind STLS",
                address=self.client.address,
                server=self._server.name,
                size=len(session.injected),
            )
            self.drop()
            return
        transport = self._transport()
        self.flush()
        self._tls = True
        self._outlet = Outlet(transport, tls=True)
        transport.startTLS(self._server.tls_context)
        self.now_known(self.client)
        self._identified = False  # which mechanisms are offered depends on what TLS it will be

    def learn_tls(self) -> None:
        """The TLS handshake is over, if there was one: it is known how that went."""
        tls = tls_description(self._transport()) if self._tls else None
        self.now_known(attrs.evolve(self.client, tls=tls))

    def room(self) -> Deferred[None] | None:
        """What fires when there is room for more output; ``None`` when there is now."""
        if not self._output_full or self.closing:
            return None
        self._room = Deferred()
        return self._room

    def _let_go_on(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    # --- time, and the end -------------------------------------------------------------------

    def _tick(self) -> None:
        """Look whether a limit is reached. The one timer of the connection comes here."""
        self._timer = None
        if self.closing:
            self.drop()
            return
        limits = self._server.limits
        now = self._server.clock.seconds()
        if self._heard > now:  # the clock was set back: all is counted from now
            self._heard = self._connected = now
        due = self._heard + self._patience
        if self._running is not None and not self._output_full:
            due = now + self._patience  # it is we who take so long
        elif self._session.authenticated:
            due = min(due, self._connected + max(limits.session, self._patience))
        else:
            due = min(due, self._connected + self._patience)
        if due > now:
            self._timer = self._server.clock.callLater(due - now, self._tick)
        elif self._running is not None:
            self.drop()
        else:
            # RFC 1939 §3: nothing is deleted, and nothing is said.
            self._session.closing = True
            self._write()

    def shut_down(self) -> None:
        """The server stops: finish the command under way, then close."""
        self._stopping = True
        if self._running is None and self._turn is None and not self.closing:
            self._say_farewell()
            self._write()

    def drop(self) -> None:
        """Close at once, without another word."""
        self._session.closing = True
        self.closing = True
        self._let_go_on()
        if self.lost:
            return
        transport = self._transport()
        transport.unregisterProducer()
        getattr(transport, "abortConnection", transport.loseConnection)()

    def _close(self) -> None:
        """Close once all output is sent, or after a while when the client doesn't take it."""
        self.closing = True
        transport = self._transport()
        # As long as there is a producer the transport would wait for it.
        transport.unregisterProducer()
        transport.loseConnection()
        if self.lost:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.clock.callLater(LINGER, self._tick)

    # --- the client --------------------------------------------------------------------------

    def _learn_address(self) -> None:
        """Learn the client's true address: behind a proxy it is known only once it has spoken."""
        self._identified = True
        address, port = peer_address(self._transport())
        self.now_known(attrs.evolve(self.client, address=address, port=port))
        if address == self._counted_as or self.closing:
            return
        before, self._counted_as = self._counted_as, address
        if self._server.connections.moved(before, address) is not None:
            self._session.hang_up(_TOO_MANY)
            self._write()

    def now_known(self, client: Client) -> None:
        """What is known of the client changed: so does what it is offered."""
        self.client = client
        self._session.offer = Offer(
            stls=self._server.tls == "starttls" and not self._tls,
            login=self._tls or client.is_loopback,
            mechanisms=self._server.mechanisms.offered(self._tls and can_bind(self.transport)),
            login_delay=math.ceil(self._server.limits.login_delay),
        )

    def _binding(self, kind: str) -> bytes | None:
        return server_binding(self.transport, kind) if self._tls else None

    def _transport(self) -> Any:
        # ITransport alone says nothing of producers and TLS, which all stream transports have.
        return self.transport
