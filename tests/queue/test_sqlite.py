"""Covers mailframe.queue.sqlite."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.files import Files
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, Site, StorageFault
from mailframe.queue.committer import InlineCommitter
from mailframe.queue.recent import RecentContents
from mailframe.queue.spool import Spool
from mailframe.queue.sqlite import SqliteSettings, SqliteStorage, build
from mailframe.testing.contracts import DurableQueueStorageContract, PowerCutContract
from mailframe.units import FilePath, Octets
from tests.crash.needs import SharedSqliteCase
from tests.queue.samples import JSMITH, envelope, write


def make(
    root: str,
    clock: Clock,
    in_thread: Any = maybeDeferred,
    seed: int = 1,
    files: Files | None = None,
    gather: float = 0.0,
    **settings: Any,
) -> SqliteStorage:
    return SqliteStorage(
        spool=Spool(root, files),
        committer=lambda open_ledger, changed: InlineCommitter(open_ledger),
        clock=clock,
        random=Random(seed),
        in_thread=in_thread,
        settings=SqliteSettings(**settings),
        gather=gather,
    )


class SqliteContractTests(DurableQueueStorageContract, SynchronousTestCase):
    """SQLite keeps every promise of the storage interface."""

    def make_storage(self, clock: Clock) -> SqliteStorage:
        return make(os.path.abspath(self.mktemp()), clock)

    def reopen(self, storage: IQueueStorage) -> SqliteStorage:
        """The same folder, opened by another process."""
        assert isinstance(storage, SqliteStorage)
        return make(storage.spool.root, self.reactor, seed=2)


class SharingTests(SynchronousTestCase):
    """Processes that share a queue."""

    def test_ids_differ(self) -> None:
        """A message that came in at the same moment as another worker's must not be refused, nor
        take the place of the other's content.
        """
        root = os.path.abspath(self.mktemp())
        clock = Clock()
        clock.advance(1_000.0)
        # By chance both draw the same numbers.
        storages = [make(root, clock, inline=10) for _ in range(2)]
        sinks = [each.receive(envelope()) for each in storages]
        self.assertNotEqual(*(sink.id for sink in sinks))
        for number, (storage, sink) in enumerate(zip(storages, sinks, strict=True)):
            sink.write(octets=b"%d" % number * 100)
            self.successResultOf(as_deferred(sink.commit()))
            content = self.successResultOf(as_deferred(storage.open(sink.id)))
            self.assertEqual(
                self.successResultOf(as_deferred(content.read())), b"%d" % number * 100
            )
            content.close()
        for each in storages:
            self.successResultOf(as_deferred(each.close()))
        again = make(root, clock)
        self.assertEqual(again._ids.make(1_000.0) & 63, 0, "a place that was left is taken again")
        self.successResultOf(as_deferred(again.close()))


class PowerCutTests(PowerCutContract, SharedSqliteCase):
    """SQLite keeps them when the power is cut."""

    uses_sqlite = True
    seed = 0

    def make_storage_in(self, folder: str, files: Files) -> SqliteStorage:
        self.seed += 1
        return make(folder, self.reactor, seed=self.seed, files=files)


class ExpectingContractTests(SqliteContractTests):
    """The promises hold as well when messages are leased as they arrive, to whoever asked last."""

    expecting = "somebody"

    def make_storage(self, clock: Clock) -> SqliteStorage:
        storage = super().make_storage(clock)
        now = clock.seconds()
        claim = storage.claim(self.expecting, now, 100, now + 300)
        self.assertEqual(self.successResultOf(as_deferred(claim)), [])
        return storage


class ExpectedContractTests(ExpectingContractTests):
    """And when that is the one who claims them."""

    expecting = "one"

    def test_settle_without_lease(self) -> None:
        """They have the lease from the beginning."""


class SqliteCase(SynchronousTestCase):
    """A queue in a folder of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(10_000_000)
        self.root = os.path.abspath(self.mktemp())
        self.storage = make(self.root, self.clock)
        self.addCleanup(lambda: self.result(self.storage.close()))

    def result(self, awaitable: Any) -> Any:
        return self.successResultOf(as_deferred(awaitable))

    def accept(self, content: bytes = b"hello\r\n", storage: SqliteStorage | None = None) -> str:
        sink = write(
            (storage or self.storage).receive(envelope(arrived=self.clock.seconds())), content
        )
        self.result(sink.commit())
        return sink.id

    def claim(self, storage: SqliteStorage, owner: str) -> list[str]:
        now = self.clock.seconds()
        return [e.id for e in self.result(storage.claim(owner, now, 100, now + 300))]

    def files(self) -> list[str]:
        return [f for folder in ("incoming", "large") for f in os.listdir(f"{self.root}/{folder}")]

    def read(self, id: str, storage: SqliteStorage | None = None) -> bytes:
        content = self.result((storage or self.storage).open(id))
        octets = b""
        while piece := self.result(content.read()):
            octets += piece
        content.close()
        return octets


