"""The tidying of a queue in SQLite."""

from __future__ import annotations

import os

from mailframe.queue.housekeeping import EVERY, ORPHAN_AGE
from tests.queue.test_sqlite import SqliteCase, envelope, make


class HousekeepingTests(SqliteCase):
    """What is done once a minute, when somebody asks for what is due."""

    def test_leases_of_the_dead_are_taken_over(self) -> None:
        """After a crash, what was in flight must not wait for its leases to run out."""
        crashed = make(self.root, self.clock)
        id = self.accept()
        self.assertEqual(self.claim(crashed, "crashed"), [id])
        self.clock.advance(EVERY)
        self.assertEqual(self.claim(self.storage, "two"), [])
        os.close(crashed._alive.pop("crashed"))  # what the end of a process does
        self.clock.advance(EVERY)
        self.assertEqual(self.claim(self.storage, "two"), [id])
        self.result(crashed.close())

    def test_first_claims_of_the_dead_are_taken_over(self) -> None:
        """What a process had leased as it arrived must not wait for leases to run out either."""
        crashed = make(self.root, self.clock, seed=4)
        self.assertEqual(self.claim(crashed, "crashed"), [])
        id = self.accept(storage=crashed)
        self.assertEqual(self.claim(self.storage, "two"), [])
        os.close(crashed._alive.pop("crashed"))  # what the end of a process does
        self.clock.advance(EVERY)
        self.assertEqual(self.claim(self.storage, "two"), [id])
        self.result(crashed.close())

    def test_nothing_to_tidy_up_with(self) -> None:
        """What goes wrong in tidying up must not keep mail from being delivered."""
        id = self.accept()

        def broken() -> list[str]:
            raise OSError(24, "Too many open files")

        self.patch(self.storage.spool, "dead_owners", broken)
        self.assertEqual(self.claim(self.storage, "one"), [id])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_orphans_are_cleaned_up(self) -> None:
        """Files of messages that were never acknowledged must not fill the disk; others stay."""
        kept = self.accept(b"x" * 100_000)
        sink = self.storage.receive(envelope())
        sink.write(b"x" * 100_000)
        self.assertEqual(len(self.files()), 2)
        for folder in ("incoming", "large"):
            for name in os.listdir(f"{self.root}/{folder}"):
                old = self.clock.seconds() - ORPHAN_AGE - 1
                os.utime(f"{self.root}/{folder}/{name}", (old, old))
        self.claim(self.storage, "two")
        self.assertEqual(self.files(), [kept])

    def test_orphans_after_a_jump(self) -> None:
        """The clock is set forward: files of messages that are just being kept look old."""
        self.claim(self.storage, "one")
        sink = self.storage.receive(envelope())
        sink.write(b"x" * 100_000)
        old = self.clock.seconds()
        for name in os.listdir(f"{self.root}/incoming"):
            os.utime(f"{self.root}/incoming/{name}", (old, old))
        self.clock.advance(10 * ORPHAN_AGE)
        self.claim(self.storage, "one")
        self.clock.advance(ORPHAN_AGE - EVERY)
        self.claim(self.storage, "one")
        self.assertEqual(self.files(), [sink.id])
        for _ in range(3):
            self.clock.advance(EVERY)
            self.claim(self.storage, "one")
        self.assertEqual(self.files(), [])

    def test_tidying_after_the_clock_was_set_back(self) -> None:
        """What a process had that died is not taken over for as long as the clock was set back."""
        self.claim(self.storage, "one")
        looked: list[bool] = []
        dead_owners = self.storage.spool.dead_owners

        def noted() -> list[str]:
            looked.append(True)
            return dead_owners()

        self.patch(self.storage.spool, "dead_owners", noted)
        self.clock.rightNow -= 86_400
        self.claim(self.storage, "one")
        self.assertEqual(looked, [True])
        self.clock.advance(EVERY - 1)
        self.claim(self.storage, "one")
        self.assertEqual(looked, [True])
