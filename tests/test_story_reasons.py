"""The same reason everywhere: one message through a whole server, and all that tells of it.

Who let it in, which way it goes and why it was refused is decided once. Log, ``Received`` field,
history, explanation, queue and bounce must carry the very words, rule and plugin of that decision,
or whoever looks for what happened is told two stories. The server runs over a virtual network with
the shipped parts; the commands work beside it on the same queue.
"""

from __future__ import annotations

import base64
import email
import email.policy
import os
import time
from random import Random
from typing import Any

from twisted.internet.protocol import Factory
from twisted.logger import LogEvent, globalLogPublisher
from twisted.protocols.basic import LineOnlyReceiver

from mailframe import MailServer
from mailframe.in_force import digest, serving
from mailframe.queue.committer import InlineCommitter
from mailframe.queue.spool import Spool
from mailframe.queue.sqlite import SqliteSettings, SqliteStorage
from mailframe.service import STOP_TIME
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.threads import in_thread
from tests.cli.commands import CommandCase
from tests.whole_server import ServerTests

ANGELO = "angelo@rosse.example"
JSMITH = "jsmith@far.example"
NEXT_HOP = "192.0.2.9"
QUARTER = 900.0  # seconds
DECISION = ("reason", "rule", "plugin")
LATER = b"451 4.2.1 come back when the moon is full\r\n"
NEVER = b"550 5.1.1 no jsmith here\r\n"


