"""Covers mailframe.start_check."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import attrs
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from mailframe import start_check
from mailframe.assembly import PartError
from mailframe.durability import Durability
from mailframe.service import MailServer
from mailframe.settings import Settings, from_text
from mailframe.start_check import check_disks, examine, folders
from mailframe.testing.fakes import FakeAgent
from mailframe.testing.network import VirtualReactor
from tests.test_mounts import line


class StartCheckCase(SynchronousTestCase):
    """A configuration, and a machine whose kernel says what the test has it say."""

    def setUp(self) -> None:
        self.folder = os.path.realpath(self.mktemp())
        self.process = os.path.join(self.folder, "proc")
        os.makedirs(self.process)
        self.warnings: list[str] = []
        self.patch(
            Logger,
            "warn",
            lambda _log, format, **fields: self.warnings.append(format.format(**fields)),
        )
        self.has(line(1, 0, "/"))

    def has(self, *mounts: str) -> None:
        """Have the kernel tell of these."""
        with open(os.path.join(self.process, "mountinfo"), "w") as file:
            file.write("\n".join(mounts))

    def settings(self, queue: str = "", delivery: str = "") -> Settings:
        text = f'hostname = "mx.here.example"\n[queue]\n{queue}\n[delivery]\n{delivery}\n'
        return from_text(text, os.path.join(self.folder, "mailframe.toml"))

    def check(self, settings: Settings) -> None:
        self.patch(
            start_check,
            "examine",
            lambda settings, given: examine(settings, given, process=self.process),
        )
        check_disks(settings)


class FolderTests(StartCheckCase):
    """Where mail is kept."""

    def paths(self, *args: Any, **kwargs: Any) -> list[str]:
        return [os.path.relpath(each.path, self.folder) for each in folders(*args, **kwargs)]

    def test_paths(self) -> None:
        """The wrong folder is looked at, or one of them is not."""
        self.assertEqual(self.paths(self.settings()), ["state/queue", "mail"])
        other = self.settings('path = "q"', 'path = "boxes/of-{mailbox}/Maildir"')
        self.assertEqual(self.paths(other), ["q", "boxes"])

    def test_nothing_is_kept(self) -> None:
        """A queue in memory, which nobody expects to last, is complained about."""
        settings = self.settings('plugin = "memory"')
        self.assertEqual(folders(settings), [])
        self.assertEqual(examine(settings, process=self.process), [])

    def test_parts_of_ones_own(self) -> None:
        """A program that brings its own queue or agent can't be started."""
        settings = self.settings()
        self.assertEqual(self.paths(settings, {"queue": None}), ["mail"])
        self.assertEqual(self.paths(settings, {"delivery": None}), ["state/queue"])
        without = attrs.evolve(settings, chosen={})
        self.assertEqual(folders(without), [])


class CheckTests(StartCheckCase):
    """What comes of it at the start."""

    def test_disk(self) -> None:
        """A server does not start on a disk, or says something about it."""
        self.check(self.settings())
        self.assertEqual(self.warnings, [])

    def test_memory(self) -> None:
        """Mail is acknowledged and gone after the next restart."""
        self.has(line(1, 0, "/", "tmpfs"))
        error = self.assertRaises(PartError, self.check, self.settings())
        for words in (
            "require_durable = false",
            "state/queue lies in memory",
            "mail lies in memory",
        ):
            self.assertIn(words, str(error))

    def test_accepted(self) -> None:
        """A demonstration in memory can't be started, or nobody is reminded of what it is."""
        self.has(line(1, 0, "/", "tmpfs"))
        self.check(self.settings("require_durable = false"))
        self.assertEqual(len(self.warnings), 2)
        self.assertIn("lies in memory", self.warnings[0])

    def test_weaker(self) -> None:
        """Mailboxes over NFS keep the server from starting."""
        self.has(line(1, 0, "/"), line(2, 1, os.path.join(self.folder, "mail"), "nfs4"))
        self.check(self.settings())
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("may come twice", self.warnings[0])

    def test_unknown_system(self) -> None:
        """A system without /proc can't be served on."""
        self.process = os.path.join(self.folder, "nowhere")
        self.check(self.settings())
        self.assertEqual(self.warnings, [])

    def test_sqlite_without_sync(self) -> None:
        """A SQLite that was built for speed alone loses the queue."""
        connect = sqlite3.connect

        class Built(sqlite3.Connection):
            def execute(self, statement: str, *args: Any) -> Any:
                assert statement == "PRAGMA compile_options"
                return super().execute("SELECT 'NO_SYNC'")

        self.patch(sqlite3, "connect", lambda path: connect(path, factory=Built))
        error = self.assertRaises(PartError, self.check, self.settings())
        self.assertIn("SQLITE_NO_SYNC", str(error))

    def test_server(self) -> None:
        """The server does not look, or leaves its sockets open when it gives up."""
        self.patch(start_check, "_read", lambda _path: line(1, 0, "/", "tmpfs"))
        reactor = VirtualReactor()
        arguments: dict[str, Any] = {
            "hostname": "mx.here.example",
            "state_dir": os.path.join(self.folder, "state"),
            "servers": [{"name": "mx", "protocol": "smtp", "listen": "tcp:25"}],
            "accounts": {"plugin": "file", "path": os.path.join(self.folder, "accounts.toml")},
            "delivery": FakeAgent(),
            "reactor": reactor,
        }
        server = MailServer(**arguments)
        self.assertRaises(PartError, server.startService)
        self.assertEqual(server.addresses, ())
        self.assertFalse(os.path.exists(arguments["state_dir"]))
        accepting = MailServer(**arguments, durability=Durability(require_durable=False))
        self.assertEqual(accepting.settings.durability.require_durable, False)
