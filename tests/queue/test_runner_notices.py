"""What the runner reads of a message for its notices, and how it records them."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from mailframe.address import Address
from mailframe.entry import Entry
from mailframe.envelope import DeliverBy
from mailframe.guard import as_deferred
from mailframe.interfaces import IContent, StorageFault
from mailframe.outcome import Delivered, Postponed, Refused
from mailframe.queue.content import BytesContent
from mailframe.queue.recording import SOME
from tests.queue.samples import JSMITH, LATER, MARY, NEVER, OK, envelope, write
from tests.queue.test_runner import HOUR, RunnerCase

SMALL = b"Subject: hello\r\n\r\nAt one?\r\n"
LARGE = b"Subject: hello\r\n\r\n" + b"At one?\r\n" * 100_000


class NoticeTests(RunnerCase):
    """A message that is refused by mindspring.com."""

    def setUp(self) -> None:
        super().setUp()
        self.dispatch.outcomes["mindspring.com"] = Refused(where="mx [192.0.2.1]", reply=NEVER)
        self.dispatch.outcomes["demo.example"] = Postponed(where="", reply=LATER)

    def send(self, content: bytes = SMALL, notify: Any = (), **changes: Any) -> str:
        """Queue a message to jsmith and mary, from angelo."""
        carried = attrs.evolve(envelope(JSMITH, MARY, arrived=self.clock.seconds()), **changes)
        recipients = tuple(attrs.evolve(each, notify=notify) for each in carried.recipients)
        sink = self.storage.receive(attrs.evolve(carried, recipients=recipients))
        write(sink, content)
        self.successResultOf(as_deferred(sink.commit()))
        return sink.id

    def notices(self, id: str) -> list[Entry]:
        return [entry for entry in self.queued() if entry.id != id]

    def content(self, entry: Entry) -> bytes:
        opened = self.successResultOf(as_deferred(self.storage.open(entry.id)))
        octets = b""
        while piece := self.successResultOf(as_deferred(opened.read())):
            octets += piece
        return octets

    def test_whole(self) -> None:
        """What was written is lost with the message, although the sender asked to have it back."""
        (notice,) = self.notices(self.send(ret="FULL"))
        self.assertIn(b"Content-Type: message/rfc822\r\n", self.content(notice))
        self.assertIn(SMALL, self.content(notice))

    def test_large(self) -> None:
        """The queue fills up with the returned messages of a single sender."""
        (notice,) = self.notices(self.send(LARGE, ret="FULL"))
        self.assertLess(len(self.content(notice)), 4000)
        self.assertIn(b"Subject: hello\r\n", self.content(notice))

    def test_only_what_is_needed_is_read(self) -> None:
        """A notice about a message of a gigabyte takes a gigabyte."""
        pieces = 0

        class Counted(BytesContent):
            async def read(self) -> bytes:
                nonlocal pieces
                pieces += 1
                return await super().read()

        async def opened(id: str) -> IContent:
            return Counted(LARGE)

        self.patch(self.storage, "open", opened)
        self.send(LARGE, ret="FULL")
        self.assertEqual(pieces, 1)

    def test_never(self) -> None:
        """Who asked not to be told is told; or mail fails, and nobody can find out."""
        id = self.send(notify=("NEVER",))
        self.assertEqual(self.notices(id), [])
        self.assertIn("dropped", self.kinds(id))
        self.assertNotIn("bounced", self.kinds(id))

    def test_success(self) -> None:
        """Who asked whether the message arrived does not learn it."""
        self.dispatch.outcomes["mindspring.com"] = Delivered(where="mx [192.0.2.1]", reply=OK)
        id = self.send(notify=("SUCCESS",))
        (notice,) = self.notices(id)
        self.assertIn(b"Action: relayed\r\n", self.content(notice))
        self.assertIn("notified", self.kinds(id))

    def test_deadline(self) -> None:
        """A ticket arrives after the train has left."""
        id = self.send(deliver_by=DeliverBy(at=HOUR, mode="R"))
        self.pass_time(HOUR + 60)
        self.assertEqual(self.kinds(id)[-2:], ["expired", "bounced"])
        late = self.notices(id)[-1]
        self.assertIn(b"Status: 5.4.7\r\n", self.content(late))
        self.assertEqual(late.envelope.arrived, HOUR)

    def test_a_storage_that_hangs(self) -> None:
        """A message is never settled, because it can't be read for its notice."""

        def never(id: str) -> Deferred[IContent]:
            return Deferred()

        self.patch(self.storage, "open", never)
        id = self.send()
        self.assertNotIn("bounced", self.kinds(id))
        self.pass_time(60, 1.0)
        self.assertIn("bounced", self.kinds(id))
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_notices_are_recorded_with_what_they_speak_of(self) -> None:
        """A notice of a failure that was not recorded comes twice."""
        settle = self.storage.settle

        async def fails(*args: object, **kwargs: object) -> None:
            raise StorageFault("disk")

        self.storage.settle = fails  # type: ignore[method-assign]  # that is the fault
        id = self.send()
        self.assertEqual(self.notices(id), [])
        self.storage.settle = settle  # type: ignore[method-assign]  # mended
        self.pass_time(60, 1.0)
        self.assertEqual(len(self.notices(id)), 1)
        self.assertEqual(self.kinds(id).count("bounced"), 1)
        self.flushLoggedErrors(StorageFault)

    def test_many_recipients(self) -> None:
        """All others wait while thousands are named in a notice, and in the log."""
        written: list[Deferred[Any]] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            def write(_: None) -> Any:
                return function(*args)

            written.append(Deferred())
            return written[-1].addCallback(write)

        self.runner._recording._in_thread = in_thread
        told: list[LogEvent] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        many = [Address(f"u{number}", "mindspring.com") for number in range(SOME + 1)]
        id = self.accept(*many)
        self.assertEqual([entry.id for entry in self.queued()], [id])
        written.pop().callback(None)
        (notice,) = self.queued()
        self.assertIn(b"u100@mindspring.com", self.content(notice))
        self.clock.pump([0.0] * 1000)
        self.assertEqual(self.kinds(id).count("bounced"), SOME + 1)
        of_this = [event for event in told if event.get("id") == id and "kind" in event]
        self.assertEqual(len(of_this), 3 * (SOME + 1))
