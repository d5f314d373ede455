"""One POP3 connection: carries octets between a transport and the session, and events to mailboxes.

The dialogue itself is in `mailframe.wire.pop3`. What is here is what needs a transport, a clock or
a mailbox: TLS, logins, time limits, back-pressure in both directions, and messages sent piece by
piece.

Flow: `dataReceived` feeds the session; `_advance` takes one event after the other and answers it.
An answer that has to be waited for suspends `_advance`; `_answered` goes on with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.channel_binding import can_bind, server_binding
from mailframe.envelope import Client
from mailframe.guard import PluginFault, as_deferred
from mailframe.reply import Reply
from mailframe.server.authentication import TOO_MANY_FAILURES, Authentication
from mailframe.server.mailbox_access import NoAccess, OpenMailbox
from mailframe.server.outlet import Outlet
from mailframe.server.peer import peer_address, tls_description
from mailframe.wire.data import DataEncoder
from mailframe.wire.pop3 import Pop3Session
from mailframe.wire.pop3_events import (
    Authenticate,
    Event,
    Flush,
    Identify,
    Offer,
    Retrieve,
    StartTls,
    Update,
)
from mailframe.wire.pop3_top import Top

if TYPE_CHECKING:
    from mailframe.server.pop3 import Pop3ServerFactory

log = Logger()

MAX_UNREAD = 65536  # octets of commands that may wait for an answer before reading is paused
PIECE = 65536  # octets of a message that are read at a time
LINGER = 30.0  # seconds that a closing connection has to take the last octets
LEAST_PATIENCE = 600.0  # seconds, RFC 1939 §3

_BROKEN = "fault here, closing the connection"
_TOO_MANY = "too many connections, try again later"

Answer: TypeAlias = Coroutine[Any, Any, None] | None


@implementer(IPushProducer)
class Pop3Connection(Protocol):
    """One connection to a server."""

    def __init__(self, factory: Pop3ServerFactory) -> None:
        """:param factory: the server that the client is connected to"""
        self._server = factory
        self._session = Pop3Session(
            hostname=factory.hostname, offer=Offer(), errors=factory.limits.errors
        )
        self._authentication = Authentication(
            portal=factory.portal,
            limits=factory.limits,
            clock=factory.clock,
            failures=factory.login_failures,
            binding=self._binding,
        )
        self._tls = False
        self._mailbox: OpenMailbox | None = None
        self._running: Deferred[None] | None = None
        self._closing = False  # the transport was told to close
        self._lost = False
        self._identified = False  # the client has spoken: its address is the true one
        self._stopping = False
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
        address, port = peer_address(transport)
        self._counted_as = address
        self._set_client(Client(server=server.name, protocol="pop3", address=address, port=port))
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
            self._session.hang_up("the server is shutting down, try again later")
        else:
            self._session.greet()
        self._write()

    def dataReceived(self, data: bytes) -> None:
        """Octets arrived."""
        if not self._identified:
            self._learn_address()
        self._session.receive(data)
        if self._running is None:
            self._advance()
        if len(self._session) > MAX_UNREAD and not self._closing:
            self._pause_input()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone: let go of everything. Nothing is deleted."""
        self._lost = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # What is under way runs to its end: a thread that reads or deletes can't be stopped.
        self._let_go_on()
        if self._running is None:
            self._log_out()
        self._server.connections.left(self, self._counted_as)

    def pauseProducing(self) -> None:
        """The client doesn't take what we send as fast as we write it."""
        # Reading goes on, as TLS may have to read before it can write; it is paused once too much
        # waits to be answered.
        self._output_full = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._output_full = False
        self._heard = self._server.clock.seconds()
        if self._running is None:
            self._advance()
        else:
            self._let_go_on()

    def stopProducing(self) -> None:
        """The transport is going away; `connectionLost` does the rest."""

    # --- events and answers ------------------------------------------------------------------

    def _advance(self) -> None:
        """Read and answer commands as long as no answer has to be waited for."""
        try:
            while not (self._output_full or self._closing):
                event = self._session.next_event()
                if event is None:
                    break
                answer = _ANSWERS[type(event)](self, event)
                if answer is not None:
                    running = as_deferred(answer)
                    if not running.called:
                        self._running = running
                        self._flush()
                        running.addBoth(self._answered)
                        return
                    if isinstance(running.result, Failure):
                        running.addErrback(self._fault)
        except Exception:
            self._fault()
        if self._stopping and not self._session.closing:
            self._session.hang_up("the server is shutting down, try again later")
        self._write()
        if self._input_paused and not (self._output_full or self._closing):
            self._input_paused = False
            self._transport().resumeProducing()

    def _answered(self, result: Failure | None) -> None:
        """The answer that was waited for has been given."""
        self._running = None
        self._heard = self._server.clock.seconds()
        if isinstance(result, Failure):
            self._fault(result)
        if self._lost:
            self._log_out()
        elif not self._closing:
            self._advance()

    def _fault(self, failure: Failure | None = None) -> None:
        log.failure(
            "fault while answering {address}", failure=failure, address=self._client.address
        )
        self._session.hang_up(_BROKEN)

    def _flush(self) -> None:
        octets = self._session.take_output()
        if octets and not self._closing:
            # What counts as a sign of life is a whole command, and each has its response.
            self._heard = self._server.clock.seconds()
            self._outlet.write(octets)

    def _write(self) -> None:
        """Send the responses so far; close when the session is over."""
        self._flush()
        if self._session.closing and not self._closing:
            self._close()

    def _pause_input(self) -> None:
        if not self._input_paused and not self._lost:
            self._input_paused = True
            self._transport().pauseProducing()

    # --- what is answered to each event ------------------------------------------------------

    def _more_output(self, event: Flush) -> None:
        self._flush()

    def _start_tls(self, event: StartTls) -> None:
        session = self._session
        session.tls_begins()
        if session.injected:
            log.warn(
                "dropped {address} on {server}: {size} octets in the clear behind STLS",
                address=self._client.address,
                server=self._server.name,
                size=len(session.injected),
            )
            self.drop()
            return
        transport = self._transport()
        self._flush()
        self._tls = True
        self._outlet = Outlet(transport, tls=True)
        transport.startTLS(self._server.tls_context)
        self._set_client(self._client)

    async def _authenticate(self, event: Authenticate) -> None:
        session = self._session
        tls = tls_description(self._transport()) if self._tls else None
        self._set_client(attrs.evolve(self._client, tls=tls))
        proved = await self._authentication.prove(event.login, self._client)
        if isinstance(proved, Reply):
            text = " ".join(proved.text)
            if proved is TOO_MANY_FAILURES:
                session.hang_up(text, "AUTH")
            else:
                session.refuse(text, "SYS/TEMP" if proved.is_temporary else "AUTH")
            return
        if isinstance(proved, bytes):
            session.challenge(proved)
            return
        if self._lost:
            return
        client = attrs.evolve(self._client, login=str(proved))
        opened = await self._server.access.open(client, proved)
        if isinstance(opened, NoAccess):
            self._authentication.log_out()
            session.refuse(opened.text, opened.code)
            return
        self._mailbox = opened
        self._set_client(client)
        session.logged_in(opened.sizes)

    async def _identify(self, event: Identify) -> None:
        opened = self._open_mailbox()
        self._session.identified(
            [await _value(opened.mailbox.getUidl(i)) for i in range(len(opened.sizes))]
        )

    async def _retrieve(self, event: Retrieve) -> None:
        opened = self._open_mailbox()
        try:
            file = await self._server.access.ask(
                lambda: opened.mailbox.getMessage(event.index), FileNotFoundError
            )
        except FileNotFoundError:
            self._session.refuse("the message is not there any more: another program removed it")
            return
        except PluginFault:
            self._session.refuse("the message can't be read", "SYS/TEMP")
            return
        try:
            self._session.message_follows(opened.sizes[event.index])
            await self._send(file, None if event.lines is None else Top(event.lines))
            self._session.message_sent()
        except Exception:
            # The message is begun: there is no way to tell the client but to break off.
            log.failure(
                "could not read message {number} of {login}",
                number=event.index + 1,
                login=self._client.login,
            )
            self.drop()
        finally:
            file.close()

    async def _send(self, file: Any, top: Top | None) -> None:
        """Send a file, or the beginning of it."""
        session = self._session
        encoder = DataEncoder()
        in_memory = isinstance(file, io.BytesIO)
        while not (self._closing or (top is not None and top.done)):
            piece = (
                file.read(PIECE) if in_memory else await self._server.in_thread(file.read, PIECE)
            )
            if not piece:
                break
            if top is not None:
                piece = top.take(piece)
            session.content(encoder.encode(piece))
            if not in_memory:
                self._flush()
                await self._room_for_more()
        session.content(encoder.finish())

    async def _room_for_more(self) -> None:
        if self._output_full and not self._closing:
            self._room = Deferred()
            await self._room

    def _let_go_on(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    async def _update(self, event: Update) -> None:
        opened = self._open_mailbox()
        mailbox = opened.mailbox
        try:
            if event.indices:
                for index in event.indices:
                    mailbox.deleteMessage(index)
                await self._server.access.ask(mailbox.sync)
        except (PluginFault, ValueError):
            self._log_out()
            self._session.refuse("some deleted messages were not removed", "SYS/TEMP")
            return
        # Unlocked before the client is told, so that it may come back at once.
        self._log_out()
        self._session.accept(f"{self._server.hostname} says goodbye")

    # --- time, and the end -------------------------------------------------------------------

    def _tick(self) -> None:
        """Look whether a limit is reached. The one timer of the connection comes here."""
        self._timer = None
        if self._closing:
            self.drop()
            return
        limits = self._server.limits
        now = self._server.clock.seconds()
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
        if self._running is None and not self._closing:
            self._session.hang_up("the server is shutting down, try again later")
            self._write()

    def drop(self) -> None:
        """Close at once, without another word."""
        self._session.closing = True
        self._closing = True
        self._let_go_on()
        if self._lost:
            return
        transport = self._transport()
        transport.unregisterProducer()
        getattr(transport, "abortConnection", transport.loseConnection)()

    def _close(self) -> None:
        """Close once all output is sent, or after a while when the client doesn't take it."""
        self._closing = True
        transport = self._transport()
        # As long as there is a producer the transport would wait for it.
        transport.unregisterProducer()
        transport.loseConnection()
        if self._lost:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.clock.callLater(LINGER, self._tick)

    def _log_out(self) -> None:
        """Close the mailbox, which unlocks it, and end the login."""
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.log_out()
        self._authentication.log_out()

    # --- the client --------------------------------------------------------------------------

    def _learn_address(self) -> None:
        """Learn the client's true address: behind a proxy it is known only once it has spoken."""
        self._identified = True
        address, port = peer_address(self._transport())
        self._set_client(attrs.evolve(self._client, address=address, port=port))
        if address == self._counted_as or self._closing:
            return
        before, self._counted_as = self._counted_as, address
        if self._server.connections.moved(before, address) is not None:
            self._session.hang_up(_TOO_MANY)
            self._write()

    def _set_client(self, client: Client) -> None:
        """What is known of the client changed: so does what it is offered."""
        self._client = client
        self._session.offer = Offer(
            stls=self._server.tls == "starttls" and not self._tls,
            login=self._tls or client.is_loopback,
            mechanisms=self._server.mechanisms.offered(self._tls and can_bind(self.transport)),
        )

    def _open_mailbox(self) -> OpenMailbox:
        assert self._mailbox is not None
        return self._mailbox

    def _binding(self, kind: str) -> bytes | None:
        return server_binding(self.transport, kind) if self._tls else None

    def _transport(self) -> Any:
        # ITransport alone says nothing of producers and TLS, which all stream transports have.
        return self.transport


async def _value(answer: Any) -> Any:
    """The answer of a mailbox's method, whether it came at once or not."""
    return await answer if isinstance(answer, Deferred) else answer


_ANSWERS = cast(
    dict[type, Callable[[Pop3Connection, Event], Answer]],
    {
        Flush: Pop3Connection._more_output,
        StartTls: Pop3Connection._start_tls,
        Authenticate: Pop3Connection._authenticate,
        Identify: Pop3Connection._identify,
        Retrieve: Pop3Connection._retrieve,
        Update: Pop3Connection._update,
    },
)
