"""The relay agent against whole servers on a virtual network."""

from __future__ import annotations

import attrs
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from mailframe.delivery.connection import CLOSING
from mailframe.delivery.mta_sts_upkeep import LOOK_FOR_ENDS, PolicyUpkeep
from mailframe.delivery.relay import STOPPING, RelayAgent, RelaySettings, Timeouts
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import TlsDemand
from mailframe.interfaces import IDeliveryAgent
from mailframe.outcome import Delivered, NextHop, Postponed, Refused, Relay, Throttled
from mailframe.reply import Reply
from mailframe.units import Seconds
from tests.delivery.relaying import (
    ANGELO,
    BLU,
    BOB,
    CAROL,
    CONTENT,
    FIRST,
    SECOND,
    TAKEN,
    TOO_MANY,
    RelayCase,
)
from tests.delivery.servers import CLOSE, SILENCE, ScriptedServer
from tests.delivery.test_tls_demand import Source


class DeliveryTests(RelayCase):
    """Where a message goes."""

    def test_interfaces(self) -> None:
        """The server could not use the agent."""
        agent = self.agent()
        verifyObject(IDeliveryAgent, agent)
        verifyObject(IService, agent)

    def test_through_mx(self) -> None:
        """No mail would reach other domains."""
        server = ScriptedServer()
        self.listen(server)
        outcomes = self.deliver(self.agent(), self.job(recipients=[BOB, CAROL]))
        where = "a.blu.example [192.0.2.1]:25"
        self.assertEqual(outcomes, (Delivered(where=where, reply=TAKEN),) * 2)
        self.assertEqual(server.messages, [CONTENT])

    def test_through_endpoint(self) -> None:
        """A configured smarthost, also one on this machine, could not be used."""
        server = ScriptedServer()
        self.listen(server, "127.0.0.1", 2600)
        hop = NextHop(where="tcp:127.0.0.1:2600")
        (outcome,) = self.deliver(self.agent(), self.job(hop))
        self.assertEqual(outcome, Delivered(where="tcp:127.0.0.1:2600", reply=TAKEN))

    def test_lmtp(self) -> None:
        """A route to an LMTP server would speak SMTP."""
        server = ScriptedServer(DOT=b"250 2.0.0 one\r\n452 4.2.2 full\r\n")
        self.listen(server, "127.0.0.1", 24)
        hop = NextHop(where="tcp:127.0.0.1:24", protocol="lmtp")
        outcomes = self.deliver(self.agent(), self.job(hop, recipients=[BOB, CAROL]))
        self.assertIsInstance(outcomes[0], Delivered)
        self.assertIsInstance(outcomes[1], Postponed)
        self.assertEqual(server.verbs, ["LHLO", "MAIL", "RCPT", "RCPT", "DATA"])

    def test_ipv6(self) -> None:
        """Hosts that have only IPv6 could not be reached."""
        server = ScriptedServer()
        self.listen(server, "2001:db8::6")
        (outcome,) = self.deliver(self.agent(), self.job(NextHop(where="mx:six.example")))
        self.assertEqual(outcome.where, "six.example [2001:db8::6]:25")

    def test_private_addresses(self) -> None:
        """A stranger's MX record could lead us into our own network."""
        server = ScriptedServer()
        self.listen(server, "127.0.0.1")
        job = self.job(NextHop(where="mx:inside.example"))
        (outcome,) = self.deliver(self.agent(), job)
        self.assertIsInstance(outcome, Refused)
        self.assertEqual(outcome.reply.status, "5.4.4")
        self.assertEqual(server.commands, [])
        (outcome,) = self.deliver(self.agent(allow_private=True), job)
        self.assertIsInstance(outcome, Delivered)

    def test_ourselves(self) -> None:
        """A server would send mail to itself in a circle."""
        agent = RelayAgent(RelaySettings(), self.site, local_addresses=[FIRST])
        (outcome,) = self.deliver(agent)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (554, "5.4.6"))

    def test_no_mail_accepted(self) -> None:
        """Mail for a domain that takes none would be tried for days."""
        (outcome,) = self.deliver(self.agent(), self.job(NextHop(where="mx:null.example")))
        self.assertEqual(outcome, Refused(where="", reply=outcome.reply))
        self.assertEqual(outcome.reply.code, 556)

    def test_dns_out_of_order(self) -> None:
        """Mail would bounce because DNS does not answer."""
        self.site.resolver.timeouts.add("blu.example")
        result = self.start(self.agent(), self.job())
        self.reactor.advance(30)
        (outcome,) = self.successResultOf(result)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (451, "4.4.3"))
        self.assertIsInstance(outcome, Postponed)
        self.reactor.advance(60)

    def test_plan(self) -> None:
        """``explain`` would show other hosts than those that mail goes to."""
        hops = (BLU, NextHop(where="tcp:smart.example:587"), NextHop(where="mx:null.example"))
        route = Relay(reason="x", hops=hops)
        planned = self.successResultOf(Deferred.fromCoroutine(self.agent().plan(route)))
        self.assertEqual(
            [[str(target) for target in hop.targets] for hop in planned],
            [
                ["a.blu.example [192.0.2.1]:25", "b.blu.example [192.0.2.2]:25"],
                ["tcp:smart.example:587"],
                [],
            ],
        )
        self.assertEqual(planned[1].targets[0].host, "smart.example")
        self.assertEqual(planned[2].reply.status, "5.1.10")

    def test_misconfigured_routes(self) -> None:
        """Mail would bounce because of a mistake in our configuration."""
        for where in ("tcp", "nonsense:x", "mx:not a domain", "tcp:host:port:x:y:z"):
            (outcome,) = self.deliver(self.agent(), self.job(NextHop(where=where)))
            self.assertIsInstance(outcome, Postponed)
            self.assertEqual(outcome.reply.status, "4.3.5", where)


