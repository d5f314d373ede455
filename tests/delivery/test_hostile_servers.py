"""Servers that say anything, at any moment, in any pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from mailframe.address import Address
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.outcome import Delivered, Outcome, Postponed, Refused
from mailframe.testing.network import VirtualReactor
from mailframe.testing.site import make_site
from tests.delivery.hostile import ACTIONS, GOOD, OFFERS, HostileServer, Session
from tests.delivery.relaying import BLU, BOB, CAROL, FIRST, SECOND, ZONE, RelayCase

TOTAL = float(RelaySettings().timeouts.total)
CONTENT = b"Subject: x\r\n\r\n.\r\n..\r\nbody\r\n"
LARGE = CONTENT + (b"y" * 70 + b"\r\n") * 1_000


class HostileTests(RelayCase):
    """The relay agent, with two exchangers that both obey a script."""

    def start_anew(self, segment: int | None) -> None:
        self.reactor = VirtualReactor(segment=segment)
        self.site = make_site(
            state_dir="/nowhere", reactor=self.reactor, zone=ZONE, hostname="mx.rosse.example"
        )
        self.agents.clear()
        self.opened.clear()

    def check(
        self, who: Address, outcome: Outcome, sessions: Sequence[Session], lmtp: bool = False
    ) -> None:
        """Nobody counts as delivered of whom no server has said so after the end of the content."""
        self.assertIsInstance(outcome, Delivered | Postponed | Refused)
        if isinstance(outcome, Delivered):
            self.assertTrue(200 <= outcome.reply.code < 300)
            taken = {
                (rcpt.partition(">")[0], reply)
                for session in sessions
                for rcpt, reply in session.taken(lmtp)
            }
            self.assertIn((f"RCPT TO:<{who}", outcome.reply), taken)

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_any_server(self, data: st.DataObject) -> None:
        """A message could be lost, reported as delivered without being so, or never settled."""
        content = data.draw(st.sampled_from([CONTENT, LARGE]))
        self.start_anew(data.draw(st.sampled_from([None, 1])) if content is CONTENT else None)
        # By chance alone nothing of interest is reached: most of the time all is well.
        deviations = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(ACTIONS)), max_size=4)
        script = [word for good, bad in data.draw(deviations) for word in (*[GOOD] * good, bad)]
        offer = data.draw(st.sampled_from(OFFERS))
        words = iter(script)
        servers = [HostileServer(self.reactor, offer, words) for _ in range(2)]
        for server, address in zip(servers, (FIRST, SECOND), strict=True):
            self.reactor.at(address).listenTCP(25, server, interface=address)
        lmtp = data.draw(st.booleans())
        hop = attrs.evolve(BLU, protocol="lmtp" if lmtp else "smtp")
        agent = self.agent(chunking=data.draw(st.booleans()))
        for _ in range(2):
            result = self.start(agent, self.job(hop, recipients=[BOB, CAROL], content=content))
            for _ in range(8):  # twice as many connections as there can be in one attempt
                self.reactor.advance(TOTAL)
            outcomes = self.successResultOf(result)
            sessions = [session for server in servers for session in server.sessions]
            for who, outcome in zip((BOB, CAROL), outcomes, strict=True):
                self.check(who, outcome, sessions, lmtp)
            for session in sessions:
                for received in session.contents:
                    self.assertIn(received, (content, b""))
        self.nothing_left()

    def test_the_script_can_be_good(self) -> None:
        """The test above could go on without ever delivering anything."""
        for offer in OFFERS[:4]:
            self.start_anew(None)
            server = HostileServer(self.reactor, offer, iter([GOOD] * 50))
            self.reactor.at(FIRST).listenTCP(25, server, interface=FIRST)
            outcomes = self.deliver(self.agent(), self.job(recipients=[BOB, CAROL], content=LARGE))
            for who, outcome in zip((BOB, CAROL), outcomes, strict=True):
                self.assertIsInstance(outcome, Delivered)
                self.check(who, outcome, server.sessions)
            self.assertEqual({*server.sessions[0].contents}, {LARGE})
            self.nothing_left()

    def exchange(self, *script: Any) -> Outcome:
        self.start_anew(None)
        server = HostileServer(self.reactor, OFFERS[1], iter(script))
        self.reactor.at(FIRST).listenTCP(25, server, interface=FIRST)
        result = self.start(self.agent(), self.job())
        self.reactor.advance(4 * TOTAL)
        (outcome,) = self.successResultOf(result)
        self.nothing_left()
        return outcome

    def test_endless_words(self) -> None:
        """A server could fill our memory with one line, or one reply, that never ends."""
        for words in (b"x" * 100_000, b"250-" + b"x" * 100_000, b"250-x\r\n" * 10_000):
            for place in range(5):
                outcome = self.exchange(*[GOOD] * place, words)
                self.assertIsInstance(outcome, Postponed)
