"""Who may go where, and when: the relay agent with limits, against servers on a virtual network."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from mailframe.address import Address
from mailframe.delivery.concurrency import REMEMBERED
from mailframe.delivery.content_facts import SMALL
from mailframe.delivery.line import LOOK_EVERY, STUCK
from mailframe.delivery.relay import RelayAgent, RelaySettings
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.envelope import Recipient
from mailframe.interfaces import Job
from mailframe.outcome import Delivered, NextHop, Permit, Postponed, Throttled
from mailframe.reply import Reply
from mailframe.testing.contents import FakeContent
from mailframe.units import Seconds
from tests.delivery.relaying import BLU, BOB, FIRST, SECOND, RelayCase
from tests.delivery.servers import CLOSE, SILENCE, ScriptedServer

HOP = NextHop(where=f"tcp:{FIRST}:25")
OTHER = NextHop(where=f"tcp:{SECOND}:25")
TAKEN = b"250 2.0.0 taken\r\n"
DOWN = Reply(451, "4.4.1", "down")


def of(provider: str | None) -> tuple[Recipient, ...]:
    """The recipient of a message that was accepted from a provider's customer."""
    evidence = Permit(reason="x", provider=provider)
    return (Recipient(address=BOB, evidence=evidence),)


class CountingServer(ScriptedServer):
    """Knows how many connections it had at once."""

    most = 0

    def buildProtocol(self, addr: Any) -> Any:
        self.most = max(self.most, len(self.connections) + 1)
        return super().buildProtocol(addr)


class TrafficCase(RelayCase):
    """An agent for which few places are enough to be all."""

    def shaped(self, *tables: ShapingTable, places: int = 200, **settings: Any) -> RelayAgent:
        agent = RelayAgent(RelaySettings(shaping=tables, **settings), self.site, places=places)
        self.agents.append(agent)
        return agent

    def outcome(self, agent: RelayAgent, job: Job) -> Any:
        (outcome,) = self.deliver(agent, job)
        return outcome


