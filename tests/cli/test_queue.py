"""``mailframe queue`` and ``mailframe trace``."""

from __future__ import annotations

import gc
import os
import re
import time
from typing import Any

from mailframe.cli import queued
from mailframe.cli.parts import with_storage
from mailframe.entry import Entry, Event, QueuedRecipient, Step
from mailframe.interfaces import IQueueStorage
from mailframe.queue.sqlite import SqliteStorage
from mailframe.reply import Reply
from mailframe.settings import load
from tests.cli.commands import CommandCase

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class QueueCase(CommandCase):
    """A queue with messages."""

    def put(self, recipient: str = "jsmith@mindspring.com") -> str:
        """Put a message into the queue; its id."""
        result = self.run_here(
            "send", "-f", "angelo@rosse.example", recipient, stdin="Subject: hello\n\nHello!\n"
        )
        return result.stdout.strip()

    def settle(self, id: str, *, done: bool) -> None:
        """Record one attempt, after which the message leaves the queue or waits."""
        now = time.time()
        reply = Reply(250, "2.0.0", "ok") if done else Reply(451, "4.4.1", "no route to host")

        async def act(storage: IQueueStorage) -> None:
            (entry,) = await storage.claim("test", now, 1, now + 60)
            recipient = QueuedRecipient(
                address=entry.recipients[0].address,
                state="relayed" if done else "pending",
                attempts=1,
                last_reply=reply,
                where="mx.example [192.0.2.1]:25",
            )
            event = Event(at=now, kind="relayed" if done else "postponed", reply=reply)
            step = Step(
                recipients=(recipient,),
                next_attempt=None if done else now + 900,
                warned=False,
                events=(event,),
            )
            await storage.settle(id, "test", step, [])

        with_storage(load(self.config), act)


class Listing(QueueCase):
    """``queue list`` and ``queue show``."""

    def test_empty(self) -> None:
        """A script could not read an empty queue."""
        self.assertEqual(self.document("queue", "list"), {"messages": []})

    def test_not_made_yet(self) -> None:
        """Whoever looks before the first start, as root perhaps, would make a queue that the server
        can't write to."""
        os.rmdir(self.path("state"))
        for arguments, status in (
            (("queue", "list"), 0),
            (("queue", "retry", "--all"), 0),
            (("queue", "export", "--mbox", "--all"), 0),
            (("queue", "hold", "x"), 1),
            (("queue", "salvage", "x"), 1),
            (("queue", "reroute", "--dry-run"), 1),
            (("trace", "x"), 1),
            (("explain", "--message", "x"), 1),
        ):
            told = self.run_here(*arguments, status=status).stderr
            self.assertIn(f"no queue in {self.path('state/queue')} yet", told, arguments)
            self.assertFalse(os.path.exists(self.path("state")), arguments)

    def test_out_of_reach(self) -> None:
        """Whoever may not look would be told that nothing waits."""
        self.put()
        real = os.stat

        def forbidden(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path).startswith(self.path("state")):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *arguments, **named)

        self.patch(os, "stat", forbidden)
        self.patch(os, "mkdir", forbidden)
        self.assertIn("Permission denied", self.run_here("queue", "list", status=2).stderr)

    def test_shape(self) -> None:
        """Scripts would break if a key changed."""
        id = self.put()
        self.settle(id, done=False)
        (message,) = self.document("queue", "list")["messages"]
        self.assertEqual(sorted(message), ["arrived", "held", "id", "recipients", "sender", "size"])
        self.assertEqual(message["id"], id)
        self.assertEqual(message["sender"], "angelo@rosse.example")
        self.assertEqual(message["held"], False)
        self.assertTrue(TIME.fullmatch(message["arrived"]))
        (recipient,) = message["recipients"]
        self.assertTrue(TIME.fullmatch(recipient.pop("next_attempt")))
        self.assertEqual(
            recipient,
            {
                "address": "jsmith@mindspring.com",
                "state": "pending",
                "attempts": 1,
                "last_reply": "451 4.4.1 no route to host",
            },
        )

    def test_text(self) -> None:
        """A person would have to read JSON."""
        id = self.put()
        self.settle(id, done=False)
        self.run_here("queue", "hold", id)
        heading, line = self.run_here("queue", "list").stdout.splitlines()
        self.assertTrue(heading.startswith("ID\tFROM\tTO"))
        self.assertIn(f"{id}\tangelo@rosse.example\tjsmith@mindspring.com", line)
        self.assertIn("\theld\t1\t", line)

    def test_many(self) -> None:
        """Only the first page of a long queue would be listed."""
        self.patch(queued, "PAGE", 2)
        ids = [self.put() for _ in range(5)]
        found = [message["id"] for message in self.document("queue", "list")["messages"]]
        self.assertEqual(found, ids)

    def test_memory(self) -> None:
        """A long queue could not be listed on the machine whose memory it would take."""
        self.patch(queued, "PAGE", 2)
        for _ in range(7):
            self.put()
        held: list[int] = []
        messages = SqliteStorage.messages

        async def counted(storage: SqliteStorage, after: str | None, limit: int) -> Any:
            page = await messages(storage, after, limit)
            held.append(sum(isinstance(each, Entry) for each in gc.get_objects()))
            return page

        self.patch(SqliteStorage, "messages", counted)
        before = sum(isinstance(each, Entry) for each in gc.get_objects())
        for options in ((), ("--json",)):
            self.run_here("queue", "list", *options)
        self.assertEqual(len(held), 10)
        self.assertLessEqual(max(held) - before, 2 * queued.PAGE)

    def test_show(self) -> None:
        """Nobody could see why a message was let in."""
        id = self.put()
        self.settle(id, done=False)
        document = self.document("queue", "show", id)
        self.assertEqual(document["client"]["server"], "local")
        self.assertEqual(document["recipients"][0]["where"], "mx.example [192.0.2.1]:25")
        text = self.run_here("queue", "show", id).stdout
        self.assertIn("451 4.4.1 no route to host", text)
        self.assertIn("handed over by a program on this machine", text)

    def test_show_unknown(self) -> None:
        """A mistyped id would look like a message."""
        result = self.run_here("queue", "show", "zzz", status=1)
        self.assertIn("zzz", result.stderr)
        self.assertEqual(result.stdout, "")


