"""What one message's misfortune means for the others of its next hop."""

from __future__ import annotations

from mailframe.outcome import Delivered, NextHop, Postponed, Refused
from tests.delivery.relaying import BOB, CAROL, FIRST, SECOND, RelayCase
from tests.delivery.servers import CLOSE, SILENCE, ScriptedServer
from tests.delivery.test_fitting import ehlo
from tests.delivery.test_tls_policy import server_options, trust_root


class NeighbourTests(RelayCase):
    """Many messages, one next hop."""

    def test_server_that_takes_one_message_and_fails(self) -> None:
        """A server that closes its connections would be connected to in an endless loop."""
        server = ScriptedServer(EHLO=ehlo("LIMITS MAILMAX=1"), MAIL=[CLOSE] * 50)
        self.listen(server)
        backup = ScriptedServer()
        self.listen(backup, SECOND)
        (outcome,) = self.deliver(self.agent())
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual((len(server.commands), len(backup.messages)), (1, 1))

    def test_server_that_speaks_before_it_is_asked(self) -> None:
        """The same, with a server whose greeting is followed by half a reply to nothing."""
        server = ScriptedServer(EHLO=ehlo("LIMITS MAILMAX=1") + b"250 ")
        self.listen(server)
        (outcome,) = self.deliver(self.agent())
        self.assertIsInstance(outcome, Postponed)
        self.assertEqual(len(server.commands), 1)

    def test_demands_of_one_message(self) -> None:
        """Mail would bounce for want of TLS that another message's sender had asked for."""
        server = ScriptedServer(
            tls=server_options("other.example"), EHLO=ehlo("STARTTLS"), STARTTLS=[SILENCE]
        )
        self.listen(server)
        self.listen(ScriptedServer(), SECOND)
        agent = self.agent(connections_per_destination=1, trust_root=trust_root())
        hop = NextHop(where=f"tcp:{FIRST}:25", tls="verify")
        strict = self.start(agent, self.job(hop, envelope={"require_tls": True}))
        other = self.start(agent, self.job(hop))
        server.connections[0].transport.write(b"454 4.7.0 not now\r\n")
        self.reactor.advance(0)
        (outcome,) = self.successResultOf(strict)
        self.assertIsInstance(outcome, Refused)
        self.assertEqual(outcome.reply.status, "5.7.10")
        (outcome,) = self.successResultOf(other)
        self.assertIsInstance(outcome, Postponed)

    def test_refused_for_good(self) -> None:
        """Messages that were never tried would bounce, for what another's connection was told."""
        server = ScriptedServer(GREETING=[SILENCE])
        self.listen(server)
        agent = self.agent(connections_per_destination=1)
        hop = NextHop(where="tcp:192.0.2.1:25")
        first, second = [self.start(agent, self.job(hop)) for _ in range(2)]
        server.connections[0].transport.write(b"554 5.7.1 too many from you today\r\n")
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(first)[0], Refused)
        self.assertIsInstance(self.successResultOf(second)[0], Delivered)

    def test_message_that_a_server_dies_of(self) -> None:
        """One such message would keep all others from a server that takes them."""
        server = ScriptedServer(DATA=[SILENCE])
        self.listen(server)
        self.reactor.unreachable(SECOND)
        agent = self.agent(connections_per_destination=1)
        bad = self.start(agent, self.job())
        waiting = self.start(agent, self.job())
        server.connections[0].transport.loseConnection()
        self.reactor.advance(30)
        self.assertIsInstance(self.successResultOf(bad)[0], Postponed)
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(waiting)[0], Delivered)
        self.assertIsInstance(self.deliver(agent)[0], Delivered)

    def test_one_of_many_that_a_server_dies_of(self) -> None:
        """The message itself would be given up for those whom the next server takes."""
        server = ScriptedServer(RCPT=[b"550 5.1.1 no\r\n"], DATA=[CLOSE])
        self.listen(server)
        backup = ScriptedServer()
        self.listen(backup, SECOND)
        bob, carol = self.deliver(self.agent(), self.job(recipients=[BOB, CAROL]))
        self.assertIsInstance(bob, Refused)
        self.assertEqual(bob.where, f"a.blu.example [{FIRST}]:25")
        self.assertIsInstance(carol, Delivered)
        self.assertEqual(backup.verbs.count("RCPT"), 1)
