"""Queued messages as values: `mailframe.entry`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Entry, QueuedRecipient, RecipientState
from mailframe.testing.samples import RECIPIENT, make_envelope


class EntryTests(SynchronousTestCase):
    def test_pending(self) -> None:
        """A recipient who has the message gets it again, or one who hasn't is forgotten."""
        states: tuple[RecipientState, ...] = (
            "delivered",
            "pending",
            "failed",
            "redirected",
            "pending",
            "relayed",
        )
        entry = Entry(
            id="q1",
            envelope=make_envelope(),
            size=1,
            recipients=tuple(QueuedRecipient(address=RECIPIENT, state=state) for state in states),
            next_attempt=0.0,
        )
        self.assertEqual(entry.pending, (1, 4))
