"""A worker: the whole server in a process of its own, at sockets that it inherits.

    python -m mailframe.workers.worker

is started by the supervising process and by nobody else. When that ends its standard input, or
ends, however it ends, the worker finishes what is in flight and ends as well.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe import told
from mailframe.certificates import make_context
from mailframe.clocks import SteadyClock
from mailframe.garbage import collect_seldom
from mailframe.listening import Doors
from mailframe.running import changeable
from mailframe.server.client_records import ClientRecords
from mailframe.service import START_ERRORS, MailServer
from mailframe.settings import Settings, from_text
from mailframe.workers.balance import Balance, Counts
from mailframe.workers.logs import Speaker, observer
from mailframe.workers.messages import (
    ALIVE_EVERY,
    Greeting,
    Lines,
    Order,
    read_greeting,
    read_order,
)
from mailframe.workers.place import COUNTS, SHARED, TO_PARENT
from mailframe.workers.shared import Shared
from mailframe.workers.sockets import InheritedSockets

log = Logger()

START_FAILED = 1  # the exit status


class WorkerServer(MailServer):
    """The server of a worker.

    :param greeting: what it was told at its start
    :param balance: what it has beside the others
    :param records: what it remembers of clients with the others
    :param reactor: what it runs under
    :raises SettingsError: the configuration can't be used
    """

    def __init__(
        self, greeting: Greeting, balance: Balance, records: ClientRecords, reactor: Any
    ) -> None:
        first = from_text(greeting.first.text, greeting.path)
        self._order = greeting.latest or greeting.first
        latest, _ = changeable(first, from_text(self._order.text, greeting.path))
        super().__init__(settings=_share(latest), reactor=reactor)
        self._inherited = InheritedSockets(greeting.sockets, balance)
        self._records = records

    def _make_doors(self) -> Doors:
        return Doors(self.reactor, self._inherited.open)

    def _make_records(self) -> ClientRecords:
        return self._records

    def _check_disks(self) -> None:
        """The supervising process has done so."""

    def _load_context(self, settings: Settings) -> CertificateOptions | None:
        if settings.tls is None or self._order.pair is None:
            return None
        return make_context(self._order.pair)

    def _read_again(self) -> Settings:
        return _share(from_text(self._order.text, self.settings.path))

    def use(self, order: Order) -> None:
        """Use another configuration for whatever begins from now on."""
        before, self._order = self._order, order
        if not self.reload():
            self._order = before


def _share(settings: Settings) -> Settings:
    """The settings for one worker of several: its share of what is allowed to all of them."""

    def share(whole: int) -> int:
        return -(-whole // settings.processes)

    limits, relay = settings.limits, settings.relay
    return attrs.evolve(
        settings,
        limits=attrs.evolve(limits, connections=share(limits.connections)),
        relay=attrs.evolve(
            relay,
            connections=share(relay.connections),
            connections_per_destination=share(relay.connections_per_destination),
            shaping=tuple(table.share(settings.processes) for table in relay.shaping),
        ),
    )


@implementer(IReadDescriptor)
class FromParent:
    """Reads what the supervising process sends.

    :param descriptor: where from
    :param on_line: called with each line
    :param on_end: called when it has ended
    """

    def __init__(
        self,
        reactor: Any,
        descriptor: int,
        on_line: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._on_line = on_line
        self._on_end = on_end
        self._lines = Lines()

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """How it is called in log lines."""
        return "FromParent"

    def doRead(self) -> None:
        """Something came."""
        try:
            octets = os.read(self._descriptor, 65_536)
        except BlockingIOError:
            return
        if octets:
            for each in self._lines.add(octets):
                self._on_line(each)
        else:
            self.connectionLost(None)

    def connectionLost(self, reason: Failure | None) -> None:
        """Nothing more comes."""
        self._reactor.removeReader(self)
        self._on_end()


def read_first_line(descriptor: int) -> bytes:
    """Wait for the first line, and read no further."""
    octets = b""
    while not octets.endswith(b"\n"):
        octet = os.read(descriptor, 1)
        if not octet:
            raise EOFError
        octets += octet
    return octets


def serve(
    greeting: Greeting, balance: Balance, records: ClientRecords, speaker: Speaker, reactor: Any
) -> None:
    """Serve until the supervising process ends or asks to stop.

    :raises SystemExit: the server can't start
    """
    try:
        server = WorkerServer(greeting, balance, records, reactor)
        server.startService()
    except START_ERRORS as error:
        speaker.say("failed", str(error))
        raise SystemExit(START_FAILED) from None
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    stop = _Stop(reactor)
    orders = FromParent(reactor, 0, lambda octets: server.use(read_order(octets)), stop)
    # Said by the reactor: a worker whose reactor stands still is of no use, whatever else runs.
    alive = LoopingCall(speaker.say, "alive")
    alive.clock = reactor

    def running() -> None:
        # A service manager may send it to all processes, when the supervising one does the same.
        signal.signal(signal.SIGTERM, lambda _signal, _frame: reactor.callFromThread(stop))
        reactor.addReader(orders)
        balance.begin()
        speaker.say("ready")
        alive.start(ALIVE_EVERY, now=False)

    reactor.callWhenRunning(running)
    reactor.run()


class _Stop:
    """Stops the reactor, however often and by whomever that is asked for."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._asked = False

    def __call__(self) -> None:
        if not self._asked:
            self._asked = True
            with suppress(ReactorNotRunning):  # it is stopping already
                self._reactor.stop()


def main() -> None:
    """The process."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        # A terminal, or for the last who rotates the log, sends these to all processes; it is for
        # the supervising one to say what to do.
        signal.signal(number, signal.SIG_IGN)
    try:
        greeting = read_greeting(read_first_line(0))
    except EOFError:
        sys.exit(START_FAILED)
    for descriptor in (TO_PARENT, COUNTS, SHARED):
        os.set_inheritable(descriptor, False)
    speaker = Speaker(TO_PARENT)
    globalLogBeginner.beginLoggingTo([observer(speaker, greeting.log_level)])
    told.begin_at(greeting.log_level)
    importlib.import_module(greeting.reactor).install()
    from twisted.internet import reactor

    SteadyClock(reactor).startService()
    balance = Balance(Counts(greeting.workers, COUNTS), greeting.worker)
    records = Shared(greeting.workers, SHARED).records(greeting.worker)
    reactor.callWhenRunning(collect_seldom)
    serve(greeting, balance, records, speaker, reactor)


if __name__ == "__main__":
    main()
