"""What other processes can read of what was learned of next hops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.live_limits import AGAIN, EVERY, TOO_OLD, LiveLimits, read_live
from mailframe.delivery.relay import RelayAgent, RelaySettings
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.outcome import Delivered
from mailframe.testing.site import make_site
from tests.delivery.relaying import RelayCase
from tests.delivery.servers import SILENCE, ScriptedServer
from tests.delivery.test_traffic import HOP, OTHER

NOW = 1_700_000_000.0
ROW = {
    "where": "mx:blu.example",
    "tls": "opportunistic",
    "protocol": "smtp",
    "connections": 5,
    "most": 20,
    "in_use": 1,
    "waiting": 0,
    "left_alone_until": None,
    "reason": "",
    "rates": {},
}


class FakeAgent:
    """Knows what it is told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def learned(self) -> list[dict[str, Any]]:
        return list(self.rows)


class FileTests(SynchronousTestCase):
    """`LiveLimits` and `read_live`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.state_dir = os.path.abspath(self.mktemp())
        self.writes = 0
        self.agent = FakeAgent()
        self.hold: Deferred[None] | None = None
        site = attrs.evolve(
            make_site(state_dir=self.state_dir, reactor=self.clock), in_thread=self.in_thread
        )
        self.live = LiveLimits(self.agent, site)
        self.live.startService()
        self.path = os.path.join(self.state_dir, "relay", f"{os.getpid()}.json")

    def tearDown(self) -> None:
        if self.live.running:
            self.live.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        self.writes += 1
        ready, self.hold = self.hold or succeed(None), None
        return ready.addCallback(lambda _: function(*args))

    def read(self) -> list[str]:
        return [hop.where for hop in read_live(self.state_dir, self.clock.seconds())]

    def test_written(self) -> None:
        """An operator could not see why mail waits."""
        self.clock.advance(EVERY)
        self.assertEqual(self.writes, 0)  # there is nothing to tell
        self.agent.rows = [ROW]
        self.clock.advance(EVERY)
        (hop,) = read_live(self.state_dir, self.clock.seconds())
        self.assertEqual((hop.where, hop.connections, hop.pid), (ROW["where"], 5, os.getpid()))
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.agent.rows = []
        self.clock.advance(EVERY)
        self.assertEqual(self.read(), [])

    def test_thrifty(self) -> None:
        """The disk would be written to every few seconds for nothing, or the file be too old."""
        self.agent.rows = [ROW]
        for _ in range(int(AGAIN / EVERY)):
            self.clock.advance(EVERY)
        self.assertEqual(self.writes, 1)
        self.clock.advance(EVERY)
        self.assertEqual(self.writes, 2)
        self.assertEqual(len(self.read()), 1)

    def test_stopped(self) -> None:
        """What a server did that is stopped would be shown as if it still did it."""
        self.agent.rows = [ROW]
        self.clock.advance(EVERY)
        self.assertTrue(os.path.exists(self.path))
        self.hold = hold = Deferred()
        self.agent.rows = [{**ROW, "in_use": 2}]
        self.clock.advance(EVERY)
        stopped = self.live.stopService()
        assert stopped is not None
        self.assertNoResult(stopped)
        hold.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        self.assertIsNone(self.live.stopService())

    def test_left_over(self) -> None:
        """What a process did that was killed would be shown for ever."""
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            gone.wait()
        old = os.path.join(self.state_dir, "relay", f"{gone.pid}.json")
        os.makedirs(os.path.dirname(old))
        document = {"pid": gone.pid, "written": self.clock.seconds(), "hops": [ROW]}
        with open(old, "w") as file:
            json.dump(document, file)
        self.assertEqual(self.read(), [])
        self.agent.rows = [{**ROW, "where": "mx:alive.example"}]
        self.clock.advance(EVERY)
        self.assertEqual(self.read(), ["mx:alive.example"])
        self.assertFalse(os.path.exists(old))
        self.assertEqual(read_live(self.state_dir, self.clock.seconds() + TOO_OLD), ())

    def test_nonsense(self) -> None:
        """One odd file would keep an operator from all that is known."""
        self.assertEqual(self.read(), [])
        os.makedirs(os.path.dirname(self.path))
        right = {"pid": os.getpid(), "written": self.clock.seconds(), "hops": [ROW]}
        for text in (
            "",
            "{",
            "[]",
            json.dumps({**right, "pid": 1}),
            json.dumps({**right, "hops": [{"where": "mx:x"}]}),
            json.dumps({**right, "hops": 5}),
        ):
            with open(self.path, "w") as file:
                file.write(text)
            self.assertEqual(self.read(), [], text)
        with open(self.path, "w") as file:
            json.dump(right, file)
        self.assertEqual(len(self.read()), 1)
        os.rename(self.path, os.path.join(os.path.dirname(self.path), "99999999999999999999.json"))
        self.assertEqual(self.read(), [])

    def test_of_somebody_else(self) -> None:
        """Nothing would be shown of a server that runs as another user."""

        def kill(_pid: int, _signal: int) -> None:
            raise PermissionError

        self.agent.rows = [ROW]
        self.clock.advance(EVERY)
        self.patch(os, "kill", kill)
        self.assertEqual(len(self.read()), 1)

    def test_disk_is_full(self) -> None:
        """A full disk would end it for good, or fill the log."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        os.makedirs(self.state_dir)
        with open(os.path.join(self.state_dir, "relay"), "w"):
            pass  # in the place of the folder
        for number in range(3):
            self.agent.rows = [{**ROW, "in_use": number}]
            self.clock.advance(EVERY)
        self.assertEqual(len(events), 1)
        os.unlink(os.path.join(self.state_dir, "relay"))
        self.agent.rows = [ROW, ROW]
        self.clock.advance(EVERY)
        self.assertEqual(len(self.read()), 2)


class LearnedTests(RelayCase):
    """What the relay agent tells."""

    def test_learned(self) -> None:
        """An operator would be told less than is known, or wrongly."""
        self.listen(ScriptedServer(DOT=[SILENCE]))
        self.reactor.unreachable("192.0.2.2")
        table = ShapingTable(name="slowly", destinations=(HOP.where,), rate="40/1m")
        agent = RelayAgent(RelaySettings(shaping=(table,)), self.site)
        self.agents.append(agent)
        self.assertEqual(agent.learned(), [])
        dead = self.start(agent, self.job(OTHER))
        self.reactor.advance(30)
        self.successResultOf(dead)
        under_way = self.start(agent, self.job(HOP))
        first, second = agent.learned()
        self.assertEqual(first["where"], OTHER.where)
        self.assertEqual(first["left_alone_until"], self.reactor.seconds() + 60)
        self.assertIn("no answer in time", first["reason"])
        self.assertEqual((first["connections"], first["in_use"]), (1, 0))
        self.assertEqual((second["where"], second["in_use"]), (HOP.where, 1))
        self.assertEqual((second["connections"], second["most"]), (5, 20))
        self.assertEqual(second["rates"], {"40/1m messages (slowly)": 1})
        json.dumps(agent.learned())
        for connection in tuple(agent._sessions._connections):
            connection.transport.loseConnection()
        self.reactor.advance(0)
        self.assertNotIsInstance(self.successResultOf(under_way)[0], Delivered)
