"""Deliveries that are given up, or broken off by the shutdown, at each stage."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from mailframe.delivery.connection import CLOSING
from mailframe.delivery.deadlines import LINGERING
from mailframe.delivery.relay import STOPPING
from mailframe.outcome import NextHop, Postponed, Throttled
from tests.delivery.relaying import FIRST, RelayCase
from tests.delivery.servers import SILENCE, ScriptedServer
from tests.delivery.test_fitting import ehlo

STAGES: dict[str, dict[str, Any]] = {
    "greeting": {"GREETING": SILENCE},
    "hello": {"EHLO": SILENCE},
    "old hello": {"EHLO": b"500 what\r\n", "HELO": SILENCE},
    "starttls": {"EHLO": ehlo("STARTTLS"), "STARTTLS": SILENCE},
    "tls": {"EHLO": ehlo("STARTTLS")},
    "mail": {"EHLO": ehlo(), "MAIL": SILENCE},
    "recipient": {"EHLO": ehlo(), "RCPT": SILENCE},
    "data": {"DATA": SILENCE},
    "final": {"DOT": SILENCE},
    "chunk": {"EHLO": ehlo("PIPELINING", "CHUNKING"), "BDAT": SILENCE, "DOT": SILENCE},
}
LARGE = b"Subject: x\r\n\r\n" + b"x" * 70 * 10_000 + b"\r\n"


class EndTests(RelayCase):
    """One delivery that does not get anywhere."""

    def begin(self, answers: dict[str, Any], content: bytes) -> tuple[Any, Deferred[Any]]:
        self.setUp()
        server = ScriptedServer(**answers)
        # The client's handshake is random octets: now and then it would hold a command.
        server.pause_at = "STARTTLS"
        self.listen(server)
        agent = self.agent(mta_sts=False)
        agent.startService()
        hop = NextHop(where=f"tcp:{FIRST}:25")
        result = self.start(agent, self.job(hop, content=content))
        self.assertNoResult(result)
        return agent, result

    def test_given_up(self) -> None:
        """A connection would stay open that nobody looks after, or content that nobody reads."""
        for stage, answers in STAGES.items():
            for content in (b"x\r\n", LARGE):
                _, result = self.begin(answers, content)
                result.cancel()
                self.failureResultOf(result, CancelledError)
                self.reactor.advance(0)
                self.assertEqual(self.reactor.getDelayedCalls(), [], stage)
                self.nothing_left()

    def test_broken_off(self) -> None:
        """One server that is silent would hold up the shutdown, or lose the message its outcome."""
        for stage, answers in STAGES.items():
            for content in (b"x\r\n", LARGE):
                agent, result = self.begin(answers, content)
                stopped = agent.stopService()
                self.reactor.advance(STOPPING)
                self.reactor.advance(CLOSING + LINGERING)
                self.successResultOf(stopped)
                (outcome,) = self.successResultOf(result)
                # What was sent may have arrived: that was an attempt, and nothing else was.
                was_sent = stage in ("final", "chunk")
                self.assertIsInstance(outcome, Postponed if was_sent else Throttled, stage)
                self.assertEqual(outcome.reply.status, "4.3.2")
                self.nothing_left()

    def test_before_the_connection(self) -> None:
        """The same, with name servers and servers that do not answer."""
        for hop in (NextHop(where="mx:late.example"), NextHop(where="tcp:192.0.2.9:25")):
            for stop in (False, True):
                self.setUp()
                self.site.resolver.timeouts.add("late.example")
                self.reactor.unreachable("192.0.2.9")
                agent = self.agent(mta_sts=False)
                agent.startService()
                result = self.start(agent, self.job(hop))
                self.assertNoResult(result)
                if stop:
                    stopped = agent.stopService()
                    self.reactor.advance(STOPPING)
                    self.successResultOf(stopped)
                else:
                    result.cancel()
                    self.failureResultOf(result)
                self.reactor.advance(60)  # the question has its own time
                self.nothing_left()
