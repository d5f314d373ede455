"""Failed logins, counted over all connections: `mailframe.server.login_failures`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.client_records import ClientRecords
from mailframe.server.limits import Limits
from mailframe.server.login_failures import LoginFailures
from mailframe.server.recent import RecentHere
from mailframe.units import Seconds

ANGELO = b"angelo@here.example"


class LoginFailuresTests(SynchronousTestCase):
    """Guessing does not go on over other connections, from other addresses or at other logins."""

    def setUp(self) -> None:
        """Three failures are one too many."""
        self.clock = Clock()
        limits = Limits(
            login_failures_per_address=3, login_failures_per_login=3, login_window=Seconds(100.0)
        )
        self.addresses, self.logins = RecentHere(50), RecentHere(50)
        self.records = ClientRecords(failed_addresses=self.addresses, failed_logins=self.logins)
        self.failures = LoginFailures(limits=limits, clock=self.clock, records=self.records)

    def test_of_an_address(self) -> None:
        """An address that has tried many logins is not listened to, whatever it says."""
        for number in range(3):
            self.assertIsNone(self.failures.beyond("192.0.2.1", ANGELO))
            self.failures.failed("192.0.2.1", b"%d" % number)
        self.assertEqual(self.failures.beyond("192.0.2.1", ANGELO), "login_failures_per_address")
        self.assertIsNone(self.failures.beyond("192.0.2.2", ANGELO))

    def test_of_a_login(self) -> None:
        """A login that was guessed at from many addresses is closed to all, however it is spelt."""
        for number in range(3):
            self.failures.failed(f"192.0.2.{number}", ANGELO.upper())
        self.assertEqual(self.failures.beyond("192.0.2.9", ANGELO), "login_failures_per_login")
        self.assertIsNone(self.failures.beyond("192.0.2.9", b"mary@here.example"))

    def test_of_a_login_in_disguise(self) -> None:
        """Each way to quote an address is worth as many more guesses."""
        for number, spelling in enumerate(
            (b'"angelo"@here.example', b'"\\a\\ngelo"@HERE.example.', b"Angelo@here.example.")
        ):
            self.failures.failed(f"192.0.2.{number}", spelling)
        self.assertEqual(self.failures.beyond("192.0.2.9", ANGELO), "login_failures_per_login")

    def test_ipv6(self) -> None:
        """A client that has a whole network is one client."""
        for number in range(3):
            self.failures.failed(f"2001:db8:0:1::{number}", b"%d" % number)
        self.assertIsNotNone(self.failures.beyond("2001:db8:0:1:ffff::1", ANGELO))
        self.assertIsNone(self.failures.beyond("2001:db8:0:2::1", ANGELO))
        self.assertIsNone(self.failures.beyond("no address", ANGELO))

    def test_expires(self) -> None:
        """After a while all may try again, and nothing is remembered."""
        for _ in range(3):
            self.failures.failed("192.0.2.1", ANGELO)
        self.clock.advance(99)
        self.assertIsNotNone(self.failures.beyond("192.0.2.1", ANGELO))
        self.clock.advance(1)
        self.assertIsNone(self.failures.beyond("192.0.2.1", ANGELO))
        self.failures.beyond("192.0.2.9", b"x")
        self.assertEqual((len(self.addresses), len(self.logins)), (0, 0))

    def test_succeeded(self) -> None:
        """Who mistypes a password now and then is not locked out; who has one login may not guess
        at the others.
        """
        for _ in range(2):
            self.failures.failed("192.0.2.1", ANGELO)
            self.failures.failed("192.0.2.2", ANGELO)
            self.failures.succeeded(ANGELO)
        self.assertIsNone(self.failures.beyond("192.0.2.1", ANGELO))
        self.failures.failed("192.0.2.1", b"x")
        self.assertIsNotNone(self.failures.beyond("192.0.2.1", ANGELO))

    def test_bounded(self) -> None:
        """Many addresses and long logins don't fill the memory."""
        for number in range(60):
            self.failures.failed(f"10.0.0.{number}", b"x" * 9999)
        self.assertEqual((len(self.addresses), len(self.logins)), (50, 1))
        self.assertEqual(max(map(len, self.logins._entries)), 320)
        for _ in range(2):
            self.failures.failed("10.0.0.0", b"y")
        self.assertIsNone(self.failures.beyond("10.0.0.0", ANGELO))

    def test_told_once(self) -> None:
        """The log tells of an attack, and is not filled by it."""
        with capturedLogs() as logs:
            for _ in range(5):
                self.failures.failed("192.0.2.1", ANGELO)
        self.assertEqual(
            [event["rule"] for event in logs],
            ["login_failures_per_address", "login_failures_per_login"],
        )

    def test_no_limit(self) -> None:
        """With 0 there is no limit."""
        limits = Limits(login_failures_per_address=0, login_failures_per_login=0)
        failures = LoginFailures(limits=limits, clock=self.clock, records=self.records)
        for _ in range(99):
            failures.failed("192.0.2.1", ANGELO)
        self.assertIsNone(failures.beyond("192.0.2.1", ANGELO))
        self.assertEqual((len(self.addresses), len(self.logins)), (0, 0))

    def test_other_limits(self) -> None:
        """A reload would let guessing begin anew, or a limit that was taken away go on."""
        for _ in range(2):
            self.failures.failed("192.0.2.1", ANGELO)
        for limit, expected in ((2, "login_failures_per_address"), (4, None), (0, None)):
            limits = Limits(login_failures_per_address=limit, login_failures_per_login=0)
            failures = LoginFailures(limits=limits, clock=self.clock, records=self.records)
            self.assertEqual(failures.beyond("192.0.2.1", b"x"), expected)
