"""Covers mailframe.queue.jumps, and what the runner makes of it."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.backoff import Backoff
from mailframe.entry import Entry, QueuedRecipient
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, Waiting
from mailframe.outcome import Postponed
from mailframe.queue.jumps import PAGE, SLACK, due_again
from mailframe.queue.memory import MemoryStorage
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.runner import LEASE, LOOK_AT_CLOCK, QueueRunner
from mailframe.queue.schedule import Schedule
from mailframe.queue.sqlite import SqliteStorage
from mailframe.testing.contracts import DueTimesContract
from mailframe.testing.fake_storage import FakeStorage
from mailframe.testing.network import VirtualReactor
from tests.queue import samples
from tests.queue.samples import JSMITH, LATER, write
from tests.queue.test_runner import FakeDispatch
from tests.queue.test_sqlite import make

HOUR = 3600.0
DAY = 24 * HOUR
RETRY = 900.0


class MemoryContractTests(DueTimesContract, SynchronousTestCase):
    """The queue in memory."""

    def make_storage(self, clock: VirtualReactor) -> MemoryStorage:
        return MemoryStorage(clock=clock, random=Random(1))


class SqliteContractTests(DueTimesContract, SynchronousTestCase):
    """The queue in SQLite."""

    def make_storage(self, clock: VirtualReactor) -> SqliteStorage:
        return make(os.path.abspath(self.mktemp()), clock)

    def test_leased_on_arrival(self) -> None:
        """A message that came just before the clock was set back is given back after it."""
        self.claim("one")
        self.keep()
        (waiting,) = self.due_after(self.now - 1)
        self.assertEqual((waiting.leased, waiting.due), (False, self.now))


class DueAgainTests(SynchronousTestCase):
    """The rule by itself."""

    def entry(
        self,
        attempts: int = 1,
        not_before: float | None = None,
        throttled: float | None = None,
    ) -> Entry:
        entry = samples.entry()
        recipient = QueuedRecipient(address=JSMITH, attempts=attempts, throttled=throttled)
        envelope = attrs.evolve(entry.envelope, not_before=not_before)
        return attrs.evolve(entry, envelope=envelope, recipients=(recipient,))

    def again(
        self, due: float, *, before: float | None = None, leased: bool = False, **entry: Any
    ) -> float | None:
        waiting = Waiting(entry=self.entry(**entry), due=due, leased=leased)
        return due_again(waiting, before=before, now=10_000.0, retry=RETRY, lease=LEASE)

    def test_set_back(self) -> None:
        """Mail waits for as long as the clock was set back; or its retries bunch up."""
        self.assertIsNone(self.again(10_000 + RETRY))
        self.assertEqual(self.again(10_000 + 100 * RETRY + 300), 10_300)
        self.assertEqual(self.again(10_000 + 100 * RETRY + 300, attempts=0), 10_300)
        self.assertEqual(self.again(10_000 + DAY, before=10_000 + DAY), 10_000 + DAY % RETRY)
        self.assertIsNone(self.again(10_000 + LEASE, leased=True))
        for due in (LEASE + SLACK + 1, DAY):
            self.assertEqual(self.again(10_000 + due, leased=True), 10_000 + LEASE)

    def test_set_forward(self) -> None:
        """All mail is tried at once; or what is due for long has to wait again."""
        self.assertEqual(self.again(5_300, before=5_000), 10_300)
        self.assertEqual(self.again(9_900, before=5_000), 10_000 + RETRY)
        self.assertEqual(self.again(5_200, before=5_000, leased=True), 10_200)
        self.assertEqual(self.again(9_900, before=5_000, leased=True), 10_000 + LEASE)
        self.assertIsNone(self.again(4_000, before=5_000))
        self.assertIsNone(self.again(5_300))

    def test_asked_for(self) -> None:
        """A message that its sender holds back until Monday is sent on Sunday, or on Tuesday."""
        for due in (10_000 + DAY, 7_000.0):
            self.assertIsNone(self.again(due, before=5_000, attempts=0, not_before=due))
        self.assertIsNotNone(self.again(10_000 + DAY, attempts=1, not_before=9_000))

    def test_throttled_after_its_release(self) -> None:
        """A message that was released waits for as long as the clock was set back."""
        again = self.again(10_000 + DAY, attempts=0, not_before=9_000, throttled=9_500 + DAY)
        self.assertEqual(again, 10_000 + DAY % RETRY)

    @given(
        st.floats(0, 1e6),
        st.one_of(st.none(), st.floats(0, 1e6)),
        st.booleans(),
        st.integers(0, 1),
    )
    @settings(deadline=None, max_examples=200)
    def test_bounds(self, due: float, before: float | None, leased: bool, attempts: int) -> None:
        """Some message is due later than a retry takes, or is put off though it is due."""
        again = self.again(due, before=before, leased=leased, attempts=attempts)
        longest = LEASE if leased else RETRY
        if again is None:
            self.assertLessEqual(due, 10_000 + longest + SLACK)
        else:
            self.assertGreaterEqual(again, 10_000)
            self.assertLessEqual(again, 10_000 + longest)
            self.assertFalse(due <= min(10_000, before if before is not None else 10_000))


class JumpCase(SynchronousTestCase):
    """A runner over a queue, under a clock that jumps."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.root = os.path.abspath(self.mktemp())
        self.dispatch = FakeDispatch()
        self.dispatch.outcomes = {JSMITH.domain: Postponed(where="", reply=LATER)}
        self.tried: list[tuple[float, str]] = []
        attempt = self.dispatch.attempt

        def noted(entry: Entry, *args: Any) -> Any:
            self.tried.append((self.reactor.monotonic(), entry.id))
            return attempt(entry, *args)

        self.patch(self.dispatch, "attempt", noted)
        self.storage = self.open_storage()
        self.runner = self.run_queue("one")

    def tearDown(self) -> None:
        self.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def open_storage(self) -> IQueueStorage:
        return MemoryStorage(clock=self.reactor, random=Random(1))

    def open_again(self) -> IQueueStorage:
        return self.storage

    def run_queue(self, owner: str) -> QueueRunner:
        schedule = Schedule()
        runner = QueueRunner(
            storage=self.storage,
            storage_name="sqlite",
            dispatch=self.dispatch,
            schedule=schedule,
            notices=NoticeWriter(hostname="mx.demo.example", random=Random(2), schedule=schedule),
            clock=self.reactor,
            owner=owner,
        )
        runner.startService()
        self.reactor.advance(0)
        return runner

    def stop(self) -> None:
        stopped = self.runner.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.successResultOf(as_deferred(self.storage.close()))
        self.reactor.advance(0)

    def restart(self, jump: float) -> None:
        """The server is off while the clock is set."""
        self.stop()
        self.reactor.jump(jump)
        self.storage = self.open_again()
        self.runner = self.run_queue("two")

    def accept(self, hold: float = 0.0) -> str:
        now = self.reactor.seconds()
        envelope = samples.envelope(arrived=now)
        if hold:
            envelope = attrs.evolve(envelope, not_before=now + hold)
        sink = write(self.storage.receive(envelope), b"Subject: hello\r\n\r\nbody\r\n")
        self.successResultOf(as_deferred(sink.commit()))
        self.reactor.advance(0)
        return sink.id

    def attempts(self, seconds: float) -> Counter[str]:
        """What is tried within some time."""
        before = len(self.tried)
        self.reactor.advance(seconds)
        return Counter(id for _, id in self.tried[before:])

    def kinds(self, id: str) -> list[str]:
        return [e.kind for e in self.successResultOf(as_deferred(self.storage.history(id)))]

    def queued(self) -> list[Entry]:
        return list(self.successResultOf(as_deferred(self.storage.messages(None, 1000))))


