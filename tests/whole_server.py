"""A server made of fakes, under virtual time and in a virtual network, for tests to start."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe import MailServer
from mailframe.address import Address
from mailframe.service import STOP_TIME
from mailframe.settings import ServerSettings
from mailframe.testing.fakes import FakeAccounts, FakeAgent, FakeAuthorisation, FakeRouting
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.threads import in_thread

JSMITH = Address("jsmith", "here.example")
MX = ServerSettings(name="mx", protocol="smtp", listen=("tcp:25",))


class Peer(Protocol):
    """A client that says what it is told to."""

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        # Twisted's own default value for it is not in its interface.
        self.is_lost = True


class _Taking(LineOnlyReceiver):
    in_content = False

    def connectionMade(self) -> None:
        self.transport.write(b"220 sink ESMTP\r\n")

    def lineReceived(self, line: bytes) -> None:
        if self.in_content and line != b".":
            return
        self.in_content = line[:4] == b"DATA"
        if line[:4] in (b"MAIL", b"RCPT"):
            self.factory.told.append(line)
        self.transport.write(b"354 go on\r\n" if self.in_content else b"250 2.0.0 ok\r\n")


class Sink(Factory):
    """A next hop that takes everything.

    :ivar told: the commands of the envelopes
    """

    protocol = _Taking

    def __init__(self) -> None:
        self.told: list[bytes] = []


@implementer(IService)
class RoutingService(FakeRouting, Service):
    """A part that is a service as well."""


class ServerTests(SynchronousTestCase):
    """A server of fakes in a virtual network."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.accounts = FakeAccounts({JSMITH: b"secret"})
        self.authorisation = FakeAuthorisation()
        self.routing: Any = FakeRouting()
        self.agent = FakeAgent()
        self.state_dir = os.path.abspath(self.mktemp())
        self.server: MailServer | None = None

    def tearDown(self) -> None:
        if self.server is not None and self.server.running:
            self.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def lent(self) -> dict[str, Any]:
        """The virtual world."""
        return {
            "reactor": self.reactor,
            "resolver": FakeResolver({}, self.reactor),
            "in_thread": in_thread,
            "random": Random(0),
        }

    def make(self, **changes: Any) -> MailServer:
        """A server that was not started."""
        arguments: dict[str, Any] = {
            "hostname": "mx.here.example",
            "local_domains": ["here.example"],
            "state_dir": self.state_dir,
            "servers": [MX],
            "accounts": self.accounts,
            "authorisation": self.authorisation,
            "routing": self.routing,
            "queue": "memory",
            "delivery": self.agent,
            **self.lent(),
        }
        self.server = MailServer(**{**arguments, **changes})
        return self.server

    def start(self, **changes: Any) -> MailServer:
        """A server that runs."""
        server = self.make(**changes)
        server.startService()
        self.reactor.advance(0)
        return server

    def stop(self) -> None:
        """Stop the server, with all the time it may take."""
        assert self.server is not None
        stopped = self.server.stopService()
        # The console's HTTP server gives a client that doesn't close another quarter of a minute.
        self.reactor.advance(3 * STOP_TIME + 15)
        self.successResultOf(stopped)

    def connect(self, port: int = 25) -> Peer:
        """A client's connection."""
        endpoint = clientFromString(self.reactor, f"tcp:127.0.0.1:{port}")
        connected = endpoint.connect(Factory.forProtocol(Peer))
        self.reactor.advance(0)
        return self.successResultOf(connected)

    def say(self, peer: Peer, *lines: str) -> bytes:
        """Say lines one after the other, and give what was answered to the last."""
        for line in lines:
            peer.received = b""
            peer.transport.write(line.encode() + b"\r\n")
            self.reactor.advance(0)
        return peer.received

    def serve_sink(self, address: str) -> Sink:
        """Have a next hop that takes everything listen at an address."""
        sink = Sink()
        self.reactor.at(address).listenTCP(25, sink)
        return sink

    def begin(self, port: int = 25) -> Peer:
        """A client that has greeted and named a sender."""
        peer = self.connect(port)
        self.say(peer, "EHLO client.example", "MAIL FROM:<a@there.example>")
        return peer

    def hand_over(self, recipient: str = "jsmith@here.example", port: int = 25) -> bytes:
        """Hand over a message; the last reply."""
        peer = self.begin(port)
        reply = self.say(peer, f"RCPT TO:<{recipient}>", "DATA", "Subject: x\r\n\r\nhello\r\n.")
        self.say(peer, "QUIT")
        return reply
