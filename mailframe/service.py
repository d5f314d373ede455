"""The server as a Twisted service: the one place where parts, sockets and the queue's runner meet.

Starting has two halves. While the process may still have privileges, the certificate's key is read
and the sockets are opened, each with a `mailframe.listening.Door` that leads nowhere yet. After
that, as the user it runs as, the parts are built, which make their files and threads now and not
before a fork, and the doors are led to the factories that serve.

Reloading builds accounts, authorisation, routing and factories anew and leads the doors to those,
or, when anything of it fails, changes nothing. Whoever is connected stays so. Queue, mailboxes and
sockets stay as they are.

Stopping closes the sockets, lets transactions and attempts that are under way come to their end
within a limit, and then closes the queue. Attempts at servers that are slow are broken off early
enough for everything to be recorded. What has not been tried by then is tried by the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe.address import Address
from mailframe.arguments import Arguments, read_arguments, read_parts
from mailframe.assembly import PartError, open_parts
from mailframe.authorisation.networks import Networks
from mailframe.certificates import CertificateError
from mailframe.config_errors import SettingsError
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.durability import Durability
from mailframe.embedding import SendHandle, hand_over
from mailframe.in_force import InForce
from mailframe.listening import CannotListen, Doors
from mailframe.plugin import SEAMS, find_parts
from mailframe.queue.notices import NoticeSettings
from mailframe.queue.schedule import Schedule
from mailframe.running import Running, assemble, changeable, rebuild
from mailframe.server.client_records import ClientRecords
from mailframe.server.limits import Limits
from mailframe.serving import ServerFactory, tls_context
from mailframe.settings import DEFAULT_TABLES, ServerSettings, Settings, TlsSettings, load
from mailframe.start_check import check_disks

__all__ = ["MailServer", "START_ERRORS", "open_parts"]

log = Logger()

# What keeps a server from starting, each with one message for the user.
START_ERRORS = (SettingsError, PartError, CertificateError, CannotListen)
# A stop takes less than 20 seconds in all, a share of what service managers give.
STOP_TIME = 16.0  # seconds that sessions and attempts may take to come to their end
FINISH_TIME = 8.0  # seconds of these after which the relay agent breaks off what it has begun
PARTS_TIME = 3.0  # seconds after these that the parts may take


class MailServer(MultiService):
    """A mail server: an ordinary Twisted service that opens no socket until it is started.

    Each part is a plugin's name, a table as in the configuration file, an instance of a plugin's
    settings class, or an object that provides the seam's interface (`mailframe.interfaces`). The
    queue's ``close`` is called when the server stops, also when it was passed as an object.

    :param settings: what `mailframe.settings.load` gave; instead of the arguments up to
        ``durability``
    :param hostname: our own name
    :param local_domains: mail for these is delivered here
    :param state_dir: the folder for everything the server writes
    :param servers: what to listen for
    :param tls: certificate and key
    :param dns: name servers; by default the system's
    :param durability: whether it starts where mail would not survive a power cut
    :param reactor: by default the global one
    :param resolver: answers DNS questions instead of ``dns``
    :param in_thread: runs blocking work; see `mailframe.interfaces.Site`
    :param random: the source of randomness; by default the operating system's
    :raises SettingsError: the settings can't be used
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        hostname: str = "",
        local_domains: Iterable[str] = (),
        state_dir: str = "state",
        servers: Sequence[ServerSettings | Mapping[str, Any]] = (),
        tls: TlsSettings | Mapping[str, str] | None = None,
        dns: Sequence[str] = (),
        limits: Limits | None = None,
        schedule: Schedule | None = None,
        notices: NoticeSettings | None = None,
        relay: RelaySettings | None = None,
        durability: Durability | None = None,
        accounts: Any = None,
        authorisation: Any = None,
        routing: Any = None,
        queue: Any = None,
        delivery: Any = None,
        reactor: Any = None,
        resolver: Any = None,
        in_thread: Any = None,
        random: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted leaves it unannotated
        asked = {
            "accounts": accounts,
            "authorisation": authorisation,
            "routing": routing,
            "queue": queue,
            "delivery": delivery,
        }
        if settings is None:
            installed = find_parts()
            asked = {seam: asked[seam] or DEFAULT_TABLES[seam] for seam in SEAMS}
            self._choices, self._given = read_parts(asked, installed)
            arguments = Arguments(
                hostname=hostname,
                local_domains=local_domains,
                state_dir=state_dir,
                servers=servers,
                tls=tls,
                dns=dns,
                limits=limits,
                schedule=schedule,
                notices=notices,
                relay=relay,
                durability=durability,
            )
            settings = read_arguments(arguments, self._choices)
        else:
            asked = {seam: part for seam, part in asked.items() if part is not None}
            self._choices, self._given = read_parts(asked, find_parts()) if asked else ({}, {})
        self.settings = self._with_choices(settings)
        self._reactor = reactor
        self._lent = {"resolver": resolver, "in_thread": in_thread, "random": random}
        self._doors: Doors | None = None
        self._context: CertificateOptions | None = None
        self._running: Running | None = None
        self._in_force: InForce | None = None
        # factories that a reload replaced, for as long as somebody is connected to them
        self._replaced: WeakSet[Any] = WeakSet()

    @classmethod
    def from_config(cls, path: str, **arguments: Any) -> MailServer:
        """A server as a configuration file describes it.

        :param path: the file
        :param arguments: parts that take the place of the file's, ``reactor``, ``resolver``,
            ``in_thread`` and ``random``, as for the class
        :raises SettingsError: the file can't be used
        """
        return cls(settings=load(path), **arguments)

    def _with_choices(self, settings: Settings) -> Settings:
        return attrs.evolve(settings, chosen={**settings.chosen, **self._choices})

    @property
    def reactor(self) -> Any:
        """The reactor it runs under; looked up as late as possible."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    @property
    def addresses(self) -> tuple[IAddress, ...]:
        """Where it listens, in the order of the settings; empty while it doesn't."""
        return self._doors.addresses() if self._doors else ()

    # --- starting --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Read the certificate's key and open the sockets.

        :raises CertificateError: certificate or key can't be used
        :raises CannotListen: a socket can't be opened; none stays open
        """
        self._context = self._load_context(self.settings)
        self._doors = self._make_doors()
        try:
            for server in self.settings.servers:
                for listen in server.listen:
                    self._doors.open(server.name, listen)
        except CannotListen:
            self._close_doors()
            raise
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # as above

    def _load_context(self, settings: Settings) -> CertificateOptions | None:
        return tls_context(settings)

    def _make_doors(self) -> Doors:
        return Doors(self.reactor)

    def _make_records(self) -> ClientRecords:
        return ClientRecords()

    def startService(self) -> None:
        """Build the parts and begin to serve and to move the queue.

        :raises PartError: a part can't be built, or mail would not be kept as promised; no socket
            stays open
        """
        if self._doors is None:
            self.privilegedStartService()  # `twist` and most programs call this method only
        for problem in self.settings.problems:
            log.error("{problem}", problem=str(problem))
        if not self.settings.servers:
            log.warn("there is no [[server]]: nothing listens, only programs here can send")
        try:
            self._check_disks()
            parts = open_parts(self.settings, self.reactor, given=self._given, **self._lent)
        except PartError:
            self._close_doors()
            raise
        owner = f"{parts.site.hostname}-{os.getpid()}-{parts.site.random.getrandbits(32):08x}"
        running = self._running = assemble(parts, self._context, owner, self._make_records())
        for service in running.services:
            service.setServiceParent(self)
        super().startService()  # type: ignore[no-untyped-call]  # as above
        self._in_force = InForce(self.settings.state_dir)
        self._in_force.publish(self.settings.path)
        self._lead_to(running.factories)

    def _check_disks(self) -> None:
        check_disks(self.settings, self._given)

    def _lead_to(self, factories: Mapping[str, ServerFactory]) -> None:
        assert self._doors is not None, "only a server that was started serves"
        self._doors.lead_to(
            {name: factory.for_endpoint() for name, factory in factories.items()},
            {server.name: Networks(server.proxies) for server in self.settings.servers},
        )

    def _close_doors(self) -> Deferred[Any]:
        doors, self._doors = self._doors, None
        return succeed(None) if doors is None else doors.close()

    # --- stopping --------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Stop accepting, finish what is in flight within a limit, leave the rest in the queue."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if self._in_force is not None:
            self._in_force.close()
        await self._close_doors()
        if running is not None:
            await self._finish(running)
            running.settlements.stop()
            until = self.reactor.seconds() + PARTS_TIME
            # Agents and what else is a part before the queue, which is closed last of all.
            for service in reversed(running.parts.services):
                await self._let_go(service, until)
        # as above; what else was made a child of this service
        await maybeDeferred(super().stopService)
        if running is not None:
            await running.parts.close()

    async def _finish(self, running: Running) -> None:
        """Let sessions and attempts come to their end; what each came to is recorded by then.

        Attempts that take long are broken off well before the limit: by then the runner must have
        recorded what became of the recipients that had been settled.
        """
        until = self.reactor.seconds() + STOP_TIME
        factories = {*running.factories.values(), *self._replaced}
        drained = DeferredList([factory.drain(STOP_TIME) for factory in factories])
        runner = maybeDeferred(running.runner.disownServiceParent)
        await self._within(runner, self.reactor.seconds() + FINISH_TIME)
        await self._let_go(running.dispatch.relay.part, until)
        if not await self._within(runner, until):
            log.error("attempts did not end in time; their messages are tried again")
        await drained

    async def _let_go(self, service: Any, until: float) -> None:
        """Stop a child within a limit: one that hangs can't keep the rest from stopping."""
        stopping = maybeDeferred(service.disownServiceParent)
        if not await self._within(stopping, until):
            log.error("{service} did not stop in time", service=service)

    async def _within(self, stopping: Deferred[Any], until: float) -> bool:
        """Wait, but no longer than until then; whether it has come to its end.

        It is not cancelled at the limit: it may still have things to put away.
        """
        ended: Deferred[bool] = Deferred()

        def end(result: Any) -> Any:
            if isinstance(result, Failure):
                log.failure("a service failed to stop", failure=result)
            if not ended.called:
                ended.callback(True)
            return None if isinstance(result, Failure) else result

        stopping.addBoth(end)
        seconds = max(until - self.reactor.seconds(), 0)
        return await ended.addTimeout(seconds, self.reactor, onTimeoutCancel=_too_late)

    # --- reloading -------------------------------------------------------------------------------

    def reload(self) -> bool:
        """Read configuration, accounts and certificate again, for whatever begins from now on.

        :returns: whether that could be done; if not, nothing changed, and the log says why
        """
        running = self._running
        if running is None:
            return False
        try:
            found = self._with_choices(self._read_again())
            settings, kept = changeable(self.settings, found)
            context = self._context_again(settings)
            parts, factories = rebuild(running, settings, self._given, context)
        except START_ERRORS as error:
            log.error("the configuration in force stays, for: {reason}", reason=str(error))
            return False
        before = running.parts.services
        self._replaced.update(running.factories.values())
        running.exchange(parts, factories)
        self.settings = settings
        self._context = context
        for service in parts.services:
            if service not in before:
                service.setServiceParent(self)
        self._lead_to(factories)
        for service in before:
            if service not in parts.services:
                until = self.reactor.seconds() + STOP_TIME
                Deferred.fromCoroutine(self._let_go(service, until))
        for name in kept:
            log.warn("what changed in {name} comes into force with a restart only", name=name)
        if self._in_force is not None:
            self._in_force.publish(settings.path)
        log.info("the configuration was read again")
        return True

    def _read_again(self) -> Settings:
        return load(self.settings.path) if self.settings.path else self.settings

    def _context_again(self, settings: Settings) -> CertificateOptions | None:
        """The TLS context; the one in force when a key can't be read without privileges."""
        try:
            return self._load_context(settings)
        except CertificateError as error:
            if self._context is None:
                raise
            log.error("the certificate in force stays, for: {reason}", reason=str(error))
            return self._context

    # --- for programs ----------------------------------------------------------------------------

    async def send(
        self,
        *,
        sender: Address | str | None,
        recipients: Sequence[Address | str],
        content: bytes,
    ) -> SendHandle:
        """Put a message into the queue; see `mailframe.embedding.hand_over`.

        :returns: by what to learn what becomes of it, once it would survive a power cut
        :raises RuntimeError: the server is not running
        """
        parts = self._now().parts
        id = await hand_over(
            parts.queue.part, parts.site, sender=sender, recipients=recipients, content=content
        )
        return self.handle(id)

    def handle(self, id: str) -> SendHandle:
        """The handle of a message that was handed over before, by this server or an earlier one.

        :raises RuntimeError: the server is not running
        """
        return SendHandle(id, self._now().settlements)

    def _now(self) -> Running:
        if self._running is None:
            raise RuntimeError("the server is not running")
        return self._running


def _too_late(_result: object, _seconds: float) -> bool:
    return False
