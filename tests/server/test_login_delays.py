"""LOGIN-DELAY."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.client_records import ClientRecords
from mailframe.server.login_delays import LoginDelays
from mailframe.server.recent import RecentHere


class LoginDelayTests(SynchronousTestCase):
    """How long a client has to wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)
        self.recent = RecentHere(5)
        self.records = ClientRecords(opened=self.recent)
        self.delays = LoginDelays(seconds=60.0, clock=self.clock, records=self.records)

    def test_waits(self) -> None:
        """A client is let in too early, or never again; or waits because of another one."""
        self.assertEqual(self.delays.left("mary"), 0)
        self.delays.opened("mary")
        self.clock.advance(20)
        self.assertEqual(self.delays.left("mary"), 40)
        self.assertEqual(self.delays.left("angelo"), 0)
        self.clock.advance(40)
        self.assertEqual(self.delays.left("mary"), 0)
        self.delays.opened("mary")
        self.assertEqual(self.delays.left("mary"), 60)

    def test_none(self) -> None:
        """Without the limit, each login takes memory."""
        delays = LoginDelays(seconds=0.0, clock=self.clock, records=self.records)
        delays.opened("mary")
        self.assertEqual((delays.left("mary"), len(self.recent)), (0, 0))

    def test_memory(self) -> None:
        """Every mailbox that was ever opened is remembered."""
        for number in range(9):
            self.delays.opened(str(number))
        self.assertEqual(len(self.recent), 5)
        self.assertEqual(self.delays.left("8"), 60)
        self.clock.advance(60)
        self.delays.left("8")
        self.assertEqual(len(self.recent), 0)

    def test_clock_set_back(self) -> None:
        """Nobody gets in for a year because the clock was wrong for a minute."""
        self.delays.opened("mary")
        self.clock.rightNow -= 3600.0
        self.assertEqual(self.delays.left("mary"), 0)