class Acting(QueueCase):
    """Commands that change the queue."""

    def held(self) -> list[bool]:
        return [message["held"] for message in self.document("queue", "list")["messages"]]

    def test_hold_and_release(self) -> None:
        """An operator could not stop a message."""
        ids = [self.put(), self.put()]
        self.run_here("queue", "hold", ids[0])
        self.assertEqual(self.held(), [True, False])
        self.run_here("queue", "release", ids[0])
        self.assertEqual(self.held(), [False, False])

    def test_retry(self) -> None:
        """After an outage all mail would wait for its next attempt."""
        id = self.put()
        self.settle(id, done=False)

        def due() -> str:
            (message,) = self.document("queue", "list")["messages"]
            return str(message["recipients"][0]["next_attempt"])

        later = due()
        self.run_here("queue", "retry", id)
        self.assertLess(due(), later)

    def test_retry_all(self) -> None:
        """An operator would have to name every message."""
        held, waiting = self.put(), self.put()
        self.run_here("queue", "hold", held)
        self.assertIn("1 message due now", self.run_here("queue", "retry", "--all").stdout)
        events = self.document("trace", waiting)["events"]
        self.assertEqual(events[-1]["event"], "retried")
        self.run_here("queue", "retry", status=2)
        self.run_here("queue", "retry", "--all", waiting, status=2)

    def test_retry_of_a_held_one(self) -> None:
        """An operator would wait for an attempt that never comes."""
        held, other = self.put(), self.put()
        self.run_here("queue", "hold", held)
        result = self.run_here("queue", "retry", held, other, status=1)
        self.assertEqual(result.stdout, f"{other} due now\n")
        self.assertIn(f"{held} is held", result.stderr)
        self.assertIn("queue release", result.stderr)
        events = self.document("trace", held)["events"]
        self.assertNotIn("retried", [event["event"] for event in events])

    def test_retry_of_one_that_is_being_tried(self) -> None:
        """An operator would be told that a message is due that somebody else has in hand."""
        id = self.put()

        async def act(storage: IQueueStorage) -> None:
            now = time.time()
            await storage.claim("test", now, 1, now + 60)
            # while the lease is held: it is given back when the storage is closed
            result = self.run_here("queue", "retry", id, status=1)
            self.assertEqual(result.stdout, "")
            self.assertIn(f"{id} is being tried now", result.stderr)
            self.assertIn("0 messages", self.run_here("queue", "retry", "--all").stdout)

        with_storage(load(self.config), act)

    def test_remove(self) -> None:
        """An operator could not get rid of a message."""
        id = self.put()
        self.assertIn(id, self.run_here("queue", "remove", id).stdout)
        self.assertEqual(self.held(), [])
        self.assertEqual(self.document("trace", id)["events"][-1]["event"], "removed")

    def test_unknown_among_known(self) -> None:
        """One mistyped id would keep the others from being acted on, or go unnoticed."""
        id = self.put()
        result = self.run_here("queue", "hold", "zzz", id, status=1)
        self.assertIn("zzz", result.stderr)
        self.assertIn(id, result.stdout)
        self.assertEqual(self.held(), [True])
        for command in ("hold", "release", "retry", "remove"):
            self.run_here("queue", command, "zzz", status=1)
            self.run_here("queue", command, "../../etc", status=1)

    def test_memory(self) -> None:
        """The command would show an empty queue of its own in place of the server's."""
        self.configure('plugin        = "sqlite"', 'plugin        = "memory"')
        result = self.run_here("queue", "list", status=2)
        self.assertIn("console", result.stderr)

    def test_queue_that_cannot_be_opened(self) -> None:
        """A wrong permission would end in a traceback."""
        with open(self.path("state/queue"), "w"):
            pass
        result = self.run_here("queue", "list", status=2)
        self.assertIn("queue", result.stderr)
        self.flushLoggedErrors()


class Tracing(QueueCase):
    """``trace``."""

    def test_in_the_queue(self) -> None:
        """A user could not see what a message waits for."""
        id = self.put()
        self.settle(id, done=False)
        document = self.document("trace", id)
        self.assertTrue(document["queued"])
        events = [event["event"] for event in document["events"]]
        self.assertEqual(events, ["accepted", "authorised", "postponed"])
        text = self.run_here("trace", id).stdout
        self.assertIn("451 4.4.1 no route to host", text)

    def test_after_it_left(self) -> None:
        """Nobody could prove that a message was delivered."""
        id = self.put()
        self.settle(id, done=True)
        self.assertEqual(self.document("queue", "list"), {"messages": []})
        document = self.document("trace", id)
        self.assertFalse(document["queued"])
        self.assertEqual(document["events"][-1]["reply"], "250 2.0.0 ok")

    def test_unknown(self) -> None:
        """A mistyped id would look like a message without a history."""
        for id in ("zzz", "a b", "x" * 100, "\u00e9"):
            result = self.run_here("trace", id, status=1)
            self.assertEqual(result.stdout, "")
