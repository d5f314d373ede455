"""Every state in which a disk that forgets may be found, and what a server makes of it.

A queue with its runner and its mailboxes are put through a day's work, on a clock of their own and
in one thread, so that it goes the same way each time. All they do to files is written down
(`mailframe.testing.forgetful_disk`). Then, for every moment of it, the power is cut: the disk is
put into each of the states that it may be in, another server is started on it, and what had been
promised by then must be so in the end.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from random import Random
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from mailframe.address import Address
from mailframe.delivery.dispatch import Agent, Dispatch
from mailframe.delivery.maildir import MaildirAgent
from mailframe.delivery.maildir_layout import Layout
from mailframe.entry import Entry, Step
from mailframe.envelope import Client
from mailframe.files import DIRECTORY, Files
from mailframe.guard import as_deferred
from mailframe.interfaces import NOTHING_KNOWN, Job, Known
from mailframe.outcome import (
    Delivered,
    Local,
    NextHop,
    Outcome,
    Postponed,
    Refused,
    Relay,
    Route,
)
from mailframe.queue.committer import Batches
from mailframe.queue.ledger import Ledger
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.operations import Operation
from mailframe.queue.runner import QueueRunner
from mailframe.queue.schedule import Schedule
from mailframe.queue.spool import Spool
from mailframe.queue.sqlite import SqliteSettings, SqliteStorage
from mailframe.reply import Reply
from mailframe.testing.forgetful_disk import ForgetfulDisk, State
from mailframe.testing.samples import make_envelope
from mailframe.units import Octets
from tests.crash.books import MARK, body

START = 1_700_000_000.0
CAT = Address.parse("cat@here.example")
INLINE = 2000  # octets; what is larger lies in a file
READERS = ("none", "deletes", "moves")
RETRIES = 3
FAR_APART = 16  # states
TIMES_AROUND = 40  # turns of a clock, each of which does what can be done at once


@attrs.frozen
class Accepted:
    """A message was acknowledged."""

    mark: bytes
    to: tuple[str, ...]


@attrs.frozen
class Deleting:
    """A reader is about to delete a message."""

    box: str
    mark: bytes


@attrs.frozen
class Deleted:
    """A reader was told that a message is deleted."""

    box: str
    mark: bytes


@attrs.frozen
class Relayed:
    """Another server has taken a message."""

    mark: bytes


@attrs.frozen
class Settled:
    """That a message has left the queue was recorded."""

    mark: bytes


class LaterCommitter:
    """Applies what has gathered since the last turn of the clock, in one transaction."""

    def __init__(self, open_ledger: Callable[[], Ledger], clock: Clock) -> None:
        self._batches = Batches(open_ledger)
        self._clock = clock
        self._waiting: list[tuple[Operation, Deferred[Any]]] = []

    def write(self, operation: Operation) -> Deferred[Any]:
        """Hand in a change."""
        deferred: Deferred[Any] = Deferred()
        if not self._waiting:
            self._clock.callLater(0, self._apply)
        self._waiting.append((operation, deferred))
        return deferred

    def _apply(self) -> None:
        waiting, self._waiting = self._waiting, []
        results = self._batches.apply([operation for operation, _ in waiting], writes=True)
        for (_, deferred), result in zip(waiting, results, strict=True):
            deferred.callback(result)

    def read(self, operation: Operation) -> Deferred[Any]:
        """Answer at once."""
        deferred: Deferred[Any] = Deferred()
        deferred.callback(self._batches.apply([operation], writes=False)[0])
        return deferred

    def close(self) -> Deferred[None]:
        """Close the ledger."""
        self._batches.close()
        deferred: Deferred[None] = Deferred()
        deferred.callback(None)
        return deferred


class Elsewhere:
    """The agent for other servers: one that takes everything.

    But it refuses ``refused``, and takes mail for ``later`` only when it is tried again.

    :param note: told what it takes
    """

    def __init__(self, note: Callable[[Any], None]) -> None:
        self._note = note
        self._put_off: set[bytes] = set()

    async def deliver(self, job: Job) -> Sequence[Outcome]:
        """Hand it over."""
        content = await job.open()
        octets = b""
        while piece := await content.read():
            octets += piece
        content.close()
        mark = marks_of(octets)[0]
        outcomes: list[Outcome] = []
        for recipient in job.recipients:
            if recipient.local_part == "refused":
                reply = Reply(550, "5.1.1", "nobody here")
                outcomes.append(Refused(where="far", reply=reply))
            elif recipient.local_part == "later" and mark not in self._put_off:
                self._put_off.add(mark)
                reply = Reply(451, "4.3.0", "not now")
                outcomes.append(Postponed(where="far", reply=reply))
            else:
                self._note(Relayed(mark))
                reply = Reply(250, "2.0.0", "taken")
                outcomes.append(Delivered(where="far", reply=reply))
        return outcomes


class Routes:
    """Mail for here.example is delivered here, all other mail there."""

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        """Where a recipient's mail goes."""
        if recipient.domain == "here.example":
            return Local(mailbox=recipient, reason="here", plugin="test")
        return Relay(hops=(NextHop(where="mx:far.example"),), reason="far", plugin="test")


