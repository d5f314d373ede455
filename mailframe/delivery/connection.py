"""One connection to a next hop: the Twisted side of `mailframe.wire.smtp_sender.Sender`.

It carries octets and events between the sender and the transport, keeps the deadlines of RFC 5321
§4.5.3.2 and sends content no faster than the transport takes it, so that memory stays bounded
whatever a message's size.

There is one delayed call per connection, not one per command: it is moved only when a deadline
comes closer, and when it fires early it is set again for what is left.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.delivery.relay_settings import RelaySettings
from mailframe.interfaces import IContent
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.wire.sasl import Login
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

log = Logger()
Result: TypeAlias = Settled | Failed
OpenContent: TypeAlias = Callable[[], Awaitable[IContent]]

CLOSING = 5.0  # seconds that the server gets to answer to QUIT, and the transport to close
_GIVEN_UP = Reply(451, "4.3.0", "the connection was given up")


@implementer(IHandshakeListener, IPushProducer)
class RelayConnection(Protocol):
    """A session with one server, for one transaction at a time.

    :param where: what outcomes and log lines call the server
    :param hostname: our name
    :param hop: tells the protocol and, when ``tls`` is not given, what to do about TLS
    :param login: for AUTH, or ``None``
    :param creator: begins TLS; ``None`` leaves the connection as it is
    :param settings: the ``[relay]`` table
    :param clock: measures the deadlines

    :ivar opened: fires once: with ``None`` when the session stands, else with the `Failed`
    :ivar closed: fires with ``None`` when the connection is gone
    :ivar where: as given
    :ivar lmtp: whether LMTP is spoken
    :ivar messages: how many transactions were begun
    """

    transport: Any  # an ITransport and IConsumer, and an ITLSTransport where STARTTLS is used

    def __init__(
        self,
        *,
        where: str,
        hostname: str,
        hop: NextHop,
        login: Login | None,
        creator: IOpenSSLClientConnectionCreator | None,
        settings: RelaySettings,
        clock: IReactorTime,
    ) -> None:
        self.opened: Deferred[Failed | None] = Deferred(self._given_up)
        self.closed: Deferred[None] = Deferred()
        self.where = where
        self.lmtp = hop.protocol == "lmtp"
        self.messages = 0
        self._reuse_idle = float(settings.reuse_idle)
        self._hostname = hostname
        self._hop = hop
        self._login = login
        self._creator = creator
        self._clock = clock
        self._sender: Sender | None = None
        self._connected = False
        self._open: OpenContent | None = None
        self._waiting: Deferred[Result] | None = None
        self._direct = False  # the transport is a bare socket
        self._send: Callable[[bytes], Any] | None = None  # to the socket, while nothing waits
        self._room: Deferred[None] | None = None  # while the transport has had enough

        timeouts = settings.timeouts
        self._allowed: dict[Stage, float] = {
            "greeting": timeouts.greeting,
            "hello": timeouts.command,
            "starttls": timeouts.command,
            "tls": timeouts.tls,
            "auth": timeouts.command,
            "idle": timeouts.command,
            "reset": timeouts.command,
            "mail": timeouts.command,
            "recipient": timeouts.command,
            "data": timeouts.data,
            "content": timeouts.block,
            "final": timeouts.final,
            "quit": CLOSING,
            "closed": CLOSING,
        }
        self._total = float(timeouts.total)
        self._deadline = self._last_deadline = 0.0
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    # --- what the agent calls ---------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        return self._sender is not None and self._connected and self._sender.stage == "idle"

    def offers(self, extension: str) -> bool:
        """Whether the server offers an extension, named in capitals."""
        return self._sender is not None and extension in self._sender.extensions

    def transact(self, transaction: Transaction, open_content: OpenContent) -> Deferred[Result]:
        """Hand over one message.

        :param open_content: opens the content; called only when the server wants it
        :returns: fires with a `Settled`, or a `Failed` after which the connection is of no use.
            Cancelling it breaks the connection.
        """
        assert self.usable
        assert self._sender
        self.messages += 1
        self._open = open_content
        waiting = self._waiting = Deferred(self._given_up)
        self._last_deadline = self._clock.seconds() + self._total
        if self._direct:  # the server has answered to all that was written
            self._send = self.transport.writeSomeData
        self._sender.begin(transaction)
        self._watch()
        self._pump()
        return waiting

    def rest(self) -> None:
        """Nobody uses the connection for now: say QUIT when that lasts too long."""
        self._set_deadline(self._clock.seconds() + self._reuse_idle)

    def quit(self) -> Deferred[None]:
        """End the session in the ordinary way.

        :returns: fires with ``None`` when the connection is gone, within a few seconds
        """
        if self.usable:
            assert self._sender
            self._sender.quit()
            self._watch()
            self._pump()
        elif self._connected and not (self._sender and self._sender.stage == "quit"):
            self.abort()
        gone: Deferred[None] = Deferred()
        self.closed.addBoth(_tell(gone))
        return gone

    def abort(self) -> None:
        """Break the connection, whatever it is doing; a transaction ends as `Failed`, with 4yz."""
        if self._sender:
            self._sender.fail(_GIVEN_UP)
            self._pump()
        self._break()

    # --- what Twisted calls -----------------------------------------------------------------

    def connectionMade(self) -> None:
        """The connection stands; the server has the first word."""
        self._connected = True
        self._last_deadline = self._clock.seconds() + self._total
        encrypted = ISSLTransport.providedBy(self.transport)
        # Not by a look for the method: wrappers lend that of what they wrap.
        self._direct = isinstance(self.transport, Connection) and not encrypted
        self._sender = Sender(
            hostname=self._hostname,
            protocol=self._hop.protocol,
            tls=self._hop.tls if self._creator else "none",
            login=self._login,
            encrypted=encrypted,
            loopback=_is_loopback(self.transport.getPeer()),
        )
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        """The server said something."""
        sender = self._sender
        assert sender
        read = sender.replies_read
        sender.receive(data)
        if sender.replies_read != read:
            self._watch()
        self._pump()

    def handshakeCompleted(self) -> None:
        """TLS stands, and the certificate is as good as the policy asks."""
        assert self._sender
        if self._sender.stage == "tls":
            self._sender.tls_started()
            self._watch()
            self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._connected = False
        sender = self._sender
        assert sender
        if sender.stage in ("tls", "greeting") and isinstance(
            reason.value, SSL.Error | VerificationError
        ):
            text = f"the TLS handshake failed: {_tls_error(reason.value)}"
            sender.fail(Reply(454, "4.7.5", text))
        else:
            sender.connection_lost()
        self._pump()
        self._stop_timer()
        self._make_room()
        self.closed.callback(None)

    def pauseProducing(self) -> None:
        """The transport has had enough content for now."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._watch()
        self._make_room()

    def stopProducing(self) -> None:
        """The transport is closing down; `connectionLost` says the rest."""
        self._connected = False
        self._make_room()

    # --- between the sender and the transport ------------------------------------------------

    def _pump(self) -> None:
        """Write what the sender has to say, then act on what it told."""
        sender = self._sender
        assert sender
        output = sender.take_output()
        if output and self._connected:
            self._write(output)
        for event in sender.take_events():
            self._act(event)

    def _write(self, octets: bytes) -> None:
        """Write, past the transport's buffer where nothing waits in it.

        Twisted's `write` asks the reactor to be told when the socket takes octets: for the few of a
        command or a small message, which a socket takes at once, that is most of the cost.
        """
        if self._send is not None:
            sent = self._send(octets)
            if sent == len(octets):
                return
            self._send = None  # the socket is full or dead: the rest is the transport's work
            if isinstance(sent, int) and sent > 0:
                octets = octets[sent:]
        self.transport.write(octets)

    def _act(self, event: Event) -> None:
        if isinstance(event, ContentWanted):
            Deferred.fromCoroutine(self._send_content())
        elif isinstance(event, Settled):
            self._answer(event)
        elif isinstance(event, Ready):
            self.opened.callback(None)
        elif isinstance(event, StartTls):
            self._start_tls()
        elif isinstance(event, Ended):
            self._close()
        else:
            self._close()
            if not self.opened.called:
                self.opened.callback(event)
            else:
                self._answer(event)

    def _answer(self, result: Result) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)

    def _start_tls(self) -> None:
        assert self._sender
        assert self._creator
        if ITLSTransport.providedBy(self.transport):
            self._direct, self._send = False, None
            self.transport.startTLS(self._creator)
        else:
            self._sender.fail(Reply(454, "4.7.5", "this kind of connection has no TLS"))
            self._pump()

    async def _send_content(self) -> None:
        sender, open_content = self._sender, self._open
        assert sender
        assert open_content
        try:
            content = await open_content()
            try:
                complete = await self._stream(sender, content)
            finally:
                content.close()
        except Exception:
            log.failure("the content of a message could not be read while it was sent")
            sender.fail(Reply(451, "4.3.0", "the content could not be read here"))
            self._break()
        else:
            if complete:
                sender.end_of_content()
                self._watch()
        self._pump()

    async def _stream(self, sender: Sender, content: IContent) -> bool:
        """Send all of the content but the final dot, for which the last piece waits.

        :returns: whether it came to the end
        """
        producing = False
        octets = await content.read()
        while octets and self._connected and sender.stage == "content":
            sender.content(octets)
            octets = await content.read()
            if octets and self._connected:
                if not producing:
                    self._send = None
                    self.transport.registerProducer(self, True)
                    producing = True
                self.transport.write(sender.take_output())
                self._watch()
                if self._room is not None:
                    await self._room
        if producing and self._connected:
            self.transport.unregisterProducer()
        return self._connected and sender.stage == "content"

    def _given_up(self, _waiting: Deferred[Any]) -> None:
        """Whoever waits for an answer cancelled it; `CancelledError` is the answer."""
        self._waiting = None
        if self._sender:
            self._sender.fail(_GIVEN_UP)
            self._sender.take_events()
        self._break()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    # --- deadlines and the end ---------------------------------------------------------------

    def _watch(self) -> None:
        """There was progress: set the deadline of the present stage."""
        if not self._connected:
            return
        assert self._sender
        now = self._clock.seconds()
        stage = self._sender.stage
        deadline = now + self._allowed[stage]
        if deadline > self._last_deadline and stage not in ("idle", "quit", "closed"):
            deadline = max(now, self._last_deadline)
        self._set_deadline(deadline)

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is None:
            self._timer_at = deadline
            self._timer = self._clock.callLater(deadline - self._clock.seconds(), self._expired)
        elif deadline < self._timer_at:
            self._timer_at = deadline
            self._timer.reset(deadline - self._clock.seconds())

    def _expired(self) -> None:
        self._timer = None
        sender = self._sender
        assert sender
        left = self._deadline - self._clock.seconds()
        if left > 0.001:
            self._timer_at = self._deadline
            self._timer = self._clock.callLater(left, self._expired)
        elif sender.stage == "closed":
            self._break()
        elif sender.stage == "idle":
            self.quit()
        else:
            sender.timed_out()
            self._pump()
            self._break()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _close(self) -> None:
        """Close after what was written went out; break when that takes too long."""
        if self._connected:
            self._watch()
            self.transport.loseConnection()

    def _break(self) -> None:
        if self._connected:
            close = getattr(self.transport, "abortConnection", self.transport.loseConnection)
            close()


def _tell(gone: Deferred[None]) -> Callable[[None], None]:
    def tell(_: None) -> None:
        gone.callback(None)

    return tell


def _is_loopback(peer: Any) -> bool:
    """Whether the address is of this machine: a UNIX socket, or a loopback IP address."""
    host = getattr(peer, "host", None)
    if host is None:
        return hasattr(peer, "name")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_error(error: BaseException) -> str:
    """What OpenSSL or service-identity has to say, in a few words."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(str(problem[-1]) for problem in error.args[0])[:200] or "no reason given"
    return type(error).__name__
