"""The parts of one server, built from its settings and put together as far as no socket is needed.

`open_parts` serves the running server as well as commands that look at its queue or have its
decisions explained: both work with the same objects, built in the same way.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import random as random_module
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import Invalid
from zope.interface.verify import verifyObject

from mailframe.accounts.login_secret import load_secret
from mailframe.accounts.realm import make_portal
from mailframe.cli.endpoints import listening_place
from mailframe.config_errors import SettingsError
from mailframe.delivery.dispatch import Agent
from mailframe.delivery.local_addresses import every_address
from mailframe.delivery.relay import RelayAgent
from mailframe.delivery.resolver import make_resolver
from mailframe.guard import as_deferred
from mailframe.interfaces import IMailboxStore, Site
from mailframe.plugin import SEAMS, PluginError, load_builder
from mailframe.routing.resolution import Router
from mailframe.settings import Chosen, Settings

log = Logger()

RELAY_TIME = 14_400.0  # seconds; longer than `[relay.timeouts] total` for a few hosts in turn
LOCAL_TIME = 600.0  # seconds that one delivery into mailboxes may take
POLICY = ("accounts", "authorisation", "routing")  # the seams that can be exchanged while running


class PartError(Exception):
    """A part can't be built or is not what its seam asks for. ``str(error)`` says which and why."""


@attrs.frozen(kw_only=True)
class Named:
    """A part under the name that decisions and log lines call it by."""

    name: str
    part: Any  # provides the interface of its seam


@attrs.frozen(kw_only=True)
class Parts:
    """The built parts, by seam. Only those that were asked for are there.

    :ivar settings: what they were built from
    :ivar site: what they were lent
    """

    settings: Settings
    site: Site
    built: Mapping[str, Named]

    @property
    def accounts(self) -> Named:
        """Provides `mailframe.interfaces.IAccounts`."""
        return self.built["accounts"]

    @property
    def authorisation(self) -> Named:
        """Provides `mailframe.interfaces.IRelayAuthorisation`."""
        return self.built["authorisation"]

    @property
    def routing(self) -> Named:
        """Provides `mailframe.interfaces.IRoutingPolicy`."""
        return self.built["routing"]

    @property
    def queue(self) -> Named:
        """Provides `mailframe.interfaces.IQueueStorage`."""
        return self.built["queue"]

    @property
    def delivery(self) -> Named:
        """Provides `mailframe.interfaces.IDeliveryAgent`."""
        return self.built["delivery"]

    @property
    def services(self) -> tuple[Any, ...]:
        """The parts that are to be started and stopped with the server."""
        return tuple(n.part for n in self.built.values() if IService.providedBy(n.part))

    def router(self) -> Router:
        """Answers where mail goes, by this policy and these accounts."""
        return Router(
            policy=self.routing.part,
            policy_name=self.routing.name,
            accounts=self.accounts.part,
            accounts_name=self.accounts.name,
            local_domains=self.site.local_domains,
            clock=self.site.reactor,
            plugin_time=self.settings.limits.plugin_time,
        )

    def portal(self) -> Any:
        """Where logins are proved; mailboxes are those of the delivery agent, if it has any."""
        agent = self.delivery.part
        mailboxes = agent if IMailboxStore.providedBy(agent) else None
        secret = functools.partial(load_secret, self.settings.state_dir)
        return make_portal(self.accounts.part, mailboxes, secret)

    def relay_agent(self, keeps: bool = True) -> Agent:
        """Delivers to other servers; its part is an `IService` that is to be stopped.

        :param keeps: whether it keeps what domains publish about TLS
        """
        agent = RelayAgent(
            settings=self.settings.relay,
            site=self.site,
            local_addresses=_own_addresses(self.settings),
            validating=self.settings.dns.validating,
            keeps=keeps,
        )
        return Agent(name="relay", part=agent, seconds=RELAY_TIME)

    def local_agent(self) -> Agent:
        """Delivers into mailboxes here."""
        return Agent(
            name=self.delivery.name,
            part=self.delivery.part,
            seconds=LOCAL_TIME,
        )

    async def close(self) -> None:
        """Let go of the queue, when it was built."""
        if "queue" in self.built:
            await as_deferred(self.queue.part.close())


def _own_addresses(settings: Settings) -> frozenset[str]:
    """The IP addresses at which the relay client would talk to a server of ours."""
    own: set[str] = set()
    for server in settings.servers:
        if server.protocol in ("smtp", "submission"):
            for place in map(listening_place, server.listen):
                if place is not None and place.port == settings.relay.port:
                    own.update(_addresses_at(place.interface))
    return frozenset(own)