class House:
    """A queue, its runner and its mailboxes, below a folder.

    :param note: told of everything that matters
    :param life: how manieth server it is
    """

    def __init__(self, root: str, files: Files, note: Callable[[Any], None], life: int) -> None:
        self.root = root
        self.files = files
        self.note = note
        self.clock = Clock()
        self.clock.advance(START + 100 * life)
        random = Random(life)
        self.storage = SqliteStorage(
            spool=Spool(f"{root}/state/queue", files),
            committer=lambda open_ledger, _: LaterCommitter(open_ledger, self.clock),
            clock=self.clock,
            random=random,
            in_thread=self.in_thread,
            settings=SqliteSettings(inline=Octets(INLINE)),
        )
        self.agent = MaildirAgent(
            layout=Layout(f"{root}/mail/{{mailbox}}", many_domains=False),
            hostname="mx.here.example",
            in_thread=self.in_thread,
            clock=self.clock,
            files=files,
            token=f"life{life}",
        )
        schedule = Schedule()
        self.runner = QueueRunner(
            storage=self.storage,
            storage_name="sqlite",
            dispatch=Dispatch(
                router=Routes(),
                local=Agent(name="maildir", part=self.agent, seconds=60.0),
                relay=Agent(name="far", part=Elsewhere(note), seconds=60.0),
                clock=self.clock,
            ),
            schedule=schedule,
            notices=NoticeWriter(
                hostname="mx.here.example",
                random=random,
                schedule=schedule,
                local_domains=frozenset({"here.example"}),
            ),
            clock=self.clock,
            owner=f"life{life}",
        )
        self._marks: dict[str, bytes] = {}
        self.runner.observe(self._stepped)
        self.runner.startService()

    def _stepped(self, entry: Entry, step: Step) -> None:
        if step.next_attempt is None and entry.id in self._marks:
            self.note(Settled(self._marks[entry.id]))

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Do it with the clock's next turn, among others that wait."""
        done: Deferred[Any] = Deferred()

        def run() -> None:
            execute(function, *args).addBoth(lambda result: done.called or done.callback(result))

        self.clock.callLater(0, run)
        return done

    def turn(self, times: int = TIMES_AROUND) -> None:
        """Let what can be done now be done."""
        for _ in range(times):
            due = self.clock.calls[:1]  # they are in order
            if not due or due[0].getTime() > self.clock.seconds():
                return
            self.clock.advance(0)

    def rest(self, patience: float = 901.0) -> list[Any]:
        """Let everything come to its end, retries included; returns what does not.

        :param patience: seconds until the next retry
        """
        for _ in range(RETRIES):
            self.turn()
            if not (waiting := self.waiting()):
                return waiting
            self.clock.advance(patience)
        self.turn()
        return self.waiting()

    def waiting(self) -> list[Any]:
        """What is in the queue, or why that can't be told."""
        found: list[Any] = []
        messages = as_deferred(self.storage.messages(None, 100))
        messages.addCallbacks(found.extend, lambda failure: found.append(failure.value))
        return found

    def damaged(self) -> list[tuple[str, str]]:
        """What was set aside."""
        found: list[tuple[str, str]] = []
        as_deferred(self.storage.damaged()).addCallback(found.extend)
        return found

    def accept(self, mark: bytes, *to: str) -> None:
        """Take a message in; it is acknowledged later."""
        recipients = [Address.parse(f"{name}") for name in to]
        envelope = make_envelope(*recipients, sender=CAT, arrived=self.clock.seconds())
        # As small as can be, for the bits of all of it are flipped elsewhere.
        sink = self.storage.receive(attrs.evolve(envelope, client=None))
        self._marks[sink.id] = mark
        sink.write(body(mark).replace(b"\n", b"\r\n"))
        committed = as_deferred(sink.commit())
        committed.addCallback(lambda _: self.note(Accepted(mark, to)))

    def read(self, box: str, delete: int) -> None:
        """Have a reader delete the first messages of a mailbox by POP3."""
        opening = as_deferred(self.agent.open_mailbox(Address.parse(f"{box}@here.example")))
        opened: list[Any] = []
        opening.addCallback(opened.append)
        self.turn(5)
        (mailbox,) = opened
        marks = []
        for index in range(min(delete, len(mailbox.sizes))):
            fetched: list[Any] = []
            as_deferred(mailbox.fetch(index)).addCallback(fetched.append)
            self.turn(5)
            found = fetched[0] if isinstance(fetched[0], bytes) else fetched[0].read()
            marks += marks_of(found)[:1]
        for mark in marks:
            self.note(Deleting(box, mark))
        removed = as_deferred(mailbox.remove(range(len(marks))))
        removed.addCallback(lambda _: [self.note(Deleted(box, mark)) for mark in marks])
        self.turn(5)
        mailbox.close()
        self.turn(5)

    def move(self, box: str, delete: bool) -> None:
        """Have another program move the first new message on, or delete it, without any sync."""
        folder = f"{self.root}/mail/{box}"
        new = self.files.open(f"{folder}/new", DIRECTORY)
        cur = self.files.open(f"{folder}/cur", DIRECTORY)
        for name in sorted(self.files.names(new))[:1]:
            if delete:
                with open(f"{folder}/new/{name}", "rb") as file:
                    self.note(Deleting(box, marks_of(file.read())[0]))
                self.files.unlink(name, new)
            else:
                self.files.rename(name, new, f"{name}:2,S", cur)
        self.files.close(new)
        self.files.close(cur)

    def stop(self) -> None:
        """Let go of everything, as a process does that ends."""
        self.storage.committer.close()
        for descriptor in self.storage._alive.values():
            os.close(descriptor)
        self.agent.stopService()


