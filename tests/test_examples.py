"""The examples run as they stand, for they are what a user starts from."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.threads import in_thread

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program as a user would, from another folder."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load(path: Path) -> ModuleType:
    """Import an example, which is in no package."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EmbedTests(SynchronousTestCase):
    """examples/embed.py"""

    def test_as_a_program(self) -> None:
        """The first program that a user tries fails."""
        ended = run(str(EXAMPLES / "embed.py"))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"\Amessage [0-9a-z]+: 250 2\.0\.0 ticket 1\n")
        self.assertIn("ticket 1: The printer is on fire\n", ended.stdout)

    def test_only_its_own_mail(self) -> None:
        """The application's own accounts and mailboxes are not asked."""
        example: Any = load(EXAMPLES / "embed.py")
        reactor = VirtualReactor()
        tickets = example.Tickets()
        server = example.make_server(
            tickets,
            os.path.abspath(self.mktemp()),
            reactor=reactor,
            resolver=FakeResolver({}, reactor),
            in_thread=in_thread,
        )
        server.startService()
        for name in ("help", "nobody"):
            sending = server.send(
                sender=None, recipients=[f"{name}@tickets.example"], content=b"Subject: x\r\n\r\n"
            )
            self.successResultOf(Deferred.fromCoroutine(sending))
        reactor.advance(1)
        self.assertEqual(tickets.opened, {1: "x"})
        stopping = server.stopService()
        reactor.advance(60)
        self.successResultOf(stopping)


class SubaddressesTests(SynchronousTestCase):
    """examples/subaddresses"""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        shutil.copytree(EXAMPLES / "subaddresses", self.folder)

    def mailframe(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(
            "-c",
            "from mailframe.cli import main; main()",
            command,
            "--json",
            "-c",
            str(self.folder / "mailframe.toml"),
            *arguments,
            PYTHONPATH=str(self.folder),
        )

    def explain(self, recipient: str) -> Any:
        ended = self.mailframe(
            "explain", "--server", "mx", "--from-ip", "192.0.2.1", "<>", recipient
        )
        self.assertEqual(ended.stderr, "")
        return json.loads(ended.stdout)

    def test_explain(self) -> None:
        """A policy in a drop-in is installed and chosen, but mail goes another way."""
        route = self.explain("mary+lists@here.example")["route"]
        self.assertEqual(
            {key: route[key] for key in ("kind", "mailbox", "plugin", "rule", "reason")},
            {
                "kind": "local",
                "mailbox": "mary@here.example",
                "plugin": "subaddresses",
                "rule": "detail",
                "reason": "lists is a detail of mary",
            },
        )

    def test_nobody(self) -> None:
        """Mail for nobody's detail is taken and bounced later, to whoever was named as sender."""
        self.assertFalse(self.explain("nobody+lists@here.example")["authorised"])

    def test_listed(self) -> None:
        """A drop-in is there, but a user can't see it among the plugins."""
        listed = self.mailframe("plugins")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn("subaddresses", listed.stdout)