class FallbackTests(RelayCase):
    """Which server is tried next, and when none is."""

    def test_next_host(self) -> None:
        """A domain's backup servers would be of no use."""
        for server in (
            None,
            ScriptedServer(GREETING=b"421 4.3.2 busy\r\n"),
            ScriptedServer(GREETING=b"554 5.3.2 no service\r\n"),
            ScriptedServer(GREETING=CLOSE),
            ScriptedServer(EHLO=b"421 4.3.2 busy\r\n"),
            ScriptedServer(EHLO=b"450 4.3.2 busy\r\n"),
            ScriptedServer(MAIL=b"421 4.3.2 busy\r\n"),
            ScriptedServer(RCPT=CLOSE),
            ScriptedServer(DATA=CLOSE),
        ):
            self.setUp()
            backup = ScriptedServer()
            self.listen(backup, SECOND)
            if server is not None:
                self.listen(server)
            (outcome,) = self.deliver(self.agent())
            self.assertEqual(outcome, Delivered(where="b.blu.example [192.0.2.2]:25", reply=TAKEN))
            self.reactor.advance(CLOSING)

    def test_farewell_with_the_welcome(self) -> None:
        """A server that greets us and closes at once would end the delivery with a fault."""
        welcome = b"250-mx\r\n250 PIPELINING\r\n421 4.3.2 busy\r\n"
        first = ScriptedServer(EHLO=welcome)
        backup = ScriptedServer(EHLO=[welcome])
        self.listen(first)
        self.listen(backup, SECOND)
        agent = self.agent()
        (outcome,) = self.deliver(agent)
        self.assertIsInstance(outcome, Postponed)
        self.assertEqual(outcome.where, "b.blu.example [192.0.2.2]:25")
        self.assertEqual(first.verbs + backup.verbs, ["EHLO", "EHLO"])
        self.reactor.advance(CLOSING)
        self.assertEqual(first.connections + backup.connections, [])
        self.reactor.advance(3600)
        (outcome,) = self.deliver(agent)
        self.assertEqual(outcome, Delivered(where="b.blu.example [192.0.2.2]:25", reply=TAKEN))

    def test_unreachable_host(self) -> None:
        """A host whose cable is pulled would stop mail that the backup could take."""
        backup = ScriptedServer()
        self.listen(backup, SECOND)
        self.reactor.unreachable(FIRST)
        result = self.start(self.agent(), self.job())
        self.reactor.advance(29)
        self.assertNoResult(result)
        self.reactor.advance(1)
        (outcome,) = self.successResultOf(result)
        self.assertIsInstance(outcome, Delivered)

    def test_replies_are_final(self) -> None:
        """A refused recipient would be tried at every backup server."""
        for answers, kind in (
            ({"MAIL": b"550 5.7.1 no\r\n"}, Refused),
            ({"MAIL": b"451 4.7.1 greylisted\r\n"}, Postponed),
            ({"RCPT": b"550 5.1.1 no\r\n"}, Refused),
            ({"RCPT": b"450 4.2.1 later\r\n"}, Postponed),
            ({"DATA": b"451 4.3.0 later\r\n"}, Postponed),
            ({"DOT": b"554 5.6.0 spam\r\n"}, Refused),
            ({"DOT": b"421 4.3.2 bye\r\n"}, Postponed),
            ({"DOT": CLOSE}, Postponed),
        ):
            self.setUp()
            backup = ScriptedServer()
            self.listen(ScriptedServer(**answers))
            self.listen(backup, SECOND)
            (outcome,) = self.deliver(self.agent())
            self.assertIsInstance(outcome, kind)
            self.assertEqual(outcome.where, "a.blu.example [192.0.2.1]:25")
            self.assertEqual(backup.commands, [])
            self.reactor.advance(CLOSING)

    def test_silent_after_the_dot(self) -> None:
        """The recipient would get the message twice."""
        backup = ScriptedServer()
        self.listen(ScriptedServer(DOT=SILENCE))
        self.listen(backup, SECOND)
        result = self.start(self.agent(), self.job())
        self.reactor.advance(600)
        (outcome,) = self.successResultOf(result)
        self.assertIsInstance(outcome, Postponed)
        self.assertIn("may have been delivered", str(outcome.reply))
        self.assertEqual(backup.commands, [])

    def test_part_of_the_recipients(self) -> None:
        """Recipients of whom the first host said something would be asked about again."""
        self.listen(ScriptedServer(RCPT=[b"550 5.1.1 nobody\r\n", b"250 ok\r\n"], DATA=CLOSE))
        backup = ScriptedServer()
        self.listen(backup, SECOND)
        outcomes = self.deliver(self.agent(), self.job(recipients=[BOB, CAROL]))
        self.assertIsInstance(outcomes[0], Refused)
        self.assertEqual(outcomes[0].where, "a.blu.example [192.0.2.1]:25")
        self.assertEqual(outcomes[1].where, "b.blu.example [192.0.2.2]:25")
        self.assertIn(b"RCPT TO:<carol@blu.example>", backup.commands[0])
        self.assertNotIn(b"RCPT TO:<bob@blu.example>", backup.commands[0])

    def test_nobody_left(self) -> None:
        """Mail would bounce although one of the hosts may take it later."""
        (outcome,) = self.deliver(self.agent())
        self.assertEqual(
            outcome,
            Postponed(
                where="b.blu.example [192.0.2.2]:25",
                reply=Reply(
                    451,
                    "4.4.1",
                    "could not connect to b.blu.example [192.0.2.2]:25: connection refused",
                ),
            ),
        )
        no_service = Reply(554, "5.3.2", "no service")
        self.listen(ScriptedServer(GREETING=b"554 5.3.2 no service\r\n"), SECOND)
        (outcome,) = self.deliver(self.agent())
        self.assertIsInstance(outcome, Postponed)
        self.listen(ScriptedServer(GREETING=b"554 5.3.2 no service\r\n"))
        (outcome,) = self.deliver(self.agent())
        self.assertEqual(outcome, Refused(where="b.blu.example [192.0.2.2]:25", reply=no_service))

    def test_next_hop(self) -> None:
        """The second of two configured smarthosts would never be used."""
        server = ScriptedServer()
        self.listen(server, "127.0.0.1", 2600)
        hops = (
            NextHop(where="tcp:127.0.0.1:2599"),
            NextHop(where="mx:null.example"),
            NextHop(where="tcp:127.0.0.1:2600"),
        )
        (outcome,) = self.deliver(self.agent(), self.job(*hops))
        self.assertEqual(outcome.where, "tcp:127.0.0.1:2600")

    def test_too_many_recipients(self) -> None:
        """All but the first hundred recipients would get their mail a quarter of an hour later."""
        server = ScriptedServer(
            RCPT=[
                b"250 ok\r\n",
                TOO_MANY,
                TOO_MANY,
                b"250 ok\r\n",
            ]
        )
        self.listen(server)
        recipients = [BOB, CAROL, ANGELO]
        outcomes = self.deliver(self.agent(), self.job(recipients=recipients))
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 3)
        self.assertEqual(len(server.messages), 2)
        server.answers["RCPT"] = TOO_MANY
        outcomes = self.deliver(self.agent(), self.job(recipients=recipients))
        self.assertEqual([type(outcome) for outcome in outcomes], [Postponed] * 3)

    def test_cancelled(self) -> None:
        """A delivery that is given up would hold its connection, or go on behind our back."""
        self.reactor.unreachable(FIRST)
        self.site.resolver.timeouts.add("late.example")
        for where in ("mx:blu.example", "mx:late.example", "tcp:192.0.2.1:25"):
            agent = self.agent(connections_per_destination=1)
            job = self.job(NextHop(where=where))
            result, waiting = self.start(agent, job), self.start(agent, job)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            result.cancel()
            self.failureResultOf(result, CancelledError)
        self.reactor.up(FIRST)
        server = ScriptedServer(DOT=SILENCE)
        self.listen(server)
        result = self.start(self.agent(), self.job())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(server.connections, [])
        self.reactor.advance(60)

    def test_cancelled_in_the_middle(self) -> None:
        """Those who have the message would get it again because others take too long."""
        server = ScriptedServer(
            EHLO=b"250-mx\r\n250 LIMITS RCPTMAX=1\r\n", DOT=[b"250 2.0.0 taken\r\n", SILENCE]
        )
        self.listen(server)
        result = self.start(self.agent(), self.job(recipients=[BOB, CAROL]))
        self.assertEqual(len(server.messages), 2)
        result.cancel()
        first, second = self.successResultOf(result)
        self.assertIsInstance(first, Delivered)
        self.assertEqual(second, Postponed(where="", reply=second.reply))
        self.assertEqual(second.reply.status, "4.4.7")

    def test_cancelled_while_connecting(self) -> None:
        """The same, where the time is up while the next server does not answer."""
        server = ScriptedServer(RCPT=[b"550 5.1.1 no\r\n"], DATA=CLOSE)
        self.listen(server)
        self.reactor.unreachable(SECOND)
        result = self.start(self.agent(), self.job(recipients=[BOB, CAROL]))
        self.assertNoResult(result)
        result.cancel()
        first, second = self.successResultOf(result)
        self.assertIsInstance(first, Refused)
        self.assertIsInstance(second, Postponed)
        self.assertEqual(second.reply.status, "4.4.7")


