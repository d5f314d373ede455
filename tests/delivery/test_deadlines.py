"""How long we wait for others, against what RFC 5321 asks for at the least."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.deadlines import Deadline, allowed
from mailframe.delivery.relay_settings import Timeouts
from mailframe.server.limits import Limits
from mailframe.wire.sender_events import Stage

MINUTE = 60


class LeastTests(SynchronousTestCase):
    """RFC 5321 §4.5.3.2, clause by clause."""

    def test_client(self) -> None:
        """A server that is slow, as it may be, would be given up, and its mail sent twice."""
        clauses: tuple[tuple[str, int, tuple[Stage, ...]], ...] = (
            ("4.5.3.2.1 Initial 220 Message", 5 * MINUTE, ("greeting",)),
            # EHLO, STARTTLS, AUTH and RSET are not named there, and are given as much as MAIL
            ("4.5.3.2.2 MAIL Command", 5 * MINUTE, ("mail", "hello", "starttls", "auth", "reset")),
            ("4.5.3.2.3 RCPT Command", 5 * MINUTE, ("recipient",)),
            ("4.5.3.2.4 DATA Initiation", 2 * MINUTE, ("data",)),
            ("4.5.3.2.5 Data Block", 3 * MINUTE, ("content",)),
            ("4.5.3.2.6 DATA Termination", 10 * MINUTE, ("final",)),
        )
        for clause, least, stages in clauses:
            for stage in stages:
                self.assertGreaterEqual(allowed(Timeouts())[stage], least, clause)

    def test_server(self) -> None:
        """A client that thinks for as long as it may would be thrown out (4.5.3.2.7)."""
        self.assertGreaterEqual(Limits().idle, 5 * MINUTE)

    def test_one_message(self) -> None:
        """The bound for a whole message would be met before the single ones, one of each."""
        one_of_each = sum(
            allowed(Timeouts())[stage]
            for stage in ("greeting", "hello", "mail", "recipient", "data", "content", "final")
        )
        self.assertGreater(Timeouts().total, one_of_each)


class DeadlineTests(SynchronousTestCase):
    """One timer for all of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.missed: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.missed.append(self.clock.seconds()))

    def test_put_off(self) -> None:
        """Whoever makes progress would be given up nevertheless, or each step cost a timer."""
        for second in range(0, 100, 10):
            self.deadline.set(second + 30.0)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(10)
        self.assertEqual(self.missed, [])
        self.clock.advance(19.9)
        self.assertEqual(self.missed, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.missed), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nearer(self) -> None:
        """A short deadline after a long one would be noticed too late."""
        self.deadline.set(600.0)
        self.deadline.set(5.0)
        self.clock.advance(5)
        self.assertEqual(self.missed, [5.0])

    def test_stopped(self) -> None:
        """A connection that is gone would be broken off later, or keep a timer for ever."""
        self.deadline.set(5.0)
        self.deadline.stop()
        self.deadline.stop()
        self.clock.advance(10)
        self.assertEqual((self.missed, self.clock.getDelayedCalls()), ([], []))
