"""Covers mailframe.queue.runner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Entry, Notice, Ready, Step
from mailframe.guard import PluginFault, as_deferred
from mailframe.interfaces import IContent, LeaseLost, StorageFault, UnknownMessage
from mailframe.outcome import Delivered, Hold, Outcome, Postponed, Refused, Throttled, Tried
from mailframe.queue.memory import MemoryStorage
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.progress import advance
from mailframe.queue.recording import RECORD_AGAIN
from mailframe.queue.runner import LEASE, LOOK_AFTER, QueueRunner
from mailframe.queue.schedule import Schedule
from tests.queue.samples import ANGELO, JSMITH, LATER, NEVER, OK, RELAY, envelope, write

HOUR = 3600.0
DAY = 24 * HOUR


class FakeDispatch:
    """Answers with what it was told for each domain; can raise, and can keep one waiting."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.attempts: list[str] = []
        self.error: Exception | None = None
        self.holds = False
        self.wait_for: Deferred[None] | None = None
        self.running = self.most_running = 0
        self.entries: list[Entry] = []
        self.records: list[Mapping[int, Ready | None]] = []
        self.early: list[int] = []
        self.failures: list[Exception] = []

    async def attempt(
        self,
        entry: Entry,
        open_content: Callable[[], Awaitable[IContent]],
        record_ready: Callable[[Mapping[int, Ready | None]], Awaitable[None]],
        record_arrived: Callable[[Sequence[Tried]], Awaitable[None]],
    ) -> Sequence[Tried]:
        self.attempts.append(entry.id)
        self.entries.append(entry)
        for record in self.records:
            try:
                await record_ready(record)
            except Exception as error:
                self.failures.append(error)
        early = set()
        for index in self.early:
            try:
                await record_arrived([self.tried(entry, index)])
                early.add(index)
            except Exception as error:
                self.failures.append(error)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if self.error:
                raise self.error
            if self.wait_for is not None:
                waited: Deferred[None] = Deferred()
                self.wait_for.chainDeferred(waited)
                await waited
        finally:
            self.running -= 1
        return [self.tried(entry, index) for index in entry.pending if index not in early]

    def tried(self, entry: Entry, index: int) -> Tried:
        if self.holds and not entry.recipients[index].held:
            return Tried(index=index, route=Hold(reason="why not"), outcome=None)
        delivered = Delivered(where="mx", reply=OK)
        domain = entry.recipients[index].address.domain
        return Tried(index=index, route=RELAY, outcome=self.outcomes.get(domain, delivered))


class RunnerCase(SynchronousTestCase):
    """A runner over a memory queue under virtual time."""

    concurrency = 200

    def setUp(self) -> None:
        self.clock = Clock()
        self.storage = MemoryStorage(clock=self.clock, random=Random(1))
        self.dispatch = FakeDispatch()
        schedule = Schedule()
        self.runner = QueueRunner(
            storage=self.storage,
            storage_name="memory",
            dispatch=self.dispatch,
            schedule=schedule,
            notices=NoticeWriter(hostname="mx.demo.example", random=Random(2), schedule=schedule),
            clock=self.clock,
            owner="one",
            concurrency=self.concurrency,
        )
        self.runner.startService()

    def tearDown(self) -> None:
        if self.runner.running:
            self.runner.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def accept(self, *recipients: Address, sender: Address | None = ANGELO) -> str:
        sink = self.storage.receive(
            envelope(*recipients, sender=sender, arrived=self.clock.seconds())
        )
        write(sink, b"Subject: hello\r\nX-Note: kept\r\n\r\nbody\r\n")
        self.successResultOf(as_deferred(sink.commit()))
        return sink.id

    def queued(self) -> list[Entry]:
        return list(self.successResultOf(as_deferred(self.storage.messages(None, 1000))))

    def kinds(self, id: str) -> list[str]:
        return [e.kind for e in self.successResultOf(as_deferred(self.storage.history(id)))]

    def pass_time(self, seconds: float, step: float = 60.0) -> None:
        self.clock.pump([step] * int(seconds / step))