class SetBackTests(JumpCase):
    """The clock is set back by a day."""

    def test_deferred(self) -> None:
        """Mail to a server that did not answer is not tried again for a day."""
        id = self.accept()
        self.reactor.advance(100)
        self.reactor.jump(-DAY)
        self.assertEqual(self.attempts(RETRY + LOOK_AT_CLOCK), {id: 1})
        self.assertEqual(self.attempts(4 * RETRY), {id: 4})

    def test_a_route_s_longer_waits(self) -> None:
        """Mail on a curve is tried too early after each small jump, and after each start."""
        for schedule, longest in (
            (Schedule(retry=Backoff.fixed(2 * HOUR)), 0.0),
            (Schedule(), 2 * HOUR),
        ):
            self.runner.schedule = Schedule(retry=Backoff.fixed(2 * HOUR))
            id = self.accept()
            self.reactor.advance(100)
            self.runner.schedule, self.runner.longest_wait = schedule, longest
            self.reactor.jump(-10)
            self.assertEqual(self.attempts(1.9 * HOUR), {})
            self.assertEqual(self.attempts(0.2 * HOUR), {id: 1})
            self.successResultOf(as_deferred(self.storage.remove(id, self.reactor.seconds())))

    def test_spread(self) -> None:
        """All mail that waits is tried in one moment."""
        for _ in range(90):
            self.accept()
            self.reactor.advance(10)
        self.reactor.jump(-DAY - 123)
        for _ in range(9):
            self.assertLess(sum(self.attempts(100).values()), 25)

    def test_many(self) -> None:
        """Only the first page of them is seen to."""
        ids = {self.accept() for _ in range(PAGE + 50)}
        self.reactor.jump(-DAY)
        self.assertEqual(set(self.attempts(RETRY + LOOK_AT_CLOCK)), ids)

    def test_while_down(self) -> None:
        """A machine whose clock was wrong is restarted, and its mail waits for days."""
        id, held = self.accept(), self.accept(hold=2 * HOUR)
        self.reactor.advance(100)
        self.restart(-6 * HOUR)
        self.assertEqual(self.attempts(RETRY), {id: 1})
        self.assertEqual(self.attempts(6 * HOUR)[held], 0)
        self.assertGreater(self.attempts(2 * HOUR)[held], 0)

    def test_asked_for(self) -> None:
        """A message that its sender holds back is sent before its time."""
        held = self.accept(hold=HOUR)
        self.reactor.jump(-6 * HOUR)
        self.assertEqual(self.attempts(6 * HOUR), {})
        self.assertGreater(self.attempts(HOUR + RETRY)[held], 0)

    def test_under_way(self) -> None:
        """A delivery that is under way is done twice, or its outcome is lost."""
        self.dispatch.outcomes = {}
        self.dispatch.wait_for = Deferred()
        id = self.accept()
        self.reactor.jump(-DAY)
        self.assertEqual(self.attempts(3 * LEASE), {})
        self.dispatch.wait_for.callback(None)
        self.reactor.advance(0)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.kinds(id)[-1], "relayed")

    def test_lease_of_the_dead(self) -> None:
        """What a process had that ended is not taken over for a day."""
        now = self.reactor.seconds()
        self.runner.stopService()
        id = self.accept()
        claim = self.storage.claim(owner="dead", now=now, limit=10, until=now + LEASE)
        self.assertEqual(len(self.successResultOf(as_deferred(claim))), 1)
        self.runner = self.run_queue("two")
        self.reactor.jump(-DAY)
        self.assertEqual(self.attempts(LEASE + LOOK_AT_CLOCK), {id: 1})

    def test_received_meanwhile(self) -> None:
        """A message that was being received when the clock was set is tried a day later."""
        sink = self.storage.receive(samples.envelope(arrived=self.reactor.seconds()))
        write(sink, b"Subject: x\r\n\r\nbody\r\n")
        self.reactor.jump(-DAY)
        self.reactor.advance(1800)
        self.successResultOf(as_deferred(sink.commit()))
        self.assertIn(self.attempts(2 * RETRY)[sink.id], (1, 2))

    def test_queued_and_not_yet_claimed(self) -> None:
        """The same for one that was just accepted."""
        self.dispatch.wait_for = Deferred()
        busy = [self.accept() for _ in range(self.runner.concurrency)]
        id = self.accept()
        self.assertNotIn(id, self.dispatch.attempts)
        self.reactor.jump(-DAY)
        self.reactor.advance(LOOK_AT_CLOCK)
        waiting, self.dispatch.wait_for = self.dispatch.wait_for, None
        waiting.callback(None)
        self.assertEqual(self.attempts(RETRY)[id], 1)
        self.assertEqual(len(busy), self.runner.concurrency)

    def test_notices(self) -> None:
        """The sender is told twice of a delay, or never."""
        id = self.accept()
        self.reactor.advance(4 * HOUR + 60)
        self.assertEqual(self.kinds(id).count("warned"), 1)
        self.reactor.jump(-6 * HOUR)
        self.reactor.advance(9 * HOUR)
        self.assertEqual(self.kinds(id).count("warned"), 1)
        other = self.accept()
        self.reactor.jump(-6 * HOUR)
        self.reactor.advance(11 * HOUR)
        self.assertEqual(self.kinds(other).count("warned"), 1)


