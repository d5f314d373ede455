"""The factories of the listening servers, and what their sessions share."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mailframe.address import Address
from mailframe.assembly import Parts
from mailframe.certificates import load_context
from mailframe.console.server import ConsoleServerFactory
from mailframe.envelope import Client
from mailframe.interfaces import NOTHING_KNOWN, IRelayAuthorisation, Known
from mailframe.outcome import Route, Verdict
from mailframe.server.admission import Admission
from mailframe.server.client_records import ClientRecords
from mailframe.server.login_delays import LoginDelays
from mailframe.server.login_failures import LoginFailures
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.server.smtp import SmtpServerFactory
from mailframe.server.trace import Shown
from mailframe.settings import ServerSettings, Settings


class ServerFactory(Protocol):
    """What the servers of all protocols have in common."""

    def for_endpoint(self) -> IProtocolFactory:
        """What an endpoint is to listen with."""

    def drain(self, seconds: float) -> Deferred[Any]:
        """Begin nothing; fires when nothing is in flight any more, or after this many seconds."""


@implementer(IRelayAuthorisation)
class PolicyInForce:
    """Routes and permissions, asked of the parts that are in force at the time of the question.

    So a session that began before a reload is judged by the policies that came with it.
    """

    def __init__(self, parts: Parts) -> None:
        self.use(parts)

    def use(self, parts: Parts) -> None:
        """Ask these from now on."""
        self._router = parts.router()
        self.asks_provider = self._router.asks_provider
        self.longest_wait = self._router.longest_wait
        self._authorisation: IRelayAuthorisation = parts.authorisation.part

    def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Coroutine[Any, Any, Route]:
        """See `mailframe.routing.resolution.Router`."""
        return self._router.route(sender, recipient, client, now, known)

    def authorise(
        self, client: Client, sender: Address | None, recipient: Address
    ) -> Awaitable[Verdict]:
        """See `IRelayAuthorisation`."""
        return self._authorisation.authorise(client=client, sender=sender, recipient=recipient)

    def admit(self, client: Client) -> Awaitable[Verdict]:
        """See `IRelayAuthorisation`."""
        return self._authorisation.admit(client=client)


def tls_context(settings: Settings) -> CertificateOptions | None:
    """The TLS context of all servers, or ``None`` without ``[tls]``.

    :raises CertificateError: certificate or key can't be used
    """
    if settings.tls is None:
        return None
    return load_context(settings.tls.certificate, settings.tls.private_key)


def make_factories(
    parts: Parts,
    policy: PolicyInForce,
    context: CertificateOptions | None,
    records: ClientRecords,
) -> dict[str, ServerFactory]:
    """Make a factory for each ``[[server]]``.

    :param parts: all of them
    :param policy: judges
    :param context: the TLS context
    :param records: what is remembered of clients, whatever factory serves them
    :returns: the factories by the names of their servers
    """
    limits, clock = parts.settings.limits, parts.site.reactor
    lent = _Lent(
        admission=Admission(
            hostname=parts.settings.hostname,
            storage=parts.queue.part,
            storage_name=parts.queue.name,
            router=policy,
            authorisation=policy,
            authorisation_name=parts.authorisation.name,
            limits=limits,
            clock=clock,
            local_domains=parts.site.local_domains,
        ),
        policy=policy,
        portal=parts.portal(),
        context=context,
        # One count for all servers: a guesser must not start afresh on the next port.
        failures=LoginFailures(limits=limits, clock=clock, records=records),
        delays=LoginDelays(seconds=limits.login_delay, clock=clock, records=records),
        records=records,
    )
    return {server.name: _factory(server, parts, lent) for server in parts.settings.servers}


@attrs.frozen(kw_only=True)
class _Lent:
    """What all factories have in common."""

    admission: Admission
    policy: PolicyInForce
    portal: Any
    context: CertificateOptions | None
    failures: LoginFailures
    delays: LoginDelays
    records: ClientRecords


def _factory(server: ServerSettings, parts: Parts, lent: _Lent) -> ServerFactory:
    settings, clock = parts.settings, parts.site.reactor
    tls = server.tls or "none"
    if server.protocol == "console":
        return _Console(
            inner=ConsoleServerFactory(
                name=server.name,
                storage=parts.queue.part,
                hostname=settings.hostname,
                clock=clock,
                limits=settings.limits,
            ),
            context=lent.context if tls == "implicit" else None,
            clock=clock,
        )
    if server.protocol == "pop3":
        return Pop3ServerFactory(
            name=server.name,
            hostname=settings.hostname,
            portal=lent.portal,
            authorisation=lent.policy,
            authorisation_name=parts.authorisation.name,
            tls_context=lent.context,
            tls=tls,
            limits=settings.limits,
            clock=clock,
            in_thread=parts.site.in_thread,
            login_failures=lent.failures,
            login_delays=lent.delays,
            tally=lent.records.tally(server.name),
            mechanisms=server.mechanisms,
        )
    return SmtpServerFactory(
        name=server.name,
        protocol=server.protocol,
        hostname=settings.hostname,
        default_domain=settings.default_domain,
        admission=lent.admission,
        portal=lent.portal,
        tls_context=lent.context,
        tls=tls,
        limits=settings.limits,
        clock=clock,
        login_failures=lent.failures,
        tally=lent.records.tally(server.name),
        xclient=server.xclient,
        shown=Shown(login=server.show_login, reason=server.show_reason),
        mechanisms=server.mechanisms,
    )


@attrs.frozen(kw_only=True, eq=False)
class _Console:
    """The console behind TLS, when that is asked for."""

    inner: ConsoleServerFactory
    context: CertificateOptions | None
    clock: Any

    def for_endpoint(self) -> IProtocolFactory:
        factory = self.inner.for_endpoint()
        if self.context is None:
            return factory
        return TLSMemoryBIOFactory(self.context, False, factory, self.clock)

    def drain(self, seconds: float) -> Deferred[Any]:
        return self.inner.drain(seconds)
