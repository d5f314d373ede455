"""Covers mailframe.queue.progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe import expansion
from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.entry import Entry, QueuedRecipient
from mailframe.envelope import DeliverBy, Notify, Recipient
from mailframe.outcome import (
    Delivered,
    Hold,
    Outcome,
    Postponed,
    Redirect,
    Refused,
    Route,
    Throttled,
    Tried,
)
from mailframe.queue import progress
from mailframe.queue.asked import Action, is_asked
from mailframe.queue.progress import advance
from mailframe.queue.schedule import LAST_CHANCES, Schedule
from mailframe.reply import Reply
from mailframe.units import Seconds
from tests.queue.samples import ANGELO, JSMITH, LATER, LOCAL, MARY, NEVER, OK, RELAY, entry

HOUR = 3600.0
DAY = 24 * HOUR
DELIVERED = Delivered(where="mary@demo.example", reply=OK)
POSTPONED = Postponed(where="mx.example [192.0.2.1]:25", reply=LATER)
FULL = Reply(451, "4.7.1", "no more than 10 messages a minute go to mx.example")
THROTTLED = Throttled(where="mx.example", reply=FULL, seconds=60.0)
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


class TurnTests(SynchronousTestCase):
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

    def throttle_from(self, planned: float, now: float) -> tuple[float, progress.Progress]:
        """Nothing but throttling from some time on; when the message is given up."""
        message = attrs.evolve(entry(), next_attempt=planned, warned=True)
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
        self.assertEqual(told(second, "failed")[0].last_reply, expansion.LOOP)

    def test_a_long_row_of_redirects_ends(self) -> None:
        """A rule that redirects to ever longer addresses would keep the queue busy for ever."""
        message = entry(ANGELO)
        for step in range(expansion.MAX_DEPTH):
            target = Address(f"a{step}", "demo.example")
            result = advance(message, [redirect(step, target)], 1.0, Schedule())
            self.assertEqual(result.step.recipients[-1].address, target)
            message = after(message, result.step)
        result = advance(message, [redirect(expansion.MAX_DEPTH, MARY)], 1.0, Schedule())
        self.assertEqual(result.step.recipients[-1].last_reply, expansion.TOO_MANY)

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

    def test_a_loop_does_not_hold_up_others(self) -> None:
        """One alias that is wrong costs everybody else a quarter of an hour."""
        step = advance(entry(ANGELO, MARY), [redirect(0, ANGELO)], 1.0, Schedule()).step
        self.assertEqual([r.state for r in step.recipients], ["failed", "pending"])
        self.assertEqual(step.next_attempt, 1.0)

    def test_an_alias_of_itself_is_a_loop(self) -> None:
        """The shortest loop."""
        result = advance(entry(ANGELO), [redirect(0, ANGELO)], 1.0, Schedule())
        self.assertEqual(told(result, "failed")[0].last_reply, expansion.LOOP)

    def test_expansion_is_bounded(self) -> None:
        """A message must not grow without limit."""
        many = [Address(f"u{n}", "demo.example") for n in range(expansion.MAX_ADDRESSES)]
        result = advance(entry(ANGELO), [redirect(0, *many)], 1.0, Schedule())
        self.assertEqual(told(result, "failed")[0].last_reply, expansion.TOO_MANY)


def asking(
    message: Entry, *notifies: tuple[Notify, ...], deliver_by: DeliverBy | None = None
) -> Entry:
    """The same message, as of a sender who asks for notices, in the order of the recipients."""
    recipients = tuple(
        attrs.evolve(recipient, notify=notify)
        for recipient, notify in zip(message.envelope.recipients, notifies, strict=True)
    )
    carried = attrs.evolve(message.envelope, recipients=recipients, deliver_by=deliver_by)
    return attrs.evolve(message, envelope=carried)


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


ALIASES = {
    Address("alias", "demo.example"): (MARY,),
    Address("list", "demo.example"): (MARY, JSMITH, Address("alias", "demo.example")),
    Address("loop", "demo.example"): (Address("pool", "demo.example"), ANGELO),
    Address("pool", "demo.example"): (Address("loop", "demo.example"),),
}
PEOPLE = (MARY, JSMITH, ANGELO)
NOTIFIES: tuple[tuple[Notify, ...], ...] = (
    (),
    ("NEVER",),
    ("SUCCESS",),
    ("FAILURE",),
    ("DELAY",),
    ("SUCCESS", "FAILURE", "DELAY"),
)
outcomes = st.sampled_from(
    [
        DELIVERED,
        attrs.evolve(DELIVERED, notifies=True, knows_deadline=True),
        attrs.evolve(DELIVERED, is_final=True),
        POSTPONED,
        POSTPONED,
        POSTPONED,
        REFUSED,
        attrs.evolve(THROTTLED, seconds=900.0),
        attrs.evolve(THROTTLED, seconds=5 * HOUR),
    ]
)
schedules = st.sampled_from(
    [
        Schedule(),
        Schedule(retry=Backoff()),
        Schedule(retry=Backoff(first=Seconds(1800.0), factor=3.0, jitter=0.5)),
    ]
)
deadlines = st.none() | st.builds(
    DeliverBy,
    at=st.sampled_from([-60.0, 60.0, HOUR, DAY, 30 * DAY]),
    mode=st.sampled_from(["R", "N"]),
    trace=st.booleans(),
)
jumps = st.sampled_from([0.0] * 6 + [30.0, HOUR, 3 * DAY, 30 * DAY, -HOUR])


class InvariantTests(SynchronousTestCase):
    """What holds whatever happens."""

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_whatever_happens(self, data: st.DataObject) -> None:
        """A recipient is settled twice or never, warned twice, bounced untried, or fails unseen."""
        schedule = data.draw(schedules)
        message = self.draw_message(data)
        last = Last()
        now = 0.0
        for _ in range(600):
            results = self.draw_results(data, message, now)
            result = advance(message, results, now, schedule)
            self.check_step(message, results, result, now, schedule, last)
            if result.step.next_attempt is None:
                break
            message = after(message, result.step)
            is_asked_for = data.draw(st.sampled_from([False] * 9 + [True]))  # by an operator
            if is_asked_for and message.next_attempt > now + 1:
                message = attrs.evolve(message, next_attempt=(now + message.next_attempt) / 2)
                self.assertFalse(any(message.is_waiting(i, now) for i in message.pending))
            now = max(now, message.next_attempt) + data.draw(jumps)
        self.assertIsNone(result.step.next_attempt)
        self.assertNotIn("pending", [r.state for r in result.step.recipients])

    def draw_message(self, data: st.DataObject) -> Entry:
        addresses = data.draw(
            st.lists(st.sampled_from([*PEOPLE, *ALIASES]), min_size=1, max_size=4, unique=True)
        )
        message = entry(*addresses, sender=data.draw(st.sampled_from([ANGELO, ANGELO, None])))
        notifies = [data.draw(st.sampled_from(NOTIFIES)) for _ in addresses]
        return asking(message, *notifies, deliver_by=data.draw(deadlines))

    def draw_results(self, data: st.DataObject, message: Entry, now: float) -> list[Tried]:
        """As `mailframe.delivery.dispatch` does: who waits is left out, redirects come alone."""
        turns = [i for i in message.pending if not message.is_waiting(i, now)]
        self.assertNotEqual(turns, [], "an attempt for nobody")
        addresses = {i: message.recipients[i].address for i in turns}
        redirects = [redirect(i, *ALIASES[a]) for i, a in addresses.items() if a in ALIASES]
        return redirects or [
            tried(i, data.draw(outcomes), LOCAL if a is MARY else RELAY)
            for i, a in addresses.items()
        ]

    def check_step(
        self,
        before: Entry,
        results: list[Tried],
        result: progress.Progress,
        now: float,
        schedule: Schedule,
        last: Last,
    ) -> None:
        step = result.step
        postponed = {r.index for r in results if isinstance(r.outcome, Postponed)}
        throttled = {r.index for r in results if isinstance(r.outcome, Throttled)}
        dropped = [event.recipient for event in step.events if event.kind == "dropped"]
        named = [index for indices in result.notices.values() for index in indices]
        self.assertEqual(len(named), len(set(named)), "told twice in one step")
        for index, (old, new) in enumerate(zip(before.recipients, step.recipients, strict=False)):
            original = before.original(index)
            if old.state != "pending":
                self.assertEqual(old, new)
                self.assertNotIn(index, named)
                continue
            for action, indices in result.notices.items():
                if index in indices:
                    self.check_asked(before, original, action)
            if index in result.notices.get("delayed", ()):
                self.assertNotIn(index, last.warned)
                last.warned.add(index)
            if new.state == "failed":
                is_told = index in result.notices.get("failed", ())
                self.assertNotEqual(is_told, new.address in dropped, "told, or why not")
            if new.state == "failed" and index in throttled:
                self.check_out_of_chances(before, now, schedule)
            elif new.state == "failed":
                self.assertGreater(new.attempts, old.attempts, "not before a last attempt")
            if index in throttled:
                self.assertEqual(new.attempts, old.attempts)
                told = [e for e in step.events if e.recipient == new.address]
                self.assertEqual(
                    [e.kind for e in told].count("throttled"), int(old.throttled is None)
                )
            if new.state == "failed" and index in postponed:
                self.check_given_up(before, now, schedule)
        if step.next_attempt is not None and not any(r.outcome is None for r in results):
            self.assertGreater(step.next_attempt, now)
        if step.next_attempt is not None:
            later = after(before, step)
            turns = {index: later.next_attempt_of(index) for index in later.pending}
            self.assertEqual(min(turns.values()), step.next_attempt)
            for index in postponed & turns.keys():
                self.assertLessEqual(turns[index], now + schedule.longest_wait)

    def check_asked(self, message: Entry, original: Recipient, action: Action) -> None:
        self.assertIsNotNone(message.envelope.sender)
        self.assertNotIn("NEVER", original.notify)
        deadline = message.envelope.deliver_by
        if (
            action == "relayed"
            and deadline is not None
            and (deadline.trace or deadline.mode == "N")
        ):
            return
        self.assertTrue(is_asked(action, original))

    def check_out_of_chances(self, before: Entry, now: float, schedule: Schedule) -> None:
        """It had hours of chances after its time had run out."""
        deadline = before.envelope.deliver_by
        if deadline is None or deadline.mode != "R" or now < deadline.at:
            self.assertGreaterEqual(now, schedule.give_up_after + LAST_CHANCES)

    def check_given_up(self, before: Entry, now: float, schedule: Schedule) -> None:
        """Time ran out; and not only because the clock jumped, unless the sender set the time."""
        deadline = before.envelope.deliver_by
        if deadline is not None and deadline.mode == "R" and now >= deadline.at:
            return
        self.assertGreaterEqual(now, schedule.give_up_after)
        self.assertGreaterEqual(before.next_attempt, schedule.give_up_after)


@attrs.define
class Last:
    """What the steps before have done."""

    warned: set[int] = attrs.Factory(set)
