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
        self.assertIn("1 entry is damaged", listed.stderr)
        self.run_here("queue", "remove", id)
        self.assertEqual(self.document("check")["errors"], 0)
        self.assertEqual(self.run_here("queue", "list").stderr, "")

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
