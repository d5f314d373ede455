"""A message on its way into the queue: `mailframe.server.incoming`."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.guard import as_deferred
from mailframe.interfaces import StorageFault, StorageFull, UnknownMessage
from mailframe.outcome import Permit
from mailframe.reply import Reply
from mailframe.server.incoming import FAULT, NO_ROOM, TOO_BIG, Incoming
from mailframe.server.limits import Limits
from mailframe.units import Octets, Seconds
from tests.server.smtp_fakes import FakeStorage, fake_admission

CLIENT = Client(server="mx", protocol="smtp", address="192.0.2.1")


class IncomingTests(SynchronousTestCase):
    """250 means that the message was committed; anything else, that it was not."""

    def setUp(self) -> None:
        """A storage and a clock."""
        self.clock = Clock()
        self.storage = FakeStorage()

    def begin(self, **limits: Any) -> Incoming:
        """A message for one mailbox."""
        admission = fake_admission(self.clock, storage=self.storage, limits=Limits(**limits))
        transaction = admission.mail(CLIENT, None, None, "7BIT")
        assert not isinstance(transaction, Reply)
        transaction.recipients[Address("a", "here.example")] = Permit(reason="local")
        incoming = admission.begin(transaction)
        assert isinstance(incoming, Incoming)
        return incoming

    def end(self, incoming: Incoming, refusal: Reply | None = None) -> Deferred[Reply]:
        """The end of the content."""
        answer = incoming.end(refusal)
        return succeed(answer) if isinstance(answer, Reply) else as_deferred(answer)

    def run_on(self, coroutine: Coroutine[Any, Any, None] | None) -> Deferred[None]:
        """Wait for room."""
        assert coroutine is not None
        return Deferred.fromCoroutine(coroutine)

    def refused(self, incoming: Incoming, reply: Reply) -> None:
        """The message is told to be refused, and the storage to forget it."""
        self.assertEqual(self.successResultOf(self.end(incoming)), reply)
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_kept(self) -> None:
        """A message is kept whole, behind its trace header, and acknowledged with its id."""
        incoming = self.begin()
        self.assertIsNone(incoming.write(b"Subject: x\r\n\r\n"))
        self.assertIsNone(incoming.write(b"body\r\n"))
        reply = self.successResultOf(self.end(incoming))
        self.assertEqual(reply, Reply(250, "2.0.0", "queued as q1"))
        sink = self.storage.sinks[0]
        self.assertEqual(sink.ended, "commit")
        self.assertTrue(sink.content.startswith(b"Received: from [192.0.2.1] "))
        self.assertTrue(sink.content.endswith(b"+0000\r\nSubject: x\r\n\r\nbody\r\n"))
        incoming.abandon("too late to matter")
        self.assertEqual(sink.ended, "commit")

    def test_header_in_small_pieces(self) -> None:
        """A client that sends a few octets at a time makes each of them cost many."""
        incoming = self.begin()
        piece = b"x: y\r\n" * 10
        gc.collect()
        tracemalloc.start()
        try:
            for place in range(0, 60_000, 2):
                incoming.write(piece[place % 60 : place % 60 + 2])
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(used, 300_000)

    def test_empty(self) -> None:
        """A message without content is one too: it has at least its trace header."""
        self.successResultOf(self.end(self.begin()))
        self.assertTrue(self.storage.sinks[0].content.startswith(b"Received: "))

    def test_no_acknowledgement_before_commit(self) -> None:
        """As long as the message might be lost, the client is not told that it is safe."""
        self.storage.committing = Deferred()
        incoming = self.begin()
        incoming.write(b"x\r\n")
        reply = self.end(incoming)
        self.assertNoResult(reply)
        self.storage.committing.callback(None)
        self.assertEqual(self.successResultOf(reply).code, 250)

    def test_commit_fails(self) -> None:
        """A message that could not be kept is asked for again later, never refused for good."""
        for error, expected in (
            (StorageFull("disk"), NO_ROOM),
            (StorageFault("disk"), FAULT),
            (OSError("bug"), FAULT),
        ):
            self.storage.commit_error = error
            reply = self.successResultOf(self.end(self.begin()))
            self.assertEqual(reply, expected)
            self.assertTrue(reply.is_temporary)
        self.flushLoggedErrors(OSError)

    def test_commit_hangs(self) -> None:
        """A storage that does not answer costs the client its time limit, and no more."""
        self.storage.committing = Deferred()
        reply = self.end(self.begin(commit_time=Seconds(30.0)))
        self.clock.advance(30)
        self.assertEqual(self.successResultOf(reply), FAULT)

    def test_slow_commit(self) -> None:
        """A storage that takes minutes is waited for: a client told 451 would send once more."""
        self.storage.committing = Deferred(lambda _: self.fail("cancelled"))
        reply = self.end(self.begin())
        self.clock.advance(299)
        self.assertNoResult(reply)
        self.storage.committing.callback(None)
        self.assertEqual(self.successResultOf(reply).code, 250)
        self.assertEqual(self.storage.removed, [])

    def late_commit(self) -> Deferred[None]:
        """A commit that has taken too long: the client was told to come again."""
        committing: Deferred[None] = Deferred(lambda _: self.fail("cancelled"))
        self.storage.committing = committing
        incoming = self.begin()
        reply = self.end(incoming)
        self.clock.advance(300)
        self.assertEqual(self.successResultOf(reply), FAULT)
        incoming.abandon("the client went away after the reply")
        return committing

    def test_commit_succeeds_late(self) -> None:
        """A message that the client was told to send again is not delivered twice."""
        committing = self.late_commit()
        self.assertEqual(self.storage.removed, [])
        with capturedLogs() as logs:
            committing.callback(None)
        self.assertEqual(self.storage.removed, ["q1"])
        self.assertIn("was kept too late", str(logs[-1]["log_format"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_commit_fails_late(self) -> None:
        """A commit that fails late has kept nothing, so that there is nothing to undo."""
        self.late_commit().errback(StorageFault("disk"))
        self.assertEqual(self.storage.removed, [])

    def test_late_commit_can_not_be_undone(self) -> None:
        """When a message may be delivered twice all the same, the log says so."""
        for trouble in (UnknownMessage("q1"), StorageFault("disk"), RuntimeError("x"), Deferred()):
            self.storage.sinks.clear()
            self.storage.removing = trouble
            committing = self.late_commit()
            with capturedLogs() as logs:
                committing.callback(None)
                self.clock.advance(30)
            self.assertIn("may be delivered twice", str(logs[-1]["log_format"]))
        self.flushLoggedErrors(RuntimeError)

    def test_commit_after_the_client_left(self) -> None:
        """A message that was received whole is delivered, however late, when nobody was told no."""
        self.storage.committing = Deferred(lambda _: self.fail("cancelled"))
        incoming = self.begin()
        self.end(incoming)
        incoming.abandon("the connection was lost")
        self.clock.advance(1000)
        with capturedLogs() as logs:
            self.storage.committing.callback(None)
        self.assertEqual(self.storage.removed, [])
        self.assertIn("accepted message", str(logs[-1]["log_format"]))

    def test_write_fails(self) -> None:
        """A storage that fails halfway is left alone, and the client told to come again."""
        for error, expected in ((StorageFull("x"), NO_ROOM), (OSError("x"), FAULT)):
            self.storage.sinks.clear()
            self.storage.write_error = error
            incoming = self.begin()
            self.assertIsNone(incoming.write(b"x\r\n"))
            self.assertIsNone(incoming.write(b"y\r\n"))
            self.refused(incoming, expected)

    def test_room(self) -> None:
        """A slow storage is waited for, and may fail while it is."""
        self.storage.room = Deferred()
        incoming = self.begin()
        waiting = self.run_on(incoming.write(b"x\r\n"))
        self.assertNoResult(waiting)
        self.storage.room.callback(None)
        self.successResultOf(waiting)
        self.storage.room = Deferred()
        waiting = self.run_on(incoming.write(b"y\r\n"))
        self.storage.room.errback(StorageFull("x"))
        self.successResultOf(waiting)
        self.refused(incoming, NO_ROOM)

    def test_room_never(self) -> None:
        """A storage that never has room again is given up."""
        self.storage.room = Deferred()
        incoming = self.begin()
        waiting = self.run_on(incoming.write(b"x\r\n"))
        self.clock.advance(30)
        self.successResultOf(waiting)
        self.refused(incoming, FAULT)

    def test_room_for_an_empty_message(self) -> None:
        """The trace header alone may have to wait for room."""
        self.storage.room = Deferred()
        reply = self.end(self.begin())
        self.assertNoResult(reply)
        self.storage.room.callback(None)
        self.assertEqual(self.successResultOf(reply).code, 250)

    def test_too_big(self) -> None:
        """A message over the limit is forgotten as soon as it is, and refused at its end."""
        incoming = self.begin(message_size=Octets(10))
        incoming.write(b"12345678\r\n")
        self.assertEqual(self.storage.sinks[0].ended, "")
        incoming.write(b"x")
        self.assertEqual(self.storage.sinks[0].ended, "abort")
        incoming.write(b"x" * 100)
        self.refused(incoming, TOO_BIG)
        unlimited = self.begin(message_size=Octets(0))
        unlimited.write(b"x" * 100)
        self.assertEqual(self.successResultOf(self.end(unlimited)).code, 250)

    def test_loop(self) -> None:
        """A looping message is refused for good."""
        incoming = self.begin(received_hops=2)
        incoming.write(b"Received: x\r\nReceived: y\r\n\r\n")
        self.assertEqual(self.successResultOf(self.end(incoming)).status, "5.4.6")
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_wire_refusal(self) -> None:
        """What the wire layer refuses is not kept; the first reason found is the one told."""
        refusal = Reply(554, "5.6.0", "bare")
        incoming = self.begin()
        incoming.write(b"x\r\n")
        self.assertEqual(self.successResultOf(self.end(incoming, refusal)), refusal)
        self.assertEqual(self.storage.sinks[0].ended, "abort")
        incoming = self.begin(message_size=Octets(1))
        incoming.write(b"x\r\n")
        self.assertEqual(self.successResultOf(self.end(incoming, refusal)), TOO_BIG)

    def test_abandoned(self) -> None:
        """When the client goes away halfway nothing of the message remains."""
        incoming = self.begin()
        incoming.write(b"x\r\n")
        incoming.abandon("gone")
        incoming.abandon("gone again")
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_abort_fails(self) -> None:
        """A storage that can't even forget does not harm the dialogue."""
        self.storage.abort_error = OSError("x")
        incoming = self.begin()
        incoming.abandon("gone")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
