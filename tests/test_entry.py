"""Queued messages as values: `mailframe.entry`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Entry, QueuedRecipient, RecipientState
from mailframe.testing.samples import RECIPIENT, SENDER, make_envelope


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

    def test_original(self) -> None:
        """What the sender asked for one recipient is done for another, or for none."""
        envelope = make_envelope(RECIPIENT, SENDER)
        recipients = (
            QueuedRecipient(address=RECIPIENT, state="redirected"),
            QueuedRecipient(address=SENDER, state="redirected"),
            QueuedRecipient(address=RECIPIENT, state="redirected", parent=1),
            QueuedRecipient(address=RECIPIENT, parent=2),
        )
        entry = Entry(id="q1", envelope=envelope, size=1, recipients=recipients, next_attempt=0.0)
        originals = [entry.original(index) for index in range(4)]
        one, two = envelope.recipients
        self.assertEqual(originals, [one, two, two, two])