class AttemptTests(RunnerCase):
    """What becomes of a message."""

    def test_a_message_is_tried_when_it_arrives(self) -> None:
        """Nobody should have to wait for a timer."""
        id = self.accept()
        self.assertEqual(self.dispatch.attempts, [id])
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id), ["accepted", "authorised", "routed", "relayed"])

    def test_asks_seldom_under_load(self) -> None:
        """Each turn costs a way to the storage and back; or what is due then is forgotten."""
        asked: list[float] = []
        next_due = self.storage.next_due

        async def count() -> float | None:
            asked.append(self.clock.seconds())
            return await next_due()

        self.storage.next_due = count  # type: ignore[method-assign]
        self.clock.advance(10.0)
        self.dispatch.outcomes["far.example"] = Postponed(where="", reply=LATER)
        ids = []
        for _ in range(10):
            ids.append(self.accept())
            ids.append(self.accept(Address("x", "far.example")))
            self.clock.advance(0.01)
        self.assertEqual(self.dispatch.attempts, ids)
        self.assertEqual(len(asked), 1)
        self.pass_time(900)
        self.assertEqual(sorted(self.dispatch.attempts), sorted(ids + ids[1::2]))

    def test_ready(self) -> None:
        """After a crash nobody knows that a copy lay ready, and the message comes twice."""
        ready = Ready(mailbox=ANGELO, since=1.0, where="x")
        other = attrs.evolve(ready, where="y")
        self.dispatch.wait_for = Deferred()
        self.dispatch.records = [{0: ready}, {1: other}, {0: None}]
        id = self.accept(JSMITH, ANGELO)
        (entry,) = self.queued()
        self.assertEqual([r.ready for r in entry.recipients], [None, other])
        later = Postponed(where="", reply=LATER)
        self.dispatch.outcomes = {r.address.domain: later for r in entry.recipients}
        self.dispatch.wait_for.callback(None)
        (entry,) = self.queued()
        # It is still so, as nothing came of it.
        self.assertEqual([r.ready for r in entry.recipients], [None, other])
        self.dispatch.outcomes.clear()
        self.dispatch.records = []
        self.pass_time(900)
        self.assertEqual(self.dispatch.entries[-1].recipients[1].ready, other)
        self.assertEqual(self.dispatch.attempts, [id, id])
        self.assertEqual(self.queued(), [])

    def test_ready_can_not_be_recorded(self) -> None:
        """What was never recorded is taken for recorded, and the message is lost."""
        ready = Ready(mailbox=ANGELO, since=1.0, where="x")
        self.dispatch.records = [{0: ready}]
        self.dispatch.outcomes = {JSMITH.domain: Postponed(where="", reply=LATER)}
        settle = self.storage.settle

        async def fails(id: str, owner: str, step: Step, notices: Sequence[Notice]) -> None:
            if step.goes_on:
                raise StorageFault("disk")
            await settle(id, owner, step, notices)

        self.patch(self.storage, "settle", fails)
        self.accept()
        self.assertEqual([type(error) for error in self.dispatch.failures], [PluginFault])
        (entry,) = self.queued()
        self.assertEqual([r.ready for r in entry.recipients], [None])
        self.flushLoggedErrors(StorageFault)

    def test_arrived_while_others_are_tried(self) -> None:
        """A crash while a slow server is waited for makes a fast one get the message twice."""
        self.dispatch.wait_for = Deferred()
        self.dispatch.early = [0]
        self.dispatch.outcomes = {ANGELO.domain: Postponed(where="", reply=LATER)}
        steps: list[Step] = []
        self.runner.observe(lambda entry, step: steps.append(step))
        id = self.accept(JSMITH, ANGELO)
        (entry,) = self.queued()
        self.assertEqual([r.state for r in entry.recipients], ["relayed", "pending"])
        self.assertEqual(self.kinds(id)[-2:], ["routed", "relayed"])
        self.assertEqual([step.goes_on for step in steps], [True])
        self.dispatch.wait_for.callback(None)
        (entry,) = self.queued()
        self.assertEqual([r.state for r in entry.recipients], ["relayed", "pending"])
        self.assertEqual([r.attempts for r in entry.recipients], [1, 1])
        self.assertEqual(self.kinds(id).count("relayed"), 1)
        self.dispatch.early = []
        self.dispatch.outcomes.clear()
        self.pass_time(900)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id).count("relayed"), 2)

    def test_arrived_can_not_be_recorded(self) -> None:
        """What could not be recorded early is not recorded at all, and is sent again."""
        self.dispatch.early = [0]
        settle = self.storage.settle

        async def fails(id: str, owner: str, step: Step, notices: Sequence[Notice]) -> None:
            if step.goes_on:
                raise StorageFault("disk")
            await settle(id, owner, step, notices)

        self.patch(self.storage, "settle", fails)
        id = self.accept(JSMITH, ANGELO)
        self.assertEqual(len(self.dispatch.failures), 1)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id).count("relayed"), 2)
        self.flushLoggedErrors(StorageFault)

    def test_what_was_queued_before_the_start(self) -> None:
        """After a restart the queue must move by itself."""
        self.runner.stopService()
        id = self.accept()
        self.assertEqual(self.dispatch.attempts, [])
        self.runner.startService()
        self.assertEqual(self.dispatch.attempts, [id])

    def test_five_days(self) -> None:
        """The whole life of a message to a host that is down, in virtual time."""
        self.dispatch.outcomes["mindspring.com"] = Postponed(where="mx", reply=LATER)
        id = self.accept()
        self.pass_time(6 * DAY)
        self.assertEqual(self.dispatch.attempts.count(id), 481)
        self.assertEqual(self.queued(), [])
        kinds = self.kinds(id)
        self.assertEqual(kinds.count("warned"), 1)
        self.assertEqual(kinds[-2:], ["expired", "bounced"])
        notices = [other for other in dict.fromkeys(self.dispatch.attempts) if other != id]
        self.assertEqual(len(notices), 2)

    def test_the_bounce_quotes_the_headers(self) -> None:
        """The sender must recognise which message came back."""
        self.dispatch.outcomes["mindspring.com"] = Refused(where="mx [192.0.2.1]", reply=NEVER)
        self.dispatch.outcomes["demo.example"] = Postponed(where="", reply=LATER)
        self.accept()
        (bounce,) = self.queued()
        self.assertIsNone(bounce.envelope.sender)
        self.assertEqual([r.address for r in bounce.recipients], [ANGELO])
        content = self.successResultOf(as_deferred(self.storage.open(bounce.id)))
        text = self.successResultOf(as_deferred(content.read()))
        self.assertIn(b"X-Note: kept\r\n", text)
        self.assertIn(b"5.1.1", text)

    def test_no_notice_about_a_notice(self) -> None:
        """Two servers would bounce each other's bounces for ever."""
        self.dispatch.outcomes["mindspring.com"] = Refused(where="mx", reply=NEVER)
        id = self.accept(sender=None)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id)[-2:], ["refused", "dropped"])

    def test_no_warning_for_a_null_reverse_path(self) -> None:
        """There is nobody to warn."""
        self.dispatch.outcomes["mindspring.com"] = Postponed(where="mx", reply=LATER)
        id = self.accept(sender=None)
        self.pass_time(5 * HOUR)
        self.assertNotIn("warned", self.kinds(id))
        self.assertEqual(len(self.queued()), 1)

    def test_a_fault_of_ours_postpones(self) -> None:
        """A bug must cost a delay, never the message."""
        self.dispatch.error = RuntimeError("a bug")
        id = self.accept()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        (entry,) = self.queued()
        self.assertEqual(entry.next_attempt, 900.0)
        self.dispatch.error = None
        self.pass_time(901)
        self.assertEqual(self.kinds(id)[-1], "relayed")

    def test_observers_see_steps_and_decide_nothing(self) -> None:
        """A program that embeds the server learns the outcome; its faults harm nobody."""
        seen: list[tuple[str, Step]] = []

        def broken(entry: Entry, step: Step) -> None:
            raise ValueError("not my day")

        self.runner.observe(broken)
        self.runner.observe(lambda entry, step: seen.append((entry.id, step)))
        id = self.accept()
        self.assertEqual(seen[0][0], id)
        self.assertEqual(seen[0][1].recipients[0].state, "relayed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TurnedAwayTests(RunnerCase):
    """Limits of ours leave no room for what comes in."""

    def test_not_all_at_once(self) -> None:
        """A server that takes mail quicker than it can go on does little but try in vain."""
        throttled = Throttled(where="", reply=LATER, seconds=3600.0)
        self.dispatch.outcomes["mindspring.com"] = throttled
        self.runner._turned_away._idle.room = 200.0
        ids = [self.accept() for _ in range(600)]
        self.clock.advance(0)
        self.assertLess(len(self.dispatch.attempts), 250)
        elsewhere = self.accept(Address("x", "far.example"))
        self.clock.pump([0.1] * 60)
        self.assertEqual(self.dispatch.attempts, [*ids, elsewhere])


class HoldTests(RunnerCase):
    """What a route holds."""

    def setUp(self) -> None:
        super().setUp()
        self.dispatch.holds = True

    def test_held_and_released(self) -> None:
        """A message that an operator is to look at would go on by itself, or never."""
        id = self.accept(JSMITH)
        self.pass_time(6 * DAY, step=HOUR)
        (held,) = self.queued()
        self.assertTrue(held.held)
        self.assertEqual(self.dispatch.attempts, [id])
        self.assertEqual(self.kinds(id), ["accepted", "authorised", "held", "held"])
        self.successResultOf(as_deferred(self.storage.release(id, self.clock.seconds())))
        self.pass_time(60.0)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id)[4:], ["released", "routed", "relayed"])

    def test_a_crash_before_the_step(self) -> None:
        """A message would go on without an operator's leave."""
        self.patch(self.storage, "settle", lambda **_: fail(LeaseLost()))
        self.accept(JSMITH)
        self.pass_time(60.0)
        (entry,) = self.queued()
        self.assertTrue(entry.held)
        self.assertFalse(entry.recipients[0].held)

    def test_the_storage_fails(self) -> None:
        """A message would go on because a disk was full for a moment."""
        hold = self.storage.hold
        self.patch(self.storage, "hold", lambda **_: fail(StorageFault("full")))
        self.accept(JSMITH)
        self.pass_time(60.0)
        self.assertFalse(self.queued()[0].recipients[0].held)
        self.patch(self.storage, "hold", hold)
        self.pass_time(60.0)
        self.assertTrue(self.queued()[0].held)
        self.assertTrue(self.flushLoggedErrors(StorageFault))

    def test_removed_meanwhile(self) -> None:
        """The runner would try for ever to hold what an operator has removed."""
        self.patch(self.storage, "hold", lambda **_: fail(UnknownMessage()))
        self.accept(JSMITH)
        self.pass_time(60.0)
        self.assertEqual(self.runner._in_flight, {})


