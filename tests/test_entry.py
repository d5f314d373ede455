"""Queued messages as values: `mailframe.entry`."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient, Ready, RecipientState, Wait
from mailframe.envelope import Notify
from mailframe.reply import Reply
from mailframe.testing.samples import RECIPIENT, SENDER, make_envelope

# Nothing in it is as it would be by default.
EVERYTHING = QueuedRecipient(
    address=RECIPIENT,
    state="failed",
    attempts=3,
    last_reply=Reply(451, "4.3.0", "later"),
    where="mx.rosse.example",
    parent=2,
    ready=Ready(mailbox=RECIPIENT, since=5.0, where="tmp"),
    held=True,
    throttled=6.0,
    wait=Wait(until=7.0, planned=8.0),
)


class ChangedTests(SynchronousTestCase):
    def test_nothing_is_by_default(self) -> None:
        """The others don't notice that something was left behind."""
        bare = QueuedRecipient(address=Address("nobody", "nowhere.example"))
        for field in attrs.fields(QueuedRecipient):
            self.assertNotEqual(getattr(EVERYTHING, field.name), getattr(bare, field.name))

    def test_with_ready(self) -> None:
        """A copy is recorded, and how often it was tried and who redirected it is forgotten."""
        for ready in (Ready(mailbox=SENDER, since=9.0, where="new"), None):
            self.assertEqual(EVERYTHING.with_ready(ready), attrs.evolve(EVERYTHING, ready=ready))

    def test_after_attempt(self) -> None:
        """An attempt's end loses what is known of a recipient, or the copy that lies ready."""
        reply = Reply(250, "2.0.0", "taken")
        for may_be_ready in (True, False):
            self.assertEqual(
                EVERYTHING.after_attempt("relayed", reply, "mx", may_be_ready=may_be_ready),
                attrs.evolve(
                    EVERYTHING,
                    state="relayed",
                    attempts=4,
                    last_reply=reply,
                    where="mx",
                    ready=EVERYTHING.ready if may_be_ready else None,
                    throttled=None,
                    wait=None,
                ),
            )

    def test_with_recipients(self) -> None:
        """That a message is held, or its sender warned, is forgotten when a copy lies ready."""
        entry = Entry(
            id="q1",
            envelope=make_envelope(),
            size=7,
            recipients=(),
            next_attempt=3.0,
            held=True,
            warned=True,
        )
        changed = entry.with_recipients((EVERYTHING,))
        self.assertEqual(changed, attrs.evolve(entry, recipients=(EVERYTHING,)))
        self.assertEqual(changed.recipients, (EVERYTHING,))


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

    def targets(self, notify: tuple[Notify, ...], *parents: int | None) -> list[tuple[Notify, ...]]:
        """What is asked for each recipient, when the one of the envelope asks for ``notify``."""
        envelope = make_envelope()
        (recipient,) = envelope.recipients
        envelope = attrs.evolve(envelope, recipients=(attrs.evolve(recipient, notify=notify),))
        entry = Entry(
            id="q1",
            envelope=envelope,
            size=1,
            recipients=tuple(QueuedRecipient(address=RECIPIENT, parent=each) for each in parents),
            next_attempt=0.0,
        )
        return [entry.original(index).notify for index in range(len(parents))]

    def test_one_target(self) -> None:
        """Nobody tells the sender that what went to an alias was delivered."""
        self.assertEqual(self.targets(("SUCCESS",), None, 0, 1), [("SUCCESS",)] * 3)

    def test_several_targets(self) -> None:
        """A mail to an alias for a hundred is answered with a hundred notices of success."""
        first, *others = self.targets(("SUCCESS", "FAILURE"), None, 0, 0, 0, 2)
        self.assertEqual(first, ("SUCCESS", "FAILURE"))
        self.assertEqual(others, [("FAILURE",)] * 4)

    def test_several_targets_and_nothing_else_asked(self) -> None:
        """Who asked for success only is told of failures, because nothing seems to be said."""
        self.assertEqual(self.targets(("SUCCESS",), None, 0, 0)[1:], [("NEVER",)] * 2)
