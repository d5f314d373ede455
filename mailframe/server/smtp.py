"""An SMTP server that listens: it builds a session for each connection and counts them."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailframe.reply import Reply
from mailframe.server.admission import Admission
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.server.smtp_session import SHUTTING_DOWN, SmtpSession

log = Logger()

TlsContext: TypeAlias = IOpenSSLServerConnectionCreator | IOpenSSLContextFactory

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "too many connections, try again later")


class SmtpServerFactory(Factory):
    """One ``[[server]]`` of protocol ``smtp`` or ``submission``.

    :ivar tls_context: the certificate; replaced when certificates are read again, for the
        connections that come after
    :ivar draining: no transaction begins any more
    """

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        protocol: Literal["smtp", "submission"],
        hostname: str,
        default_domain: str,
        admission: Admission,
        portal: Portal | None,
        tls_context: TlsContext | None,
        tls: Literal["none", "starttls", "implicit"],
        limits: Limits,
        clock: IReactorTime,
        login_failures: LoginFailures | None = None,
    ) -> None:
        """
        :param name: how decisions, logs and providers refer to this server
        :param hostname: our own name, for greeting and EHLO
        :param default_domain: whose postmaster ``<Postmaster>`` is
        :param portal: where logins are proved, or ``None`` when there are none
        :param tls_context: needed unless ``tls`` is ``none``
        :param clock: ``seconds()`` are POSIX seconds UTC
        :param login_failures: to be shared with other servers; when ``None``, it has its own
        :raises ValueError: TLS is wanted without a context
        """
        if tls != "none" and tls_context is None:
            raise ValueError(f"server {name!r}: tls = {tls!r} needs a certificate")
        self.name = name
        self.protocol_name = protocol
        self.hostname = hostname
        self.default_domain = default_domain
        self.admission = admission
        self.portal = portal
        self.tls_context = tls_context
        self.tls = tls
        self.limits = limits
        self.clock = clock
        self.login_failures = (
            login_failures
            if login_failures is not None
            else LoginFailures(limits=limits, clock=clock)
        )
        self.draining = False
        self.greeting = Reply(220, None, f"{hostname} ESMTP mailframe")
        self._sessions: set[SmtpSession] = set()
        self._of_address: Counter[str] = Counter()
        self._drained: Deferred[None] | None = None
        self._drain_limit: IDelayedCall | None = None

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

    # --- counting -----------------------------------------------------------------------------

    def arrived(self, session: SmtpSession, address: str) -> Reply | None:
        """A connection was made.

        :returns: why it is to be sent away, or ``None``
        """
        refusal = self._refusal(address)
        self._sessions.add(session)
        self._of_address[address] += 1
        return refusal

    def _refusal(self, address: str) -> Reply | None:
        if self.draining:
            return SHUTTING_DOWN
        if len(self._sessions) >= self.limits.connections:
            return self._too_many(address, "connections")
        return self._refusal_of_address(address)

    def _refusal_of_address(self, address: str) -> Reply | None:
        if self._of_address[address] >= self.limits.connections_per_address:
            return self._too_many(address, "connections_per_address")
        return None

    def _too_many(self, address: str, rule: str) -> Reply:
        log.info(
            "refused connection from {address} on {server}: over the limit {rule!r}",
            address=address,
            server=self.name,
            rule=rule,
        )
        return TOO_MANY_CONNECTIONS

    def moved(self, before: str, address: str) -> Reply | None:
        """A connection turned out to be from another address, behind a proxy.

        :returns: why it is to be sent away, or ``None``
        """
        self._forget(before)
        refusal = self._refusal_of_address(address)
        self._of_address[address] += 1
        return refusal

    def left(self, session: SmtpSession, address: str) -> None:
        """A connection is over."""
        self._sessions.discard(session)
        self._forget(address)
        if not self._sessions:
            self._drain_done()

    def _forget(self, address: str) -> None:
        self._of_address[address] -= 1
        if self._of_address[address] <= 0:
            del self._of_address[address]

    # --- the end ------------------------------------------------------------------------------

    def drain(self, seconds: float) -> Deferred[None]:
        """Begin no transaction any more, and finish those in flight.

        :param seconds: how long they may take; then their connections are cut
        :returns: fires when no connection is left
        """
        if self._drained is not None:
            return self._drained
        self.draining = True
        for session in list(self._sessions):
            session.shut_down()
        if not self._sessions:
            return succeed(None)
        self._drained = Deferred()
        self._drain_limit = self.clock.callLater(seconds, self._cut)
        return self._drained

    def _cut(self) -> None:
        self._drain_limit = None
        for session in list(self._sessions):
            session.drop()
        self._drain_done()

    def _drain_done(self) -> None:
        drained, self._drained = self._drained, None
        if self._drain_limit is not None:
            self._drain_limit.cancel()
            self._drain_limit = None
        if drained is not None:
            drained.callback(None)