class Waiting(Source):
    """Asks for nothing, when it is told that it may go on."""

    waiting: Deferred[None] | None = None

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        if self.waiting is not None:
            await self.waiting
        return self.answer


class ReuseTests(RelayCase):
    """Connections that serve more than one message."""

    def test_reused(self) -> None:
        """Every message would pay for a connection of its own."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        for _ in range(5):
            self.assertIsInstance(self.deliver(agent)[0], Delivered)
            self.reactor.advance(4)
        self.assertEqual(len(server.commands), 1)
        self.assertEqual(server.verbs, ["EHLO", *["MAIL", "RCPT", "DATA"] * 5])
        self.reactor.advance(1)
        self.assertEqual(server.verbs[-1], "QUIT")
        self.assertTrue(all(each.is_at_rest for each in agent._traffic.destinations))

    def test_not_across_policies(self) -> None:
        """Mail that must have TLS would go over a connection without."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        self.deliver(agent)
        self.deliver(agent, self.job(attrs.evolve(BLU, tls="none")))
        self.deliver(agent, self.job(attrs.evolve(BLU, tls="require")))
        self.assertEqual(len(server.commands), 3)

    def test_policy_that_comes_late(self) -> None:
        """Mail to a domain that demands TLS would go in clear for as long as there is mail."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        source = Source(None)
        agent._demands._sources = (source,)
        self.assertIsInstance(self.deliver(agent)[0], Delivered)
        source.answer = TlsDemand(policy="verify", names=("a.blu.example",), reason="a policy")
        self.assertIsInstance(self.deliver(agent)[0], Postponed)
        self.assertEqual(len(server.messages), 1)
        self.assertEqual(len(server.commands), 2)
        self.reactor.advance(0)
        self.assertEqual(server.commands[0][-1], b"QUIT")

    def test_closed_while_the_policy_is_asked_for(self) -> None:
        """A message would be lost to a fault of ours when a server closes at the wrong moment."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        source = Waiting(None)
        agent._demands._sources = (source,)
        self.assertIsInstance(self.deliver(agent)[0], Delivered)
        source.waiting = Deferred()
        under_way = self.start(agent, self.job())
        server.connections[0].transport.loseConnection()
        self.reactor.advance(0)
        waiting, source.waiting = source.waiting, None
        waiting.callback(None)
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(under_way)[0], Delivered)
        self.assertEqual(len(server.commands), 2)

    def test_messages_per_connection(self) -> None:
        """Servers that limit messages per connection would close on us."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent(reuse_messages=2)
        for _ in range(5):
            self.deliver(agent)
        self.assertEqual([len(commands) for commands in server.commands], [8, 8, 4])

    def test_switched_off(self) -> None:
        """Connections would be kept although the configuration says no."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent(reuse_idle=Seconds(0))
        self.deliver(agent)
        self.assertEqual(server.verbs[-1], "QUIT")
        self.assertTrue(all(each.is_at_rest for each in agent._traffic.destinations))

    def test_closed_in_the_meantime(self) -> None:
        """Mail would be postponed because a server closed a connection that was idle."""
        for farewell in (b"", b"421 4.4.2 idle\r\n", b"250 noise\r\n"):
            self.setUp()
            server = ScriptedServer()
            self.listen(server)
            agent = self.agent()
            self.deliver(agent)
            server.connections[0].transport.write(farewell)
            server.connections[0].transport.loseConnection()
            self.reactor.advance(0)
            self.assertIsInstance(self.deliver(agent)[0], Delivered)
            self.assertEqual(len(server.commands), 2)
            self.nothing_left()

    def test_closed_at_mail(self) -> None:
        """Mail would be postponed because a server tired of the connection just now."""
        for answer in (CLOSE, b"421 4.7.0 enough\r\n"):
            self.setUp()
            server = ScriptedServer()
            self.listen(server)
            agent = self.agent()
            self.deliver(agent)
            server.answers["MAIL"] = [answer]
            (outcome,) = self.deliver(agent)
            self.assertEqual(outcome.where, "a.blu.example [192.0.2.1]:25")
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(len(server.commands), 2)
            self.nothing_left()

    def test_lost_later(self) -> None:
        """A message whose kept connection breaks at DATA would not be tried elsewhere."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        self.deliver(agent)
        server.answers["DATA"] = [CLOSE]
        self.assertIsInstance(self.deliver(agent)[0], Delivered)
        self.assertEqual(len(server.messages), 2)

    def test_limit(self) -> None:
        """A server would see hundreds of connections from us, or messages would be overtaken."""
        server = ScriptedServer(DOT=[SILENCE, SILENCE])
        self.listen(server)
        agent = self.agent(connections_per_destination=2)
        results = [self.start(agent, self.job()) for _ in range(6)]
        self.assertEqual(len(server.connections), 2)
        self.assertEqual(len(server.messages), 2)
        server.connections[0].transport.write(b"250 2.0.0 taken\r\n")
        self.reactor.advance(0)
        for index in (0, 2, 3, 4, 5):
            self.assertIsInstance(self.successResultOf(results[index])[0], Delivered)
        self.assertNoResult(results[1])
        self.assertEqual(len(server.commands), 2)
        server.connections[1].transport.write(b"250 2.0.0 taken\r\n")
        self.reactor.advance(0)
        self.successResultOf(results[1])

    def test_those_who_wait_share_the_bad_news(self) -> None:
        """A dead host would hold up its messages one connection timeout after the other."""
        self.reactor.unreachable(FIRST)
        self.reactor.unreachable(SECOND)
        agent = self.agent(connections_per_destination=2)
        results = [self.start(agent, self.job()) for _ in range(50)]
        self.reactor.advance(61)
        for result in results:
            (outcome,) = self.successResultOf(result)
            self.assertIsInstance(outcome, Postponed)
            self.assertIn("no answer in time", str(outcome.reply))

    def test_those_who_come_later_share_the_bad_news(self) -> None:
        """A silent host's messages would take the places of all others, one lot after another."""
        server = ScriptedServer(GREETING=SILENCE)
        self.listen(server)
        agent = self.agent(connections_per_destination=2)
        hop = NextHop(where="tcp:192.0.2.1:25")
        result = self.start(agent, self.job(hop))
        self.reactor.advance(300)
        self.assertNotIn("a moment ago", str(self.successResultOf(result)[0].reply))
        for _ in range(5):
            (outcome,) = self.deliver(agent, self.job(hop))
            self.assertEqual(
                outcome,
                Postponed(
                    where="",
                    reply=Reply(
                        451,
                        "4.4.2",
                        "timed out while waiting for the greeting (at an attempt a moment ago)",
                    ),
                ),
            )
        self.assertEqual(len(server.commands), 1)
        (outcome,) = self.deliver(agent, self.job(attrs.evolve(hop, where="tcp:192.0.2.2:25")))
        self.assertIn("connection refused", str(outcome.reply))
        self.reactor.advance(61)
        server.answers["GREETING"] = b"220 mx ready\r\n"
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Delivered)

    def test_who_refuses_at_once_is_asked_again(self) -> None:
        """An operator who mended a server, and retries its mail, would be told of the past."""
        agent = self.agent()
        hop = NextHop(where="tcp:192.0.2.1:25")
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Postponed)
        self.listen(ScriptedServer())
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Delivered)

    def test_bad_news_is_outdated(self) -> None:
        """Mail would be postponed although another message's connection was let in meanwhile."""
        server = ScriptedServer(GREETING=[SILENCE])
        self.listen(server)
        agent = self.agent(connections=1, timeouts=Timeouts(greeting=Seconds(300)))
        hop = NextHop(where="tcp:192.0.2.1:25")
        first, second = [self.start(agent, self.job(hop)) for _ in range(2)]
        self.reactor.advance(300)  # the second waited with its permit, and hears the bad news
        for result in (first, second):
            self.assertIsInstance(self.successResultOf(result)[0], Postponed)
        self.assertEqual(len(server.commands), 1)
        agent = self.agent()
        self.deliver(agent, self.job(hop))
        self.reactor.advance(6)
        server.answers["GREETING"] = [SILENCE, SILENCE]
        slow, fast = [self.start(agent, self.job(hop)) for _ in range(2)]
        self.reactor.advance(299)
        server.connections[-1].transport.write(b"220 mx ready\r\n")
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(fast)[0], Delivered)
        self.reactor.advance(1)
        self.assertIsInstance(self.successResultOf(slow)[0], Postponed)
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Delivered)

    def test_bad_news_from_before_a_restart(self) -> None:
        """Mail would be postponed because connections were broken by our own shutdown."""
        self.reactor.unreachable(FIRST)
        agent = self.agent()
        agent.startService()
        hop = NextHop(where="tcp:192.0.2.1:25")
        result = self.start(agent, self.job(hop))
        stopped = agent.stopService()
        self.reactor.advance(STOPPING)
        self.successResultOf(stopped)
        self.assertIsInstance(self.successResultOf(result)[0], Throttled)
        self.reactor.up(FIRST)
        self.listen(ScriptedServer())
        agent.startService()
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Delivered)

    def test_many_refused_at_once(self) -> None:
        """A long line of messages that are each refused at once would exhaust the stack."""
        server = ScriptedServer(EHLO=b"250-mx\r\n250 SIZE 5\r\n")
        self.listen(server)
        agent = self.agent(connections_per_destination=1, reuse_messages=10_000)
        results = [self.start(agent, self.job()) for _ in range(1)]
        results += [Deferred.fromCoroutine(agent.deliver(self.job())) for _ in range(2000)]
        self.reactor.advance(0)
        for result in results:
            self.assertIsInstance(self.successResultOf(result)[0], Refused)