def _addresses_at(interface: str) -> Iterable[str]:
    """The addresses of an interface; for all interfaces as many of them as can be found out."""
    try:
        address = ipaddress.ip_address(interface)
    except ValueError:
        return ()  # a name, which is the operating system's to resolve when the socket is opened
    if not address.is_unspecified:
        return (str(address),)
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    named = (str(entry[4][0]).partition("%")[0] for entry in found)
    every = {"127.0.0.1", "::1", *every_address(), *named}
    # A socket at :: takes IPv4 connections as well, as Linux has it by default.
    return [each for each in every if address.version == 6 or ":" not in each]


def make_site(
    settings: Settings,
    reactor: Any,
    *,
    resolver: Any = None,
    in_thread: Callable[..., Deferred[Any]] | None = None,
    random: Any = None,
    makes: bool = True,
) -> Site:
    """What the parts are lent.

    :param resolver: answers DNS questions; by default those servers that the settings name
    :param in_thread: runs blocking work elsewhere; by default in the reactor's thread pool, or at
        once when the reactor has none, as under a test's clock
    :param random: by default the operating system's
    :param makes: whether ``state_dir`` is made when it isn't there
    :raises PartError: it can't be made
    """
    try:
        if makes:
            # 0700: it holds other people's mail
            os.makedirs(settings.state_dir, mode=0o700, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise PartError(f"state_dir {settings.state_dir} can't be made: {reason}") from error

    def in_pool(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not IReactorThreads.providedBy(reactor):
            return maybeDeferred(function, *args, **kwargs)
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args, **kwargs)

    return Site(
        hostname=settings.hostname,
        local_domains=frozenset(settings.local_domains),
        state_dir=settings.state_dir,
        reactor=reactor,
        resolver=resolver or make_resolver(settings.dns.servers, reactor),
        in_thread=in_thread or in_pool,
        random=random or random_module.SystemRandom(),
    )


def open_parts(
    settings: Settings,
    reactor: Any,
    *,
    seams: Sequence[str] = tuple(SEAMS),
    given: Mapping[str, Any] | None = None,
    **lent: Any,
) -> Parts:
    """Build parts, without opening a socket.

    :param reactor: the reactor, or a clock with in-memory transports under test
    :param seams: which parts; a command that only looks at the queue needs no mailboxes
    :param given: parts that a program made by itself, by seam
    :param lent: ``resolver``, ``in_thread``, ``random`` and ``makes`` as for `make_site`
    :raises PartError: one can't be built; those built before it are closed
    """
    return build_parts(settings, make_site(settings, reactor, **lent), seams, given or {})


def build_parts(
    settings: Settings, site: Site, seams: Sequence[str], given: Mapping[str, Any]
) -> Parts:
    """Build parts for a site that is there already; see `open_parts`."""
    built: dict[str, Named] = {}
    try:
        for seam in seams:
            built[seam] = _verified(seam, _build(seam, settings.chosen, given, site))
    except PartError:
        if "queue" in built and "queue" not in given:
            as_deferred(built["queue"].part.close()).addErrback(
                lambda failure: log.failure("the queue can't be closed", failure=failure)
            )
        raise
    return Parts(settings=settings, site=site, built=built)


def _build(seam: str, chosen: Mapping[str, Chosen], given: Mapping[str, Any], site: Site) -> Named:
    if seam in given:
        return Named(name=type(given[seam]).__name__, part=given[seam])
    part, settings = chosen[seam].part, chosen[seam].settings
    try:
        return Named(name=part.name, part=load_builder(part)(settings, site))
    except PluginError as error:
        raise PartError(str(error)) from error
    except (OSError, ValueError, SettingsError) as error:
        # what a builder raises when its settings don't fit the world; its text is for the user
        raise PartError(f"[{seam}] plugin {part.name!r}: {_words(error)}") from error
    except Exception as error:
        log.failure("[{seam}] plugin {plugin} can't be built", seam=seam, plugin=part.name)
        reason = f"{type(error).__name__}: {error}"
        raise PartError(f"[{seam}] plugin {part.name!r} can't be built: {reason}") from error


def _words(error: Exception) -> str:
    """What is said of an error, without the number that the system gives a fault."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _verified(seam: str, named: Named) -> Named:
    try:
        verifyObject(SEAMS[seam], named.part)
    except Invalid as error:
        reason = " ".join(str(error).split())
        raise PartError(
            f"[{seam}] plugin {named.name!r} is not what [{seam}] asks for: {reason}"
        ) from error
    return named
