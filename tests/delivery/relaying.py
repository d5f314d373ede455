"""A relay agent on a virtual network, and what its tests send with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.connection import CLOSING
from mailframe.delivery.relay import STOPPING, RelayAgent, RelaySettings
from mailframe.interfaces import Job
from mailframe.outcome import NextHop, Outcome, Relay
from mailframe.reply import Reply
from mailframe.testing.contents import FakeContent
from mailframe.testing.network import VirtualReactor
from mailframe.testing.samples import make_envelope, make_job
from mailframe.testing.site import make_site
from tests.delivery.servers import ScriptedServer

ANGELO = Address.parse("angelo@rosse.example")
BOB = Address.parse("bob@blu.example")
CAROL = Address.parse("carol@blu.example")
CONTENT = b"Subject: x\r\n\r\nbody\r\n"
TOO_MANY = b"452 4.5.3 too many\r\n"
TAKEN = Reply(250, "2.0.0", "taken")
FIRST, SECOND = "192.0.2.1", "192.0.2.2"
ZONE = {
    "blu.example": {"MX": [(10, "a.blu.example"), (20, "b.blu.example")]},
    "a.blu.example": {"A": [FIRST]},
    "b.blu.example": {"A": [SECOND]},
    "inside.example": {"MX": [(1, "localhost.example")]},
    "localhost.example": {"A": ["127.0.0.1"]},
    "null.example": {"MX": [(0, "")]},
    "six.example": {"AAAA": ["2001:db8::6"]},
}
BLU = NextHop(where="mx:blu.example")


class RelayCase(SynchronousTestCase):
    """An agent on a virtual network."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.site = make_site(
            state_dir="/nowhere", reactor=self.reactor, zone=ZONE, hostname="mx.rosse.example"
        )
        self.agents: list[RelayAgent] = []
        self.opened: list[FakeContent] = []
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        for agent in self.agents:
            if agent.running:
                agent.stopService()
        self.reactor.advance(STOPPING + CLOSING + 5)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        for agent in self.agents:
            self.assertTrue(all(each.is_at_rest for each in agent._traffic.destinations))
            self.assertEqual(agent._sessions._connections, set())
            self.assertEqual(agent._sessions._connecting, set())
        for content in self.opened:
            self.assertEqual(content.closed, 1)

    def agent(self, *, trust_root: Any = None, **settings: Any) -> RelayAgent:
        agent = RelayAgent(RelaySettings(**settings), self.site, trust_root=trust_root)
        self.agents.append(agent)
        return agent

    def listen(self, server: ScriptedServer, address: str = FIRST, port: int = 25) -> Any:
        return self.reactor.at(address).listenTCP(port, server, interface=address)

    def job(
        self,
        *hops: NextHop,
        recipients: Sequence[Address] = (BOB,),
        content: bytes = CONTENT,
        piece: int = 65_536,
        envelope: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Job:
        async def open_content() -> FakeContent:
            opened = FakeContent(content, piece=piece)
            self.opened.append(opened)
            return opened

        route = Relay(reason="for the test", hops=hops or (BLU,))
        job = make_job(
            (route,) * len(recipients),
            tuple(recipients),
            open_content,
            envelope=attrs.evolve(
                make_envelope(*recipients, sender=ANGELO, arrived=0.0), **(envelope or {})
            ),
            size=len(content),
        )
        return attrs.evolve(job, **changes)

    def start(self, agent: RelayAgent, job: Job) -> Deferred[Sequence[Outcome]]:
        result = Deferred.fromCoroutine(agent.deliver(job))
        self.reactor.advance(0)
        return result

    def deliver(self, agent: RelayAgent, job: Job | None = None) -> Sequence[Outcome]:
        return self.successResultOf(self.start(agent, job or self.job()))
