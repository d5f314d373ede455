"""Covers mailframe.queue.progress; what holds whatever happens is in test_progress_invariants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Entry
from mailframe.envelope import DeliverBy, Notify
from mailframe.outcome import (
    Hold,
    Tried,
)
from mailframe.queue.asked import Action
from mailframe.queue.progress import advance
from mailframe.queue.schedule import Schedule
from tests.queue.samples import ANGELO, JSMITH, LATER, LOCAL, MARY, NEVER, entry
from tests.queue.steps import (
    DELIVERED,
    POSTPONED,
    REFUSED,
    THROTTLED,
    after,
    asking,
    redirect,
    told,
    tried,
)

HOUR = 3600.0
DAY = 24 * HOUR


class HoldTests(SynchronousTestCase):
    """What a route holds."""

    HELD = Hold(reason='rule "odd" matches: hold', rule="odd", plugin="table")

    def held(self, index: int) -> Tried:
        return Tried(index=index, route=self.HELD, outcome=None)

    def test_held(self) -> None:
        """A message that is held would be tried on, and be given up at last."""
        result = advance(entry(), [self.held(0)], 5 * DAY, Schedule())
        self.assertTrue(result.holds)
        self.assertEqual(result.notices, {})
        (recipient,) = result.step.recipients
        self.assertEqual(
            (recipient.state, recipient.held, recipient.attempts), ("pending", True, 0)
        )
        (event,) = result.step.events
        self.assertEqual(
            (event.kind, event.reason, event.rule), ("held", 'rule "odd" matches: hold', "odd")
        )
        self.assertIsNotNone(result.step.next_attempt)

    def test_others_are_not_held(self) -> None:
        """One recipient's hold would keep mail from all the others."""
        before = entry(MARY, JSMITH)
        result = advance(before, [self.held(0), tried(1, POSTPONED)], 5 * HOUR, Schedule())
        self.assertFalse(result.holds)
        self.assertFalse(result.step.recipients[0].held)
        self.assertEqual(result.notices, {"delayed": (1,)})
        before = after(before, result.step)
        result = advance(before, [self.held(0), tried(1, DELIVERED)], 6 * HOUR, Schedule())
        self.assertTrue(result.holds)
        self.assertEqual(
            [(each.state, each.held) for each in result.step.recipients],
            [("pending", True), ("relayed", False)],
        )

    def test_those_not_tried_are_not_held(self) -> None:
        """A message would be held while others are still being tried."""
        self.assertFalse(advance(entry(MARY, JSMITH), [self.held(0)], 1.0, Schedule()).holds)

    def test_held_after_a_wait(self) -> None:
        """All the others are tried a second later, once more for nothing."""
        message = entry(MARY, JSMITH)
        results = [tried(0, THROTTLED), tried(1, POSTPONED)]
        message = after(message, advance(message, results, 0.0, Schedule()).step)
        step = advance(message, [tried(0, POSTPONED), self.held(1)], 950.0, Schedule()).step
        self.assertEqual(step.next_attempt, 950.0 + 900.0)

    def test_what_it_is_redirected_to_is_released_too(self) -> None:
        """An alias' mail would be held again for each address that it stands for."""
        before = entry(MARY)
        released = attrs.evolve(before.recipients[0], held=True)
        before = attrs.evolve(before, recipients=(released,))
        result = advance(before, [redirect(0, ANGELO)], 1.0, Schedule())
        self.assertTrue(result.step.recipients[1].held)


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


