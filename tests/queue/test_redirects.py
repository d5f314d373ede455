"""Covers mailframe.redirects, by itself and in a message's progress."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe import expansion
from mailframe.address import Address
from mailframe.outcome import Redirect
from mailframe.queue.progress import advance
from mailframe.queue.schedule import Schedule
from mailframe.redirects import Redirects
from tests.queue.samples import ANGELO, JSMITH, MARY, entry
from tests.queue.steps import after, redirect, told


def to(*addresses: Address) -> Redirect:
    return Redirect(addresses=addresses, reason="an alias", rule="alias", plugin="file")


class RedirectsTests(SynchronousTestCase):
    def test_each_target_once(self) -> None:
        """Two aliases for the same people have them get two copies."""
        recipients = list(entry(ANGELO, JSMITH).recipients)
        redirects = Redirects(recipients, {0, 1})
        friend = Address("friend", "demo.example")
        self.assertEqual(redirects.follow(0, to(MARY, friend, MARY)), 2)
        self.assertEqual(redirects.follow(1, to(MARY)), 0)
        self.assertEqual([r.parent for r in recipients], [None, None, 0, 0])
        self.assertEqual([r.state for r in recipients[:2]], ["redirected", "redirected"])

    def test_back_to_itself(self) -> None:
        """A loop goes on for as long as the message is kept."""
        recipients = list(entry(ANGELO).recipients)
        Redirects(recipients, {0}).follow(0, to(MARY))
        self.assertEqual(Redirects(recipients, {1}).follow(1, to(JSMITH, ANGELO)), expansion.LOOP)
        self.assertEqual(len(recipients), 2)

    def test_failed_since(self) -> None:
        """Who is counted as having the message fails in the same attempt, and nobody has it."""
        recipients = list(entry(ANGELO, MARY, JSMITH).recipients)
        redirects = Redirects(recipients, {0, 2})
        self.assertEqual(redirects.follow(0, to(MARY)), 0)
        recipients[1] = attrs.evolve(recipients[1], state="failed")
        redirects.failed(1)
        self.assertEqual(redirects.follow(2, to(MARY)), 1)


class ProgressTests(SynchronousTestCase):
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