def marks_of(octets: bytes) -> list[bytes]:
    """The marks in a message."""
    return MARK.findall(octets)


def mark(number: int, size: int) -> bytes:
    """A mark that nobody else uses."""
    return b"m-%d-%d" % (number, size)


def work(disk: ForgetfulDisk) -> None:
    """A day's work: accept, deliver, settle, tell, read, delete, recover."""

    def note(value: Any) -> None:
        disk.note(value)

    house = House(disk.folder, disk.files, note, 1)
    house.accept(mark(1, 300), "ann@here.example")
    house.accept(mark(2, 300), "ann@here.example", "bob@here.example")
    house.accept(mark(3, 5000), "bob@here.example")
    house.turn(3)
    house.accept(mark(4, 300), "bob@here.example", "x@far.example")
    house.accept(mark(5, 300), "refused@far.example")
    house.accept(mark(9, 300), "later@far.example", "cat@here.example")
    house.rest()
    house.read("ann", 1)
    house.move("bob", delete=False)
    house.accept(mark(6, 300), "ann@here.example", "refused@far.example")
    house.turn(4)
    house.move("bob", delete=True)
    house.stop()  # in the middle of it
    house = House(disk.folder, disk.files, note, 2)
    house.accept(mark(7, 5000), "ann@here.example", "x@far.example")
    house.accept(mark(8, 5000), "y@far.example")
    house.rest()
    house.read("ann", 2)
    house.read("cat", 1)
    house.stop()