class GatherTests(SqliteCase):
    """Who watches is told of messages that come shortly after each other together."""

    def test_gathers(self) -> None:
        """Each message of many is claimed by itself, or a lone one waits."""
        self.storage = make(self.root, self.clock, gather=0.02)
        told: list[float] = []
        self.storage.watch(lambda: told.append(round(self.clock.seconds() - start, 3)))
        start = self.clock.seconds()
        self.accept()
        self.clock.advance(0)
        for _ in range(10):
            self.clock.advance(0.004)
            self.accept()
        self.clock.advance(1.0)
        self.accept()
        self.clock.advance(0)
        self.assertEqual(told, [0.0, 0.02, 0.04, 1.04])


class RestartTests(SqliteCase):
    """What a restart finds."""

    def test_everything_is_found(self) -> None:
        """A restart must find small and large messages alike."""
        large = b"0123456789abcdef" * 10_000
        ids = {self.accept(): b"hello\r\n", self.accept(large): large}
        self.result(self.storage.close())
        self.storage = make(self.root, self.clock)
        self.assertEqual(sorted(self.claim(self.storage, "two")), sorted(ids))
        for id, content in ids.items():
            self.assertEqual(self.read(id), content)

    def test_closing_gives_leases_back(self) -> None:
        """After a clean stop nothing may wait for leases of a process that is gone."""
        id = self.accept()
        stopped = make(self.root, self.clock, seed=3)
        self.assertEqual(self.claim(stopped, "stopped"), [id])
        self.result(stopped.close())
        self.assertEqual(self.claim(self.storage, "two"), [id])


class ContentTests(SqliteCase):
    """Small inline, large in files."""

    def test_a_file_leaves_with_its_message(self) -> None:
        """Delivered mail must not stay on the disk."""
        id = self.accept(b"x" * 100_000)
        self.assertEqual(self.files(), [id])
        self.claim(self.storage, "one")
        step = Step(
            recipients=(QueuedRecipient(address=JSMITH, state="relayed"),),
            next_attempt=None,
            warned=False,
            events=(Event(at=1.0, kind="relayed"),),
        )
        self.result(self.storage.settle(id, "one", step, ()))
        self.assertEqual(self.files(), [])

    def test_the_first_delivery_reads_nothing_back(self) -> None:
        """What is in memory anyway is not asked from the disk again, and memory is bounded."""
        id = self.accept()
        self.storage.committer.read = None  # type: ignore[method-assign, assignment]  # must not be used
        self.assertEqual(self.read(id), b"hello\r\n")

    def test_what_was_forgotten_is_read_back(self) -> None:
        """A burst of mail that is more than what is remembered must be delivered as it came."""
        self.storage._recent = RecentContents(limit=100)
        ids = [self.accept(b"x" * 60) for _ in range(5)]
        self.assertEqual([self.read(id) for id in ids], [b"x" * 60] * 5)

    def test_a_content_that_vanished(self) -> None:
        """A missing file is a fault of that message alone."""
        id = self.accept(b"x" * 100_000)
        os.unlink(f"{self.root}/large/{id}")
        self.failureResultOf(as_deferred(self.storage.open(id)), StorageFault)


class BuildTests(SynchronousTestCase):
    """``[queue] plugin = "sqlite"``."""

    def test_build(self) -> None:
        """The queue lies in the state folder, or where the configuration says."""
        calls: list[Any] = []

        class Reactor(Clock):
            def callFromThread(self, function: Any, *args: Any) -> None:
                calls.append((function, args))

        state, other = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        site = Site(
            hostname="mx.example",
            local_domains=frozenset(),
            state_dir=state,
            reactor=Reactor(),
            resolver=None,
            in_thread=maybeDeferred,
            random=Random(1),
        )
        for settings, folder in (
            (SqliteSettings(), f"{state}/queue"),
            (SqliteSettings(path=FilePath(other), inline=Octets(1)), other),
        ):
            storage = build(settings, site)
            self.assertTrue(os.path.exists(f"{folder}/queue.db"))
            closed = as_deferred(storage.close())
            storage.committer._thread.join(10)  # type: ignore[attr-defined]  # the threaded one
            for function, args in calls:
                function(*args)
            calls.clear()
            self.successResultOf(closed)


