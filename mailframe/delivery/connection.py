"""One connection to a next hop: the Twisted side of `mailframe.wire.smtp_sender.Sender`.

It carries octets and events between the sender and the transport and keeps the deadlines of RFC
5321 §4.5.3.2 (`mailframe.delivery.deadlines`). Content that is not in hand with the transaction is
sent by `mailframe.delivery.content_stream`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IReactorTime,
    ISSLTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.channel_binding import client_binding
from mailframe.delivery.addresses import is_loopback
from mailframe.delivery.content_stream import ContentStream, OpenContent
from mailframe.delivery.deadlines import CLOSING, Deadline, allowed
from mailframe.delivery.handshake import Handshake
from mailframe.delivery.offers import Offers
from mailframe.delivery.outlet import Outlet
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.wire.sasl import Derivation, Login
from mailframe.wire.sender_events import (
    ContentWanted,
    Ended,
    Event,
    Failed,
    Ready,
    Settled,
    Stage,
    StartTls,
    Transaction,
)
from mailframe.wire.smtp_sender import Sender

__all__ = ["BROKEN_OFF", "CLOSING", "OpenContent", "RelayConnection", "Result"]

log = Logger()
Result: TypeAlias = Settled | Failed

_GIVEN_UP = Reply(451, "4.3.0", "the connection was given up")
BROKEN_OFF = Reply(451, "4.3.2", "broken off by our shutdown")
_NO_TLS = Reply(454, "4.7.5", "this kind of connection has no TLS")
_NO_LOGIN = Reply(451, "4.3.0", "the login could not be computed here")
_UNREADABLE = Reply(451, "4.3.0", "the content could not be read here")


@implementer(IHandshakeListener)
class RelayConnection(Offers, Protocol):
    """A session with one server, for one transaction at a time.

    :param where: what outcomes and log lines call the server
    :param hostname: our name
    :param hop: tells the protocol and, when ``tls`` is not given, what to do about TLS
    :param login: for AUTH, or ``None``
    :param handshake: begins TLS, unless the connection is to be left as it is
    :param settings: the ``[relay]`` table
    :param clock: measures the deadlines
    :param in_thread: ``in_thread(function)`` does what takes long elsewhere than in the reactor
        thread; by default it is done at once
    :param local: the other end is a UNIX socket of this machine

    :ivar opened: fires once: with ``None`` when the session stands, else with the `Failed`
    :ivar closed: fires with ``None`` when the connection is gone
    :ivar where: as given
    :ivar lmtp: whether LMTP is spoken
    :ivar local: as given
    :ivar messages: how many transactions were begun
    :ivar handshake: as given; it knows what was wrong with TLS
    """

    transport: Any  # an ITransport and IConsumer, and an ITLSTransport where STARTTLS is used

    def __init__(
        self,
        *,
        where: str,
        hostname: str,
        hop: NextHop,
        login: Login | None,
        handshake: Handshake,
        settings: RelaySettings,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]] = maybeDeferred,
        local: bool = False,
    ) -> None:
        self.opened: Deferred[Failed | None] = Deferred(self._given_up)
        self.closed: Deferred[None] = Deferred()
        self.where = where
        self.lmtp = hop.protocol == "lmtp"
        self.local = local
        self.messages = 0
        self.handshake = handshake
        self._hostname = hostname
        self._hop = hop
        self._login = login
        self._settings = settings
        self._clock = clock
        self._in_thread = in_thread
        self._open: OpenContent | None = None
        self._stream: ContentStream | None = None  # the content that is under way
        self._waiting: Deferred[Result] | None = None
        self._outlet: Outlet | None = None  # while the connection stands
        self._allowed = allowed(settings.timeouts)
        self._deadline = Deadline(clock, self._expired)
        self._closing = False
        self._last_deadline = 0.0  # for all that is done about one message
        self._has_all = False  # the server has all of the message

    # --- what the agent calls ---------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        sender = self.sender
        return (
            sender is not None
            and self._outlet is not None
            and sender.stage == "idle"
            and not sender.used_up
        )

    def transact(self, transaction: Transaction, open_content: OpenContent) -> Deferred[Result]:
        """Hand over one message.

        :param open_content: opens the content; called only when the server wants it and it is not
            in hand
        :returns: fires with a `Settled`, or a `Failed` after which the connection is of no use.
            Cancelling it breaks the connection.
        """
        assert self.usable
        assert self.sender
        self.messages += 1
        self._open = open_content
        waiting = self._waiting = Deferred(self._given_up)
        self._last_deadline = self._clock.seconds() + self._settings.timeouts.total
        self._has_all = False
        self.sender.begin(transaction)
        self._watch()
        self._pump()
        return waiting

    def rest(self) -> None:
        """Nobody uses the connection for now: say QUIT when that lasts too long."""
        self._deadline.set(self._clock.seconds() + self._settings.reuse_idle)

    def quit(self) -> Deferred[None]:
        """End the session: in the ordinary way between transactions, else by breaking it.

        :returns: fires with ``None`` when the connection is gone, within a few seconds
        """
        sender = self.sender
        if sender is not None and self._outlet is not None and sender.stage == "idle":
            sender.quit()
            self._watch()
            self._pump()
        elif self._outlet is not None and not (sender is not None and sender.stage == "quit"):
            self.abort()
        gone: Deferred[None] = Deferred()
        self.closed.addBoth(gone.callback)
        return gone

    def abort(self) -> None:
        """Break the connection, whatever it is doing, because the server is shutting down.

        A transaction ends as `Failed` with `BROKEN_OFF`; after the final dot with what says so.
        """
        if self.sender:
            self._fail(BROKEN_OFF)
        self._break()

    # --- what Twisted calls -----------------------------------------------------------------

    def connectionMade(self) -> None:
        """The connection stands; the server has the first word."""
        self._last_deadline = self._clock.seconds() + self._settings.timeouts.total
        encrypted = ISSLTransport.providedBy(self.transport)
        self._outlet = Outlet(self.transport, encrypted=encrypted)
        self.sender = Sender(
            hostname=self._hostname,
            protocol=self._hop.protocol,
            tls=self._hop.tls if self.handshake.creator else "none",
            login=self._login,
            encrypted=encrypted,
            loopback=self.local or is_loopback(getattr(self.transport.getPeer(), "host", "")),
            chunking=self._settings.chunking,
        )
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        """The server said something."""
        sender = self.sender
        assert sender
        if sender.stage == "closed":
            return self._close()  # whatever it is, it answers to QUIT
        read = sender.replies_read
        sender.receive(data)
        if sender.replies_read != read:
            self._watch()
        self._pump()

    def handshakeCompleted(self) -> None:
        """TLS stands, and the certificate is as good as the policy asks."""
        assert self.sender
        if not self.handshake.is_good(self.transport.getHandle()):
            assert self.handshake.fault
            self._fail(self.handshake.fault.reply, "tls")
            return self._break()
        if self._login is not None:
            self.sender.bind(client_binding(self.transport))
        if self.sender.stage == "tls":
            self.sender.tls_started()
            self._watch()
            self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._outlet = None
        sender = self.sender
        assert sender
        error = reason.value
        if sender.stage in ("tls", "greeting") and isinstance(error, SSL.Error | VerificationError):
            self._fail(self.handshake.broke(error).reply, "tls")
        else:
            sender.connection_lost()
            self._pump()
        self._deadline.stop()
        self._stop_stream()
        self.closed.callback(None)

    # --- between the sender and the transport ------------------------------------------------

    def _pump(self) -> None:
        """Write what the sender has to say, then act on what it told."""
        sender = self.sender
        assert sender
        output = sender.take_output()
        if output and self._outlet is not None:
            self._outlet.write(output)
        for event in sender.take_events():
            self._act(event)

    def _act(self, event: Event) -> None:
        if isinstance(event, Settled):
            self._answer(event)
        elif isinstance(event, ContentWanted):
            Deferred.fromCoroutine(self._send_content())
        elif isinstance(event, Ready):
            self.opened.callback(None)
        elif isinstance(event, StartTls):
            self._start_tls()
        elif isinstance(event, Derivation):
            Deferred.fromCoroutine(self._derive(event))
        elif isinstance(event, Ended):
            self._close()
        else:
            self._leave()
            if not self.opened.called:
                self.opened.callback(event)
            else:
                self._answer(event)

    def _answer(self, result: Result) -> None:
        self._stop_stream()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)

    def _start_tls(self) -> None:
        creator = self.handshake.creator
        assert creator
        if ITLSTransport.providedBy(self.transport):
            if self._outlet is not None:
                self._outlet.use_buffer()
            self.transport.startTLS(creator)
        else:
            self._fail(_NO_TLS)

    async def _derive(self, work: Derivation) -> None:
        assert self.sender
        try:
            key = await self._in_thread(work.compute)
        except Exception:
            log.failure("the login at {where} could not be computed", where=self.where)
            self.sender.fail(_NO_LOGIN)
        else:
            self.sender.derived(key)
        self._watch()
        self._pump()

    async def _send_content(self) -> None:
        sender, open_content = self.sender, self._open
        assert sender
        assert open_content
        if self._outlet is not None:
            self._outlet.use_buffer()
        stream = self._stream = ContentStream(sender, self.transport, self._watch)
        try:
            complete = await stream.send(open_content)
        except Exception:
            log.failure("the content of a message could not be read while it was sent")
            if stream is self._stream:
                sender.fail(_UNREADABLE)
                self._break()
        else:
            if complete:
                sender.end_of_content()
                self._watch()
        if stream is self._stream:
            self._stream = None
            self._pump()

    def _fail(self, reply: Reply, stage: Stage | None = None) -> None:
        assert self.sender
        self.sender.fail(reply, stage)
        self._pump()

    def _stop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.stop()

    def _given_up(self, _waiting: Deferred[Any]) -> None:
        """Whoever waits for an answer cancelled it; `CancelledError` is the answer."""
        self._waiting = None
        if self.sender:
            self.sender.fail(_GIVEN_UP)
            self.sender.take_events()
        self._break()

    # --- deadlines and the end ---------------------------------------------------------------

    def _watch(self) -> None:
        """There was progress: set the deadline of the present stage."""
        if self._outlet is None:
            return
        assert self.sender
        now = self._clock.seconds()
        stage = self.sender.stage
        deadline = now + self._allowed[stage]
        if stage == "final" and not self._has_all:
            # The server gets all its time from here on: who gives up sends the message twice.
            self._has_all = True
            self._last_deadline = max(self._last_deadline, deadline)
        if deadline > self._last_deadline and stage not in ("idle", "quit", "closed"):
            deadline = max(now, self._last_deadline)
        self._deadline.set(deadline)

    def _expired(self) -> None:
        sender = self.sender
        assert sender
        if sender.stage == "closed":
            self._break()
        elif sender.stage == "idle":
            self.quit()
        else:
            sender.timed_out()
            self._pump()
            self._break()

    def _leave(self) -> None:
        """Close after a failure, but hear what the server says to QUIT if it was told."""
        if self.sender is not None and self.sender.parting and self._outlet is not None:
            self._deadline.set(self._clock.seconds() + CLOSING)
        else:
            self._close()

    def _close(self) -> None:
        """Close after what was written went out; break when that takes too long."""
        if self._outlet is not None and not self._closing:
            self._closing = True
            self._watch()
            self.transport.loseConnection()

    def _break(self) -> None:
        if self._outlet is not None:
            close = getattr(self.transport, "abortConnection", self.transport.loseConnection)
            close()
