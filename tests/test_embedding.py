"""Mail from a program on this machine, and what it learns of it."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import mailframe
from mailframe.address import Address, AddressError
from mailframe.embedding import LOOK_AGAIN, Settlements, Stopped, outcomes, prepared
from mailframe.entry import Event
from mailframe.interfaces import StorageFault, UnknownMessage
from mailframe.outcome import Refused
from mailframe.queue.memory import MemoryStorage
from mailframe.reply import Reply
from mailframe.testing.fake_storage import FakeStorage
from tests.whole_server import JSMITH, ServerTests

MARY = Address("mary", "here.example")


class Sending(ServerTests):
    """`MailServer.send` and its handle."""

    def send(self, **changes: Any) -> Any:
        """Send a message."""
        arguments: dict[str, Any] = {
            "sender": "angelo@there.example",
            "recipients": ["jsmith@here.example"],
            "content": b"Subject: hello\n\nbody\n",
        }
        assert self.server is not None
        sent = Deferred.fromCoroutine(self.server.send(**{**arguments, **changes}))
        self.reactor.advance(0)
        return sent

    def test_settled(self) -> None:
        """A program must learn that its message was delivered."""
        self.start()
        handle = self.successResultOf(self.send())
        settled = self.successResultOf(Deferred.fromCoroutine(handle.settled()))
        self.assertEqual(settled["jsmith@here.example"].state, "delivered")
        self.assertEqual(settled["jsmith@here.example"].reply, Reply(250, "2.0.0", "kept"))
        self.assertEqual(settled["jsmith@here.example"].where, "fake")
        (content,) = self.agent.delivered[JSMITH]
        self.assertTrue(content.startswith(b"Received: from "))
        self.assertIn(b"Subject: hello\r\n\r\nbody\r\n", content)
        self.assertIn(b"\r\nDate: ", content)
        self.assertIn(b"@mx.here.example>\r\n", content)

    def test_client(self) -> None:
        """Policies must be able to tell a program's mail from a stranger's."""
        self.start()
        self.successResultOf(self.send(sender=None, content=b"Subject: \xc3\xa9\n\n"))
        (_, _, facts) = self.routing.asked[0]
        assert facts.client is not None
        self.assertEqual((facts.client.server, facts.client.protocol), ("local", "local"))
        self.assertIsNone(self.agent.jobs[0].sender)
        self.assertEqual(self.agent.jobs[0].envelope.body, "8BITMIME")

    def test_binary(self) -> None:
        """The next server refuses what no line of a message can hold, unless it is encoded."""
        self.start()
        for content, body in (
            (b"Subject: x\n\na\0b\n", "BINARYMIME"),
            (b"Subject: x\n\n" + b"a" * 999, "BINARYMIME"),
            (b"Subject: x\n\n" + b"a" * 998, "7BIT"),
        ):
            self.successResultOf(self.send(content=content))
            self.assertEqual(self.agent.jobs.pop().envelope.body, body)

    def test_waits(self) -> None:
        """Whoever waits is told when it happens, not before and not much later."""
        waits: Deferred[Any] = Deferred()
        self.agent.deliver_trouble = waits
        self.start()
        handle = self.successResultOf(self.send())
        settled = Deferred.fromCoroutine(handle.settled())
        self.reactor.advance(3 * LOOK_AGAIN)
        self.assertNoResult(settled)
        waits.callback([Refused(where="fake", reply=Reply(550, "5.7.1", "no"))])
        self.reactor.advance(0)
        found = self.successResultOf(settled)["jsmith@here.example"]
        self.assertEqual((found.state, str(found.reply)), ("failed", "550 5.7.1 no"))

    def test_by_id(self) -> None:
        """After a restart of the program the id is all that is left."""
        server = self.start()
        handle = self.successResultOf(self.send())
        again = server.handle(handle.id)
        self.assertEqual(again, handle)
        self.assertIn(
            "jsmith@here.example",
            self.successResultOf(Deferred.fromCoroutine(again.settled())),
        )

    def test_unknown(self) -> None:
        """An id that was never given, or long ago, must not be waited for."""
        server = self.start()
        waited = Deferred.fromCoroutine(server.handle("0").settled())
        self.failureResultOf(waited, UnknownMessage)

    def test_server_stops(self) -> None:
        """Nobody must wait for a server that is gone."""
        answer: Deferred[Any] = Deferred()
        self.agent.deliver_trouble = answer
        self.start()
        handle = self.successResultOf(self.send())
        settled = Deferred.fromCoroutine(handle.settled())
        self.stop()
        self.failureResultOf(settled, Stopped)
        self.failureResultOf(Deferred.fromCoroutine(handle.settled()), Stopped)
        answer.callback([])
        self.reactor.advance(0)

    def test_bad_address(self) -> None:
        """An address that isn't one must not reach the queue."""
        self.start()
        self.failureResultOf(self.send(recipients=["nobody"]), AddressError)
        self.failureResultOf(self.send(sender="a b@c"), AddressError)
        self.failureResultOf(self.send(recipients=[]), ValueError)

    def test_no_half_message(self) -> None:
        """When the storage fails the program must know that nothing was kept."""
        storage = FakeStorage(MemoryStorage(clock=self.reactor, random=Random(0)))
        self.start(queue=storage)
        storage.write_trouble = StorageFault("disk")
        self.failureResultOf(self.send(content=b"x" * 200_000), StorageFault)
        storage.write_trouble = None
        storage.commit_trouble = StorageFault("disk")
        self.failureResultOf(self.send(), StorageFault)