class Reasons(CommandCase, ServerTests):
    """angelo writes to jsmith, whose server first puts him off and then refuses."""

    def setUp(self) -> None:
        CommandCase.setUp(self)
        self.configure(
            "[queue]",
            '[[routing.rule]]\nname = "far"\nrecipients = ["*@far.example"]\n'
            f'via = "tcp:{NEXT_HOP}:25"\ntls = "none"\n\n[queue]\nrequire_durable = false',
        )
        self.add_account(ANGELO)
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        self.reactor = VirtualReactor(time.time())
        self.said = LATER
        self.sink()
        queue = SqliteStorage(
            spool=Spool(self.path("state/queue")),
            committer=lambda open_ledger, _changed: InlineCommitter(open_ledger),
            clock=self.reactor,
            random=Random(0),
            in_thread=in_thread,
            settings=SqliteSettings(),
        )
        self.server = MailServer.from_config(
            self.config,
            queue=queue,
            reactor=self.reactor,
            resolver=FakeResolver({}, self.reactor),
            in_thread=in_thread,
            random=Random(0),
        )
        self.server.startService()
        self.reactor.advance(0)

    def tearDown(self) -> None:
        server = self.server
        assert server is not None
        if not server.running:
            return
        stopped = server.stopService()
        self.reactor.advance(3 * STOP_TIME + 15)
        self.successResultOf(stopped)

    def sink(self) -> None:
        """jsmith's server, which says ``said`` to RCPT."""
        case = self

        class Sink(LineOnlyReceiver):
            def connectionMade(self) -> None:
                self.transport.write(b"220 far ESMTP\r\n")

            def lineReceived(self, line: bytes) -> None:
                refused = line[:4].upper() == b"RCPT"
                self.transport.write(case.said if refused else b"250 2.0.0 ok\r\n")

        self.reactor.at(NEXT_HOP).listenTCP(25, Factory.forProtocol(Sink))

    def submit(self) -> str:
        """Submit a message as angelo; its queue id."""
        peer = self.connect(2587)
        secret = base64.b64encode(f"\0{ANGELO}\0secret words".encode()).decode()
        self.assertIn(b"235 2.7.0", self.say(peer, "EHLO pc.example", f"AUTH PLAIN {secret}"))
        self.say(peer, f"MAIL FROM:<{ANGELO}>")
        self.assertIn(b"250 2.1.5", self.say(peer, f"RCPT TO:<{JSMITH}>"))
        reply = self.say(peer, "DATA", "Subject: lunch\r\n\r\nAt one?\r\n.")
        self.say(peer, "QUIT")
        self.assertIn(b"queued as", reply)
        self.reactor.advance(1)
        return reply.split()[-1].decode()

    def log_of(self, start: str, **fields: object) -> LogEvent:
        """The last log event with a format that starts so, and with these fields."""
        found = [
            event
            for event in self.logged
            if str(event.get("log_format")).startswith(start)
            and all(event.get(name) == value for name, value in fields.items())
        ]
        self.assertTrue(found, start)
        return found[-1]

    def events(self, id: str, kind: str) -> list[Any]:
        events = self.document("trace", id)["events"]
        return [event for event in events if event["event"] == kind]

    def decided(self, shown: Any) -> tuple[str, ...]:
        """Reason, rule and plugin, wherever they stand."""
        return tuple(shown[name] for name in DECISION)

    def bounce(self) -> str:
        """What angelo finds in his mailbox."""
        folder = self.path("mail/rosse.example/angelo/new")
        (name,) = os.listdir(folder)
        with open(os.path.join(folder, name), "rb") as file:
            return file.read().decode()

    def test_authorisation(self) -> None:
        """Why a message was let in would depend on whom one asks."""
        id = self.submit()
        verdict = self.decided(self.events(id, "authorised")[0])
        self.assertEqual(verdict[2], "providers")
        self.assertTrue(all(verdict[:2]), verdict)
        self.assertEqual(self.decided(self.log_of("accepted message", id=id)), verdict)
        shown = self.document("queue", "show", id)["recipients"][0]["evidence"]
        self.assertEqual(self.decided(shown), verdict)
        (recipient,) = self.document("explain", "--message", id)["recipients"]
        self.assertEqual(self.decided(recipient["authorisation"]), verdict)
        asked = ("--server", "submission", "--from-ip", "127.0.0.1", "--login", ANGELO)
        beforehand = self.document("explain", *asked, ANGELO, JSMITH)
        self.assertEqual(self.decided(beforehand["authorisation"]), verdict)
        self.assertEqual(shown["provider"], beforehand["authorisation"]["provider"])
        content = " ".join(self.run_here("queue", "export", id).stdout.split())
        reason, rule, plugin = verdict
        told = reason.replace(ANGELO, "the client")
        self.assertIn(f"(let in by {plugin}, rule {rule}: {told})", content)
        text = self.run_here("explain", "--message", id).stdout
        self.assertIn(f"{verdict[0]} ({verdict[2]} {verdict[1]})", text)

    def test_route(self) -> None:
        """Which rule sent a message where would depend on whom one asks."""
        id = self.submit()
        (routed,), (postponed,) = self.events(id, "routed"), self.events(id, "postponed")
        route = self.decided(routed)
        self.assertEqual(route[1:], ("far", "table"))
        self.assertEqual(self.decided(postponed), route)
        self.assertEqual(self.decided(self.log_of("{id} {kind}", id=id, kind="routed")), route)
        self.assertEqual(self.decided(self.log_of("{id} {kind}", id=id, kind="postponed")), route)
        shown = self.document("queue", "show", id)["recipients"][0]["route"]
        self.assertEqual(self.decided(shown), route)
        text = self.run_here("queue", "show", id).stdout
        self.assertIn(f"{route[0]} (table far)", text)
        (recipient,) = self.document("explain", "--message", id)["recipients"]
        self.assertEqual(self.decided(recipient["route"]), route)
        self.assertEqual(
            [self.decided(e) for e in recipient["history"] if e["event"] == "postponed"], [route]
        )
        asked = ("--server", "submission", "--from-ip", "127.0.0.1", "--login", ANGELO)
        beforehand = self.document("explain", *asked, ANGELO, JSMITH)
        self.assertEqual(self.decided(beforehand["route"]), route)
        self.said = NEVER
        self.reactor.advance(QUARTER + 1)
        self.assertEqual(self.decided(self.events(id, "refused")[0]), route)
        told = " ".join(self.bounce().split())
        self.assertIn(f"{route[0]} (table far)", told)

    def test_refusal(self) -> None:
        """What the other server said would be told in other words, or as another's."""
        id = self.submit()
        later, never = (reply.decode().strip() for reply in (LATER, NEVER))
        (postponed,) = self.events(id, "postponed")
        self.assertEqual(postponed["reply"], later)
        logged = self.log_of("{id} {kind}", id=id, kind="postponed")
        self.assertEqual((logged["reply"], logged["where"]), (later, postponed["where"]))
        shown = self.document("queue", "show", id)["recipients"][0]
        self.assertEqual((shown["last_reply"], shown["where"]), (later, postponed["where"]))
        listed = self.document("queue", "list")["messages"][0]["recipients"][0]
        self.assertEqual(listed["last_reply"], later)
        (recipient,) = self.document("explain", "--message", id)["recipients"]
        self.assertEqual(recipient["last_reply"], later)
        self.assertEqual(recipient["where"], postponed["where"])
        self.said = NEVER
        self.reactor.advance(QUARTER + 1)
        (refused,) = self.events(id, "refused")
        self.assertEqual(refused["reply"], never)
        logged = self.log_of("{id} {kind}", id=id, kind="refused")
        self.assertEqual((logged["reply"], logged["where"]), (never, refused["where"]))
        bounce = email.message_from_string(self.bounce(), policy=email.policy.default)
        (report,) = (p for p in bounce.walk() if p.get_content_type() == "message/delivery-status")
        self.assertEqual(report.get_payload()[1]["Diagnostic-Code"], f"smtp; {never}")
        told = " ".join(self.bounce().split())
        self.assertIn(f"{refused['where']} with: {never}", told)

    def test_refused_client(self) -> None:
        """Why a stranger is turned away would depend on whom one asks."""
        peer = self.connect(2525)
        self.say(peer, "EHLO pc.example", "MAIL FROM:<a@blu.example>")
        reply = self.say(peer, f"RCPT TO:<{JSMITH}>").decode().strip()
        logged = self.log_of("refused recipient")
        asked = ("--server", "mx", "--from-ip", "127.0.0.1")
        shown = self.document("explain", *asked, "a@blu.example", JSMITH, status=1)
        self.assertEqual(self.decided(logged), self.decided(shown["authorisation"]))
        self.assertEqual(str(logged["reply"]), reply)
        self.assertEqual(shown["authorisation"]["reply"], reply)

    def test_configuration_in_force(self) -> None:
        """A command would take a file for the one in force that the server has not read yet."""
        state_dir, server = self.path("state"), self.server
        assert server is not None
        before = serving(state_dir)
        assert before is not None
        self.assertEqual((before.path, before.digest), (self.config, digest(self.config)))
        self.configure("4h", "5h")
        self.assertEqual(serving(state_dir), before)
        self.assertTrue(server.reload())
        after = serving(state_dir)
        assert after is not None
        self.assertEqual(after.digest, digest(self.config))
        self.configure("[queue]", "[qeue]")
        self.assertFalse(server.reload())
        self.assertEqual(serving(state_dir), after)
        self.flushLoggedErrors()
        stopped = server.stopService()
        self.reactor.advance(3 * STOP_TIME + 15)
        self.successResultOf(stopped)
        self.assertIsNone(serving(state_dir))
