"""``twistd mailframe``: options, messages and signals."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from mailframe import tap
from mailframe.clocks import SteadyClock
from mailframe.listening import CannotListen
from mailframe.testing.network import VirtualReactor
from mailframe.workers import supervisor
from tests.workers.fakes import ProcessReactor


class TapTests(SynchronousTestCase):
    """The service maker."""

    def setUp(self) -> None:
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.patch(sys, "__stderr__", self.stderr)
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "mailframe.toml")
        with open(os.path.join(self.folder, "accounts.toml"), "w"):
            pass

    def make(self, text: str, parent: dict[str, Any] | None = None) -> Any:
        """The service that a configuration makes."""
        with open(self.path, "w") as file:
            file.write(text)
        options = tap.Options()
        options.parseOptions(["-c", self.path])
        options.parent = parent
        return tap.makeService(options)

    def daemon(self, parent: dict[str, Any] | None = None) -> Any:
        """A service in a virtual world."""
        daemon = self.make(
            'hostname = "mx.here.example"\n[queue]\nplugin = "memory"\n'
            '[accounts]\npath = "accounts.toml"\n'
            '[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = "tcp:25"\n',
            parent,
        )
        self.reactor = daemon._reactor = VirtualReactor()
        return daemon

    def test_plugin(self) -> None:
        """Otherwise `twistd` would not know the command."""
        makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        self.assertIs(makers["mailframe"].options, tap.Options)
        self.assertIs(makers["mailframe"].makeService, tap.makeService)

    def test_default_file(self) -> None:
        """Without an option it is the file in the current folder."""
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual(options["config"], "mailframe.toml")
        options.parseOptions(["--config", "/etc/x"])
        self.assertEqual(options["config"], "/etc/x")

    def test_bad_file(self) -> None:
        """Whoever made a mistake must see it, and not a traceback."""
        with self.assertRaises(SystemExit) as caught:
            self.make("hostnme = 3")
        self.assertEqual(caught.exception.code, 2)
        said = self.stderr.getvalue()
        self.assertTrue(said.startswith(f"mailframe: {self.path}: 2 mistakes\n"), said)
        self.assertNotIn("Traceback", said)

    def test_relative_file(self) -> None:
        """A daemon changes its folder: the path must have been made absolute before."""
        self.assertTrue(os.path.isabs(self.daemon().settings.path))

    def refused(self, daemon: Any, error: type[BaseException]) -> str:
        """What the log says when the port is taken."""
        from twisted.internet.protocol import Factory

        port = self.reactor.listenTCP(25, Factory())
        with capturedLogs() as events:
            self.assertRaises(error, daemon.privilegedStartService)
            self.assertRaises(error, daemon.startService)
        port.stopListening()
        self.reactor.advance(0)
        said, _ = [e["reason"] for e in events if e["log_level"] is LogLevel.critical]
        return str(said)

    def test_port_in_use_in_foreground(self) -> None:
        """On a terminal one message is enough; the log may go elsewhere."""
        said = self.refused(self.daemon({"nodaemon": True}), SystemExit)
        self.assertTrue(said.startswith(f"{self.path}: "), said)
        self.assertIn("can't listen", said)
        self.assertIn(f"mailframe: {said}\n", self.stderr.getvalue())

    def test_port_in_use_as_daemon(self) -> None:
        """twistd tells the exception to whoever started the daemon."""
        said = self.refused(self.daemon({"nodaemon": False}), CannotListen)
        self.assertTrue(said.startswith(f"{self.path}: "), said)  # in the log
        with self.assertRaises(CannotListen) as caught, capturedLogs():
            self.daemon({"nodaemon": False})._give_up(CannotListen("can't"))
        self.assertEqual(str(caught.exception), "can't")  # twistd shows 100 octets, no more
        self.assertEqual(self.stderr.getvalue(), "")

    def test_clock(self) -> None:
        """Timers go by the time of day, and wait for as long as the clock was set back."""
        made: list[Any] = []

        class Noted(SteadyClock):
            def __init__(self, reactor: Any) -> None:
                super().__init__(reactor)
                made.append(self)

        self.patch(tap, "SteadyClock", Noted)
        self.patch(supervisor, "open_parts", lambda *args: self)
        daemon = self.daemon()
        daemon.startService()
        self.assertEqual([each.running for each in made], [1])
        stopped = daemon.stopService()
        self.reactor.advance(60)
        self.successResultOf(stopped)
        self.assertEqual([each.running for each in made], [0])
        daemon = self.daemon()  # one that could not be started
        self.successResultOf(daemon.stopService())

    def test_part_that_cannot_be_built(self) -> None:
        """What shows only when the parts are built is told in the same way."""
        daemon = self.daemon({"nodaemon": True})
        os.remove(os.path.join(self.folder, "accounts.toml"))
        self.assertRaises(SystemExit, daemon.startService)
        self.assertIn(f"mailframe: {self.path}: [accounts] plugin 'file'", self.stderr.getvalue())
        self.reactor.advance(0)

    def test_sighup(self) -> None:
        """SIGHUP must read the configuration again, in the reactor's own time."""
        installed: dict[int, Any] = {}
        self.patch(signal, "signal", installed.__setitem__)
        daemon = self.daemon()
        reloads: list[None] = []
        self.patch(daemon, "reload", lambda: reloads.append(None))
        daemon.startService()
        installed[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(reloads, [])
        self.reactor.advance(0)
        self.assertEqual(reloads, [None])
        stopped = daemon.stopService()
        self.reactor.advance(1)
        self.successResultOf(stopped)


class SeveralProcessesTests(TapTests):
    """The same with a supervising process."""

    def daemon(self, parent: dict[str, Any] | None = None) -> Any:
        """A service in a virtual world."""
        daemon = self.make(
            'hostname = "mx.here.example"\nprocesses = 2\n[queue]\nrequire_durable = false\n'
            '[accounts]\npath = "accounts.toml"\n'
            '[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = "tcp:25"\n',
            parent,
        )
        self.reactor = daemon._reactor = ProcessReactor()
        return daemon

    def test_sighup(self) -> None:
        """SIGHUP must read the configuration again, in the reactor's own time."""
        self.patch(supervisor, "open_parts", lambda *args: self)
        super().test_sighup()

    def close(self) -> Deferred[None]:
        """What was built for a trial is not closed in this test, so that no worker starts."""
        return Deferred()

    def test_log_level(self) -> None:
        """Workers must not format what `twist` throws away, nor keep what `twistd` writes."""
        self.assertEqual(self.daemon({"logLevel": LogLevel.warn})._log_level, "warn")
        self.assertEqual(self.daemon()._log_level, "debug")

    def test_no_worker_can_start(self) -> None:
        """It must end with the reason and an exit status, under a reactor that runs."""
        exits: list[Any] = []
        self.patch(tap.atexit, "register", exits.append)
        for foreground, count in ((True, 1), (False, 0)):
            daemon = self.daemon({"nodaemon": foreground})
            self.stderr.seek(0)
            self.stderr.truncate()
            with capturedLogs() as events:
                daemon._on_failed("too bad")
            self.assertEqual(events[0]["log_level"], LogLevel.critical)
            self.assertEqual(self.stderr.getvalue().count("mailframe: too bad\n"), count)
            self.assertEqual(self.reactor.stopped, 1)
        statuses: list[int] = []
        self.patch(tap.os, "_exit", statuses.append)
        exits[0]()
        self.assertEqual(statuses, [1])
        self.patch(sys, "__stdout__", None)
        exits[0]()