class BoundTests(RunnerCase):
    """What is under way at a time."""

    concurrency = 8

    def test_bounded_and_all_done(self) -> None:
        """A thousand due messages must not all be opened at once, and none be forgotten."""
        self.dispatch.wait_for = gate = Deferred()
        ids = [self.accept() for _ in range(50)]
        self.assertEqual(len(self.dispatch.attempts), 8)
        self.dispatch.wait_for = None
        gate.callback(None)
        self.pass_time(2, 0.05)
        self.assertEqual(sorted(self.dispatch.attempts), sorted(ids))
        self.assertEqual(self.queued(), [])
        self.assertLessEqual(self.dispatch.most_running, 8)

    def test_slow_ones_leave_room(self) -> None:
        """Most places taken by slow deliveries must not stop the rest."""
        self.dispatch.wait_for = gate = Deferred()
        for _ in range(7):
            self.accept()
        self.dispatch.wait_for = None
        for _ in range(20):
            self.accept()
        self.pass_time(5, 0.05)
        self.assertEqual(len(self.queued()), 7)
        gate.callback(None)
        self.assertEqual(self.queued(), [])

    def test_filled_soon(self) -> None:
        """Places that are free stay so for a minute, though mail is due."""
        gates: list[Deferred[None]] = []

        def accept(count: int) -> None:
            for _ in range(count):
                self.dispatch.wait_for = gate = Deferred()
                gates.append(gate)
                self.accept()

        accept(7)
        self.clock.advance(1.0)
        accept(10)
        self.assertEqual(len(self.dispatch.attempts), 8)
        self.dispatch.wait_for = None
        gates[0].callback(None)
        self.pass_time(1, 0.05)
        self.assertEqual(len(self.queued()), 7)
        for gate in gates[1:]:
            gate.callback(None)
        self.assertEqual(self.queued(), [])

    def test_stopping_waits_for_what_is_under_way(self) -> None:
        """A delivery that was cut off would be made twice."""
        self.dispatch.wait_for = gate = Deferred()
        self.accept()
        stopped = self.runner.stopService()
        self.assertNoResult(stopped)
        gate.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.queued(), [])

    def test_leases_are_renewed(self) -> None:
        """A long delivery must not be begun a second time by somebody else."""
        self.dispatch.wait_for = gate = Deferred()
        id = self.accept()
        self.pass_time(3 * LEASE, 10.0)
        now = self.clock.seconds()
        claimed = self.successResultOf(as_deferred(self.storage.claim("two", now, 9, now + 9)))
        self.assertEqual(list(claimed), [])
        gate.callback(None)
        self.assertEqual(self.dispatch.attempts, [id])


