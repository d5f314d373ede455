"""Covers mailframe.queue.progress: what holds whatever happens to a message."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.entry import Entry
from mailframe.envelope import DeliverBy, Notify, Recipient
from mailframe.outcome import (
    Postponed,
    Throttled,
    Tried,
)
from mailframe.queue import progress
from mailframe.queue.asked import Action, is_asked
from mailframe.queue.progress import advance
from mailframe.queue.schedule import LAST_CHANCES, Schedule
from mailframe.units import Seconds
from tests.queue.samples import ANGELO, JSMITH, LOCAL, MARY, RELAY, entry
from tests.queue.steps import (
    DELIVERED,
    POSTPONED,
    REFUSED,
    THROTTLED,
    after,
    asking,
    redirect,
    tried,
)

HOUR = 3600.0
DAY = 24 * HOUR
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
