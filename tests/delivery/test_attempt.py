"""What one attempt came to."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.attempt import Attempt
from mailframe.envelope import Recipient
from mailframe.outcome import Delivered, Postponed, Refused
from mailframe.reply import Reply
from mailframe.testing.samples import EVIDENCE, make_job

OK = Reply(250, "2.0.0", "ok")
LATER = Reply(451, "4.3.0", "later")
NEVER = Reply(550, "5.1.1", "never")
TOO_MANY = Reply(452, "4.5.3", "too many")
PEOPLE = tuple(Address.parse(f"{name}@blu.example") for name in ("a", "b", "c"))


async def no_content() -> Any:
    """Nobody asks for it here."""
    raise AssertionError("the content was opened")


def in_place(function: Any, *args: Any) -> Deferred[Any]:
    """What a thread would do."""
    return maybeDeferred(function, *args)


class AttemptTests(SynchronousTestCase):
    """`Attempt`."""

    def attempt(self, **changes: Any) -> Attempt:
        job = make_job((), PEOPLE, no_content, size=1)
        return Attempt(attrs.evolve(job, **changes), in_place)

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

    def test_not_too_many(self) -> None:
        """Recipients whose mailboxes are full would be asked about again and again."""
        attempt = self.attempt()
        full = Reply(452, "4.2.2", "mailbox full")
        attempt.record("x", (0, 1, 2), (OK, full, Reply(452, None, "too many")), again=True)
        self.assertEqual(attempt.unsettled, (2,))
        self.assertEqual(attempt.outcomes()[1], Postponed(where="x", reply=full))

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

    def test_notices(self) -> None:
        """The sender would be told of a success twice, or by nobody."""
        asked = Recipient(address=PEOPLE[0], evidence=EVIDENCE, notify=("SUCCESS",))
        plain = Recipient(address=PEOPLE[1], evidence=EVIDENCE)
        for dsn, told in ((True, [True, False, False]), (False, [False] * 3)):
            attempt = self.attempt(originals=(asked, plain, asked))
            attempt.record("x", (0, 1, 2), (OK, OK, NEVER), again=True, dsn=dsn)
            self.assertEqual(
                [
                    isinstance(outcome, Delivered) and outcome.notifies
                    for outcome in attempt.outcomes()
                ],
                told,
            )

    def test_last_server(self) -> None:
        """The sender would be told of another server where the mailbox has it, or the reverse."""
        for lmtp, dsn, final in ((True, False, True), (True, True, False), (False, False, False)):
            attempt = self.attempt()
            attempt.record(
                "x", (0, 1, 2), (OK, NEVER, LATER), again=False, lmtp=lmtp, dsn=dsn, deliver_by=True
            )
            outcome = attempt.outcomes()[0]
            assert isinstance(outcome, Delivered)
            self.assertEqual((outcome.is_final, outcome.knows_deadline), (final, True))

    def test_some(self) -> None:
        """Recipients whom a server can't be told of would hold up the others, or be lost."""
        attempt = self.attempt()
        attempt.settle("x", [1], NEVER)
        self.assertEqual(attempt.unsettled, (0, 2))
        attempt.record("x", (0,), (OK,), again=True)
        self.assertEqual(attempt.unsettled, (2,))
