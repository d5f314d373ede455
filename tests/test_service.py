"""The whole server: started, stopped and reloaded under virtual time and over a virtual network."""

from __future__ import annotations

import os
import stat
from random import Random
from typing import Any

import trustme
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe import MailServer
from mailframe.address import Address
from mailframe.assembly import PartError
from mailframe.certificates import CertificateError
from mailframe.config_errors import SettingsError
from mailframe.listening import CannotListen
from mailframe.plugin import SEAMS
from mailframe.queue.memory import MemorySettings
from mailframe.service import STOP_TIME
from mailframe.settings import ServerSettings
from mailframe.testing.fakes import DENIED, FakeAccounts, FakeAgent, FakeAuthorisation, FakeRouting
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
        self.reactor.advance(3 * STOP_TIME)
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
        import attrs

        from mailframe.plugin import Problem

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


class Protocols(ServerTests):
    """Each protocol gets its server."""

    def certificate(self) -> dict[str, str]:
        """A certificate and its key."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        issued = trustme.CA().issue_cert("mx.here.example")
        table = {key: os.path.join(folder, key) for key in ("certificate", "private_key")}
        issued.private_key_pem.write_to_path(table["private_key"])
        for pem in issued.cert_chain_pems:
            pem.write_to_path(table["certificate"], append=True)
        return table

    def test_greetings(self) -> None:
        """Each must speak its protocol, with TLS by default when there is a certificate."""
        servers = [
            {"name": name, "protocol": protocol, "listen": f"tcp:{port}"}
            for name, protocol, port in [
                ("mx", "smtp", 25),
                ("sub", "submission", 587),
                ("pop", "pop3", 110),
                ("web", "console", 80),
            ]
        ]
        self.start(servers=servers, tls=self.certificate())
        for port in (25, 587):
            self.assertIn(b"STARTTLS", self.say(self.connect(port), "EHLO client.example"))
        self.assertTrue(self.connect(110).received.startswith(b"+OK"))
        self.assertIn(b"STLS", self.say(self.connect(110), "CAPA"))
        answered = self.say(self.connect(80), "GET / HTTP/1.1\r\nHost: localhost\r\n")
        self.assertTrue(answered.startswith(b"HTTP/1.1 200"))

    def test_implicit_tls(self) -> None:
        """Nothing may be said in clear on a server with implicit TLS."""
        servers = [
            {"name": name, "protocol": name, "listen": f"tcp:{port}", "tls": "implicit"}
            for name, port in [("submission", 465), ("pop3", 995), ("console", 443)]
        ]
        self.start(servers=servers, tls=self.certificate())
        for port in (465, 995, 443):
            peer = self.connect(port)
            self.assertEqual(peer.received, b"")
            peer.transport.startTLS(CertificateOptions())  # type: ignore[union-attr]  # connected
            self.reactor.advance(0)
            self.assertIn(
                b"HTTP/1.1 200" if port == 443 else b"mx.here.example",
                self.say(peer, "GET / HTTP/1.1\r\nHost: localhost\r\n")
                if port == 443
                else peer.received,
            )

    def test_authorisation_is_asked(self) -> None:
        """Whoever is no customer must not have mail carried."""
        self.authorisation.verdict = DENIED
        self.start()
        reply = self.say(self.begin(), "RCPT TO:<b@there.example>")
        self.assertTrue(reply.startswith(b"550 5.7.1"))


class Reloading(ServerTests):
    """`MailServer.reload`, which SIGHUP calls."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "mailframe.toml")

    def write(self, more: str = "", listen: str = "tcp:25", hostname: str = "mx") -> None:
        """Write the configuration."""
        with open(self.path, "w") as file:
            file.write(
                f'hostname = "{hostname}.here.example"\nlocal_domains = ["here.example"]\n'
                f'[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = "{listen}"\n'
                f'[queue]\nplugin = "memory"\n[accounts]\npath = "accounts.toml"\n{more}'
            )

    def start_from_file(self, **parts: Any) -> MailServer:
        """A server that runs as the file says, but for these parts."""
        fakes: dict[str, Any] = {
            "accounts": self.accounts,
            "authorisation": self.authorisation,
            "delivery": self.agent,
        }
        self.server = MailServer.from_config(self.path, **{**fakes, **parts}, **self.lent())
        self.server.startService()
        self.reactor.advance(0)
        return self.server

    def test_routing_table(self) -> None:
        """A changed table must hold for whom is asked from now on, in open sessions as well."""
        self.write()
        server = self.start_from_file()
        peer = self.begin()
        self.write('[[routing.rule]]\nvia = "reject:moved"\n')
        self.assertTrue(server.reload())
        reply = self.say(peer, "RCPT TO:<jsmith@here.example>")
        self.assertIn(b"moved", reply)
        self.assertFalse(peer.is_lost)
        self.assertIn(b"moved", self.say(self.begin(), "RCPT TO:<jsmith@here.example>"))

    def test_bad_file(self) -> None:
        """A slip of the pen must not stop the mail."""
        self.write()
        server = self.start_from_file()
        self.write("[[routing.rule]]\nvai = 3\n")
        self.assertFalse(server.reload())
        self.assertTrue(self.hand_over().startswith(b"250"))

    def test_times_and_limits(self) -> None:
        """Retry times and limits must not need a restart."""
        self.write()
        server = self.start_from_file()
        self.write("[limits]\nrecipients = 1\n")
        self.assertTrue(server.reload())
        peer = self.begin()
        self.say(peer, "RCPT TO:<jsmith@here.example>")
        self.assertTrue(self.say(peer, "RCPT TO:<b@there.example>").startswith(b"452"))

    def certificate(self, name: str) -> None:
        """Write a certificate for a name."""
        issued = trustme.CA().issue_cert(name)
        issued.private_key_pem.write_to_path(os.path.join(self.folder, "k.pem"))
        issued.cert_chain_pems[0].write_to_path(os.path.join(self.folder, "c.pem"))

    def test_certificate(self) -> None:
        """A renewed certificate must be served without a restart, a bad one never."""
        table = '[tls]\ncertificate = "c.pem"\nprivate_key = "k.pem"\n'
        self.certificate("one.example")
        self.write(table)
        server = self.start_from_file()
        first = server._context
        self.certificate("two.example")
        self.assertTrue(server.reload())
        second = server._context
        self.assertIsNot(first, second)
        os.remove(os.path.join(self.folder, "k.pem"))
        self.write(table + "[limits]\nrecipients = 1\n")
        self.assertTrue(server.reload())
        self.assertIs(server._context, second)
        self.assertEqual(server.settings.limits.recipients, 1)
        self.assertIn(b"STARTTLS", self.say(self.connect(), "EHLO client.example"))

    def test_first_certificate_is_bad(self) -> None:
        """Without a certificate in force there is nothing to go on with."""
        self.write()
        server = self.start_from_file()
        self.write('[tls]\ncertificate = "c.pem"\nprivate_key = "k.pem"\n')
        self.assertFalse(server.reload())
        self.assertIsNone(server.settings.tls)

    def test_what_needs_a_restart(self) -> None:
        """Sockets, name and queue stay; half of a change must not come into force."""
        self.write()
        server = self.start_from_file()
        before = server.settings
        self.write("[relay]\nport = 2600\n", listen="tcp:26", hostname="other")
        self.assertTrue(server.reload())
        self.assertEqual(server.settings.hostname, "mx.here.example")
        self.assertEqual(server.settings.servers, before.servers)
        self.assertEqual(server.settings.relay, before.relay)
        self.assertTrue(self.hand_over().startswith(b"250"))

    def test_parts_that_are_services(self) -> None:
        """A part that was exchanged must be stopped, one that stays must not."""
        self.routing = RoutingService()
        self.write()
        server = self.start_from_file(routing=self.routing)
        self.assertTrue(server.reload())
        self.reactor.advance(0)
        self.assertTrue(self.routing.running)

    def test_stop_waits_for_old_sessions_too(self) -> None:
        """A session from before a reload must not be cut off by a stop soon after it."""
        self.write()
        server = self.start_from_file()
        peer = self.begin()
        self.say(peer, "RCPT TO:<jsmith@here.example>", "DATA")
        self.assertTrue(server.reload())
        stopped = server.stopService()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.assertTrue(self.say(peer, "Subject: x\r\n\r\nhello\r\n.").startswith(b"250"))
        self.reactor.advance(1)
        self.successResultOf(stopped)

    def test_not_running(self) -> None:
        """A signal before the start or after the end does nothing."""
        self.assertFalse(self.make().reload())

    def test_without_a_file(self) -> None:
        """A program's server reads certificate and accounts again."""
        self.assertTrue(self.start().reload())
        self.assertTrue(self.hand_over().startswith(b"250"))
