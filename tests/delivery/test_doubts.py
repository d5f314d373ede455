"""Which servers of a next hop are tried after the others."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.doubts import DOUBTED, MOST, SLOW, Doubts, is_of_server
from mailframe.outcome import Delivered, NextHop, Postponed
from mailframe.reply import Reply
from tests.delivery.relaying import BLU, FIRST, SECOND, RelayCase
from tests.delivery.servers import CLOSE, SILENCE, ScriptedServer

SERVERS = ("a", "b", "c")


class DoubtsTests(SynchronousTestCase):
    """What is remembered, and how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.doubts = Doubts(self.clock)

    def order(self, id: str = "1") -> str:
        return "".join(self.doubts.in_order(id, SERVERS))

    def test_slow(self) -> None:
        """A host that hangs would be waited for by each message, or never be tried again."""
        self.doubts.turned_away("a", SLOW - 1)
        self.assertEqual(self.order(), "abc")
        self.doubts.turned_away("a", SLOW)
        self.assertEqual(self.order(), "bca")
        self.doubts.turned_away("b", SLOW)
        self.assertEqual(self.order(), "cab")
        self.doubts.let_in("b")
        self.assertEqual(self.order(), "bca")
        self.clock.advance(DOUBTED)
        self.assertEqual(self.order(), "abc")

    def test_in_vain(self) -> None:
        """One message's misfortune would send others astray, or itself to the same server again."""
        self.doubts.in_vain("1", "a")
        self.assertEqual((self.order(), self.order("2")), ("bca", "abc"))
        self.doubts.in_vain("1", "b")
        self.assertEqual(self.order(), "cab")
        self.doubts.in_vain("1", "a")
        self.assertEqual(self.order(), "cba")
        self.assertTrue(self.doubts.was_in_vain("1", "a"))
        self.assertFalse(self.doubts.was_in_vain("1", "c"))
        self.assertFalse(self.doubts.was_in_vain("2", "a"))

    def test_log(self) -> None:
        """Nobody could say why a message went to the second exchanger while the first one is up."""
        told: list[str] = []

        def observe(event: LogEvent) -> None:
            told.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.doubts.in_vain("1", "c")
        self.assertEqual((self.order(), told), ("abc", []))
        self.doubts.turned_away("a", SLOW)
        self.doubts.in_vain("1", "b")
        self.assertEqual(self.order(), "acb")
        self.assertEqual(
            told,
            ["1: the order is 'a', 'c', 'b'; did not take it before: 'c', 'b'; hung: 'a'"],
        )

    def test_bounded(self) -> None:
        """A server that runs for years would know ever more of them."""
        for number in range(MOST + 1):
            self.doubts.turned_away(str(number), SLOW)
            self.doubts.in_vain(str(number), "a")
        self.assertEqual((len(self.doubts._slow), len(self.doubts._in_vain)), (MOST, MOST))
        self.assertFalse(self.doubts.was_in_vain("0", "a"))
        self.assertTrue(self.doubts.was_in_vain("1", "a"))

    def test_replies(self) -> None:
        """A greylisted message would be shown to another exchanger each time, and wait anew."""
        for text, expected in (
            ((452, "4.3.1"), True),
            ((452, None), True),
            ((451, "4.3.0"), True),
            ((451, None), False),
            ((450, "4.2.0"), False),
            ((451, "4.7.1"), False),
            ((550, "5.3.0"), False),
        ):
            self.assertEqual(is_of_server(Reply(*text, "x", is_remote=True)), expected)
        self.assertFalse(is_of_server(Reply(451, "4.3.0", "our own fault")))


class OrderTests(RelayCase):
    """The relay agent, with two exchangers."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = ScriptedServer(), ScriptedServer()
        self.listen(self.first)
        self.listen(self.second, SECOND)

    def test_next_attempt(self) -> None:
        """A message would be given up that the second exchanger takes; the first one has no disk
        left, or dies of the message."""
        for verb, answer in (
            ("MAIL", b"452 4.3.1 disk full\r\n"),
            (".", b"421 4.3.2 falling over\r\n"),
            (".", CLOSE),
        ):
            self.first.answers[verb] = answer
            agent = self.agent()
            job, other = self.job(id=f"of {answer!r}"), self.job(id="another one")
            (outcome,) = self.deliver(agent, job)
            self.assertIsInstance(outcome, Postponed)
            self.assertIn(FIRST, outcome.where)
            self.assertEqual(self.second.messages, [])
            (outcome,) = self.deliver(agent, job)
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(len(self.second.messages), 1)
            self.first.answers.clear()
            self.reactor.advance(60)
            (outcome,) = self.deliver(agent, other)
            self.assertIn(FIRST, outcome.where)
            self.second.messages.clear()
            self.reactor.advance(60)

    def test_one_exchanger_alone(self) -> None:
        """A message would never be tried again where there is nobody else."""
        self.first.answers["."] = [b"421 4.3.2 falling over\r\n"]
        agent, hop = self.agent(), NextHop(where=f"tcp:{FIRST}:25")
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Postponed)
        self.assertIsInstance(self.deliver(agent, self.job(hop))[0], Delivered)

    def test_next_hop(self) -> None:
        """The second of two smarthosts would never get what the first one dies of."""
        self.first.answers["."] = CLOSE
        hops = [NextHop(where=f"tcp:{address}:25") for address in (FIRST, SECOND)]
        agent = self.agent()
        self.assertIsInstance(self.deliver(agent, self.job(*hops))[0], Postponed)
        self.assertEqual(self.second.messages, [])
        (outcome,) = self.deliver(agent, self.job(*hops))
        self.assertEqual(outcome.where, hops[1].where)

    def test_a_connection_that_is_kept(self) -> None:
        """The connection that the first exchanger's other mail uses would lead there again."""
        self.first.answers["MAIL"] = [b"452 4.3.1 disk full\r\n"]
        agent, job = self.agent(), self.job(id="poor")
        self.assertIsInstance(self.deliver(agent, job)[0], Postponed)
        (outcome,) = self.deliver(agent, job)
        self.assertIn(SECOND, outcome.where)
        self.assertEqual(len(self.second.messages), 1)

    def test_one_that_hangs(self) -> None:
        """Each new session would wait five minutes for an exchanger that accepts connections and
        says nothing."""
        self.first.answers["GREETING"] = SILENCE
        agent = self.agent(reuse_idle=0)
        waiting = self.start(agent, self.job())
        self.assertNoResult(waiting)
        self.reactor.advance(300)
        self.assertIsInstance(self.successResultOf(waiting)[0], Delivered)
        self.assertIsInstance(self.deliver(agent)[0], Delivered)
        self.assertEqual(len(self.second.messages), 2)
        del self.first.answers["GREETING"]
        self.reactor.advance(DOUBTED)
        self.assertIn(FIRST, self.deliver(agent)[0].where)

    def test_the_rest_is_down(self) -> None:
        """Nobody would ask a server that hung once when it is the only one that is left."""
        self.first.answers["GREETING"] = [SILENCE]
        self.second.answers["GREETING"] = b"421 4.3.2 down\r\n"
        agent = self.agent()
        waiting = self.start(agent, self.job(BLU))
        self.reactor.advance(300)
        self.assertIsInstance(self.successResultOf(waiting)[0], Postponed)
        self.reactor.advance(60)
        (outcome,) = self.deliver(agent)
        self.assertIsInstance(outcome, Delivered)
        self.assertIn(FIRST, outcome.where)
