"""Covers mailframe.queue.waits, by itself and in a message's progress."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.entry import Entry, Wait
from mailframe.envelope import DeliverBy
from mailframe.queue import progress
from mailframe.queue.progress import advance
from mailframe.queue.schedule import LAST_CHANCES, Schedule
from mailframe.queue.waits import SOON, Turns, with_waits
from mailframe.units import Seconds
from tests.queue.samples import ANGELO, JSMITH, LATER, LOCAL, MARY, RELAY, entry
from tests.queue.steps import DELIVERED, FULL, POSTPONED, THROTTLED, after, asking, redirect, tried

HOUR = 3600.0
DAY = 24 * HOUR


class TurnsTests(SynchronousTestCase):
    def turns(self, now: float = 0.0, waits: Wait | None = None) -> Turns:
        """The turns of two recipients, of whom the second may be waiting."""
        before = entry(MARY, JSMITH)
        second = attrs.evolve(before.recipients[1], wait=waits)
        before = attrs.evolve(before, recipients=(before.recipients[0], second))
        return Turns(before, Schedule().times(0.0), now, True)

    def test_after_attempt(self) -> None:
        """A rule's waits are the queue's, or mail into a mailbox has none."""
        curve = Backoff(first=Seconds(60.0), jitter=0.0)
        turns = self.turns()
        self.assertEqual(turns.after_attempt(2, attrs.evolve(RELAY, retry=curve)), 120.0)
        self.assertEqual(turns.after_attempt(2, LOCAL), 900.0)
        self.assertEqual(turns.after_attempt(0, None), 900.0)

    def test_after_throttling(self) -> None:
        """An estimate of nothing makes us spin; one of months keeps mail for ever."""
        self.assertEqual(self.turns().after_throttling(0.0, 0.0), SOON)
        late = self.turns(5 * DAY)
        self.assertEqual(late.after_throttling(4 * DAY, 1e9), 5 * DAY + LAST_CHANCES)
        later = self.turns(6 * DAY)
        self.assertEqual(later.after_throttling(4 * DAY, 1e9), 6 * DAY + SOON)

    def test_of_untried(self) -> None:
        """A wait is cut short by an attempt for others, or goes on when its end has come."""
        wait = Wait(until=500.0, planned=0.0)
        for now, turn in ((100.0, 500.0), (600.0, 600.0 + SOON)):
            turns = self.turns(now, wait)
            self.assertEqual(turns.of_untried(1, turns.entry.recipients[1], None), turn)

    def test_after_redirects(self) -> None:
        """A redirect keeps others from their turn, or has those tried who wait."""
        turns = self.turns(100.0, Wait(until=500.0, planned=0.0))
        self.assertEqual([turns.after_redirects(i) for i in (0, 1, 2)], [100.0, 500.0, 100.0])

    def test_with_waits(self) -> None:
        """The message is tried when it is the turn of the last; or all are tried with the first."""
        recipients = entry(MARY, JSMITH).recipients
        found, earliest = with_waits(recipients, {0: 60.0, 1: 900.0})
        self.assertEqual(earliest, 60.0)
        self.assertEqual([r.wait for r in found], [None, Wait(until=900.0, planned=60.0)])
        found, earliest = with_waits(found, {1: 900.0})
        self.assertEqual((earliest, found[1].wait), (900.0, None))


class ProgressTests(SynchronousTestCase):
    """Each recipient has its own turn."""

    def test_throttled(self) -> None:
        """Limits of ours cost a recipient attempts, and what the server said is not seen again."""
        before = after(entry(), advance(entry(), [tried(0, POSTPONED)], 1.0, Schedule()).step)
        result = advance(before, [tried(0, THROTTLED)], 901.0, Schedule())
        (recipient,) = result.step.recipients
        self.assertEqual((recipient.attempts, recipient.last_reply), (1, LATER))
        self.assertEqual((recipient.where, recipient.throttled), (POSTPONED.where, 901.0))
        self.assertEqual(result.step.next_attempt, 961.0)
        (event,) = result.step.events
        self.assertEqual((event.kind, event.reply), ("throttled", FULL))
        self.assertEqual((event.where, event.next_attempt), ("mx.example", 961.0))

    def test_throttled_before_the_first_attempt(self) -> None:
        """Nothing says what the message waits for."""
        result = advance(entry(), [tried(0, THROTTLED)], 1.0, Schedule())
        (recipient,) = result.step.recipients
        self.assertEqual((recipient.attempts, recipient.last_reply), (0, FULL))
        self.assertEqual([e.kind for e in result.step.events], ["routed", "throttled"])

    def test_told_once(self) -> None:
        """A day behind a narrow limit fills the history with a thousand lines."""
        message, now = entry(), 1.0
        kinds = []
        for outcome in (THROTTLED, THROTTLED, THROTTLED, POSTPONED, THROTTLED, THROTTLED):
            step = advance(message, [tried(0, outcome)], now, Schedule()).step
            message = after(message, step)
            now = message.next_attempt
            kinds += [event.kind for event in step.events]
        self.assertEqual(kinds, ["routed", "throttled", "postponed", "throttled"])

    def test_warned_on_time(self) -> None:
        """A sender whose mail is kept back by limits for hours never hears of it."""
        message = attrs.evolve(entry(), next_attempt=4 * HOUR - 30)
        step = advance(message, [tried(0, THROTTLED)], 4 * HOUR - 30, Schedule()).step
        self.assertEqual(step.next_attempt, 4 * HOUR)
        result = advance(after(message, step), [tried(0, THROTTLED)], 4 * HOUR, Schedule())
        self.assertEqual(result.notices, {"delayed": (0,)})

    def test_warned_of_those_who_wait(self) -> None:
        """A sender hears of one delay only, for the message is warned of once."""
        message = attrs.evolve(entry(MARY, JSMITH), next_attempt=4 * HOUR - 120)
        results = [tried(0, THROTTLED), tried(1, POSTPONED)]
        step = advance(message, results, 4 * HOUR - 120, Schedule()).step
        message = after(message, step)
        self.assertTrue(message.is_waiting(1, message.next_attempt))
        result = advance(message, [tried(0, DELIVERED)], 4 * HOUR + 5, Schedule())
        self.assertEqual((result.notices, result.step.warned), ({}, False))
        result = advance(message, [tried(0, POSTPONED)], 4 * HOUR + 5, Schedule())
        self.assertEqual(result.notices, {"delayed": (0, 1)})

    def throttle_from(
        self, planned: float, now: float, before: Entry | None = None
    ) -> tuple[float, progress.Progress]:
        """Nothing but throttling from some time on; when the message is given up."""
        message = attrs.evolve(before or entry(), next_attempt=planned, warned=True)
        while True:
            result = advance(message, [tried(0, THROTTLED)], now, Schedule())
            if result.step.next_attempt is None:
                return now, result
            message = after(message, result.step)
            now = message.next_attempt

    def test_more_chances_at_the_end(self) -> None:
        """Mail is returned untried, because a limit had no room in its last minute."""
        at, result = self.throttle_from(5 * DAY - 1, 5 * DAY - 1)
        self.assertEqual(at, 5 * DAY + LAST_CHANCES)
        self.assertEqual(result.notices, {"failed": (0,)})
        self.assertEqual(result.step.recipients[0].last_reply, FULL)
        self.assertEqual([(e.kind, e.reply) for e in result.step.events], [("expired", FULL)])

    def test_more_chances_after_the_server_was_off(self) -> None:
        """A weekend without the server: all comes due at once, and limits return most of it."""
        at, _ = self.throttle_from(4 * DAY, 7 * DAY)
        self.assertEqual(at, 7 * DAY + LAST_CHANCES)

    def test_throttled_before_the_server_was_off(self) -> None:
        """Ten days later limits have room for one a minute, and return all but the first."""
        waiting = attrs.evolve(entry(), warned=True)
        waiting = after(waiting, advance(waiting, [tried(0, THROTTLED)], 60.0, Schedule()).step)
        for back in (10 * DAY, 5 * DAY + LAST_CHANCES - 1):
            message, now, chances = waiting, back, []
            while True:
                result = advance(message, [tried(0, THROTTLED)], now, Schedule())
                if result.step.next_attempt is None:
                    break
                chances.append(now)
                message = after(message, result.step)
                now = message.next_attempt
            self.assertEqual(now, back + LAST_CHANCES)
            self.assertGreater(len(chances), 100)

    def test_off_during_the_last_chances(self) -> None:
        """The same, off for a day while limits had no room for the last attempt."""
        message = attrs.evolve(entry(), next_attempt=5 * DAY, warned=True)
        step = advance(message, [tried(0, THROTTLED)], 5 * DAY, Schedule()).step
        message = after(message, step)
        at, _ = self.throttle_from(message.next_attempt, 6 * DAY, message)
        self.assertEqual(at, 6 * DAY + LAST_CHANCES)

    def test_a_rule_with_an_end_of_its_own(self) -> None:
        """A password that is good for ten minutes arrives after five days."""
        short = Backoff(first=Seconds(300.0), warn_after=Seconds(0.0), give_up_after=Seconds(600.0))
        soon = attrs.evolve(RELAY, retry=short)
        message, now, seen = entry(MARY, JSMITH), 0.0, []
        while now < 5 * HOUR:
            pending = [i for i in message.pending if not message.is_waiting(i, now)]
            results = [tried(i, POSTPONED, soon if i == 0 else RELAY) for i in pending]
            result = advance(message, results, now, Schedule())
            seen += [(now, action, places) for action, places in result.notices.items()]
            message = after(message, result.step)
            now = message.next_attempt
        self.assertEqual(seen, [(600.0, "failed", (0,)), (4 * HOUR, "delayed", (1,))])
        self.assertEqual(message.recipients[0].attempts, 3)

    def test_a_rule_with_a_warning_of_its_own(self) -> None:
        """Who is told of one recipient hears nothing of the others, or nothing in time."""
        retry = Backoff(warn_after=Seconds(HOUR), give_up_after=Seconds(9 * DAY))
        urgent = attrs.evolve(RELAY, retry=retry)
        message = attrs.evolve(entry(MARY, JSMITH), next_attempt=HOUR)
        results = [tried(0, POSTPONED, urgent), tried(1, THROTTLED)]
        result = advance(message, results, HOUR, Schedule())
        self.assertEqual(result.notices, {"delayed": (0, 1)})
        self.assertEqual(result.give_up_at, {0: 9 * DAY})
        message = attrs.evolve(after(message, result.step), next_attempt=5 * DAY)
        result = advance(
            message, [tried(i, POSTPONED, urgent) for i in (0, 1)], 5 * DAY, Schedule()
        )
        self.assertEqual(result.notices, {})
        message = after(message, result.step)
        result = advance(
            attrs.evolve(message, next_attempt=9 * DAY),
            [tried(0, POSTPONED, urgent), tried(1, THROTTLED, urgent)],
            9 * DAY,
            Schedule(),
        )
        self.assertEqual(result.notices, {"failed": (0,)})
        self.assertEqual(result.step.recipients[1].state, "pending")

    def test_an_estimate_of_months(self) -> None:
        """One odd answer keeps mail for ever."""
        message = attrs.evolve(entry(), next_attempt=5 * DAY)
        odd = attrs.evolve(THROTTLED, seconds=1e9)
        step = advance(message, [tried(0, odd)], 5 * DAY, Schedule()).step
        self.assertEqual(step.next_attempt, 5 * DAY + LAST_CHANCES)
        self.assertRaises(ValueError, attrs.evolve, THROTTLED, seconds=float("nan"))

    def test_a_sender_s_deadline_has_no_more_chances(self) -> None:
        """A ticket arrives after the train has left."""
        message = asking(entry(), (), deliver_by=DeliverBy(at=1000.0, mode="R"))
        message = attrs.evolve(message, next_attempt=1000.0)
        result = advance(message, [tried(0, THROTTLED)], 1000.0, Schedule())
        self.assertEqual(result.notices, {"failed": (0,)})

    def test_one_is_throttled(self) -> None:
        """Greylisting asks for patience: what was put off is tried each minute with the other."""
        message = entry(MARY, JSMITH)
        first = advance(message, [tried(0, THROTTLED), tried(1, POSTPONED)], 0.0, Schedule()).step
        self.assertEqual(first.next_attempt, 60.0)
        self.assertEqual([e.next_attempt for e in first.events], [None, 60.0, None, 900.0])
        message = after(message, first)
        self.assertEqual([message.is_waiting(i, 60.0) for i in (0, 1)], [False, True])
        self.assertEqual([message.next_attempt_of(i) for i in (0, 1)], [60.0, 900.0])
        second = advance(message, [tried(0, DELIVERED)], 60.0, Schedule()).step
        self.assertEqual(second.next_attempt, 900.0)
        self.assertIsNone(second.recipients[1].wait)
        self.assertEqual(second.recipients[1].attempts, 1)

    def test_an_operator_moves_it(self) -> None:
        """``mailframe queue retry`` tries only some of the recipients."""
        message = entry(MARY, JSMITH)
        results = [tried(0, THROTTLED), tried(1, POSTPONED)]
        message = after(message, advance(message, results, 0.0, Schedule()).step)
        asked = attrs.evolve(message, next_attempt=30.0)
        self.assertFalse(asked.is_waiting(1, 30.0))
        self.assertEqual(asked.next_attempt_of(1), 30.0)

    def test_turn_comes_while_others_are_tried(self) -> None:
        """A destination that takes its time holds up everybody else's turn."""
        message = entry(MARY, JSMITH)
        results = [tried(0, THROTTLED), tried(1, POSTPONED)]
        message = after(message, advance(message, results, 0.0, Schedule()).step)
        step = advance(message, [tried(0, POSTPONED)], 950.0, Schedule()).step
        self.assertEqual(step.next_attempt, 951.0)

    def test_redirects_don_t_end_a_wait(self) -> None:
        """An alias among the recipients has the others tried at once."""
        message = entry(MARY, JSMITH, ANGELO)
        results = [tried(0, THROTTLED), tried(1, POSTPONED), tried(2, THROTTLED)]
        message = after(message, advance(message, results, 0.0, Schedule()).step)
        step = advance(message, [redirect(2, Address("x", "demo.example"))], 60.0, Schedule()).step
        self.assertEqual(step.next_attempt, 60.0)
        message = after(message, step)
        waiting = [i for i in message.pending if message.is_waiting(i, 60.0)]
        self.assertEqual(waiting, [1])
        self.assertEqual(message.next_attempt_of(1), 900.0)

    def test_the_route_s_own_waits(self) -> None:
        """A rule's back-off curve is passed over."""
        curve = Backoff(first=Seconds(60.0), factor=3.0, longest=Seconds(HOUR), jitter=0.0)
        route = attrs.evolve(RELAY, retry=curve)
        message, now, waits = entry(), 0.0, []
        for _ in range(6):
            step = advance(message, [tried(0, POSTPONED, route)], now, Schedule()).step
            message = after(message, step)
            waits.append(message.next_attempt - now)
            now = message.next_attempt
        self.assertEqual(waits, [60.0, 180.0, 540.0, 1620.0, 3600.0, 3600.0])
