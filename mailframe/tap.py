"""``twistd mailframe`` and ``twist mailframe``: options → settings → service."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

from twisted.logger import Logger
from twisted.python import usage

from mailframe.assembly import PartError
from mailframe.service import START_ERRORS, MailServer
from mailframe.settings import load

log = Logger()

USAGE = 2  # the exit status for a configuration that can't be used


class Options(usage.Options):
    """The options of ``twistd mailframe``."""

    synopsis = "[-c FILE]"
    longdesc = "Runs a mail server as its configuration file describes it."
    optParameters = (("config", "c", "mailframe.toml", "The configuration file."),)


class Daemon(MailServer):
    """The server as a process of its own: it says in one message why it can't start, and on SIGHUP
    it reads its configuration again.

    :param foreground: whether somebody may be reading what it writes on stderr
    """

    def __init__(self, *, foreground: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._foreground = foreground

    def privilegedStartService(self) -> None:
        """Open the sockets, or end the process."""
        try:
            super().privilegedStartService()
        except START_ERRORS as error:
            self._give_up(error)

    def startService(self) -> None:
        """Start, or end the process."""
        try:
            super().startService()
        except PartError as error:
            self._give_up(error)
        self.reactor.callWhenRunning(self._listen_for_sighup)

    def _listen_for_sighup(self) -> None:
        signal.signal(
            signal.SIGHUP, lambda _signal, _frame: self.reactor.callFromThread(self.reload)
        )

    def _give_up(self, error: Exception) -> NoReturn:
        log.critical("{reason}", reason=str(error))
        if not self._foreground:
            raise error  # twistd tells the process that waits for the daemon's start
        # the log may go to a file, and stderr to the log
        print(f"mailframe: {error}", file=sys.__stderr__)
        raise SystemExit(1)


def makeService(options: Options) -> MailServer:
    """Make the service, or end the process with one message about the configuration."""
    try:
        settings = load(options["config"])
        parent = getattr(options, "parent", None) or {}
        # twistd without -n is a daemon; twist has no such option and never is one
        foreground = bool(parent.get("nodaemon", True))
        return Daemon(settings=settings, foreground=foreground)
    except START_ERRORS as error:
        print(f"mailframe: {error}", file=sys.stderr)
        raise SystemExit(USAGE) from None