class BoundTests(RelayCase):
    """All destinations together."""

    def hop(self, number: int) -> NextHop:
        return NextHop(where=f"tcp:127.0.0.1:{2600 + number}")

    def servers(self, count: int, silent: int = 0) -> list[ScriptedServer]:
        """Servers that say nothing after so many messages, the first ones."""
        servers = [ScriptedServer(DOT=[SILENCE] * silent) for _ in range(count)]
        for number, server in enumerate(servers):
            self.listen(server, "127.0.0.1", 2600 + number)
        return servers

    def test_validated(self) -> None:
        """A mistake in the configuration would stop all mail."""
        self.assertEqual(RelaySettings().connections, 200)
        self.assertRaises(ValueError, RelaySettings, connections=0)

    def test_connections(self) -> None:
        """A message to a thousand domains would use up all descriptors of the process."""
        servers = self.servers(5, silent=1)
        agent = self.agent(connections=2)
        results = [self.start(agent, self.job(self.hop(number))) for number in range(5)]
        for number, server in enumerate(servers):
            self.assertEqual([len(s.commands) for s in servers[number + 2 :]], [0] * (3 - number))
            self.assertNoResult(results[number])
            server.connections[0].transport.write(b"250 2.0.0 taken\r\n")
            self.reactor.advance(0)
            self.assertIsInstance(self.successResultOf(results[number])[0], Delivered)

    def test_lookups(self) -> None:
        """A message to a thousand domains would ask DNS thousands of questions at once."""
        names = [f"late{number}.example" for number in range(5)]
        self.site.resolver.timeouts.update(names)
        agent = self.agent(connections=2)
        results = [self.start(agent, self.job(NextHop(where=f"mx:{name}"))) for name in names]
        for done in (0, 2, 4, 5):
            self.assertEqual(
                [result.called for result in results], [True] * done + [False] * (5 - done)
            )
            self.reactor.advance(30)
        for result in results:
            self.assertEqual(self.successResultOf(result)[0].reply.status, "4.4.3")

    def test_idle(self) -> None:
        """A connection that is kept for later would keep all other mail waiting."""
        one, two = self.servers(2)
        agent = self.agent(connections=1)
        for _ in range(3):
            for number in range(2):
                (outcome,) = self.deliver(agent, self.job(self.hop(number)))
                self.assertIsInstance(outcome, Delivered)
        self.assertEqual(len(one.commands), 1)
        self.assertEqual(len(two.commands), 3)  # no more are kept than may be in use
        self.assertLessEqual(len(agent._sessions._connections), 1)

    def test_kept_connection_grows_old_in_the_line(self) -> None:
        """A message that waited with its connection would be postponed, or stop the delivery."""
        one, two = self.servers(2)
        agent = self.agent(connections=1)
        self.deliver(agent, self.job(self.hop(0)))
        two.answers["."] = [SILENCE]
        blocking = self.start(agent, self.job(self.hop(1)))
        waiting = self.start(agent, self.job(self.hop(0)))
        self.reactor.advance(6)
        self.assertEqual(one.verbs[-1], "QUIT")
        two.connections[0].transport.write(b"250 2.0.0 taken\r\n")
        self.reactor.advance(0)
        for result in (blocking, waiting):
            self.assertIsInstance(self.successResultOf(result)[0], Delivered)
        self.assertEqual(len(one.commands), 2)

    def test_cancelled(self) -> None:
        """A delivery that is given up would take its place along."""
        self.servers(3, silent=1)
        self.site.resolver.timeouts.add("late.example")
        self.reactor.unreachable(FIRST)
        agent = self.agent(connections=1)
        for hop in (
            self.hop(0),
            NextHop(where="mx:late.example"),
            NextHop(where="tcp:192.0.2.1:25"),
        ):
            running = self.start(agent, self.job(hop))
            waiting = self.start(agent, self.job(self.hop(1)))
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            running.cancel()
            self.failureResultOf(running)
        last = ScriptedServer()
        self.listen(last, "127.0.0.1", 2700)
        (outcome,) = self.deliver(agent, self.job(NextHop(where="tcp:127.0.0.1:2700")))
        self.assertIsInstance(outcome, Delivered)
        self.reactor.advance(60)

    def test_stopped(self) -> None:
        """Those who wait would hold up the shutdown, or be delivered during it."""
        one, two = self.servers(2, silent=1)
        agent = self.agent(connections=1)
        running, waiting = [self.start(agent, self.job(self.hop(number))) for number in range(2)]
        stopped = agent.stopService()
        (outcome,) = self.successResultOf(waiting)
        self.assertEqual((type(outcome), outcome.reply.status), (Throttled, "4.3.2"))
        one.connections[0].transport.write(b"250 2.0.0 taken\r\n")
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(running)[0], Delivered)
        self.successResultOf(stopped)
        self.assertEqual(two.commands, [])

    def test_many_that_end_at_once(self) -> None:
        """Long lines of messages to many hosts that are each refused at once exhaust the stack."""
        servers = self.servers(10)
        for server in servers:
            server.answers["EHLO"] = b"250-mx\r\n250 SIZE 5\r\n"
        agent = self.agent(connections=2, connections_per_destination=1, reuse_messages=10_000)
        results = [
            Deferred.fromCoroutine(agent.deliver(self.job(self.hop(number % 10))))
            for number in range(2000)
        ]
        self.reactor.advance(0)
        for result in results:
            self.assertIsInstance(self.successResultOf(result)[0], Refused)