class FairnessTests(TrafficCase):
    """One destination beside another."""

    def test_slow_beside_fast(self) -> None:
        """A slow server with much mail would keep the mail for all others waiting."""
        self.listen(ScriptedServer(DOT=[SILENCE] * 100))
        self.listen(ScriptedServer(), SECOND)
        agent = self.shaped(places=20)
        slow = [self.start(agent, self.job(HOP)) for _ in range(20)]
        self.assertEqual(sum(each.called for each in slow), 0)
        for _ in range(STUCK):
            self.reactor.advance(LOOK_EVERY)
        # Five connections are in use, and as many messages wait for them.
        sent_back = [each for each in slow if each.called]
        self.assertEqual(len(sent_back), 10)
        for each in sent_back:
            (outcome,) = self.successResultOf(each)
            self.assertIsInstance(outcome, Throttled)
            self.assertGreaterEqual(outcome.seconds, 1)
            self.assertEqual(outcome.where, HOP.where)
        # While places are scarce, who comes for the slow one is sent back at once.
        other = self.start(agent, self.job(OTHER))
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Throttled)
        self.assertIsInstance(self.successResultOf(other)[0], Delivered)
        for connection in tuple(agent._sessions._connections):
            connection.abort()
        self.reactor.advance(0)
        for each in slow:
            if not each.called:
                each.cancel()
                self.reactor.advance(0)
                each.addErrback(lambda failure: failure.trap(CancelledError))

    def test_many_that_are_silent(self) -> None:
        """Many dead hosts would take all connections, and those that answer get none."""
        for number in range(1, 5):
            self.listen(ScriptedServer(GREETING=SILENCE), f"192.0.2.{number}")
        self.listen(ScriptedServer(), "192.0.2.9")
        agent = self.shaped(places=4, connections=4)
        good = NextHop(where="tcp:192.0.2.9:25")
        self.assertIsInstance(self.outcome(agent, self.job(good)), Delivered)
        silent = [
            self.start(agent, self.job(NextHop(where=f"tcp:192.0.2.{number}:25")))
            for number in range(1, 5)
        ]
        self.assertIsInstance(self.outcome(agent, self.job(good)), Delivered)
        self.assertNoResult(silent[3])
        for _ in range(STUCK):
            self.reactor.advance(LOOK_EVERY)
        (outcome,) = self.successResultOf(silent[3])
        self.assertIsInstance(outcome, Throttled)
        self.assertIn("do not answer yet", str(outcome.reply))
        self.reactor.advance(300)
        for each in silent[:3]:
            self.assertIsInstance(self.successResultOf(each)[0], Postponed)

    def test_slow_ones_have_all_turns(self) -> None:
        """Whoever waits beside them keeps a place, until there is none for mail that stays here."""
        self.listen(ScriptedServer(DOT=[TAKEN, *[SILENCE] * 2]))
        self.listen(ScriptedServer(), SECOND)
        agent = self.shaped(places=4, connections=2)
        for hop in (HOP, OTHER):
            self.assertIsInstance(self.outcome(agent, self.job(hop)), Delivered)
        slow = [self.start(agent, self.job(HOP)) for _ in range(2)]
        other = self.start(agent, self.job(OTHER))
        self.assertNoResult(other)
        for _ in range(STUCK):
            self.reactor.advance(LOOK_EVERY)
        (outcome,) = self.successResultOf(other)
        self.assertIsInstance(outcome, Throttled)
        self.assertIn("as many deliveries are under way", str(outcome.reply))
        self.assertIsInstance(self.outcome(agent, self.job(OTHER)), Throttled)  # at once
        for each in slow:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.reactor.advance(0)
        self.assertIsInstance(self.outcome(agent, self.job(OTHER)), Delivered)

    def test_broken_sessions(self) -> None:
        """A server that ends each session with 421 would be tried for every single message."""
        server = ScriptedServer(MAIL=b"421 4.7.0 too many\r\n")
        self.listen(server)
        agent = self.shaped()
        outcomes = [self.outcome(agent, self.job(HOP)) for _ in range(10)]
        self.assertEqual({type(each) for each in outcomes}, {Postponed})
        self.assertEqual(len(server.commands), 6)
        self.reactor.advance(REMEMBERED)
        server.answers["MAIL"] = b"250 2.1.0 ok\r\n"
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)

    def test_sessions_that_break_at_the_end(self) -> None:
        """A server that falls over each message would get ever more of them at once."""
        server = ScriptedServer()
        self.listen(server)
        for answer in (b"421 4.3.2 falling over\r\n", CLOSE):
            server.answers["."], server.messages = answer, []
            agent = self.shaped()
            outcomes = [self.outcome(agent, self.job(HOP)) for _ in range(10)]
            self.assertEqual({type(each) for each in outcomes}, {Postponed})
            self.assertEqual(len(server.messages), 6)

    def test_content_that_is_unreadable_here(self) -> None:
        """A server would be left alone for a fault of our disk."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.shaped()

        async def breaks_off() -> FakeContent:
            return FakeContent(bytes(2 * SMALL), piece=SMALL, fails_after=1)

        for _ in range(10):
            broken = self.job(HOP, size=2 * SMALL, open=breaks_off)
            self.assertIsInstance(self.outcome(agent, broken), Postponed)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(agent.learned(), [])
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)

    def test_recipients_that_are_refused(self) -> None:
        """A list with old addresses would have its server taken for dead."""
        server = ScriptedServer(RCPT=b"450 4.2.1 later\r\n")
        self.listen(server)
        agent = self.shaped()
        for _ in range(10):
            self.outcome(agent, self.job(HOP))
        self.assertEqual(server.verbs.count("RCPT"), 10)

    def test_died_while_waiting_for_a_turn(self) -> None:
        """Each message for a dead host would hold a turn, one after the other."""
        server = ScriptedServer(GREETING=[SILENCE])
        self.listen(server)
        self.listen(ScriptedServer(DOT=[SILENCE]), SECOND)
        agent = self.shaped(connections=1)
        blocking = self.start(agent, self.job(OTHER))
        waiting = self.start(agent, self.job(HOP))
        agent._traffic.destinations.of(HOP).concurrency.die(DOWN, is_slow=True)
        blocking.cancel()
        self.reactor.advance(0)
        self.failureResultOf(blocking, CancelledError)
        self.assertEqual(self.successResultOf(waiting)[0], Postponed(where="", reply=DOWN))
        self.assertEqual(server.commands, [])


class LimitsTests(TrafficCase):
    """``[[relay.shaping]]``."""

    def test_rate(self) -> None:
        """A receiver that counts messages would block us."""
        server = ScriptedServer()
        self.listen(server)
        self.listen(ScriptedServer(), SECOND)
        agent = self.shaped(ShapingTable(name="slowly", destinations=(HOP.where,), rate="2/1m"))
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        outcome = self.outcome(agent, self.job(HOP, OTHER))  # OTHER is for when HOP fails
        self.assertEqual((outcome.where, outcome.seconds), (HOP.where, 30.0))
        self.assertIn("2/1m messages (slowly)", str(outcome.reply))
        self.assertIsInstance(self.outcome(agent, self.job(OTHER)), Delivered)
        self.reactor.advance(30)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertEqual(len(server.messages), 2)

    def test_rate_of_a_provider(self) -> None:
        """One provider's customers could use up what our own address may send."""
        self.listen(ScriptedServer())
        self.listen(ScriptedServer(), SECOND)
        agent = self.shaped(ShapingTable(name="trial", providers=("blu",), rate="1/1h"))
        blu, rosse = of("blu"), of("rosse")
        self.assertIsInstance(self.outcome(agent, self.job(HOP, originals=blu)), Delivered)
        outcome = self.outcome(agent, self.job(OTHER, originals=blu))
        self.assertIsInstance(outcome, Throttled)
        self.assertIn("(trial) for blu has no room", str(outcome.reply))
        for _ in range(3):
            self.assertIsInstance(self.outcome(agent, self.job(HOP, originals=rosse)), Delivered)
            self.assertIsInstance(self.outcome(agent, self.job(HOP, originals=of(None))), Delivered)

    def test_rate_while_waiting(self) -> None:
        """Messages that wait for a connection would all be sent once one is free."""
        server = ScriptedServer(DOT=[SILENCE])
        self.listen(server)
        table = ShapingTable(name="a", destinations=("*",), rate="40/1m", connections=1)
        agent = self.shaped(table)
        results = [self.start(agent, self.job(HOP)) for _ in range(5)]
        self.assertEqual(sum(each.called for each in results), 0)
        server.connections[0].transport.write(TAKEN)
        self.reactor.advance(0)
        kinds = [type(self.successResultOf(each)[0]) for each in results]
        self.assertEqual(kinds, [Delivered] * 2 + [Throttled] * 3)

    def test_not_used_up(self) -> None:
        """Mail for a dead host would use up what a provider may send."""
        self.reactor.unreachable(SECOND)
        self.listen(ScriptedServer())
        agent = self.shaped(ShapingTable(name="a", rate="1/1h"))
        failed = self.start(agent, self.job(OTHER))
        self.reactor.advance(30)
        self.assertIsInstance(self.successResultOf(failed)[0], Postponed)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Throttled)

    def test_connection_rate(self) -> None:
        """A receiver that counts connections would block us."""
        server = ScriptedServer()
        self.listen(server)
        table = ShapingTable(name="a", destinations=("*",), connection_rate="1/1m")
        agent = self.shaped(table, reuse_messages=2)
        for _ in range(2):
            self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        outcome = self.outcome(agent, self.job(HOP))
        self.assertIsInstance(outcome, Throttled)
        self.assertIn("1/1m connections (a)", str(outcome.reply))
        self.assertEqual(len(server.commands), 1)
        self.reactor.advance(60)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)

    def test_connection_rate_and_a_server_that_is_down(self) -> None:
        """The server that is down would use up the room of the good one, until mail is returned."""
        server = ScriptedServer()
        self.listen(server, SECOND)
        table = ShapingTable(name="a", destinations=("*",), connection_rate="20/1m")
        agent = self.shaped(table, reuse_messages=1)
        for _ in range(3):
            self.assertIsInstance(self.outcome(agent, self.job(BLU)), Delivered)
            outcome = self.outcome(agent, self.job(BLU))
            self.assertIsInstance(outcome, Throttled)
            self.reactor.advance(3.1)  # the rate has room for one in 3 s, and two were counted
            self.assertIsInstance(self.outcome(agent, self.job(BLU)), Throttled)
            self.reactor.advance(3)
        self.assertEqual(len(server.commands), 3)

    def test_connection_rate_when_all_are_down(self) -> None:
        """A message would go to and fro for days, its sender never told of what is wrong."""
        table = ShapingTable(name="a", destinations=("*",), connection_rate="20/1m")
        agent = self.shaped(table)
        outcome = self.outcome(agent, self.job(BLU))
        self.assertIsInstance(outcome, Postponed)
        self.assertIn("refused", str(outcome.reply))

    def test_connection_rate_after_a_kept_connection_failed(self) -> None:
        """That a server failed would be taken for no attempt."""
        server = ScriptedServer(DATA=[b"354 go on\r\n", b"421 4.7.0 enough\r\n"])
        self.listen(server)
        table = ShapingTable(name="a", destinations=("*",), connection_rate="1/1m")
        agent = self.shaped(table)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertEqual(len(server.commands), 2)

    def test_connection_rate_and_a_server_that_tires(self) -> None:
        """One message to many would open a hundred connections, and keep all others waiting."""
        server = ScriptedServer(EHLO=b"250-mx\r\n250 LIMITS MAILMAX=1 RCPTMAX=1\r\n")
        self.listen(server)
        table = ShapingTable(name="a", destinations=("*",), connection_rate="40/1m")
        agent = self.shaped(table)
        people = [Address.parse(f"{name}@blu.example") for name in "abcde"]
        outcomes = self.deliver(agent, self.job(HOP, recipients=people))
        self.assertEqual([type(each) for each in outcomes], [Delivered] * 2 + [Throttled] * 3)
        self.assertEqual(len(server.commands), 2)

    def test_rate_and_a_kept_connection_that_ended(self) -> None:
        """Nothing was sent, and yet it counts, until nothing may be sent."""
        server = ScriptedServer(MAIL=[b"250 ok\r\n", b"421 4.3.2 idle for too long\r\n"])
        self.listen(server)
        table = ShapingTable(name="a", destinations=("*",), rate="40/1h", connection_rate="1/1m")
        agent = self.shaped(table)
        kinds = []
        for pause in (0, 60, 0):
            kinds.append(type(self.outcome(agent, self.job(HOP))))
            self.reactor.advance(pause)
        self.assertEqual(kinds, [Delivered, Throttled, Delivered])

    def test_one_connection(self) -> None:
        """A server that counts connections finds one too many each time one is exchanged."""
        few = b"250-mx\r\n250 LIMITS MAILMAX=1 RCPTMAX=1\r\n"
        for answers, settings in (
            ({}, {"reuse_messages": 1}),
            ({}, {"reuse_idle": Seconds(0.0)}),
            ({"EHLO": few}, {}),
        ):
            self.setUp()
            server = CountingServer(**answers)
            server.pause_at = "."  # what comes then, QUIT, is read later
            self.listen(server)
            agent = self.shaped(ShapingTable(name="a", connections=1), **settings)
            people = [Address.parse(f"{name}@blu.example") for name in "ab"]
            results = [
                self.start(agent, self.job(HOP, recipients=people)),
                self.start(agent, self.job(HOP)),
            ]
            for _ in range(5):
                self.reactor.advance(0.1)
                for connection in server.connections:
                    connection.transport.resumeProducing()
            self.assertEqual(server.most, 1, settings or answers)
            for each in results:
                kinds = {type(outcome) for outcome in self.successResultOf(each)}
                self.assertEqual(kinds, {Delivered})

    def test_recipients(self) -> None:
        """A receiver that takes few recipients at once would refuse the message."""
        server = ScriptedServer()
        self.listen(server)
        agent = self.shaped(ShapingTable(name="a", recipients=2))
        people = [Address.parse(f"{name}@blu.example") for name in "abcde"]
        outcomes = self.deliver(agent, self.job(HOP, recipients=people))
        self.assertEqual({type(each) for each in outcomes}, {Delivered})
        self.assertEqual("".join(verb[0] for verb in server.verbs), "EMRRDMRRDMRD")

    def test_other_limits(self) -> None:
        """A limit that was changed would not hold for the destinations that are known."""
        server = ScriptedServer(DOT=[SILENCE] * 9)
        self.listen(server)
        agent = self.shaped(first_connections=1)
        results = [self.start(agent, self.job(HOP)) for _ in range(6)]
        self.assertEqual(len(server.connections), 1)
        agent.use(RelaySettings(first_connections=4, port=26))
        self.reactor.advance(0)
        self.assertEqual(len(server.connections), 4)
        self.assertEqual(agent._settings.port, 25)
        for each in results:
            each.cancel()
            self.reactor.advance(0)
            each.addErrback(lambda failure: failure.trap(CancelledError))
        self.reactor.advance(0)

    def test_cancelled_while_waiting(self) -> None:
        """A message that is given up while it waits would take its place along."""
        server = ScriptedServer(GREETING=[SILENCE])
        self.listen(server)
        self.listen(ScriptedServer(), SECOND)
        agent = self.shaped(ShapingTable(name="a", rate="40/1m"), connections=1)
        blocking = self.start(agent, self.job(HOP))
        waiting = self.start(agent, self.job(OTHER))  # for a place of those that are not known
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        blocking.cancel()
        self.reactor.advance(0)
        self.failureResultOf(blocking, CancelledError)
        self.assertIsInstance(self.outcome(agent, self.job(OTHER)), Delivered)

    def test_closed_by_the_server(self) -> None:
        """A server that tires of its idle connections would be taken for one that fails."""
        server = ScriptedServer(MAIL=[b"250 2.1.0 ok\r\n", b"421 4.7.0 enough\r\n"] * 10)
        self.listen(server)
        agent = self.shaped()
        for _ in range(5):
            self.assertIsInstance(self.outcome(agent, self.job(HOP)), Delivered)
        self.assertEqual(agent._traffic.destinations.of(HOP).concurrency.limit, 5)
