"""The whole server: started and stopped under virtual time and over a virtual network."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver

from mailframe import MailServer
from mailframe.address import Address
from mailframe.assembly import PartError
from mailframe.certificates import CertificateError
from mailframe.config_errors import SettingsError
from mailframe.entry import Notice, Step
from mailframe.interfaces import StorageFault
from mailframe.listening import CannotListen
from mailframe.outcome import NextHop, Relay
from mailframe.plugin import SEAMS, Problem
from mailframe.queue.memory import MemorySettings, MemoryStorage
from mailframe.service import STOP_TIME
from mailframe.settings import ServerSettings
from mailframe.testing.fakes import FakeRouting
from tests.whole_server import JSMITH, MX, RoutingService, ServerTests


def _via(address: str) -> Relay:
    """A route over a server that is named by its address."""
    return Relay(hops=(NextHop(where=f"tcp:{address}:25", tls="none"),), reason="so", plugin="x")


class ObligingServer(LineOnlyReceiver):
    """A next hop that takes everything."""

    in_content = False

    def connectionMade(self) -> None:
        self.transport.write(b"220 good.example ESMTP\r\n")

    def lineReceived(self, line: bytes) -> None:
        if self.in_content and line != b".":
            return
        self.in_content = line[:4].upper() == b"DATA"
        self.transport.write(b"354 go on\r\n" if self.in_content else b"250 2.0.0 ok\r\n")


class OpenOrClosed(MemoryStorage):
    """A queue that, like one on a disk, records nothing once it is closed."""

    is_closed = False

    async def settle(self, id: str, owner: str, step: Step, notices: Sequence[Notice]) -> None:
        if self.is_closed:
            raise StorageFault("closed")
        await super().settle(id, owner, step, notices)

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


class Life(ServerTests):
    """Start and stop."""

    def test_from_client_to_mailbox(self) -> None:
        """The server must do what it is there for."""
        self.start()
        self.assertTrue(self.hand_over().startswith(b"250 2.0.0 queued as "))
        self.reactor.advance(1)
        (content,) = self.agent.delivered[JSMITH]
        self.assertIn(b"by mx.here.example", content)
        self.assertTrue(content.endswith(b"Subject: x\r\n\r\nhello\r\n"))

    def test_no_socket_before_start(self) -> None:
        """A program that only makes the service must not open anything, nor write."""
        server = self.make()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertFalse(os.path.exists(self.state_dir))
        self.assertEqual(server.addresses, ())

    def test_state_dir(self) -> None:
        """Other users of the machine must not read the mail."""
        self.start()
        self.assertEqual(stat.S_IMODE(os.stat(self.state_dir).st_mode), 0o700)

    def test_privileged_start(self) -> None:
        """Sockets are opened before privileges are dropped, files are made after that."""
        server = self.make()
        server.privilegedStartService()
        self.assertEqual([a.port for a in server.addresses], [25])
        self.assertFalse(os.path.exists(self.state_dir))
        peer = self.connect()
        self.assertTrue(peer.is_lost, "nobody is served before the start")
        server.startService()
        self.assertEqual(len(server.addresses), 1)
        self.assertTrue(self.hand_over().startswith(b"250"))

    def test_again(self) -> None:
        """A service can be stopped and started again."""
        server = self.start()
        self.stop()
        self.assertEqual(server.addresses, ())
        server.startService()
        self.reactor.advance(0)
        self.assertTrue(self.hand_over().startswith(b"250"))

    def test_stop_finishes_what_is_in_flight(self) -> None:
        """A client that is handing a message over must not lose it to a restart."""
        server = self.start()
        peer = self.begin()
        self.say(peer, "RCPT TO:<jsmith@here.example>", "DATA")
        idle = self.connect()
        stopped = server.stopService()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.assertIn(b"421", idle.received)
        with self.assertRaises(Exception):  # noqa: B017  # whatever the network says
            self.connect()
        self.assertTrue(self.say(peer, "Subject: x\r\n\r\nhello\r\n.").startswith(b"250"))
        self.reactor.advance(1)
        self.successResultOf(stopped)

    def test_stop_has_a_limit(self) -> None:
        """A client that never goes on must not keep the server from stopping."""
        server = self.start()
        self.say(self.begin(), "RCPT TO:<jsmith@here.example>", "DATA")
        stopped = server.stopService()
        self.reactor.advance(STOP_TIME - 1)
        self.assertNoResult(stopped)
        self.reactor.advance(2)
        self.successResultOf(stopped)

    def test_attempt_that_hangs(self) -> None:
        """An agent that never answers must not keep the server from stopping."""
        answer: Deferred[Any] = Deferred()
        self.agent.deliver_trouble = answer
        server = self.start()
        self.hand_over()
        self.reactor.advance(1)
        stopped = server.stopService()
        self.reactor.advance(STOP_TIME - 1)
        self.assertNoResult(stopped)
        self.reactor.advance(2)
        self.successResultOf(stopped)
        answer.callback([])
        self.reactor.advance(0)

    def test_stop_while_a_next_hop_is_silent(self) -> None:
        """What other recipients already have must not be relayed once more after a restart."""
        good, silent = Address("a", "good.example"), Address("b", "silent.example")
        self.routing = FakeRouting({good: _via("192.0.2.1"), silent: _via("192.0.2.2")})
        self.reactor.at("192.0.2.1").listenTCP(25, Factory.forProtocol(ObligingServer))
        self.reactor.at("192.0.2.2").listenTCP(25, Factory.forProtocol(Protocol))
        storage = OpenOrClosed(clock=self.reactor, random=Random(0))
        server = self.start(queue=storage)
        sent = server.send(sender="x@here.example", recipients=[good, silent], content=b"hello")
        handle = self.successResultOf(Deferred.fromCoroutine(sent))
        self.reactor.advance(1)
        stopped = server.stopService()
        self.reactor.advance(20)
        self.successResultOf(stopped)
        self.assertTrue(storage.is_closed)
        entry = self.successResultOf(Deferred.fromCoroutine(storage.find(handle.id)))
        states = {each.address: each.state for each in entry.recipients}
        self.assertEqual(states, {good: "relayed", silent: "pending"})
        self.reactor.advance(60)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_has_one_limit(self) -> None:
        """A service manager kills what takes too long, and with it what is being recorded."""
        answer: Deferred[Any] = Deferred()
        self.agent.deliver_trouble = answer
        server = self.start()
        self.hand_over()
        self.reactor.advance(1)
        self.say(self.begin(), "RCPT TO:<jsmith@here.example>", "DATA")
        stopped = server.stopService()
        self.reactor.advance(20)
        self.successResultOf(stopped)
        answer.callback([])
        self.reactor.advance(0)

    def test_stop_without_start(self) -> None:
        """A program that fails halfway stops what it never started."""
        self.successResultOf(self.make().stopService())

    def test_parts_that_are_services(self) -> None:
        """A part that needs to be started and stopped must be."""
        self.routing = RoutingService()
        self.start()
        self.assertTrue(self.routing.running)
        self.stop()
        self.assertFalse(self.routing.running)

    def test_not_running(self) -> None:
        """A program that sends too early must be told so."""
        server = self.make()
        self.assertRaises(RuntimeError, server.handle, "x")
        failed = Deferred.fromCoroutine(
            server.send(sender=None, recipients=["a@here.example"], content=b"")
        )
        self.failureResultOf(failed, RuntimeError)


class Trouble(ServerTests):
    """What keeps a server from starting."""

    def refused(self, error: type[Exception], **changes: Any) -> str:
        """What is said when it can't start; nothing of it stays open."""
        server = self.make(**changes)
        with self.assertRaises(error) as caught:
            server.startService()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getReaders(), [])
        return str(caught.exception)

    def test_port_in_use(self) -> None:
        """Who runs two servers must see which of the endpoints is taken."""
        port = self.reactor.listenTCP(26, Factory())
        two = ServerSettings(name="second", protocol="smtp", listen=("tcp:26",))
        server = self.make(servers=[MX, two])
        with self.assertRaises(CannotListen) as caught:
            server.startService()
        self.assertIn('[[server]] "second" can\'t listen on "tcp:26"', str(caught.exception))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getReaders(), [port])
        port.stopListening()
        self.reactor.advance(0)

    def test_object_that_is_no_part(self) -> None:
        """An object without the seam's methods would fail only when mail arrives."""
        said = self.refused(PartError, routing=object())
        self.assertIn("[routing] plugin 'object' is not what [routing] asks for", said)

    def test_builder_objects(self) -> None:
        """A part that can't use its settings says why in its own words."""
        path = os.path.abspath(self.mktemp())
        said = self.refused(PartError, accounts={"plugin": "file", "path": path})
        self.assertIn("[accounts] plugin 'file'", said)
        self.assertIn(path, said)
        with open(path, "w"):
            pass
        queue = {"plugin": "sqlite", "path": os.path.join(path, "queue")}
        said = self.refused(PartError, queue=queue)
        self.assertIn(f"[queue] plugin 'sqlite': {path}", said)
        self.assertTrue(said.endswith(": Not a directory"), said)

    def test_state_dir_cannot_be_made(self) -> None:
        """A file where the folder should be."""
        with open(self.state_dir, "w"):
            pass
        self.assertIn(f"state_dir {self.state_dir} can't be made", self.refused(PartError))

    def test_certificate(self) -> None:
        """A server that was to speak TLS must not start without it."""
        tls = {"certificate": "/nowhere/c.pem", "private_key": "/nowhere/k.pem"}
        self.assertIn("/nowhere/c.pem", self.refused(CertificateError, tls=tls))

    def test_arguments(self) -> None:
        """Arguments are checked as a file is."""
        cases: list[tuple[dict[str, Any], str]] = [
            ({"hostname": "-"}, "hostname"),
            ({"servers": [{"name": "mx", "protocol": "smpt", "listen": "tcp:25"}]}, '"smtp"'),
            ({"routing": "tabel"}, "did you mean 'table'?"),
            ({"routing": {"plugin": "table", "ruel": []}}, 'did you mean "rule"?'),
        ]
        for changes, words in cases:
            with self.assertRaises(SettingsError) as caught:
                self.make(**changes)
            self.assertIn(words, str(caught.exception))
            self.server = None

    def test_broken_drop_ins_are_logged(self) -> None:
        """Nobody looks for a plugin that silently isn't there."""
        server = self.make()
        problem = Problem(module="m", file="f", reason="ImportError: x")
        server.settings = attrs.evolve(server.settings, problems=(problem,))
        server.startService()
        self.reactor.advance(0)


