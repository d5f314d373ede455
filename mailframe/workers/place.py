"""One place for a worker, as the supervising process sees it: who fills it, and who comes next."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from twisted.python.failure import Failure

from mailframe.workers.logs import publish
from mailframe.workers.messages import ALIVE_EVERY, Lines, Order, line

log = Logger()

TO_PARENT = 3  # the descriptor to which a worker writes its messages
COUNTS = 4  # the descriptor of the memory that `mailframe.workers.balance` needs
SHARED = 5  # the same for `mailframe.workers.shared`
FIRST_SOCKET = 6  # the first of the descriptors of listening sockets
STEADY = 10.0  # seconds; a worker that lived as long is replaced at once
SILENT_LOOKS = 6  # in a row without a sign of life of the worker, before it is killed
SLOWEST = 30.0  # seconds between two workers at one place that end quickly


class Spawn(Protocol):
    """Starts a process for a place."""

    def __call__(self, number: int, protocol: ProcessProtocol) -> bytes:
        """:returns: what to say to it first"""


class Place:
    """Keeps one worker running.

    One that serves and then stands still (its process stopped, a plugin that does not return) may
    have the turn to write into the queue, for which all the others wait. It is killed when it has
    given no sign of life at several looks in a row. Looks are counted and not seconds, for after a
    machine has slept nobody has given one for long.

    :param number: from 1 on; log lines tell it
    :param reactor: tells and measures the time
    :param spawn: starts a process
    :param on_failed: called with a reason when a worker could not start and none ever did
    :param on_end: called with the number when a worker has ended
    :param publisher: takes what workers log

    :ivar was_ready: whether a worker has ever served here
    """

    def __init__(
        self,
        *,
        number: int,
        reactor: Any,
        spawn: Spawn,
        on_failed: Callable[[str], None],
        on_end: Callable[[int], None] = lambda number: None,
        publisher: ILogObserver = globalLogPublisher,
    ) -> None:
        self.number = number
        self.was_ready = False
        self._reactor = reactor
        self._spawn = spawn
        self._on_failed = on_failed
        self._on_end = on_end
        self._publisher = publisher
        self._process: Any = None
        self._pid = 0
        self._started = 0.0
        self._delay = 0.0
        self._reason = ""
        self._again: Any = None
        self._next_look: Any = None
        self._silent = 0  # looks
        self._ended: Deferred[None] | None = None

    def start(self) -> None:
        """Have a process fill the place."""
        self._again = None
        self._reason = ""
        self._started = self._reactor.seconds()
        protocol = WorkerProtocol(self.number, self._told, self._has_ended, self._publisher)
        try:
            greeting = self._spawn(self.number, protocol)
        except OSError as error:
            reason = f"{sys.executable} can't be started: {error.strerror}"
            log.error("worker {number}: {reason}", number=self.number, reason=reason)
            self._not_there(reason)
            return
        self._process = protocol.transport
        self._pid = self._process.pid
        self._process.write(greeting)

    def order(self, order: Order) -> None:
        """Have the worker use another configuration."""
        if self._process is not None:
            self._process.write(line(order))

    def stop(self) -> Deferred[None]:
        """Have the worker stop; fires when it has ended. Nobody takes its place."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._look_no_more()
        if self._process is None:
            return succeed(None)
        self._ended = Deferred()
        self._process.closeStdin()
        return self._ended

    def kill(self) -> None:
        """End a worker that does not stop."""
        if self._process is None:
            return
        log.error("worker {number} did not stop in time: killed", number=self.number)
        self._kill()

    def _kill(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except ProcessExitedAlready:
            return

    def _told(self, kind: str, *words: Any) -> None:
        if kind == "log":
            publish(self._publisher, self.number, *words)
        elif kind == "ready":
            self.was_ready = True
            if self._ended is None:
                self._look_again()
        elif kind == "alive":
            self._silent = 0
        elif kind == "failed":
            (self._reason,) = words

    def _look_again(self) -> None:
        self._next_look = self._reactor.callLater(ALIVE_EVERY, self._look)

    def _look(self) -> None:
        """See whether the worker has given a sign of life since the last look."""
        self._next_look = None
        self._silent += 1
        if self._silent <= SILENT_LOOKS:
            self._look_again()
            return
        log.error(
            "worker {number} (process {pid}) stands still: killed",
            number=self.number,
            pid=self._pid,
        )
        self._kill()

    def _look_no_more(self) -> None:
        self._silent = 0
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _has_ended(self, reason: Failure) -> None:
        self._process = None
        self._look_no_more()
        self._on_end(self.number)
        if self._ended is not None:
            self._ended.callback(None)
            return
        how = self._reason or _how(reason.value)
        log.error(
            "worker {number} (process {pid}) ended: {how}",
            number=self.number,
            pid=self._pid,
            how=how,
        )
        self._not_there(how)

    def _not_there(self, reason: str) -> None:
        """There is no worker at this place: have another one fill it, unless that is of no use."""
        if not self.was_ready:
            self._on_failed(reason)
        if self._ended is not None:
            return
        lived = self._reactor.seconds() - self._started
        self._delay = 0.0 if lived >= STEADY else min(max(2 * self._delay, 1.0), SLOWEST)
        self._again = self._reactor.callLater(self._delay, self.start)


def _how(status: Any) -> str:
    number = getattr(status, "signal", None)
    if number is None:
        return f"exit status {status.exitCode}"
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


class WorkerProtocol(ProcessProtocol):
    """What comes from one worker.

    :param told: called with the words of each message
    :param ended: called with the reason when the process has ended
    :param publisher: takes what it prints, which no worker does unless something is amiss
    """

    def __init__(
        self,
        number: int,
        told: Callable[..., None],
        ended: Callable[[Failure], None],
        publisher: ILogObserver,
    ) -> None:
        self._number = number
        self._on_message = told
        self._on_end = ended
        self._publisher = publisher
        self._lines = {TO_PARENT: Lines(), 1: Lines(), 2: Lines()}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Something came from a descriptor of the worker's."""
        for each in self._lines[childFD].add(data):
            if childFD == TO_PARENT:
                self._on_message(*json.loads(each))
            else:
                self._printed(each)

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, and all that it wrote was read."""
        for each in (*self._lines[1].end(), *self._lines[2].end()):
            self._printed(each)
        self._on_end(reason)

    def _printed(self, octets: bytes) -> None:
        text = octets.decode("utf-8", "backslashreplace")
        publish(self._publisher, self._number, time(), "error", "output", text)
