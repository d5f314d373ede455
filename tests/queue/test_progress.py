"""Covers mailframe.queue.progress."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient
from mailframe.outcome import Delivered, Outcome, Postponed, Redirect, Refused, Route, Tried
from mailframe.queue import progress
from mailframe.queue.asked import Action
from mailframe.queue.progress import advance
from mailframe.queue.schedule import Schedule
from tests.queue.samples import ANGELO, JSMITH, LATER, LOCAL, MARY, NEVER, OK, RELAY, entry

HOUR = 3600.0
DAY = 24 * HOUR
DELIVERED = Delivered(where="mary@demo.example", reply=OK)
POSTPONED = Postponed(where="mx.example [192.0.2.1]:25", reply=LATER)
REFUSED = Refused(where="mx.example [192.0.2.1]:25", reply=NEVER)


def tried(index: int, outcome: Outcome, route: Route = RELAY) -> Tried:
    return Tried(index=index, route=route, outcome=outcome)


def redirect(index: int, *addresses: Address) -> Tried:
    route = Redirect(addresses=addresses, reason="an alias", rule="alias", plugin="file")
    return Tried(index=index, route=route, outcome=None)


def told(result: progress.Progress, action: Action) -> tuple[QueuedRecipient, ...]:
    """The recipients of whom the sender is told."""
    return tuple(result.step.recipients[i] for i in result.notices.get(action, ()))


def after(before: Entry, step: progress.Step) -> Entry:
    assert step.next_attempt is not None
    return attrs.evolve(
        before, recipients=step.recipients, next_attempt=step.next_attempt, warned=step.warned
    )


class OutcomeTests(SynchronousTestCase):
    """Each recipient settles by itself."""

    def test_delivered_leaves_the_queue(self) -> None:
        """A delivered message that stayed would be delivered again."""
        result = advance(entry(MARY), [tried(0, DELIVERED, LOCAL)], 1.0, Schedule())
        self.assertIsNone(result.step.next_attempt)
        self.assertEqual(result.step.recipients[0].state, "delivered")
        self.assertEqual([e.kind for e in result.step.events], ["routed", "delivered"])
        self.assertEqual(result.notices, {})

    def test_relayed_is_not_delivered(self) -> None:
        """A trace must not claim that mail reached a mailbox when another server has it."""
        result = advance(entry(), [tried(0, DELIVERED)], 1.0, Schedule())
        self.assertEqual(result.step.recipients[0].state, "relayed")
        self.assertEqual(result.step.events[1].kind, "relayed")

    def test_refused_bounces_at_once(self) -> None:
        """The sender would wait five days for what is known now."""
        result = advance(entry(), [tried(0, REFUSED)], 1.0, Schedule())
        self.assertEqual(result.step.recipients[0].state, "failed")
        self.assertEqual(result.notices, {"failed": (0,)})
        self.assertEqual(told(result, "failed")[0].last_reply, NEVER)
        self.assertIsNone(result.step.next_attempt)

    def test_postponed_waits(self) -> None:
        """A greylisted message must be tried again, with the reply to be seen meanwhile."""
        result = advance(entry(), [tried(0, POSTPONED)], 1.0, Schedule())
        recipient = result.step.recipients[0]
        self.assertEqual((recipient.state, recipient.attempts), ("pending", 1))
        self.assertEqual(recipient.last_reply, LATER)
        self.assertEqual(result.step.next_attempt, 901.0)
        self.assertEqual(result.step.events[-1].next_attempt, 901.0)

    def test_several_recipients_settle_separately(self) -> None:
        """One bad address among three must neither hold up nor repeat the others."""
        three = entry(MARY, JSMITH, ANGELO)
        first = advance(
            three,
            [tried(0, DELIVERED, LOCAL), tried(1, POSTPONED), tried(2, REFUSED)],
            1,
            Schedule(),
        )
        states = [recipient.state for recipient in first.step.recipients]
        self.assertEqual(states, ["delivered", "pending", "failed"])
        self.assertEqual(after(three, first.step).pending, (1,))
        self.assertEqual([r.address for r in told(first, "failed")], [ANGELO])

    def test_a_recipient_that_was_not_tried_stays(self) -> None:
        """What an attempt did not get to must not be lost."""
        result = advance(entry(MARY, JSMITH), [tried(0, DELIVERED, LOCAL)], 1.0, Schedule())
        self.assertEqual(result.step.recipients[1].state, "pending")
        self.assertEqual(result.step.next_attempt, 901.0)

    def test_routed_is_told_once(self) -> None:
        """Five days of retries would otherwise fill the trace with the same line."""
        first = advance(entry(), [tried(0, POSTPONED)], 1.0, Schedule())
        second = advance(after(entry(), first.step), [tried(0, POSTPONED)], 901.0, Schedule())
        self.assertEqual([e.kind for e in second.step.events], ["postponed"])


class TimeTests(SynchronousTestCase):
    """Warning and giving up."""

    def test_one_warning_after_four_hours(self) -> None:
        """The sender hears of a delay once, not at each of four hundred attempts."""
        message, now, warnings = entry(), 0.0, []
        while now < 2 * DAY:
            result = advance(message, [tried(0, POSTPONED)], now, Schedule())
            if told(result, "delayed"):
                warnings.append(now)
            message = after(message, result.step)
            now = message.next_attempt
        self.assertEqual(warnings, [4 * HOUR])

    def test_given_up_after_five_days(self) -> None:
        """Mail that can't be delivered must end in a notice, with the last real reply."""
        message, now = entry(), 0.0
        while True:
            result = advance(message, [tried(0, POSTPONED)], now, Schedule())
            if result.step.next_attempt is None:
                break
            message = after(message, result.step)
            now = message.next_attempt
        self.assertEqual(now, 5 * DAY)
        self.assertEqual(told(result, "failed")[0].last_reply, LATER)
        self.assertEqual([e.kind for e in result.step.events], ["postponed", "expired"])
        self.assertEqual(told(result, "delayed"), ())

    def test_a_delivery_after_the_deadline_is_a_delivery(self) -> None:
        """A clock that jumped must not turn a success into a bounce."""
        result = advance(entry(), [tried(0, DELIVERED)], 50 * DAY, Schedule())
        self.assertEqual(told(result, "failed"), ())

    def test_the_warning_speaks_of_the_waiting_ones_only(self) -> None:
        """Telling of a delay for somebody who has the mail would be wrong."""
        result = advance(
            entry(MARY, JSMITH),
            [tried(0, DELIVERED, LOCAL), tried(1, POSTPONED)],
            5 * HOUR,
            Schedule(),
        )
        self.assertEqual([r.address for r in told(result, "delayed")], [JSMITH])
        self.assertTrue(result.step.warned)