class SqliteTests(JumpCase):
    """Over a queue that checks what it reads."""

    def open_storage(self) -> IQueueStorage:
        return make(self.root, self.reactor)  # type: ignore[arg-type]  # which is a Clock as well

    def open_again(self) -> IQueueStorage:
        return self.open_storage()

    def tearDown(self) -> None:
        storage: Any = self.storage
        self.assertEqual(self.successResultOf(as_deferred(storage.damaged())), [])
        super().tearDown()

    def test_all_of_it(self) -> None:
        """Mail whose times were put right is taken for damaged, or waits all the same."""
        ids = {self.accept() for _ in range(5)}
        sink = self.storage.receive(samples.envelope(arrived=self.reactor.seconds()))
        self.reactor.jump(-DAY)
        write(sink, b"Subject: x\r\n\r\nbody\r\n")
        self.successResultOf(as_deferred(sink.commit()))
        ids.add(sink.id)
        self.assertEqual(set(self.attempts(RETRY + LOOK_AT_CLOCK)), ids)
        self.restart(-DAY)
        self.assertEqual(set(self.attempts(RETRY)), ids)
        self.reactor.jump(DAY)
        self.assertEqual(set(self.attempts(RETRY + LOOK_AT_CLOCK)), ids)
        self.restart(DAY)
        self.assertLessEqual(ids, set(self.attempts(RETRY)))


