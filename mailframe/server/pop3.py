"""A POP3 server that listens: it builds a connection's protocol and counts the connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailframe.interfaces import IRelayAuthorisation
from mailframe.server.connections import Connections
from mailframe.server.limits import Limits
from mailframe.server.login_delays import LoginDelays
from mailframe.server.login_failures import LoginFailures
from mailframe.server.mailbox_access import MailboxAccess
from mailframe.server.mechanisms import Mechanisms
from mailframe.server.pop3_connection import Pop3Connection
from mailframe.server.tally import Tally

TlsContext: TypeAlias = IOpenSSLServerConnectionCreator | CertificateOptions


class Pop3ServerFactory(Factory):
    """One ``[[server]]`` of protocol ``pop3``.

    :ivar mechanisms: those of SASL that logins may use
    :ivar tls_context: the certificate; replaced when certificates are read again, for the
        connections that come after
    :ivar access: proves logins and opens mailboxes
    :ivar connections: those that are open
    """

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        hostname: str,
        portal: Portal,
        authorisation: IRelayAuthorisation,
        authorisation_name: str,
        tls_context: TlsContext | None,
        tls: Literal["none", "starttls", "implicit"],
        limits: Limits,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        login_failures: LoginFailures | None = None,
        login_delays: LoginDelays | None = None,
        tally: Tally | None = None,
        mechanisms: Iterable[str] | None = None,
    ) -> None:
        """
        :param name: how decisions, logs and providers refer to this server
        :param hostname: our own name, for the greeting
        :param portal: gives `IMailUser` and `IMailboxPOP3` avatars for `UsernamePassword`
        :param authorisation: asked whether a client may read its mailbox over this server
        :param authorisation_name: its name as it stands in the configuration
        :param tls_context: needed unless ``tls`` is ``none``
        :param clock: ``seconds()`` are POSIX seconds UTC
        :param in_thread: see `mailframe.interfaces.Site`; files of messages are read with it
        :param login_failures: to be shared with other servers; when ``None``, it has its own
        :param login_delays: the same
        :param tally: counts its connections; when ``None``, it has its own
        :param mechanisms: those of SASL that may be offered; ``None``: all. USER and PASS go with
            PLAIN
        :raises ValueError: TLS is wanted without a context
        """
        if tls != "none" and tls_context is None:
            raise ValueError(f"server {name!r}: tls = {tls!r} needs a certificate")
        self.name = name
        self.hostname = hostname
        self.portal = portal
        self.mechanisms = Mechanisms(portal, mechanisms)
        self.tls_context = tls_context
        self.tls = tls
        self.limits = limits
        self.clock = clock
        self.in_thread = in_thread
        self.login_failures = (
            login_failures
            if login_failures is not None
            else LoginFailures(limits=limits, clock=clock)
        )
        self.access = MailboxAccess(
            portal=portal,
            authorisation=authorisation,
            authorisation_name=authorisation_name,
            limits=limits,
            clock=clock,
            login_delays=login_delays,
        )
        self.connections: Connections[Pop3Connection] = Connections(
            server=name, limits=limits, clock=clock, tally=tally
        )

    def for_endpoint(self) -> IProtocolFactory:
        """The factory to listen with: this one, inside TLS when that is implicit (RFC 8314)."""
        if self.tls != "implicit":
            return self
        assert self.tls_context is not None
        wrapped: IProtocolFactory = TLSMemoryBIOFactory(
            self.tls_context, False, self, clock=self.clock
        )
        return wrapped

    def buildProtocol(self, addr: IAddress | None) -> Pop3Connection:
        """Make the protocol of a connection."""
        return Pop3Connection(self)

    def drain(self, seconds: float) -> Deferred[None]:
        """Close idle connections, and let those finish that are sending or deleting.

        :param seconds: how long they may take; then their connections are cut
        :returns: fires when no connection is left
        """
        return self.connections.drain(seconds)
