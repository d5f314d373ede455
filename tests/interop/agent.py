"""The relay agent by itself, without a server or a queue, handing mail to real servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from mailframe.address import Address
from mailframe.delivery.relay import RelayAgent, RelaySettings
from mailframe.interfaces import Job
from mailframe.outcome import NextHop, Outcome, Relay
from mailframe.testing.contents import FakeContent
from mailframe.testing.samples import make_envelope, make_job
from mailframe.testing.site import make_site
from tests.interop.programs import DEADLINE
from tests.interop.servers import ServersCase

SENDER = Address.parse("angelo@demo.example")
HEADER = (  # with what a server would add otherwise
    b"From: angelo@demo.example\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
    b"Message-ID: <1@demo.example>\r\n"
)
CONTENT = HEADER + b"Subject: greetings\r\n\r\ntext\r\n.\r\n..dots and all\r\n"


class AgentCase(ServersCase):
    """An agent with a reactor of its own, which runs while something is waited for."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = SelectReactor()
        self.site = make_site(state_dir=str(self.folder), reactor=self.reactor)
        self.addCleanup(self.reactor.removeAll)

    def agent(self, **settings: Any) -> RelayAgent:
        """An agent that is stopped with the test."""
        agent = RelayAgent(RelaySettings(**settings), self.site)
        self.addCleanup(lambda: self.run_until(agent.stopService()))
        return agent

    def run_until(self, waiting: Deferred[Any]) -> Any:
        """Run the reactor until something has a result."""
        end = time.monotonic() + DEADLINE
        while not waiting.called and time.monotonic() < end:
            self.reactor.iterate(0.05)
        return self.successResultOf(waiting)

    def job(
        self,
        where: str,
        *recipients: str | Address,
        content: bytes = CONTENT,
        protocol: Any = "smtp",
        originals: Any = None,
        **envelope: Any,
    ) -> Job:
        """A message for some people at one next hop."""
        addresses = tuple(Address.parse(str(r)) for r in recipients or ("jsmith@demo.example",))

        async def open_content() -> FakeContent:
            return FakeContent(content)

        route = Relay(reason="for the test", hops=(NextHop(where=where, protocol=protocol),))
        job = make_job(
            (route,) * len(addresses),
            addresses,
            open_content,
            envelope=attrs.evolve(make_envelope(*addresses, sender=SENDER), **envelope),
            size=len(content),
        )
        return job if originals is None else attrs.evolve(job, originals=originals)

    def deliver(self, agent: RelayAgent, job: Job) -> Sequence[Outcome]:
        """Hand it over."""
        outcomes: Sequence[Outcome] = self.run_until(Deferred.fromCoroutine(agent.deliver(job)))
        return outcomes
