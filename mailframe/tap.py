"""``twistd mailframe`` and ``twist mailframe``: options → settings → service."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python import usage

from mailframe.assembly import PartError
from mailframe.clocks import SteadyClock
from mailframe.descriptors import allow_all
from mailframe.garbage import collect_seldom
from mailframe.service import START_ERRORS, MailServer
from mailframe.settings import from_text, read_text
from mailframe.workers.supervisor import Supervisor

log = Logger()

USAGE = 2  # the exit status for a configuration that can't be used


class Options(usage.Options):
    """The options of ``twistd mailframe``."""

    synopsis = "[-c FILE]"
    longdesc = "Runs a mail server as its configuration file describes it."
    optParameters = (("config", "c", "mailframe.toml", "The configuration file."),)


class _AsProcess:
    """A server as a process of its own: it says in one message why it can't start, and on SIGHUP
    it reads its configuration again.

    :ivar foreground: whether somebody may be reading what it writes on stderr
    """

    foreground = True
    _steady: SteadyClock | None = None

    def privilegedStartService(self) -> None:
        """Open the sockets, or end the process."""
        allow_all()
        try:
            super().privilegedStartService()  # type: ignore[misc]  # of the server
        except START_ERRORS as error:
            self._give_up(error)

    def startService(self) -> None:
        """Start, or end the process."""
        server: Any = self
        self._steady = SteadyClock(server.reactor)
        self._steady.startService()
        try:
            super().startService()  # type: ignore[misc]  # of the server
        except PartError as error:
            self._give_up(error)
        server.reactor.callWhenRunning(self._listen_for_sighup)
        server.reactor.callWhenRunning(collect_seldom)

    def stopService(self) -> Deferred[None]:
        """Stop; timers measure by the time of day again when all is over."""
        stopped: Deferred[None] = super().stopService()  # type: ignore[misc]  # of the server
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        if self._steady is not None:
            self._steady.stopService()
        return result

    def _listen_for_sighup(self) -> None:
        server: Any = self
        signal.signal(
            signal.SIGHUP, lambda _signal, _frame: server.reactor.callFromThread(server.reload)
        )

    def _give_up(self, error: Exception) -> NoReturn:
        server: Any = self
        reason = f"{server.settings.path}: {error}"
        log.critical("{reason}", reason=reason)
        if not self.foreground:
            # twistd tells the first 100 octets of it to whoever started the daemon
            raise error
        # the log may go to a file, and stderr to the log
        print(f"mailframe: {reason}", file=sys.__stderr__)
        raise SystemExit(1)


class Daemon(_AsProcess, MailServer):
    """The server in one process."""


class SupervisingDaemon(_AsProcess, Supervisor):
    """The server in several processes."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(on_failed=self._end, **arguments)

    def _end(self, reason: str) -> None:
        """No worker could start: end the process."""
        log.critical("{reason}", reason=reason)
        if self.foreground:
            print(f"mailframe: {reason}", file=sys.__stderr__)
        # Neither `twistd` nor `twist` can be told an exit status once the reactor runs.
        atexit.register(_exit_unsuccessfully)
        self.reactor.stop()


def _exit_unsuccessfully() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)


def makeService(options: Options) -> Daemon | SupervisingDaemon:
    """Make the service, or end the process with one message about the configuration."""
    parent = getattr(options, "parent", None) or {}
    service: Daemon | SupervisingDaemon
    try:
        path = os.path.abspath(options["config"])
        text = read_text(path)
        settings = from_text(text, path)
        if settings.processes == 1:
            service = Daemon(settings=settings)
        else:
            # twist filters by level, twistd logs everything
            level = parent.get("logLevel", LogLevel.debug).name
            service = SupervisingDaemon(settings=settings, text=text, log_level=level)
    except START_ERRORS as error:
        print(f"mailframe: {error}", file=sys.stderr)
        raise SystemExit(USAGE) from None
    # twistd without -n is a daemon; twist has no such option and never is one
    service.foreground = bool(parent.get("nodaemon", True))
    return service
