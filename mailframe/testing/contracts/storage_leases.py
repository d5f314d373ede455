"""What a queue storage promises about claiming messages and recording what became of them."""

from __future__ import annotations

import attrs

from mailframe.address import Address
from mailframe.entry import Event, Notice, QueuedRecipient, Ready
from mailframe.envelope import Envelope
from mailframe.interfaces import LeaseLost, UnknownMessage
from mailframe.reply import Reply
from mailframe.testing.contracts.storage import CONTENT, LEASE, StorageContract
from mailframe.testing.samples import RECIPIENT, SENDER, make_envelope

GREYLISTED = Reply(451, "4.7.1", ("greylisted", "try again later"))


class LeaseContract(StorageContract):
    """Claims, leases, and steps that are recorded whole or not at all."""

    # --- claims ----------------------------------------------------------------------------------

    def test_longest_due_first(self) -> None:
        """New mail is delivered before mail that has waited for long."""
        ids = [self.keep(make_envelope(arrived=self.now - age)) for age in (10.0, 30.0, 20.0)]
        self.assertEqual(self.claimed(), [ids[1], ids[2], ids[0]])

    def test_limit(self) -> None:
        """One process takes more messages than it can handle; or some are never claimed."""
        ids = {self.keep() for _ in range(10)}
        seen: list[str] = []
        for _ in range(5):
            entries = self.claim(limit=4)
            self.assertLessEqual(len(entries), 4)
            seen += [entry.id for entry in entries]
        self.assertEqual(len(seen), 10)
        self.assertEqual(set(seen), ids)

    def test_not_before_due(self) -> None:
        """A server that asked us to come back later is asked again and again."""
        id = self.keep(make_envelope(arrived=self.now + 60))
        self.assertEqual(self.claimed(), [])
        self.assertEqual(self.claimed(now=self.now + 60), [id])

    def test_leased(self) -> None:
        """Two processes deliver the same message."""
        id = self.keep()
        self.assertEqual(self.claimed("one"), [id])
        self.assertEqual(self.claimed("one"), [])
        self.assertEqual(self.claimed("two"), [])
        self.assertEqual(self.claimed("two", now=self.now + LEASE - 1), [])

    def test_claimed_at_once_by_two(self) -> None:
        """Two processes that look at the same moment deliver the same message."""
        ids = {self.keep() for _ in range(10)}
        until = self.now + LEASE
        one, two = self.both(
            self.storage.claim(owner="one", now=self.now, limit=7, until=until),
            self.storage.claim(owner="two", now=self.now, limit=7, until=until),
        )
        entries = [*self.successResultOf(one), *self.successResultOf(two)]
        self.assertEqual(len(entries), 10)
        self.assertEqual({entry.id for entry in entries}, ids)

    def test_lease_runs_out(self) -> None:
        """The messages of a process that died are never delivered."""
        id = self.keep()
        self.claim("one")
        self.reactor.advance(LEASE)
        self.assertEqual(self.claimed("two"), [id])

    def test_renew(self) -> None:
        """A delivery that takes long is done twice."""
        id, other = self.keep(), self.keep()
        self.claim("one")
        until = self.now + 2 * LEASE
        self.get(self.storage.renew(owner="one", ids=[id], until=until))
        self.assertEqual(self.claimed("two", now=self.now + LEASE), [other])
        self.assertEqual(self.claimed("two", now=until), [id, other])

    def test_renew_shortens_nothing(self) -> None:
        """A process whose clock is behind lets others have what it is delivering."""
        self.keep()
        self.claim("one", now=self.now)
        (id,) = self.queued()
        until = self.now + 2 * LEASE
        self.get(self.storage.renew(owner="one", ids=[id], until=until))
        self.get(self.storage.renew(owner="one", ids=[id], until=self.now - 1))
        self.assertEqual(self.claimed("two", now=until - 1), [])

    def test_renew_of_others(self) -> None:
        """A process prolongs a lease that it does not have, and nobody delivers."""
        id = self.keep()
        self.claim("one")
        for ids in ([id], ["nosuchmessage"], []):
            self.get(self.storage.renew(owner="two", ids=ids, until=self.now + 9 * LEASE))
        self.assertEqual(self.claimed("two", now=self.now + LEASE), [id])

    def test_next_due(self) -> None:
        """A process sleeps while mail is due, or looks at the queue without pause."""
        self.assertIsNone(self.get(self.storage.next_due()))
        self.keep(make_envelope(arrived=self.now + 60))
        self.keep(make_envelope(arrived=self.now + 30))
        self.assertEqual(self.get(self.storage.next_due()), self.now + 30)
        (entry,) = self.claim(now=self.now + 30)
        self.assertEqual(self.get(self.storage.next_due()), self.now + 60)
        self.settle(entry, self.step(entry, next_attempt=self.now + 45))
        self.assertEqual(self.get(self.storage.next_due()), self.now + 45)

    def test_next_due_of_leased(self) -> None:
        """Nobody looks when the lease of a dead process runs out."""
        self.keep()
        self.claim()
        self.assertEqual(self.get(self.storage.next_due()), self.now + LEASE)

    # --- steps -----------------------------------------------------------------------------------

    def test_step_is_recorded(self) -> None:
        """A message is delivered twice to some, or not at all, or its sender warned twice."""
        id = self.keep(make_envelope(SENDER, RECIPIENT, arrived=self.now))
        (entry,) = self.claim()
        recipients = (
            QueuedRecipient(
                address=SENDER,
                state="relayed",
                attempts=1,
                last_reply=Reply(250, None, "ok"),
                where="mx.example [192.0.2.1]:25",
            ),
            QueuedRecipient(address=RECIPIENT, state="redirected", attempts=1),
            QueuedRecipient(
                address=Address.parse("x@y.example"),
                attempts=2,
                last_reply=GREYLISTED,
                where="mx.y.example [2001:db8::1]:25",
                parent=1,
            ),
        )
        step = self.step(entry, next_attempt=self.now + 900, recipients=recipients, warned=True)
        self.settle(entry, step)
        expected = attrs.evolve(
            entry, recipients=recipients, next_attempt=self.now + 900, warned=True
        )
        self.assertEqual(self.get(self.storage.find(id=id)), expected)
        self.assertEqual(self.claimed(), [])
        self.assertEqual(self.claim("two", now=self.now + 900), [expected])
        self.assertEqual(self.content(id), CONTENT)

    def test_history_goes_on(self) -> None:
        """What a remote server said, and when it is tried again, can't be seen any more."""
        id = self.keep()
        begun = self.history(id)
        (entry,) = self.claim()
        events = (
            Event(
                at=self.now + 0.25,
                kind="postponed",
                recipient=RECIPIENT,
                reason="it said so",
                rule="rule",
                plugin="table",
                where="mx.example [192.0.2.1]:25",
                reply=GREYLISTED,
                next_attempt=self.now + 900,
            ),
            Event(at=self.now + 0.25, kind="warned"),
        )
        self.settle(entry, self.step(entry, next_attempt=self.now + 900, events=events))
        self.assertEqual(self.history(id), [*begun, *events])
        (entry,) = self.claim(now=self.now + 900)
        last = Event(at=self.now + 900, kind="delivered", recipient=RECIPIENT)
        self.settle(entry, self.step(entry, next_attempt=None, events=(last,)))
        self.assertEqual(self.history(id), [*begun, *events, last])

    def test_last_step(self) -> None:
        """A delivered message stays in the queue and is delivered again."""
        id = self.keep()
        other = self.keep()
        entry = next(entry for entry in self.claim() if entry.id == id)
        self.settle(entry, self.step(entry, next_attempt=None))
        self.reactor.advance(0)
        self.assertIsNone(self.get(self.storage.find(id=id)))
        self.fails(self.storage.open(id=id), UnknownMessage)
        self.assertEqual(self.queued(), [other])
        self.assertEqual(self.claimed("two", now=self.now + 9 * LEASE), [other])
        self.assertTrue(self.history(id))

    def notice(self) -> Notice:
        """A notice to the sender."""
        envelope = Envelope(
            sender=None,
            recipients=make_envelope(SENDER).recipients,
            client=None,
            arrived=self.now,
        )
        return Notice(envelope=envelope, content=b"Subject: failed\r\n\r\nSorry.\r\n")

    def test_notices(self) -> None:
        """A sender is never told of a failure, or told and the message is tried again."""
        id = self.keep()
        (entry,) = self.claim()
        notice = self.notice()
        step = self.step(entry, next_attempt=None)
        called: list[None] = []
        self.storage.watch(callback=lambda: called.append(None))
        self.get(self.storage.settle(id=id, owner="one", step=step, notices=(notice, notice)))
        self.reactor.advance(0)
        self.assertTrue(called)
        one, two = self.claim()
        self.assertNotEqual(one.id, two.id)
        for queued in (one, two):
            self.assertEqual(queued.envelope, notice.envelope)
            self.assertEqual(queued.size, len(notice.content))
            self.assertEqual(self.content(queued.id), notice.content)
            self.assertEqual(self.history(queued.id)[0].kind, "accepted")

    def test_lease_lost(self) -> None:
        """A process that was thought dead undoes what another one did since, or sends notices."""
        id = self.keep()
        (entry,) = self.claim("one")
        self.reactor.advance(LEASE)
        self.assertEqual(self.claimed("two"), [id])
        before = self.get(self.storage.find(id=id)), self.history(id)
        step = self.step(entry, next_attempt=None, events=(Event(at=self.now, kind="delivered"),))
        settling = self.storage.settle(id=id, owner="one", step=step, notices=(self.notice(),))
        self.fails(settling, LeaseLost)
        self.assertEqual((self.get(self.storage.find(id=id)), self.history(id)), before)
        self.assertEqual(self.queued(), [id])
        self.settle(entry, step, owner="two")

    def test_step_that_goes_on(self) -> None:
        """What was recorded in the middle of an attempt is forgotten, or ends the attempt."""
        id = self.keep()
        (entry,) = self.claim("one")
        ready = Ready(mailbox=RECIPIENT, since=self.now, where="tmp/x")
        recipients = tuple(attrs.evolve(each, ready=ready) for each in entry.recipients)
        event = Event(at=self.now, kind="postponed", reason="for the test")
        for events in ((), (event,)):
            step = self.step(
                entry, next_attempt=None, recipients=recipients, events=events, goes_on=True
            )
            self.settle(entry, step)
            found = self.get(self.storage.find(id=id))
            self.assertEqual(found, attrs.evolve(entry, recipients=recipients))
            self.assertEqual(self.claimed("two"), [])
        self.assertEqual(self.history(id)[-1], event)
        (again,) = self.claim("two", now=self.now + LEASE)
        self.assertEqual(again.recipients, recipients)
        settling = self.storage.settle(id=id, owner="one", step=step, notices=())
        self.fails(settling, LeaseLost)
        bare = attrs.evolve(step, events=())
        settling = self.storage.settle(id=id, owner="one", step=bare, notices=())
        self.fails(settling, LeaseLost)

    def test_settle_without_lease(self) -> None:
        """A step is recorded for a message that nobody claimed or that is not there."""
        id = self.keep()
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        step = self.step(entry, next_attempt=None)
        for wrong in (id, "nosuchmessage"):
            settling = self.storage.settle(id=wrong, owner="one", step=step, notices=())
            self.fails(settling, LeaseLost, UnknownMessage)
        self.assertEqual(self.claimed(), [id])

    def test_settle_twice(self) -> None:
        """A step counts twice."""
        self.keep()
        (entry,) = self.claim()
        step = self.step(entry, next_attempt=self.now + 900)
        self.settle(entry, step)
        settling = self.storage.settle(id=entry.id, owner="one", step=step, notices=())
        self.fails(settling, LeaseLost)

    def test_settled_is_announced(self) -> None:
        """A message that is due again soon waits for the next look at the queue."""
        self.keep()
        (entry,) = self.claim()
        called: list[None] = []
        self.storage.watch(callback=lambda: called.append(None))
        self.settle(entry, self.step(entry, next_attempt=self.now + 1))
        self.reactor.advance(0)
        self.assertTrue(called)
