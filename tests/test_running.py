"""What a reload exchanges."""

from __future__ import annotations

import os
import sys
from typing import Any

import attrs
import trustme
from twisted.logger import formatEvent, globalLogPublisher

from mailframe import MailServer, service
from mailframe.outcome import NextHop
from mailframe.plugin import Part, find_parts
from tests.whole_server import RoutingService, ServerTests


@attrs.frozen
class NoSettings:
    """The settings of `build`."""


def build(settings: object, site: object) -> object:
    """Replaced in the test that uses it."""
    raise AssertionError


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

    def add_a_domain(self, more: str) -> str:
        """Reload a file with a second local domain, which is refused; what is logged."""
        texts: list[str] = []
        server = self.server
        assert server is not None
        self.write(more)
        with open(self.path) as file:
            text = file.read()
        with open(self.path, "w") as file:
            file.write(text.replace('["here.example"]', '["here.example", "there.example"]'))
        globalLogPublisher.addObserver(observer := lambda event: texts.append(formatEvent(event)))
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.assertFalse(server.reload())
        self.assertEqual(server.settings.local_domains, ("here.example",))
        return "\n".join(texts)

    def test_second_domain_in_the_same_mailboxes(self) -> None:
        """Two people of different domains must not come to share a mailbox, on a reload either."""
        self.write(folders := '[delivery]\npath = "mail/{mailbox}"\n')
        self.server = MailServer.from_config(
            self.path,
            accounts=self.accounts,
            authorisation=self.authorisation,
            **self.lent(),
        )
        self.server.startService()
        self.assertIn("mailframe.toml: [delivery]: path: ", self.add_a_domain(folders))
        # nor while the path in force is still the one from before
        said = self.add_a_domain('[delivery]\npath = "mail/{domain}/{mailbox}"\n')
        self.assertIn("restart", said)
        self.assertIn("{domain}", said)

    def test_times_and_limits(self) -> None:
        """Retry times and limits must not need a restart."""
        self.write()
        server = self.start_from_file()
        self.write("[limits]\nrecipients = 1\n")
        self.assertTrue(server.reload())
        peer = self.begin()
        self.say(peer, "RCPT TO:<jsmith@here.example>")
        self.assertTrue(self.say(peer, "RCPT TO:<b@there.example>").startswith(b"452"))

    def test_clients_are_remembered(self) -> None:
        """A reload would let guessing begin anew, and whoever is connected connect once more."""
        self.write("[limits]\nconnections_per_address = 1\n")
        server = self.start_from_file()
        running = server._now()
        self.connect()
        before: Any = running.factories["mx"]
        for _ in range(20):
            before.login_failures.failed("192.0.2.1", b"a@here.example")
        self.assertTrue(server.reload())
        after: Any = running.factories["mx"]
        self.assertIsNot(after, before)
        self.assertIsNotNone(after.login_failures.beyond("192.0.2.1", b"x"))
        self.assertIn(b"421", self.connect().received)

    def test_count_of_notices(self) -> None:
        """A reload lets a flood of notices begin anew."""
        self.write()
        server = self.start_from_file()
        running = server._now()
        rate = running.notices.rate
        self.write("[limits]\nrecipients = 1\n")
        self.assertTrue(server.reload())
        self.assertIs(running.notices.rate, rate)
        self.assertIs(running.runner.notices, running.notices)

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

    def test_limits_of_relaying(self) -> None:
        """A limit that was set because a receiver complains would have to wait for a restart."""
        self.write("[relay]\nport = 2600\n")
        server = self.start_from_file()
        self.write("[relay]\nport = 26\nfirst_connections = 2\n")
        self.assertTrue(server.reload())
        self.assertEqual(server.settings.relay.first_connections, 2)
        self.assertEqual(server.settings.relay.port, 2600)
        agent = server._running.dispatch.relay.part
        hop = NextHop(where="mx:blu.example")
        self.assertEqual(agent._traffic.destinations.of(hop).concurrency.first, 2)
        self.write('[[relay.shaping]]\nname = "a"\nconnections = 1\n')
        self.assertTrue(server.reload())
        self.assertEqual(agent._traffic.destinations.of(hop).concurrency.most, 1)

    def test_parts_that_are_services(self) -> None:
        """A part that was exchanged must be stopped, one that stays must not."""
        self.routing = RoutingService()
        self.write()
        server = self.start_from_file(routing=self.routing)
        self.assertTrue(server.reload())
        self.reactor.advance(0)
        self.assertTrue(self.routing.running)

    def test_exchanged_service(self) -> None:
        """What a reload replaces must be stopped, what it brings must be started."""
        built: list[RoutingService] = []

        def build(settings: object, site: object) -> RoutingService:
            built.append(RoutingService())
            return built[-1]

        self.patch(sys.modules[__name__], "build", build)
        found = find_parts()
        path = f"{__name__}:build"
        part = Part(
            seam="routing", name="x", help="h", settings=f"{__name__}:NoSettings", builds=path
        )
        self.patch(
            service,
            "find_parts",
            lambda: attrs.evolve(found, parts={**found.parts, "routing": {"x": part}}),
        )
        self.write()
        server = self.start_from_file(routing="x")
        self.assertTrue(server.reload())
        self.reactor.advance(0)
        self.assertEqual([each.running for each in built], [False, True])

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