class SetForwardTests(JumpCase):
    """The clock is set forward by ten days."""

    def test_one_more_attempt(self) -> None:
        """Mail that was given five days is returned after a minute, without another attempt."""
        id = self.accept()
        self.reactor.advance(100)
        self.reactor.jump(10 * DAY)
        self.assertEqual(self.attempts(RETRY - 101), {})
        self.assertNotIn("expired", self.kinds(id))
        self.assertEqual(self.attempts(2 * LOOK_AT_CLOCK)[id], 1)
        self.assertIn("expired", self.kinds(id))
        self.assertIn("bounced", self.kinds(id))

    def test_under_way(self) -> None:
        """An attempt that fails just after the jump is the last one."""
        self.dispatch.wait_for = Deferred()
        id = self.accept()
        self.reactor.jump(10 * DAY)
        waiting, self.dispatch.wait_for = self.dispatch.wait_for, None
        waiting.callback(None)
        self.reactor.advance(0)
        self.assertNotIn("expired", self.kinds(id))
        self.assertEqual(self.attempts(RETRY)[id], 1)

    def test_spread(self) -> None:
        """All mail that waits is tried in one moment."""
        for _ in range(90):
            self.accept()
            self.reactor.advance(10)
        self.reactor.jump(10 * DAY)
        for _ in range(9):
            self.assertLess(sum(self.attempts(100).values()), 25)

    def test_others_are_at_it(self) -> None:
        """What another process is delivering is delivered by this one as well."""
        self.runner.stopService()
        now = self.reactor.seconds()
        id = self.accept()
        claim = self.storage.claim(owner="other", now=now, limit=10, until=now + LEASE)
        self.assertEqual(len(self.successResultOf(as_deferred(claim))), 1)
        self.runner = self.run_queue("two")
        self.reactor.jump(10 * DAY)
        self.assertEqual(self.attempts(LEASE - LOOK_AT_CLOCK), {})
        now = self.reactor.seconds()
        renewal = self.storage.renew(owner="other", ids=[id], until=now + LEASE)
        self.successResultOf(as_deferred(renewal))
        self.assertEqual(self.attempts(LEASE - 1), {})
        self.assertEqual(self.attempts(LOOK_AT_CLOCK)[id], 1)

    def test_asked_for(self) -> None:
        """A message whose time has come waits for longer."""
        held = self.accept(hold=DAY)
        self.reactor.jump(10 * DAY)
        self.assertEqual(self.attempts(2 * LOOK_AT_CLOCK)[held], 1)

    def test_while_down(self) -> None:
        """A server that was off for ten days returns mail that it did not try again."""
        id = self.accept()
        self.restart(10 * DAY)
        self.assertEqual([tried for _, tried in self.tried][:2], [id, id])
        self.assertNotIn("expired", self.kinds(id))
        self.assertEqual(self.attempts(RETRY)[id], 1)
        self.assertIn("expired", self.kinds(id))

    def test_warned_once(self) -> None:
        """The sender is told twice that the message is late, or is not told."""
        id = self.accept()
        self.reactor.jump(5 * HOUR)
        self.reactor.advance(10 * HOUR)
        self.assertEqual(self.kinds(id).count("warned"), 1)


