"""Covers mailframe.queue.redirects; what comes of it is in tests.queue.test_progress."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.expansion import LOOP
from mailframe.outcome import Redirect
from mailframe.queue.redirects import Redirects
from tests.queue.samples import ANGELO, JSMITH, MARY, entry


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
        self.assertEqual(Redirects(recipients, {1}).follow(1, to(JSMITH, ANGELO)), LOOP)
        self.assertEqual(len(recipients), 2)

    def test_failed_since(self) -> None:
        """Who is counted as having the message fails in the same attempt, and nobody has it."""
        recipients = list(entry(ANGELO, MARY, JSMITH).recipients)
        redirects = Redirects(recipients, {0, 2})
        self.assertEqual(redirects.follow(0, to(MARY)), 0)
        recipients[1] = attrs.evolve(recipients[1], state="failed")
        redirects.failed(1)
        self.assertEqual(redirects.follow(2, to(MARY)), 1)