@attrs.define
class ModelReport:
    """What came of it.

    :ivar calls: how many calls were written down
    :ivar states: in how many states the disk was put
    """

    seed: str
    calls: int = 0
    states: int = 0
    broken: Counter[str] = attrs.field(factory=Counter)
    findings: list[str] = attrs.field(factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def __str__(self) -> str:
        kinds = ("lost", "torn", "twice", "back", "resent", "stuck", "damaged")
        counts = ", ".join(f"{kind} {self.broken[kind]}" for kind in kinds)
        text = f"model, seed {self.seed}: {self.states} states after {self.calls} calls; {counts}"
        return "\n  ".join([text, *self.findings])


def explore(seed: str, *, most: int = 3, until_found: bool = False) -> ModelReport:
    """Work, and cut the power at every moment of it.

    :param most: states that are chosen at every moment, besides those that always are
    :param until_found: end at the first broken promise, and look at moments far apart first
    """
    report = ModelReport(seed)
    stride = FAR_APART if until_found else 1
    with _folder() as folder, _folder() as after:
        disk = ForgetfulDisk(folder)
        with disk.sqlite():
            work(disk)
        report.calls = disk.calls
        for first in range(stride):
            states = disk.states(Random(f"{seed}/model"), most)
            for state in islice(states, first, None, stride):
                _start(state, f"{after}/{report.states}", report)
                if until_found and report.broken:
                    return report
    return report


def _start(state: State, root: str, report: ModelReport) -> None:
    """Start a server on a disk in a state, and report what it breaks."""
    report.states += 1
    os.mkdir(root, 0o700)
    files = state.write(root)
    reader = READERS[report.states % len(READERS)]
    for kind, what in judge(root, files, state.notes, reader):
        report.broken[kind] += 1
        if len(report.findings) < 10:
            where = f"at {state.moment} with {dict(state.survived)}, reader: {reader}"
            report.findings.append(f"{kind}: {what} {where}")
    shutil.rmtree(root)


def careless(files: Files) -> Files:
    """Have nothing synced, where no power will be cut any more."""
    files.fsync = lambda descriptor: None  # type: ignore[method-assign]  # for good
    return files


Copies: TypeAlias = Counter[tuple[str, bytes]]  # of messages and notices, in which mailbox


def judge(root: str, files: Files, notes: Sequence[Any], reader: str) -> Iterator[tuple[str, str]]:
    """Start a server on a disk, let it come to rest, and see which promises it does not keep.

    :param files: the disk's
    :param reader: what somebody does to the mailboxes before, who needs no server for that: he
        ``deletes`` all that is there, or ``moves`` it, or nothing
    """
    notes = list(notes)
    read: Copies = Counter()
    if reader != "none":
        for path in list(_messages(f"{root}/mail")):
            if (what := _what(path)) is not None and reader == "deletes":
                read[what] += 1
                os.unlink(path)
            elif what is not None and "/new/" in path:
                os.rename(path, path.replace("/new/", "/cur/") + ":2,S")
    relayed = Counter(note.mark for note in notes if isinstance(note, Relayed))
    later: list[Any] = []
    house = House(root, careless(files), later.append, 3)
    for entry in house.rest():
        yield "stuck", str(entry)
    for id, reason in house.damaged():  # and so not delivered: no cut may lead to that
        yield "damaged", f"{id}: {reason}"
    house.stop()
    again = Counter(note.mark for note in later if isinstance(note, Relayed))
    copies: Copies = read.copy()
    for path in _messages(f"{root}/mail"):
        what = _what(path)
        if what is None:
            yield "torn", path
        else:
            copies[what] += 1
    for what, count in copies.items():
        if count > 1:
            yield "twice", f"{what}: {count}"
    deleting = {(note.box, note.mark) for note in notes if isinstance(note, Deleting)}
    for note in notes:
        if isinstance(note, Deleted) and copies[note.box, note.mark]:
            yield "back", str(note)
        elif isinstance(note, Settled) and again[note.mark]:
            yield "resent", str(note)
        elif isinstance(note, Accepted):
            for address in note.to:
                name, _, domain = address.partition("@")
                if domain == "far.example" and name != "refused":
                    if not relayed[note.mark] + again[note.mark]:
                        yield "lost", f"{note} for {address}"
                    continue
                what = ("notice cat", note.mark) if name == "refused" else (name, note.mark)
                gone = (what[0].rpartition(" ")[2], note.mark) in deleting
                if not copies[what] and not gone:
                    yield "lost", f"{note} for {address}"


def _what(path: str) -> tuple[str, bytes] | None:
    """What a file in a mailbox is; ``None`` for what is torn."""
    with open(path, "rb") as file:
        text = file.read()
    found = MARK.search(text)
    size = re.search(r",S=(\d+)", path)
    is_notice = text.startswith(b"Return-Path: <>\n")
    whole = found is not None and (is_notice or text.endswith(b"\n" + body(found[1])))
    if found is None or size is None or not whole or len(text) != int(size[1]):
        return None
    return ("notice " if is_notice else "") + path.split("/")[-3], found[1]


def _messages(mail: str) -> Iterator[str]:
    for folder, _, names in os.walk(mail):
        if os.path.basename(folder) in ("new", "cur"):
            yield from (f"{folder}/{name}" for name in sorted(names))


@contextmanager
def _folder() -> Iterator[str]:
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = tempfile.mkdtemp(prefix="mailframe-model-", dir=shared)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