class LeaseTests(RunnerCase):
    """The clock is set forward, or the machine sleeps, and leases run out during an attempt."""

    def setUp(self) -> None:
        super().setUp()
        self.gate: Deferred[None] = Deferred()
        self.dispatch.wait_for = self.gate
        self.message = self.accept(JSMITH, ANGELO)

    def test_one_attempt_at_a_time(self) -> None:
        """A message is tried twice at once, and comes twice."""
        self.clock.advance(10 * LEASE)
        self.assertEqual(self.dispatch.attempts, [self.message])
        self.dispatch.wait_for = None
        self.gate.callback(None)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.dispatch.attempts, [self.message])

    def test_others_have_had_it(self) -> None:
        """What others have delivered meanwhile is forgotten, and delivered once more."""
        claim, renew = self.storage.claim, self.storage.renew
        self.storage.claim = self.idle  # type: ignore[method-assign]  # asleep
        self.storage.renew = self.idle  # type: ignore[method-assign]  # likewise
        self.clock.advance(10 * LEASE)
        now = self.clock.seconds()
        (entry,) = self.successResultOf(
            as_deferred(claim(owner="other", now=now, limit=9, until=now + LEASE))
        )
        tried = Tried(index=0, route=RELAY, outcome=Delivered(where="mx", reply=OK))
        later = Tried(index=1, route=RELAY, outcome=Postponed(where="mx", reply=LATER))
        step = advance(entry, [tried, later], now, Schedule()).step
        self.successResultOf(
            as_deferred(self.storage.settle(id=self.message, owner="other", step=step, notices=()))
        )
        self.storage.claim = claim  # type: ignore[method-assign]  # awake
        self.storage.renew = renew  # type: ignore[method-assign]  # likewise
        self.pass_time(1000)
        self.assertEqual(self.dispatch.attempts, [self.message])
        self.gate.callback(None)
        (entry,) = self.queued()
        self.assertEqual([r.state for r in entry.recipients], ["relayed", "pending"])
        self.dispatch.wait_for = None
        self.pass_time(2 * LEASE)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.dispatch.attempts, [self.message] * 2)
        self.assertEqual(self.dispatch.entries[1].pending, (1,))

    async def idle(self, **arguments: object) -> Sequence[Entry]:
        return ()


