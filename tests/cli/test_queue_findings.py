"""What ``mailframe check`` finds in the queue."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from mailframe.cli.parts import with_storage
from mailframe.cli.queue_findings import damaged, of_queue
from mailframe.interfaces import IQueueStorage
from mailframe.settings import load
from tests.cli.test_queue import QueueCase


class OfQueue(QueueCase):
    """Entries that can't be read."""

    def damage(self, id: str) -> None:
        """Spoil an entry on the disk, and have somebody come across it."""
        with closing(sqlite3.connect(self.path("state/queue/queue.db"))) as database:
            database.execute("UPDATE message SET recipients = 'x'")
            database.commit()
        self.assertEqual(self.document("queue", "list"), {"messages": []})

    def test_damaged(self) -> None:
        """Mail that nobody can read would lie in the queue without a word."""
        id = self.put()
        self.damage(id)
        document = self.document("check", status=1)
        (finding,) = [each for each in document["findings"] if each["level"] == "error"]
        self.assertEqual(finding["subject"], "queue")
        self.assertIn(id, finding["message"])
        self.assertIn(f"queue remove {id}", finding["mend"])
        listed = self.run_here("queue", "list")
        self.assertIn(f"{id} is damaged and set aside: the checksum", listed.stderr)
        self.assertIn("1 entry is damaged", listed.stderr)
        self.run_here("queue", "remove", id)
        self.assertEqual(self.document("check")["errors"], 0)
        self.assertEqual(self.run_here("queue", "list").stderr, "")

    def test_salvage(self) -> None:
        """What is left of a message could be got at with a database tool only."""
        id = self.put()
        self.damage(id)
        found = self.run_here("queue", "salvage", id)
        self.assertTrue(found.stdout_bytes.endswith(b"\r\nHello!\r\n"), found.stdout_bytes)
        self.assertRegex(found.stderr, r"reason: 'the checksum .*\nenvelope: '.*\nrecipients: 'x'")
        with closing(sqlite3.connect(self.path("state/queue/queue.db"))) as database:
            database.execute("DELETE FROM content")
            database.commit()
        found = self.run_here("queue", "salvage", id, status=1)
        self.assertIn("nothing can be read", found.stderr)
        found = self.run_here("queue", "salvage", self.put(), status=1)
        self.assertIn("was set aside", found.stderr)

    def test_a_large_one(self) -> None:
        """The same, where it lies in a file."""
        text = "Subject: hello\n\n" + "Hello!\n" * 20_000
        sent = self.run_here("send", "-f", "a@rosse.example", "b@c.example", stdin=text)
        self.damage(sent.stdout.strip())
        found = self.run_here("queue", "salvage", sent.stdout.strip())
        self.assertEqual(found.stdout_bytes.count(b"Hello!\r\n"), 20_000)

    def test_repaired(self) -> None:
        """What an operator has repaired would still not be sent."""
        id = self.put()
        with closing(sqlite3.connect(self.path("state/queue/queue.db"))) as database:
            ((recipients,),) = database.execute("SELECT recipients FROM message")
            self.damage(id)
            for command in ("retry", "show", "hold"):
                refused = self.run_here("queue", command, id, status=1).stderr
                self.assertIn(f"{id} is damaged and set aside: the checksum", refused)
            database.execute("UPDATE message SET recipients = ?", (recipients,))
            database.commit()
        self.run_here("queue", "retry", id)
        self.assertEqual(len(self.document("queue", "list")["messages"]), 1)

    def test_well(self) -> None:
        """A queue without a fault would be complained about."""
        self.put()
        (finding,) = of_queue(load(self.config))
        self.assertEqual(finding.level, "ok")

    def test_not_made_yet(self) -> None:
        """A check by root would make a queue that the server can't write to."""
        self.assertEqual(of_queue(load(self.config)), [])
        self.assertFalse(os.path.exists(self.path("state/queue")))

    def test_other_plugin(self) -> None:
        """A plugin that does not tell could not be used."""
        self.put()
        self.configure('plugin        = "sqlite"', 'plugin        = "memory"')
        self.assertEqual(of_queue(load(self.config)), [])

    def test_storage_that_does_not_tell(self) -> None:
        """A storage of one's own could not be listed."""
        self.put()

        async def act(_storage: IQueueStorage) -> object:
            return await damaged(object())  # type: ignore[arg-type]  # knows nothing of it

        self.assertEqual(with_storage(load(self.config), act), ())

    def test_cannot_be_opened(self) -> None:
        """A check would end in a traceback just when something is wrong."""
        self.put()
        with open(self.path("state/queue/queue.db"), "wb") as file:
            file.write(b"nonsense" * 1000)
        (finding,) = of_queue(load(self.config))
        self.assertEqual((finding.level, finding.subject), ("error", "queue"))
        self.flushLoggedErrors()
