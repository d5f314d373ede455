"""One SMTP connection: carries octets between a transport and the `Receiver`, in time.

What is here is what needs a transport or a clock: back-pressure in both directions, time limits,
and the end of the connection. What is answered is in `mailframe.server.smtp_session`.

Flow: `dataReceived` feeds the receiver; `_advance` takes one event after the other, asks for its
answer, gives it back, and writes all output at once when there is nothing more to do. An answer
that has to be waited for (a plugin, a commit) suspends `_advance`; `_answered` goes on with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
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

from mailframe.envelope import Client
from mailframe.guard import started
from mailframe.reply import Reply, temporary_fault
from mailframe.server.admission import Transaction
from mailframe.server.incoming import Incoming
from mailframe.server.outlet import Outlet
from mailframe.server.peer import peer_address
from mailframe.wire.lmtp_receiver import LmtpReceiver
from mailframe.wire.smtp_events import Content, EndOfData, Event
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_receiver import Receiver

if TYPE_CHECKING:
    from mailframe.server.smtp import SmtpServerFactory

log = Logger()

SHUTTING_DOWN = Reply(421, "4.3.2", "the server is shutting down, try again later")
TIMED_OUT = Reply(421, "4.4.2", "time limit reached, closing the connection")
BROKEN = Reply(421, "4.3.0", "fault here, closing the connection")

MAX_UNPARSED = 65536  # octets that may wait for an answer before reading is paused
LINGER = 30.0  # seconds that a closing connection has to take the last octets

Answer: TypeAlias = Reply | Awaitable[Reply | None] | None


@implementer(IPushProducer, IHalfCloseableProtocol)
class SmtpConnection(Protocol):
    """One connection to a server, without what is answered."""

    _answers: ClassVar[Mapping[type, Callable[[Any, Any], Answer]]]  # by the type of the event
    _client: Client

    def __init__(self, factory: SmtpServerFactory) -> None:
        """:param factory: the server that the client is connected to"""
        self._server = factory
        limits = factory.limits
        receiver = LmtpReceiver if factory.protocol_name == "lmtp" else Receiver
        self._receiver = receiver(
            default_domain=factory.default_domain,
            offer=Offer(),
            command_line=limits.command_line,
            data_line=limits.data_line,
            errors=limits.errors,
            junk_commands=limits.junk_commands,
        )
        self._tls = False
        self._transaction: Transaction | None = None
        self._incoming: Incoming | None = None
        self._running: Deferred[Reply | None] | None = None
        self._event: Event | None = None  # the one whose answer is waited for
        self._closing = False  # the transport was told to close
        self._lost = False
        self._input_ended = False  # the client sends no more
        self._stopping = False
        self._input_paused = False
        self._output_full = False
        self._timer: IDelayedCall | None = None
        # POSIX seconds: connection made; last command answered or content heard; last MAIL
        # accepted; DATA accepted, moved on by what we took ourselves; content set aside
        self._connected = self._heard = self._began = self._data_began = self._set_aside = 0.0
        self._received = 0  # octets since the last DATA

    def _begin(self, address: str, port: int) -> None:
        """A client at this address is connected: set ``_client``."""

    def _leave(self) -> None:
        """The connection is gone."""

    # --- the transport's calls ----------------------------------------------------------------

    def connectionMade(self) -> None:
        """Greet the client, or send it away."""
        server = self._server
        transport = self._transport()
        self._tls = server.tls == "implicit" or ISSLTransport.providedBy(transport)
        self._outlet = Outlet(transport, tls=self._tls)
        address, port = peer_address(transport)
        self._counted_as = address
        self._begin(address, port)
        self._connected = self._heard = server.clock.seconds()
        self._timer = server.clock.callLater(self._patience(), self._tick)
        transport.registerProducer(self, True)
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        refusal = server.arrived(self, address)
        self._receiver.greet(refusal or server.greeting)
        self._write()

    def dataReceived(self, data: bytes) -> None:
        """Octets arrived."""
        if self._receiver.in_data:
            self._heard = self._server.clock.seconds()
            self._received += len(data)
        self._receiver.receive(data)
        if self._running is None and not self._output_full:
            self._advance()
        elif len(self._receiver) > MAX_UNPARSED:
            self._pause_input()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone: let go of everything."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # A commit under way is let run to its end: nobody will be told, and both ends are allowed.
        if self._running is not None and not isinstance(self._event, EndOfData):
            self._running.cancel()
        self._abandon("the connection was lost")
        self._leave()
        self._server.left(self, self._counted_as)

    def readConnectionLost(self) -> None:
        """The client sends no more, but may listen: Exim closes its side right behind QUIT.

        Were it not told that its message was taken, it would send it again.
        """
        self._input_ended = True
        if self._running is None and not (self._output_full or self._closing):
            self._close()

    def writeConnectionLost(self) -> None:
        """Only who closes that side alone is told of it, and nobody here does."""

    def pauseProducing(self) -> None:
        """The client doesn't take our replies as fast as it makes us write them.

        Input is not paused for that: TLS may have to read before it can write.
        """
        self._output_full = True

    def resumeProducing(self) -> None:
        """There is room for replies again."""
        self._output_full = False
        if self._running is None and not self._closing:
            self._advance()

    def stopProducing(self) -> None:
        """The transport is going away; `connectionLost` does the rest."""

    # --- events and answers -------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on with the dialogue as far as it goes."""
        try:
            self._take_events()
        except Exception:
            log.failure("fault in the dialogue with {address}", address=self._client.address)
            self._end(BROKEN, "a fault of ours")

    def _take_events(self) -> None:
        receiver = self._receiver
        while not self._output_full:
            event = receiver.next_event()
            if event is None:
                break
            answer: Any  # `Answer` and then, once it was waited for, a Reply or None
            try:
                answer = self._answers[type(event)](self, event)
                if answer is not None and not isinstance(answer, Reply):
                    answer = started(answer)
                    if isinstance(answer, Deferred):
                        self._suspend(event, answer)
                        return
            except Exception as error:
                answer = self._fault(event, Failure(error))  # type: ignore[no-untyped-call]  # Twisted leaves it bare
            if answer is not None:
                receiver.reply(answer)
        if self._stopping and not receiver.in_transaction:
            receiver.hang_up(SHUTTING_DOWN)
        self._write()
        if self._input_ended:
            if not (self._output_full or self._closing):
                self._close()
        elif self._input_paused and not (self._output_full or self._closing):
            self._input_paused = False
            self._transport().resumeProducing()

    def _suspend(self, event: Event, running: Deferred[Reply | None]) -> None:
        """An answer has to be waited for."""
        self._event = event
        self._running = running
        octets = self._receiver.take_output()
        if octets:
            self._outlet.write(octets)
        if isinstance(event, Content):
            self._set_aside = self._server.clock.seconds()
            self._pause_input()
        running.addBoth(self._answered)

    def _answered(self, result: Reply | Failure | None) -> None:
        """The answer that was waited for is there."""
        self._running = None
        event, self._event = self._event, None
        assert event is not None
        if isinstance(event, Content):
            self._heard = self._server.clock.seconds()
            self._data_began += self._heard - self._set_aside
        if isinstance(result, Failure):
            result = self._fault(event, result)
        if self._lost or self._closing:
            return
        if result is not None:
            self._receiver.reply(result)
        self._advance()

    def _fault(self, event: Event, failure: Failure) -> Reply | None:
        """What to answer when answering failed through a fault of ours."""
        if self._lost and isinstance(failure.value, CancelledError):
            return None
        log.failure(
            "fault while answering {address}", failure=failure, address=self._client.address
        )
        if isinstance(event, Content):
            assert self._incoming is not None
            self._incoming.abandon("a fault of ours")
            return None
        return temporary_fault()

    def _write(self) -> None:
        """Send the replies so far; close when the receiver is done."""
        octets = self._receiver.take_output()
        if octets:
            # What counts as a sign of life is a whole command, and each has its reply: with single
            # octets a client could stay for ever.
            self._heard = self._server.clock.seconds()
            self._outlet.write(octets)
        if self._receiver.closing and not self._closing:
            self._close()

    def _pause_input(self) -> None:
        if not self._input_paused:
            self._input_paused = True
            self._transport().pauseProducing()

    # --- time, and the end --------------------------------------------------------------------

    def _patience(self) -> float:
        """How long to go on without a look at the clock: no limit can be reached before."""
        limits = self._server.limits
        return min(limits.idle, limits.transaction, limits.session)

    def _tick(self) -> None:
        """Look whether a limit is reached. The one timer of the connection comes here."""
        self._timer = None
        if self._closing:
            self.drop()
            return
        limits = self._server.limits
        now = self._server.clock.seconds()
        if self._heard > now:  # the clock was set back: all is counted from now
            self._heard = self._connected = self._began = self._data_began = now
        due = now + self._patience()
        if self._running is None:
            due = min(due, self._heard + limits.idle)
            if not self._receiver.in_transaction:
                due = min(due, self._connected + limits.session)
                if self._transaction is None and self._client.login is None:
                    due = min(due, self._connected + 2 * limits.idle)
            else:
                due = min(due, self._began + limits.transaction)
                if self._receiver.in_data and limits.data_rate > 0:
                    enough_until = limits.idle + self._received / limits.data_rate
                    due = min(due, self._data_began + enough_until)
        if due > now:
            self._timer = self._server.clock.callLater(due - now, self._tick)
        else:
            self._end(TIMED_OUT, "the client took too long")

    def shut_down(self) -> None:
        """The server stops: finish the transaction under way, then close."""
        self._stopping = True
        if self._running is None and not self._closing and not self._receiver.in_transaction:
            self._end(SHUTTING_DOWN, "the server is shutting down")

    def drop(self) -> None:
        """Close at once, without another word."""
        transport = self._transport()
        if not self._closing:
            transport.unregisterProducer()
        self._closing = self._receiver.closing = True
        getattr(transport, "abortConnection", transport.loseConnection)()

    def _end(self, reply: Reply, reason: str) -> None:
        """Close with a reply that answers no command."""
        self._abandon(reason)
        self._receiver.hang_up(reply)
        self._write()

    def _abandon(self, reason: str) -> None:
        if self._incoming is not None:
            self._incoming.abandon(reason)

    def _close(self) -> None:
        """Close once all output is sent, or after a while when the client doesn't take it."""
        self._closing = True
        transport = self._transport()
        # As long as there is a producer the transport would wait for it.
        transport.unregisterProducer()
        transport.loseConnection()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.clock.callLater(LINGER, self._tick)

    def _transport(self) -> Any:
        # ITransport alone says nothing of producers and TLS, which all stream transports have.
        return self.transport