class StorageFaultTests(RunnerCase):
    """The storage fails."""

    def failing(self, name: str, error: Exception) -> Callable[[], None]:
        def broken(*args: object, **kwargs: object) -> Deferred[None]:
            return fail(error)

        real = getattr(self.storage, name)
        setattr(self.storage, name, broken)
        return lambda: setattr(self.storage, name, real)

    def test_claim_fails_for_a_while(self) -> None:
        """The queue must move again by itself when the disk is back."""
        mend = self.failing("claim", StorageFault("disk"))
        id = self.accept()
        self.assertEqual(self.dispatch.attempts, [])
        mend()
        self.pass_time(LOOK_AFTER + 1, 1.0)
        self.assertEqual(self.dispatch.attempts, [id])
        self.assertTrue(self.flushLoggedErrors(StorageFault))

    def test_an_outcome_is_recorded_when_the_disk_is_back(self) -> None:
        """A delivered message must not be delivered again because a disk was full for a minute."""
        mend = self.failing("settle", StorageFault("full"))
        id = self.accept()
        self.pass_time(3 * RECORD_AGAIN, 1.0)
        self.assertEqual(len(self.queued()), 1)
        mend()
        self.pass_time(RECORD_AGAIN, 1.0)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.dispatch.attempts, [id])
        self.assertTrue(self.flushLoggedErrors(StorageFault))

    def test_a_lost_lease_is_left_to_its_owner(self) -> None:
        """What another one has by now is not settled twice."""
        self.failing("settle", LeaseLost("gone"))
        self.accept()
        self.assertEqual(len(self.queued()), 1)
        self.assertEqual(self.flushLoggedErrors(LeaseLost), [])

    def test_renewal_fails(self) -> None:
        """A failed renewal is told and tried again, and harms no attempt."""
        self.dispatch.wait_for = gate = Deferred()
        self.accept()
        self.failing("renew", StorageFault("disk"))
        self.pass_time(LEASE / 2, 10.0)
        self.assertTrue(self.flushLoggedErrors(StorageFault))
        gate.callback(None)
        self.assertEqual(self.queued(), [])

    def test_a_notice_without_headers(self) -> None:
        """When the content can't be read any more the sender is told all the same."""
        self.failing("open", StorageFault("unreadable"))
        self.dispatch.outcomes["mindspring.com"] = Refused(where="mx", reply=NEVER)
        self.dispatch.outcomes["demo.example"] = Postponed(where="", reply=LATER)
        self.accept(JSMITH)
        (bounce,) = self.queued()
        self.assertIsNone(bounce.envelope.sender)
        self.assertTrue(self.flushLoggedErrors(StorageFault))

    def test_stopping_while_the_storage_fails(self) -> None:
        """The server must be able to stop with a broken disk."""
        self.failing("settle", StorageFault("disk"))
        self.accept()
        stopped = self.runner.stopService()
        self.pass_time(2 * RECORD_AGAIN, 1.0)
        self.successResultOf(stopped)
        self.assertTrue(self.flushLoggedErrors(StorageFault))
