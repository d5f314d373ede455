"""The policy where users meet it: chosen by name in a configuration file, used by the server."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase

from mailframe import MailServer
from mailframe.config_errors import SettingsError
from mailframe.settings import load
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.threads import in_thread

CONFIGURATION = """
hostname = "mx.here.example"
local_domains = ["here.example"]

[accounts]
plugin = "file"
path = "accounts.toml"

[queue]
plugin = "memory"

[routing]
plugin = "smarthosts"
servers = ["tcp:192.0.2.11:25", "tcp:192.0.2.12:25"]
tls = "none"

[[routing.sender]]
senders = ["*@newsletter.example"]
servers = ["tcp:192.0.2.99:25"]
"""


class Smarthost(LineReceiver):
    """Takes every message, and keeps the senders."""

    in_data = False

    def connectionMade(self) -> None:
        self.sendLine(b"220 smarthost")

    def lineReceived(self, line: bytes) -> None:
        if self.in_data:
            if line == b".":
                self.in_data = False
                self.sendLine(b"250 2.0.0 taken")
            return
        if line.startswith(b"MAIL FROM:"):
            self.factory.senders.append(line.partition(b"<")[2].partition(b">")[0].decode())
        self.in_data = line == b"DATA"
        self.sendLine(b"354 go ahead" if self.in_data else b"250 2.0.0 ok")


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.senders = {number: self.smarthost(f"192.0.2.{number}") for number in (11, 12, 99)}
        folder = self.mktemp()
        os.makedirs(folder)
        self.path = os.path.join(folder, "mailframe.toml")
        with open(os.path.join(folder, "accounts.toml"), "w", encoding="utf-8"):
            pass

    def smarthost(self, address: str) -> list[str]:
        factory: Any = Factory.forProtocol(Smarthost)
        factory.senders = []
        host = self.reactor.at(address)
        self.successResultOf(serverFromString(host, "tcp:25").listen(factory))
        return factory.senders

    def start(self, configuration: str = CONFIGURATION) -> MailServer:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(configuration)
        server = MailServer(
            settings=load(self.path),
            reactor=self.reactor.at("192.0.2.1"),
            resolver=FakeResolver({}, self.reactor),
            in_thread=in_thread,
        )
        server.startService()
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server: MailServer) -> None:
        stopping = server.stopService()
        self.reactor.advance(60)
        self.successResultOf(stopping)

    def send(self, server: MailServer, sender: str) -> None:
        sending = server.send(
            sender=sender, recipients=["jsmith@mindspring.example"], content=b"Subject: x\r\n\r\n"
        )
        self.successResultOf(Deferred.fromCoroutine(sending))
        self.reactor.advance(5)

    def test_used_by_the_server(self) -> None:
        """The plugin is installed and chosen, and mail goes another way all the same."""
        server = self.start()
        senders = [f"user{number}@here.example" for number in range(20)]
        for sender in [*senders, "weekly@newsletter.example"]:
            self.send(server, sender)
        self.assertEqual(self.senders[99], ["weekly@newsletter.example"])
        self.assertEqual(sorted(self.senders[11] + self.senders[12]), sorted(senders))
        self.assertTrue(self.senders[11])
        self.assertTrue(self.senders[12])

    def test_another_stands_in(self) -> None:
        """One smarthost that is down holds up the mail."""
        server = self.start()
        self.reactor.down("192.0.2.11")
        senders = [f"user{number}@here.example" for number in range(10)]
        for sender in senders:
            self.send(server, sender)
        self.assertEqual(sorted(self.senders[12]), sorted(senders))

    def test_mistake_is_explained(self) -> None:
        """A mistake in the plugin's own table is not named, or only found when mail waits."""
        error = self.assertRaises(
            SettingsError, self.start, CONFIGURATION.replace("servers =", "server =", 1)
        )
        self.assertIn("servers", str(error))
        self.assertIn("[routing]", str(error))