class NotifyTests(SynchronousTestCase):
    """The sender says of what it wants to be told (RFC 3461 §5.2)."""

    def notices(
        self, message: Entry, *results: Tried, now: float = 1.0
    ) -> Mapping[Action, tuple[int, ...]]:
        return advance(message, list(results), now, Schedule()).notices

    def test_unsaid(self) -> None:
        """Everybody gets notices of success, or nobody of failures."""
        three = entry(MARY, JSMITH, ANGELO)
        results = tried(0, DELIVERED, LOCAL), tried(1, DELIVERED), tried(2, REFUSED)
        self.assertEqual(self.notices(three, *results), {"failed": (2,)})

    def test_success(self) -> None:
        """Who asked whether the message arrived does not learn it."""
        two = asking(entry(MARY, JSMITH), ("SUCCESS",), ("SUCCESS", "FAILURE"))
        results = tried(0, DELIVERED, LOCAL), tried(1, DELIVERED)
        self.assertEqual(self.notices(two, *results), {"delivered": (0,), "relayed": (1,)})

    def test_success_that_the_next_server_tells_of(self) -> None:
        """The sender gets two notices of one success."""
        message = asking(entry(), ("SUCCESS",))
        passed = attrs.evolve(DELIVERED, notifies=True)
        self.assertEqual(self.notices(message, tried(0, passed)), {})

    def test_success_at_the_last_server(self) -> None:
        """Who asked whether the message arrived hears of another server, which is the mailbox's."""
        message = asking(entry(), ("SUCCESS",))
        final = attrs.evolve(DELIVERED, is_final=True)
        self.assertEqual(self.notices(message, tried(0, final)), {"delivered": (0,)})

    def test_failure_not_asked(self) -> None:
        """Mail fails in silence: neither is anybody told, nor does the history say why not."""
        notifies: tuple[tuple[Notify, ...], ...] = (("NEVER",), ("SUCCESS",), ("DELAY",))
        for notify in notifies:
            result = advance(asking(entry(), notify), [tried(0, REFUSED)], 1.0, Schedule())
            self.assertEqual(result.notices, {})
            self.assertEqual([e.kind for e in result.step.events[1:]], ["refused", "dropped"])
            reason = "the sender asked not to be told (NOTIFY)"
            self.assertEqual(result.step.events[-1].reason, reason)

    def test_null_reverse_path(self) -> None:
        """A bounce is bounced; or it fails, and the history says nothing."""
        bounce = asking(entry(sender=None), ("SUCCESS", "FAILURE", "DELAY"))
        self.assertEqual(self.notices(bounce, tried(0, POSTPONED), now=5 * HOUR), {})
        self.assertEqual(self.notices(bounce, tried(0, DELIVERED)), {})
        result = advance(bounce, [tried(0, REFUSED)], 1.0, Schedule())
        self.assertEqual(result.notices, {})
        reason = "the reverse-path is null, so nobody is told"
        self.assertEqual(result.step.events[-1].reason, reason)

    def test_delay(self) -> None:
        """Who wants to be left alone is warned; or who is warned for others never is."""
        three = asking(entry(MARY, JSMITH, ANGELO), ("FAILURE",), ("DELAY",), ())
        results = [tried(i, POSTPONED) for i in range(3)]
        result = advance(three, results, 5 * HOUR, Schedule())
        self.assertEqual(result.notices, {"delayed": (1, 2)})
        self.assertTrue(result.step.warned)

    def test_delay_not_asked(self) -> None:
        """An operator reads that the sender was warned, and nobody was."""
        quiet = asking(entry(), ("FAILURE",))
        result = advance(quiet, [tried(0, POSTPONED)], 5 * HOUR, Schedule())
        self.assertEqual(result.notices, {})
        self.assertFalse(result.step.warned)

    def test_alias_for_one(self) -> None:
        """Nobody tells the sender that what went to an alias was delivered."""
        message = asking(entry(ANGELO), ("SUCCESS",))
        first = advance(message, [redirect(0, MARY)], 1.0, Schedule())
        self.assertEqual(first.notices, {})
        self.assertEqual(
            self.notices(after(message, first.step), tried(1, DELIVERED, LOCAL)),
            {"delivered": (1,)},
        )

    def test_alias_for_several(self) -> None:
        """A mail to an alias for a hundred is answered with a hundred notices of success."""
        message = asking(entry(ANGELO), ("SUCCESS", "FAILURE"))
        first = advance(message, [redirect(0, MARY, JSMITH)], 1.0, Schedule())
        self.assertEqual(first.notices, {"expanded": (0,)})
        results = tried(1, DELIVERED, LOCAL), tried(2, REFUSED)
        self.assertEqual(self.notices(after(message, first.step), *results), {"failed": (2,)})

    def test_alias_for_people_who_have_it(self) -> None:
        """A sender who named an alias and its only member never hears of the alias."""
        message = asking(entry(ANGELO, MARY), ("SUCCESS",), ())
        self.assertEqual(self.notices(message, redirect(0, MARY)), {"expanded": (0,)})

    def test_alias_for_several_not_asked(self) -> None:
        """Every mail to an alias is answered."""
        self.assertEqual(self.notices(entry(ANGELO), redirect(0, MARY, JSMITH)), {})