class ServiceTests(RelayCase):
    """Starting and stopping."""

    def test_idle(self) -> None:
        """Servers would see our connections break at every restart."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.agent()
        agent.startService()
        self.deliver(agent)
        stopped = agent.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(server.verbs[-1], "QUIT")
        self.assertEqual(server.connections, [])
        (outcome,) = self.deliver(agent)
        # No attempt: a restart must neither cost a quarter of an hour nor return a message.
        self.assertEqual((type(outcome), outcome.reply.status), (Throttled, "4.3.2"))
        agent.startService()
        self.assertIsInstance(self.deliver(agent)[0], Delivered)

    def test_policies_of_an_idle_server(self) -> None:
        """Policies of MTA-STS would run out while no mail goes, and then mail go in clear."""
        looked = []
        self.patch(PolicyUpkeep, "look_after", lambda _: looked.append(self.reactor.seconds()))
        agent = self.agent()
        agent.startService()
        self.reactor.advance(0)
        self.assertEqual(looked, [])
        self.reactor.pump([LOOK_FOR_ENDS] * 3)
        self.assertEqual(len(looked), 3)
        self.successResultOf(agent.stopService())
        self.reactor.advance(LOOK_FOR_ENDS)
        self.assertEqual(len(looked), 3)
        without = self.agent(mta_sts=False)
        without.startService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_under_way(self) -> None:
        """A message on its way would be sent again after every restart."""
        server = ScriptedServer(DOT=[SILENCE])
        self.listen(server)
        agent = self.agent(connections_per_destination=1)
        result, waiting = self.start(agent, self.job()), self.start(agent, self.job())
        stopped = agent.stopService()
        (outcome,) = self.successResultOf(waiting)
        self.assertEqual((type(outcome), outcome.reply.status), (Throttled, "4.3.2"))
        self.reactor.advance(STOPPING - 1)
        self.assertNoResult(stopped)
        server.connections[0].transport.write(b"250 2.0.0 taken\r\n")
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result)[0], Delivered)
        self.successResultOf(stopped)

    def test_broken_off(self) -> None:
        """A silent server would hold up the shutdown for ten minutes."""
        server = ScriptedServer(DOT=[SILENCE])
        self.listen(server)
        self.listen(ScriptedServer(GREETING=SILENCE), SECOND)
        self.reactor.unreachable("192.0.2.3")
        agent = self.agent()
        results = [
            self.start(agent, self.job()),
            self.start(agent, self.job(NextHop(where="tcp:192.0.2.2:25"))),
            self.start(agent, self.job(NextHop(where="tcp:192.0.2.3:25"))),
        ]
        self.reactor.advance(5)
        stopped = agent.stopService()
        self.reactor.advance(STOPPING)
        self.successResultOf(stopped)
        for result in results:
            # Only of the one that was sent nobody knows whether it arrived.
            expected = Postponed if result is results[0] else Throttled
            self.assertIsInstance(self.successResultOf(result)[0], expected)