class PartsOfManyKinds(ServerTests):
    """How a program may name its parts."""

    def test_settings_object(self) -> None:
        """An instance of a plugin's settings class chooses the plugin."""
        server = self.start(queue=MemorySettings())
        self.assertEqual(server.settings.chosen["queue"].part.name, "memory")
        self.assertTrue(self.hand_over().startswith(b"250"))

    def test_one_text(self) -> None:
        """``local_domains="ab"`` would be the domains a and b."""
        server = self.make(local_domains="rosse.example", dns="192.0.2.53:53")
        self.assertEqual(server.settings.local_domains, ("rosse.example",))
        self.assertEqual(server.settings.dns.servers, ("192.0.2.53:53",))

    def test_tables(self) -> None:
        """Whatever a file can say, a program can say with a dictionary."""
        server = self.start(
            servers=[{"name": "mx", "protocol": "smtp", "listen": ["tcp:25", "tcp:26"]}],
            routing={
                "plugin": "table",
                "rule": [{"via": "reject:gone", "recipients": ["*@here.example"]}],
            },
        )
        self.assertEqual([address.port for address in server.addresses], [25, 26])
        peer = self.begin(26)
        self.assertIn(b"gone", self.say(peer, "RCPT TO:<jsmith@here.example>"))

    def test_defaults(self) -> None:
        """What is not said is the default plugin."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w"):
            pass
        server = MailServer(
            hostname="a.example", accounts={"path": path}, queue="memory", **self.lent()
        )
        self.assertEqual(set(server.settings.chosen), set(SEAMS))

    def test_global_reactor(self) -> None:
        """Without an argument it is the reactor of the program."""
        from twisted.internet import reactor

        self.assertIs(MailServer(hostname="a.example", accounts=self.accounts).reactor, reactor)