class DeadlineTests(SynchronousTestCase):
    """The sender set a deadline (RFC 2852)."""

    def message(self, mode: Literal["R", "N"], notify: Notify, trace: bool = False) -> Entry:
        deadline = DeliverBy(at=1000.0, mode=mode, trace=trace)
        return asking(entry(), (notify,), deliver_by=deadline)

    def test_return(self) -> None:
        """A ticket arrives after the train has left."""
        message = self.message("R", "FAILURE")
        first = advance(message, [tried(0, POSTPONED)], 945.0, Schedule())
        self.assertEqual(first.step.next_attempt, 1000.0)
        second = advance(after(message, first.step), [tried(0, POSTPONED)], 1001.0, Schedule())
        self.assertEqual(second.notices, {"failed": (0,)})
        self.assertEqual([e.kind for e in second.step.events], ["postponed", "expired"])

    def test_notify(self) -> None:
        """The sender learns of the delay hours after it mattered."""
        message = self.message("N", "DELAY")
        first = advance(message, [tried(0, POSTPONED)], 1000.0, Schedule())
        self.assertEqual(first.notices, {"delayed": (0,)})
        second = advance(after(message, first.step), [tried(0, POSTPONED)], 5 * HOUR, Schedule())
        self.assertEqual(second.notices, {})

    def test_trace(self) -> None:
        """Who wants to know of each server on the way learns of none; or who wants none does."""
        passed = tried(0, attrs.evolve(DELIVERED, notifies=True))
        for notify, told_of in (("FAILURE", {"relayed": (0,)}), ("NEVER", {})):
            message = self.message("R", notify, trace=True)
            self.assertEqual(advance(message, [passed], 1.0, Schedule()).notices, told_of)
        message = self.message("R", "SUCCESS", trace=True)
        result = advance(message, [tried(0, DELIVERED)], 1.0, Schedule())
        self.assertEqual(result.notices, {"relayed": (0,)})
        bounce = attrs.evolve(message, envelope=attrs.evolve(message.envelope, sender=None))
        self.assertEqual(advance(bounce, [passed], 1.0, Schedule()).notices, {})

    def test_server_that_knows_no_deadline(self) -> None:
        """Nobody watches the deadline any more, and the sender is not told (RFC 2852 §4.1.4.2)."""
        knows = attrs.evolve(DELIVERED, knows_deadline=True)
        told_of = {"relayed": (0,)}
        for mode, notify, outcome, notices in (
            ("N", "DELAY", DELIVERED, told_of),
            ("N", "SUCCESS", DELIVERED, told_of),
            ("N", "SUCCESS", attrs.evolve(DELIVERED, notifies=True), told_of),
            ("N", "NEVER", DELIVERED, {}),
            ("N", "DELAY", knows, {}),
            ("R", "DELAY", DELIVERED, {}),  # which does not happen
            ("N", "DELAY", attrs.evolve(DELIVERED, is_final=True), {}),
        ):
            message = self.message(mode, notify)
            result = advance(message, [tried(0, outcome)], 1.0, Schedule())
            self.assertEqual(result.notices, notices, (mode, notify, outcome))
        bounce = self.message("N", "DELAY")
        bounce = attrs.evolve(bounce, envelope=attrs.evolve(bounce.envelope, sender=None))
        self.assertEqual(advance(bounce, [tried(0, DELIVERED)], 1.0, Schedule()).notices, {})

    def test_released_later(self) -> None:
        """What its sender held back for a week is given up when it is first tried (RFC 4865)."""
        message = entry()
        held = attrs.evolve(message.envelope, not_before=7 * DAY)
        message = attrs.evolve(message, envelope=held, next_attempt=7 * DAY)
        result = advance(message, [tried(0, POSTPONED)], 7 * DAY, Schedule())
        self.assertEqual(result.notices, {})
        self.assertEqual(result.step.next_attempt, 7 * DAY + 900)