class RedirectTests(SynchronousTestCase):
    """Aliases and redirects become recipients of their own."""

    def test_targets_join_at_once(self) -> None:
        """Mail to an alias must reach its targets without waiting for a retry."""
        result = advance(entry(ANGELO), [redirect(0, MARY, JSMITH)], 7.0, Schedule())
        self.assertEqual(result.step.next_attempt, 7.0)
        self.assertEqual(
            [(r.address, r.state, r.parent) for r in result.step.recipients],
            [(ANGELO, "redirected", None), (MARY, "pending", 0), (JSMITH, "pending", 0)],
        )

    def test_who_has_it_gets_no_second_copy(self) -> None:
        """Mail to a list and to one of its members came twice."""
        result = advance(entry(ANGELO, MARY), [redirect(0, MARY)], 7.0, Schedule())
        self.assertEqual(len(result.step.recipients), 2)

    def test_a_loop_fails_with_a_reply(self) -> None:
        """Two aliases of each other must end in a bounce, neither in a storm nor in silence."""
        first = advance(entry(ANGELO), [redirect(0, MARY)], 1.0, Schedule())
        second = advance(after(entry(ANGELO), first.step), [redirect(1, ANGELO)], 2.0, Schedule())
        self.assertEqual([r.address for r in told(second, "failed")], [MARY])
        self.assertEqual(told(second, "failed")[0].last_reply, progress.LOOP)

    def test_two_aliases_of_each_other_both_named_do_not_vanish(self) -> None:
        """Each counted the other as having the message, and nobody had it."""
        message, now = entry(ANGELO, MARY), 0.0
        result = advance(message, [redirect(0, MARY), redirect(1, ANGELO)], now, Schedule())
        message = after(message, result.step)
        targets = {ANGELO: MARY, MARY: ANGELO}
        result = advance(
            message,
            [redirect(i, targets[message.recipients[i].address]) for i in message.pending],
            now,
            Schedule(),
        )
        self.assertEqual(len(told(result, "failed")), 2)

    def test_an_alias_of_itself_is_a_loop(self) -> None:
        """The shortest loop."""
        result = advance(entry(ANGELO), [redirect(0, ANGELO)], 1.0, Schedule())
        self.assertEqual(told(result, "failed")[0].last_reply, progress.LOOP)

    def test_expansion_is_bounded(self) -> None:
        """A message must not grow without limit."""
        many = [Address(f"u{n}", "demo.example") for n in range(progress.MAX_EXPANSION)]
        result = advance(entry(ANGELO), [redirect(0, *many)], 1.0, Schedule())
        self.assertEqual(told(result, "failed")[0].last_reply, progress.TOO_MANY)


outcomes = st.sampled_from([DELIVERED, POSTPONED, REFUSED])


class InvariantTests(SynchronousTestCase):
    """What holds whatever happens."""

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    def test_exactly_one_final_outcome(self, data: st.DataObject) -> None:
        """Each recipient is settled once, warned of at most once, and told of at most once."""
        schedule = Schedule()
        message = entry(MARY, JSMITH, ANGELO)
        warned = failed = 0
        now = 0.0
        for _ in range(600):
            results = [tried(i, data.draw(outcomes)) for i in message.pending]
            before = message.recipients
            result = advance(message, results, now, schedule)
            for old, new in zip(before, result.step.recipients, strict=True):
                if old.state != "pending":
                    self.assertEqual(old, new)
            warned += bool(told(result, "delayed"))
            failed += len(told(result, "failed"))
            if result.step.next_attempt is None:
                break
            message = after(message, result.step)
            # The clock may also jump.
            now = message.next_attempt + data.draw(st.sampled_from([0.0, 0.0, HOUR, 3 * DAY]))
        self.assertIsNone(result.step.next_attempt)
        self.assertLessEqual(warned, 1)
        states = [r.state for r in result.step.recipients]
        self.assertEqual(states.count("failed"), failed)
        self.assertNotIn("pending", states)