class Waiting(SynchronousTestCase):
    """`Settlements` by itself."""

    def test_another_process(self) -> None:
        """When another process settles the message, nobody here is told: we must look."""
        clock = Clock()
        history = [Event(at=0.0, kind="delivered", recipient=JSMITH)]

        class Storage:
            gone = False

            async def find(self, id: str) -> object:
                return None if self.gone else object()

            async def history(self, id: str) -> list[Event]:
                return history

        storage: Any = Storage()
        settlements = Settlements(storage, clock)
        settled = Deferred.fromCoroutine(settlements.wait("a"))
        storage.gone = True
        self.assertNoResult(settled)
        clock.advance(LOOK_AGAIN)
        self.assertEqual(self.successResultOf(settled)["jsmith@here.example"].state, "delivered")
        self.assertEqual(clock.getDelayedCalls(), [])


class Outcomes(SynchronousTestCase):
    """What a history says of each recipient."""

    def test_kinds(self) -> None:
        """Each end must be told apart from the others."""
        mary, late, gone = MARY, Address("late", "x.example"), Address("gone", "x.example")
        postponed = Reply(451, "4.3.0", "later")
        found = outcomes(
            [
                Event(at=0, kind="accepted"),
                Event(at=0, kind="authorised", recipient=JSMITH),
                Event(at=1, kind="redirected", recipient=JSMITH, reason="an alias"),
                Event(at=2, kind="relayed", recipient=mary, where="mx", reply=Reply(250, None, "")),
                Event(at=2, kind="postponed", recipient=late, where="mx", reply=postponed),
                Event(at=3, kind="expired", recipient=late),
                Event(at=3, kind="authorised", recipient=gone),
                Event(at=4, kind="removed"),
            ]
        )
        states = {address: settled.state for address, settled in found.items()}
        self.assertEqual(
            states,
            {
                str(JSMITH): "redirected",
                str(mary): "relayed",
                str(late): "failed",
                str(gone): "removed",
            },
        )
        self.assertEqual((found[str(late)].reply, found[str(late)].where), (postponed, "mx"))


class Prepared(SynchronousTestCase):
    """A program's message on its way into the queue."""

    def prepared(self, content: bytes) -> bytes:
        """The message with a fixed time and Message-ID."""
        return prepared(content, "mx.example", 0, Random(0))

    def test_line_ends(self) -> None:
        """A bare line end must never be sent on: it may end the data of a next server."""
        content = self.prepared(b"Date: x\rMessage-ID: <y>\n\r\n.\n\r\n\r.\rend")
        self.assertEqual(content, b"Date: x\r\nMessage-ID: <y>\r\n\r\n.\r\n\r\n\r\n.\r\nend\r\n")

    def test_fields_are_added(self) -> None:
        """Other servers take mail without Date and Message-ID for spam."""
        content = self.prepared(b"Subject: x\n\nDate: in the body\n")
        header, _, body = content.partition(b"\r\n\r\n")
        self.assertTrue(
            header.startswith(b"Date: Thu, 01 Jan 1970 00:00:00 -0000\r\nMessage-ID: <")
        )
        self.assertTrue(header.endswith(b"@mx.example>\r\nSubject: x"))
        self.assertEqual(body, b"Date: in the body\r\n")

    def test_fields_are_kept(self) -> None:
        """What the program wrote itself is not doubled, whatever the case of its letters."""
        content = b"DATE: x\r\nmessage-id : <y>\r\n\r\nbody\r\n"
        self.assertEqual(self.prepared(content), content)

    def test_body_alone(self) -> None:
        """Text without a header must not become one."""
        for body in (b"Hello there\r\n", b"\r\nDate: in the body\r\n", b""):
            header, separator, rest = self.prepared(body).partition(b"\r\n\r\n")
            self.assertEqual(header.count(b"\r\n"), 1)
            self.assertEqual(separator, b"\r\n\r\n")
            self.assertEqual(rest.strip(), body.strip())


class Names(SynchronousTestCase):
    """What `import mailframe` offers."""

    def test_lazy(self) -> None:
        """The names of the manual must be there, and a wrong one must be an ordinary error."""
        for name in mailframe.__all__:
            self.assertTrue(hasattr(mailframe, name))
        self.assertFalse(hasattr(mailframe, "MialServer"))