class OtherTests(JumpCase):
    """What else there is to it."""

    def test_small_correction(self) -> None:
        """Every correction by NTP has the whole queue looked through."""
        self.accept()
        self.reactor.advance(100)
        looked: list[float] = []
        due_after = self.storage.due_after  # type: ignore[attr-defined]  # of this one

        def noted(due: float, id: str, limit: int) -> Any:
            looked.append(due)
            return due_after(due, id, limit)

        self.patch(self.storage, "due_after", noted)
        self.reactor.jump(SLACK / 2)
        self.reactor.advance(HOUR)
        self.assertEqual(looked, [])
        self.reactor.jump(HOUR)
        self.reactor.advance(LOOK_AT_CLOCK)
        self.assertGreater(len(looked), 0)
        self.reactor.advance(3 * HOUR)
        seen = len(looked)
        self.reactor.advance(3 * HOUR)
        self.assertEqual(len(looked), seen)

    def test_long_queue(self) -> None:
        """A server with a million messages that wait takes minutes to start."""
        for _ in range(20):
            self.accept()
            self.reactor.advance(40)
        pages: list[int] = []
        due_after = self.storage.due_after  # type: ignore[attr-defined]  # of this one

        async def noted(due: float, id: str, limit: int) -> Any:
            page = await due_after(due, id, limit)
            pages.append(len(page))
            return page

        self.patch(self.storage, "due_after", noted)
        self.restart(0)
        self.reactor.jump(-2 * SLACK)
        self.reactor.advance(HOUR)
        self.assertGreaterEqual(len(pages), 3)
        self.assertEqual(set(pages), {0})

    def test_storage_that_fails(self) -> None:
        """After a fault of the storage nobody sees to what the jump has done."""
        id = self.accept()
        self.reactor.advance(100)
        due_after = self.storage.due_after  # type: ignore[attr-defined]  # of this one
        self.storage.due_after = lambda **_: None  # type: ignore[attr-defined]
        self.reactor.jump(-DAY)
        self.reactor.advance(LOOK_AT_CLOCK)
        self.storage.due_after = due_after  # type: ignore[attr-defined]
        self.assertEqual(self.attempts(RETRY + 60), {id: 1})
        self.flushLoggedErrors()

    def test_storage_that_can_not(self) -> None:
        """A storage of one's own that can't move messages can't be used."""
        self.stop()
        self.storage = FakeStorage(MemoryStorage(clock=self.reactor, random=Random(1)))
        self.runner = self.run_queue("two")
        id = self.accept()
        self.reactor.jump(-HOUR)
        self.assertEqual(self.attempts(2 * HOUR)[id], 4)

    @given(st.data())
    @settings(deadline=None, max_examples=15)
    def test_any_jumps(self, data: st.DataObject) -> None:
        """Some sequence of jumps, restarts and arrivals leaves mail waiting, or tries it twice."""
        self.setUp()
        try:
            arrived: dict[str, float] = {}
            events = data.draw(st.integers(1, 5))
            for _ in range(events):
                what = data.draw(st.sampled_from(("accept", "jump", "restart", "pass")))
                jump = data.draw(st.sampled_from((-30 * DAY, -DAY, -HOUR, HOUR, DAY / 2)))
                if what == "accept":
                    arrived[self.accept()] = self.reactor.monotonic()
                elif what == "jump":
                    self.reactor.jump(jump)
                elif what == "restart":
                    self.restart(jump)
                self.reactor.advance(data.draw(st.floats(0, 3 * RETRY)))
            self.reactor.advance(2 * RETRY + 60)
            end = self.reactor.monotonic()
            for id, since in arrived.items():
                times = [since, *(at for at, tried in self.tried if tried == id), end]
                gaps = [b - a for a, b in pairwise(times)]
                self.assertLessEqual(max(gaps), 2 * RETRY + 60, (id, times))
                most = (end - since) / RETRY + events + 2
                self.assertLessEqual(len(times) - 2, most, (id, times))
            self.assertEqual({entry.id for entry in self.queued()} & set(arrived), set(arrived))
        finally:
            self.tearDown()