class FirstClaimTests(SqliteCase):
    """Messages that are claimed as they arrive."""

    def setUp(self) -> None:
        super().setUp()
        self.other = make(self.root, self.clock, seed=5)
        self.addCleanup(lambda: self.result(self.other.close()))
        self.assertEqual(self.claim(self.storage, "one"), [])

    def test_first_delivery_needs_no_look(self) -> None:
        """Who accepted a message delivers it, without reading anything back."""
        id = self.accept()
        self.assertEqual(self.claim(self.other, "two"), [])
        found = self.result(self.storage.find(id))
        committer = self.storage.committer
        del self.storage.committer
        now = self.clock.seconds()
        (entry,) = self.result(self.storage.claim("one", now, 100, now + 300))
        self.assertEqual(self.read(id), b"hello\r\n")
        self.storage.committer = committer
        self.assertEqual(entry, found)
        self.assertEqual(self.claim(self.other, "two"), [])
        step = Step(recipients=entry.recipients, next_attempt=None, warned=False, events=())
        self.result(self.storage.settle(id, "one", step, ()))
        self.assertEqual(self.result(self.storage.messages(None, 9)), [])

    def test_no_more_than_there_is_room(self) -> None:
        """A process must not keep to itself what others have the time for."""
        now = self.clock.seconds()
        self.result(self.storage.claim("one", now, 2, now + 300))
        ids = [self.accept() for _ in range(3)]
        self.assertEqual(self.claim(self.other, "two"), ids[2:])
        self.assertEqual(self.result(self.storage.next_due()), now)
        first = self.result(self.storage.claim("one", now, 1, now + 300))
        self.assertEqual([entry.id for entry in first], ids[:1])
        self.assertEqual(self.claim(self.storage, "one"), ids[1:2])

    def few(self, limit: int) -> list[str]:
        now = self.clock.seconds()
        entries = self.result(self.storage.claim("one", now, limit, now + 300))
        return [entry.id for entry in entries]

    def test_a_backlog(self) -> None:
        """What arrives waits for minutes behind mail for a server that can't follow."""
        backlog = [self.accept(storage=self.other) for _ in range(30)]
        self.clock.advance(1)
        self.assertEqual(self.few(10), backlog[:10])
        arrived = [self.accept() for _ in range(8)]
        # Half of the places at the most, or the backlog would never be tried.
        self.assertEqual(self.few(10), arrived[:5] + backlog[10:15])
        more = [self.accept() for _ in range(2)]
        self.assertEqual(self.few(1), more[:1])
        self.assertEqual(self.few(3), more[1:] + backlog[15:17])

    def test_a_backlog_and_no_room(self) -> None:
        """What arrived waits for a process that tries nothing, while another one has room."""
        backlog = [self.accept(storage=self.other) for _ in range(4)]
        self.clock.advance(1)
        self.assertEqual(self.few(2), backlog[:2])
        self.clock.advance(1.1)
        arrived = self.accept()
        self.assertEqual(self.claim(self.other, "two"), [*backlog[2:], arrived])

    def test_what_waits_too_long(self) -> None:
        """A lease that nobody renews must not be handed out when it is about to run out."""
        id = self.accept()
        self.clock.advance(299)
        self.assertEqual(self.claim(self.storage, "one"), [id])
        self.clock.advance(299)
        self.assertEqual(self.claim(self.other, "two"), [])

    def test_other_mail_is_not_forgotten(self) -> None:
        """While new mail comes without pause, what is due again must be tried as well."""
        old = self.accept(storage=self.other)
        new = self.accept()
        self.assertEqual(self.claim(self.storage, "one"), [new])
        self.clock.advance(1)
        newest = self.accept()
        self.assertEqual(self.claim(self.storage, "one"), [newest, old])

    def test_an_operator_comes_first(self) -> None:
        """What was held or removed before anybody tried it must not be tried."""
        held, removed, retried = (self.accept() for _ in range(3))
        now = self.clock.seconds()
        self.result(self.storage.hold(held, now))
        self.result(self.storage.remove(removed, now))
        self.result(self.storage.retry(retried, now))
        self.assertEqual(self.claim(self.storage, "one"), [retried])
        self.result(self.storage.release(held, now))
        self.assertEqual(self.claim(self.other, "two"), [held])

    def test_a_future_arrival(self) -> None:
        """When the clock was set back, what came before that waits for nobody in memory."""
        sink = write(self.storage.receive(envelope(arrived=self.clock.seconds() + 60)), b"x")
        self.result(sink.commit())
        self.assertEqual(self.claim(self.storage, "one"), [])
        self.clock.advance(60)
        self.assertEqual(self.claim(self.other, "two"), [sink.id])
