"""The supervising process: it opens the sockets, and keeps workers running that serve at them.

It serves nobody itself. A worker is a process of its own with the whole server in it
(`mailframe.workers.worker`); all workers share the sockets and the queue. One that dies is replaced
at once, or after a growing delay when it dies again soon. What it was delivering goes on with the
others, for its leases end with it.

What keeps the server from starting is found out here, before there is any worker: the parts are
built once and closed again. So it is told in one message and by the exit status, as it is by a
server in one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from mailframe.assembly import POLICY, PartError, open_parts
from mailframe.certificates import CertificateError, KeyPair, make_context, read_key_pair
from mailframe.guard import as_deferred
from mailframe.listening import CannotListen
from mailframe.running import changeable
from mailframe.service import START_ERRORS
from mailframe.settings import Settings, from_text, read_text
from mailframe.start_check import check_disks
from mailframe.workers.balance import ABSENT, Counts
from mailframe.workers.messages import Greeting, Order, line
from mailframe.workers.place import COUNTS, FIRST_SOCKET, SHARED, TO_PARENT, Place
from mailframe.workers.shared import Shared
from mailframe.workers.sockets import SharedSockets

log = Logger()

STOP_TIME = 22.0  # seconds for workers to stop by themselves, which takes them less than 20


class Supervisor(MultiService):
    """A mail server in several processes.

    :param settings: of the configuration
    :param text: what its file holds
    :param on_failed: called with a reason when no worker could start
    :param log_level: the lowest level that is logged
    :param reactor: by default the global one
    """

    def __init__(
        self,
        *,
        settings: Settings,
        text: str,
        on_failed: Callable[[str], None],
        log_level: str = "debug",
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted leaves it unannotated
        self.settings = settings
        self._first = Order(text=text, pair=None)
        self._latest: Order | None = None
        self._on_failed = on_failed
        self._log_level = log_level
        self._reactor = reactor
        self._sockets: SharedSockets | None = None
        self._counts: Counts | None = None
        self._shared: Shared | None = None
        self._places: list[Place] = []

    @property
    def reactor(self) -> Any:
        """The reactor it runs under; looked up as late as possible."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    # --- starting --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Read the certificate's key and open the sockets.

        :raises CertificateError: certificate or key can't be used
        :raises CannotListen: a socket can't be opened or shared; none stays open
        """
        self._first = Order(text=self._first.text, pair=_key_pair(self.settings))
        sockets = self._sockets = SharedSockets(self.reactor)
        try:
            for server in self.settings.servers:
                for listen in server.listen:
                    sockets.open(server.name, listen)
        except CannotListen:
            self._close_sockets()
            raise
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # as above

    def startService(self) -> None:
        """See whether the parts can be built, and start the workers.

        :raises PartError: a part can't be built, or mail would not be kept as promised; no socket
            stays open
        """
        if self._sockets is None:
            self.privilegedStartService()  # `twist` calls this method only
        for problem in self.settings.problems:
            log.error("{problem}", problem=str(problem))
        try:
            check_disks(self.settings)
            parts = open_parts(self.settings, self.reactor)
        except PartError:
            self._close_sockets()
            raise
        super().startService()  # type: ignore[no-untyped-call]  # as above
        closed = as_deferred(parts.close())
        closed.addErrback(lambda failure: log.failure("closing what was tried", failure=failure))
        closed.addCallback(lambda _: self._start_workers())

    def _start_workers(self) -> None:
        if not self.running:
            return
        counts = self._counts = Counts(self.settings.processes)
        shared = self._shared = Shared(self.settings.processes)

        def ended(number: int) -> None:
            counts.set(number, ABSENT)
            shared.ended(number)

        self._places = [
            Place(
                number=number,
                reactor=self.reactor,
                spawn=self._spawn,
                on_failed=self._worker_failed,
                on_end=ended,
            )
            for number in range(1, self.settings.processes + 1)
        ]
        for place in self._places:
            place.start()

    def _spawn(self, number: int, protocol: ProcessProtocol) -> bytes:
        assert self._sockets is not None, "workers are started while there are sockets"
        assert self._counts is not None, "and counts"
        assert self._shared is not None, "and what they share"
        descriptors = self._sockets.descriptors()
        inherited = dict(enumerate(descriptors, FIRST_SOCKET))
        greeting = Greeting(
            worker=number,
            workers=self.settings.processes,
            path=self.settings.path,
            first=self._first,
            latest=self._latest,
            sockets=tuple(inherited),
            reactor=type(self.reactor).__module__,
            log_level=self._log_level,
        )
        self.reactor.spawnProcess(
            protocol,
            sys.executable,
            # -P: the current folder is no place to import from, unless it is for us already
            [sys.executable, "-P", "-m", "mailframe.workers.worker"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            childFDs={
                0: "w",
                1: "r",
                2: "r",
                TO_PARENT: "r",
                COUNTS: self._counts.descriptor,
                SHARED: self._shared.descriptor,
                **inherited,
            },
        )
        return line(greeting)

    def _worker_failed(self, reason: str) -> None:
        if self.running and not any(place.was_ready for place in self._places):
            self._on_failed(reason)

    # --- reloading -------------------------------------------------------------------------------

    def reload(self) -> bool:
        """Read the configuration again, and have the workers use it.

        :returns: whether it can be used; if not, nothing changed, and the log says why
        """
        try:
            text = read_text(self.settings.path)
            settings, _ = changeable(self.settings, from_text(text, self.settings.path))
            parts = open_parts(settings, self.reactor, seams=POLICY)
            pair = self._key_pair_again(settings)
        except START_ERRORS as error:
            log.error("the configuration in force stays, for: {reason}", reason=str(error))
            return False
        as_deferred(parts.close())
        self._latest = Order(text=text, pair=pair)
        for place in self._places:
            place.order(self._latest)
        return True

    def _key_pair_again(self, settings: Settings) -> KeyPair | None:
        """The certificate; the one in force when a key can't be read without privileges."""
        in_force = (self._latest or self._first).pair
        try:
            return _key_pair(settings)
        except CertificateError as error:
            if in_force is None:
                raise
            log.error("the certificate in force stays, for: {reason}", reason=str(error))
            return in_force

    # --- stopping --------------------------------------------------------------------------------

    def stopService(self) -> Deferred[Any]:
        """Have the workers stop; fires when they have."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        places, self._places = self._places, []
        stopped = DeferredList([place.stop() for place in places])
        closed = self._close_sockets()
        killing = self.reactor.callLater(STOP_TIME, _kill, places)
        await stopped
        if killing.active():
            killing.cancel()
        await closed
        counts, self._counts = self._counts, None
        shared, self._shared = self._shared, None
        if counts is not None and shared is not None:
            counts.close()
            shared.close()

    def _close_sockets(self) -> Deferred[Any]:
        sockets, self._sockets = self._sockets, None
        return DeferredList([] if sockets is None else [sockets.close()])


def _kill(places: list[Place]) -> None:
    for place in places:
        place.kill()


def _key_pair(settings: Settings) -> KeyPair | None:
    if settings.tls is None:
        return None
    pair = read_key_pair(settings.tls.certificate, settings.tls.private_key)
    make_context(pair)  # what can't be used is to be found out now
    return pair
