"""One SMTP session: what is answered to the client.

The dialogue itself is in `mailframe.wire.smtp_receiver`, the decisions are in
`mailframe.server.admission`; time and transport are seen to by `mailframe.server.smtp_connection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs
from twisted.logger import Logger

from mailframe.channel_binding import can_bind, server_binding
from mailframe.envelope import Client
from mailframe.reply import Reply
from mailframe.server.authentication import Authentication
from mailframe.server.outlet import Outlet
from mailframe.server.peer import tls_description
from mailframe.server.smtp_connection import SHUTTING_DOWN, TIMED_OUT, Answer, SmtpConnection
from mailframe.server.xclient import client_of, greeted, in_force
from mailframe.wire.sasl import encode
from mailframe.wire.smtp_events import (
    Authenticate,
    Content,
    Data,
    EndOfChunk,
    EndOfData,
    Hello,
    Mail,
    Rcpt,
    Reset,
    StartTls,
    Xclient,
)
from mailframe.wire.smtp_extensions import Offer, hello_reply
from mailframe.wire.smtp_replies import AUTHENTICATED, GO_AHEAD, OK, SENDER_OK, START_TLS

if TYPE_CHECKING:
    from mailframe.server.smtp import SmtpServerFactory

log = Logger()


class SmtpSession(SmtpConnection):
    """The session with one client."""

    def __init__(self, factory: SmtpServerFactory) -> None:
        """:param factory: the server that the client is connected to"""
        super().__init__(factory)
        self._trusted = False  # to speak for others
        self._said: Mapping[str, str | None] = {}  # of the other, with XCLIENT
        self._authentication = (
            Authentication(
                portal=factory.portal,
                limits=factory.limits,
                clock=factory.clock,
                failures=factory.login_failures,
                binding=self._binding,
            )
            if factory.portal is not None
            else None
        )

    def _begin(self, address: str, port: int) -> None:
        server = self._server
        self._trusted = server.xclient.find(address) is not None
        self._set_client(
            Client(server=server.name, protocol=server.protocol_name, address=address, port=port)
        )

    def _leave(self) -> None:
        if self._authentication is not None:
            self._authentication.log_out()

    # --- what is answered to each event -------------------------------------------------------

    def _hello(self, event: Hello) -> Reply:
        client = greeted(self._client, event.name, event.esmtp, self._said)
        if self._tls:
            client = attrs.evolve(client, tls=tls_description(self._transport()))
        self._set_client(client)
        self._abandon("the client began a new session")
        return hello_reply(self._server.hostname, event.esmtp, self._receiver.offer)

    def _xclient(self, event: Xclient) -> Reply:
        self._said = in_force(self._said, event.attributes)
        client = client_of(self._said, self._client)
        log.info(
            "{address} on {server} speaks for {client} ({login})",
            address=self._client.address,
            server=self._server.name,
            client=client.address,
            login=client.login,
        )
        if self._authentication is not None:
            self._authentication.log_out()
        before, self._counted_as = self._counted_as, client.address
        self._set_client(client)
        refusal = None
        if before != client.address:
            refusal = self._server.moved(before, client.address)
        return refusal or self._server.greeting

    def _start_tls(self, event: StartTls) -> None:
        receiver = self._receiver
        receiver.reply(START_TLS)
        if receiver.injected:
            log.warn(
                "dropped {address} on {server}: {size} octets in the clear behind STARTTLS",
                address=self._client.address,
                server=self._server.name,
                size=len(receiver.injected),
            )
            self.drop()
            return
        transport = self._transport()
        self._write()
        self._tls = True
        self._outlet = Outlet(transport, tls=True)
        transport.startTLS(self._server.tls_context)
        if self._authentication is not None:
            self._authentication.log_out()
        self._said = {}
        self._set_client(attrs.evolve(self._client, helo=None, esmtp=False, login=None))

    async def _authenticate(self, event: Authenticate) -> Reply:
        assert self._authentication is not None
        answer = await self._authentication.prove(event.login, self._client)
        if isinstance(answer, Reply):
            return answer
        if isinstance(answer, bytes):
            return Reply(334, None, encode(answer).decode("ascii"))
        self._set_client(attrs.evolve(self._client, login=str(answer)))
        return AUTHENTICATED

    def _mail(self, event: Mail) -> Reply:
        if self._stopping:
            return SHUTTING_DOWN
        now = self._server.clock.seconds()
        if now >= self._connected + self._server.limits.session:
            return TIMED_OUT
        answer = self._server.admission.mail(
            self._client, event.sender, event.size, event.body, event.wishes
        )
        if isinstance(answer, Reply):
            return answer
        self._transaction = answer
        self._began = now
        return SENDER_OK

    def _rcpt(self, event: Rcpt) -> Answer:
        assert self._transaction is not None
        return self._server.admission.recipient(
            self._transaction, event.recipient, event.notify, event.orcpt
        )

    def _reset(self, event: Reset) -> Reply:
        self._abandon("the client gave it up")
        return OK

    def _data(self, event: Data) -> Reply:
        assert self._transaction is not None
        answer = self._server.admission.begin(self._transaction, shown=self._server.shown)
        if isinstance(answer, Reply):
            return answer
        self._incoming = answer
        self._data_began = self._server.clock.seconds()
        self._received = 0
        return GO_AHEAD

    def _content(self, event: Content) -> Answer:
        assert self._incoming is not None
        return self._incoming.write(event.octets)

    def _end_of_chunk(self, event: EndOfChunk) -> Reply:
        assert self._incoming is not None
        return self._incoming.end_of_chunk(event.octets, event.refusal)

    def _end_of_data(self, event: EndOfData) -> Answer:
        assert self._incoming is not None
        return self._incoming.end(event.refusal)

    # --- the client ---------------------------------------------------------------------------

    def _set_client(self, client: Client) -> None:
        """What is known of the client changed: so does what it is offered."""
        self._client = client
        server = self._server
        limits = server.limits
        logins = server.portal is not None
        holds = client.login is not None and server.protocol_name == "submission"
        self._receiver.offer = Offer(
            size=limits.message_size,
            starttls=server.tls == "starttls" and not self._tls,
            tls=self._tls,
            mechanisms=server.mechanisms.offered(self._tls and can_bind(self.transport)),
            login=logins and (self._tls or client.is_loopback),
            recipients=limits.recipients,
            hold=int(limits.hold) if holds else 0,
            hold_until=server.clock.seconds() + limits.hold if holds else 0.0,
            xclient=self._trusted,
        )

    def _binding(self, kind: str) -> bytes | None:
        return server_binding(self.transport, kind) if self._tls else None

    _answers: ClassVar = {
        Hello: _hello,
        StartTls: _start_tls,
        Authenticate: _authenticate,
        Mail: _mail,
        Rcpt: _rcpt,
        Data: _data,
        Content: _content,
        EndOfChunk: _end_of_chunk,
        EndOfData: _end_of_data,
        Reset: _reset,
        Xclient: _xclient,
    }
