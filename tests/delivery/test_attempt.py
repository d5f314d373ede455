"""What one attempt came to."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.attempt import Attempt
from mailframe.outcome import Delivered, Postponed, Refused
from mailframe.reply import Reply
from mailframe.testing.contents import FakeContent
from mailframe.testing.samples import make_job

OK = Reply(250, "2.0.0", "ok")
LATER = Reply(451, "4.3.0", "later")
NEVER = Reply(550, "5.1.1", "never")
TOO_MANY = Reply(452, "4.5.3", "too many")
PEOPLE = tuple(Address.parse(f"{name}@blu.example") for name in ("a", "b", "c"))


class AttemptTests(SynchronousTestCase):
    """`Attempt`."""

    def attempt(self, content: bytes = b"") -> Attempt:
        self.opened = 0

        async def open_content() -> FakeContent:
            self.opened += 1
            return FakeContent(content, piece=2)

        return Attempt(make_job((), PEOPLE, open_content, size=1))

    def test_each_its_own(self) -> None:
        """One recipient's outcome would be reported of another."""
        attempt = self.attempt()
        attempt.record("x", (0, 1, 2), (NEVER, None, LATER), again=True)
        self.assertEqual(attempt.unsettled, (1,))
        attempt.record("y", (1,), (OK,), again=True)
        self.assertEqual(attempt.unsettled, ())
        self.assertEqual(
            attempt.outcomes(),
            (
                Refused(where="x", reply=NEVER),
                Delivered(where="y", reply=OK),
                Postponed(where="x", reply=LATER),
            ),
        )

    def test_too_many(self) -> None:
        """Recipients beyond a server's limit would wait, or be asked about for ever."""
        attempt = self.attempt()
        attempt.record("x", (0, 1, 2), (OK, TOO_MANY, TOO_MANY), again=True)
        self.assertEqual(attempt.unsettled, (1, 2))
        attempt.record("x", (1, 2), (TOO_MANY, TOO_MANY), again=True)
        self.assertEqual(attempt.unsettled, ())
        attempt = self.attempt()
        attempt.record("x", (0, 1, 2), (OK, TOO_MANY, TOO_MANY), again=False)
        self.assertEqual(attempt.unsettled, ())

    def test_the_rest(self) -> None:
        """Mail would bounce although one server only said: later."""
        attempt = self.attempt()
        attempt.passed_over("x", NEVER)
        self.assertEqual(attempt.outcomes(), (Refused(where="x", reply=NEVER),) * 3)
        attempt.passed_over("y", LATER)
        attempt.passed_over("z", NEVER)
        self.assertEqual(attempt.outcomes(), (Postponed(where="y", reply=LATER),) * 3)
        attempt.settle_all("w", NEVER)
        self.assertEqual(attempt.outcomes(), (Refused(where="w", reply=NEVER),) * 3)

    def test_nothing_tried(self) -> None:
        """A recipient could be left without any outcome."""
        for outcome in self.attempt().outcomes():
            self.assertIsInstance(outcome, Postponed)

    def test_is_ascii(self) -> None:
        """Content would be read again for every server."""
        for content, expected in ((b"plain text", True), (b"plain \xff text", False), (b"", True)):
            attempt = self.attempt(content)
            for _ in range(2):
                answer = self.successResultOf(Deferred.fromCoroutine(attempt.is_ascii()))
                self.assertIs(answer, expected)
            self.assertEqual(self.opened, 1)
