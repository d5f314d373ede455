"""An SMTP server that listens: it builds a session for each connection and counts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailframe.authorisation.networks import Networks
from mailframe.reply import Reply
from mailframe.server.admission import Admission
from mailframe.server.connections import Connections
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.server.mechanisms import Mechanisms
from mailframe.server.smtp_connection import SHUTTING_DOWN, SmtpConnection
from mailframe.server.smtp_session import SmtpSession
from mailframe.server.tally import Tally
from mailframe.server.trace import USUAL, Shown

log = Logger()

TlsContext: TypeAlias = IOpenSSLServerConnectionCreator | IOpenSSLContextFactory

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "too many connections, try again later")


class SmtpServerFactory(Factory):
    """One ``[[server]]`` of protocol ``smtp``, ``submission`` or ``lmtp``.

    :ivar mechanisms: those of SASL that logins may use
    :ivar tls_context: the certificate; replaced when certificates are read again, for the
        connections that come after
    :ivar draining: no transaction begins any more
    """

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        protocol: Literal["smtp", "submission", "lmtp"],
        hostname: str,
        default_domain: str,
        admission: Admission,
        portal: Portal | None,
        tls_context: TlsContext | None,
        tls: Literal["none", "starttls", "implicit"],
        limits: Limits,
        clock: IReactorTime,
        login_failures: LoginFailures | None = None,
        tally: Tally | None = None,
        xclient: Iterable[str] = (),
        shown: Shown = USUAL,
        mechanisms: Iterable[str] | None = None,
    ) -> None:
        """
        :param name: how decisions, logs and providers refer to this server
        :param hostname: our own name, for greeting and EHLO
        :param default_domain: whose postmaster ``<Postmaster>`` is
        :param portal: where logins are proved, or ``None`` when there are none
        :param tls_context: needed unless ``tls`` is ``none``
        :param clock: ``seconds()`` are POSIX seconds UTC
        :param login_failures: to be shared with other servers; when ``None``, it has its own
        :param tally: counts its connections; when ``None``, it has its own
        :param xclient: networks whose programs may say for whom they speak
        :param shown: what the trace header tells of the client
        :param mechanisms: those of SASL that may be offered; ``None``: all
        :raises ValueError: TLS is wanted without a context; or ``xclient`` holds what is no network
        """
        if tls != "none" and tls_context is None:
            raise ValueError(f"server {name!r}: tls = {tls!r} needs a certificate")
        self.name = name
        self.protocol_name = protocol
        self.hostname = hostname
        self.default_domain = default_domain
        self.admission = admission
        self.portal = portal
        self.mechanisms = Mechanisms(portal, mechanisms)
        self.tls_context = tls_context
        self.tls = tls
        self.limits = limits
        self.clock = clock
        self.login_failures = (
            login_failures
            if login_failures is not None
            else LoginFailures(limits=limits, clock=clock)
        )
        self.xclient = Networks(xclient)
        self.shown = shown
        kind = "LMTP" if protocol == "lmtp" else "ESMTP"
        self.greeting = Reply(220, None, f"{hostname} {kind} mailframe")
        self.connections: Connections[SmtpConnection] = Connections(
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

    def buildProtocol(self, addr: IAddress | None) -> SmtpSession:
        """Make the session of a connection."""
        return SmtpSession(self)

    # --- connections --------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the server stops."""
        return self.connections.draining

    def arrived(self, session: SmtpConnection, address: str) -> Reply | None:
        """A connection was made.

        :returns: why it is to be sent away, or ``None``
        """
        beyond = self.connections.arrived(session, address)
        if self.draining:
            return SHUTTING_DOWN
        return TOO_MANY_CONNECTIONS if beyond is not None else None

    def moved(self, before: str, address: str) -> Reply | None:
        """A connection turned out to be from another address, behind a proxy.

        :returns: why it is to be sent away, or ``None``
        """
        beyond = self.connections.moved(before, address)
        return TOO_MANY_CONNECTIONS if beyond is not None else None

    def left(self, session: SmtpConnection, address: str) -> None:
        """A connection is over."""
        self.connections.left(session, address)

    def drain(self, seconds: float) -> Deferred[None]:
        """Begin no transaction any more, and finish those in flight.

        :param seconds: how long they may take; then their connections are cut
        :returns: fires when no connection is left
        """
        return self.connections.drain(seconds)
