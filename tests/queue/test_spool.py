"""Covers mailframe.queue.spool."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from mailframe.files import Files
from mailframe.queue.spool import Spool
from mailframe.testing.faulty_files import FaultyFiles


class SpoolTests(SynchronousTestCase):
    """Large contents as files, and who is alive."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.spool = Spool(self.root)

    def files(self) -> list[str]:
        return [f for folder in ("incoming", "large") for f in os.listdir(f"{self.root}/{folder}")]

    def test_write_publish_open(self) -> None:
        """What was published is read back octet for octet."""
        file = self.spool.create(7)
        file.write(b"hello\r\n")
        self.spool.publish(7, file)
        self.assertTrue(file.closed)
        with closing(self.spool.open(7)) as content:
            self.assertEqual(content.read(100), b"hello\r\n")
        self.spool.discard(7)
        self.spool.discard(7)
        self.assertEqual(self.files(), [])

    def test_an_id_that_is_taken(self) -> None:
        """With a clock set back an id may come a second time: an acknowledged content must stay."""
        file = self.spool.create(7)
        file.write(b"acknowledged")
        self.spool.publish(7, file)
        descriptors = len(os.listdir("/proc/self/fd"))
        self.assertRaises(FileExistsError, self.spool.create, 7)
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)
        with closing(self.spool.open(7)) as content:
            self.assertEqual(content.read(100), b"acknowledged")
        self.assertEqual(os.listdir(f"{self.root}/incoming"), [])

    def test_put_there_by_root(self) -> None:
        """A large message that root sends would be out of the server's reach, and never leave."""
        owners: list[tuple[int, int]] = []
        self.patch(os, "fchown", lambda _descriptor, uid, gid: owners.append((uid, gid)))
        real = os.stat
        for user, owner, expected in ((0, 8, [(8, 9)]), (0, 0, []), (8, 8, [])):

            def owned(path: str, owner: int = owner, **named: bool) -> os.stat_result:
                found = real(path, **named)
                return os.stat_result((*found[:4], owner, 9, *found[6:10]))

            self.patch(os, "geteuid", lambda user=user: user)
            self.patch(os, "stat", owned)
            self.spool.create(user * 10 + owner).close()
            self.assertEqual(owners, expected)
            owners.clear()

    def test_the_order_of_syncs(self) -> None:
        """Data, then the name, then both folders: any other order loses mail in a power cut."""
        calls: list[str] = []

        class Noting(Files):
            def fsync(self, descriptor: int) -> None:
                path = os.readlink(f"/proc/self/fd/{descriptor}")
                calls.append(f"sync {path.rpartition('/queue/')[2]}")
                super().fsync(descriptor)

            def rename(self, old: str, old_folder: int, new: str, new_folder: int) -> None:
                calls.append("rename")
                super().rename(old, old_folder, new, new_folder)

        self.spool = Spool(f"{self.root}/queue", Noting())
        file = self.spool.create(7)
        self.spool.publish(7, file)
        self.assertEqual(
            calls, ["sync incoming/0000000000007", "rename", "sync large", "sync incoming"]
        )

    def test_a_failed_sync_leaves_nothing(self) -> None:
        """A file whose sync failed must be written anew, never synced again."""

        class Broken(Files):
            def fsync(self, descriptor: int) -> None:
                raise OSError(5, "made for the test")

        self.spool = Spool(self.root, Broken())
        file = self.spool.create(7)
        self.assertRaises(OSError, self.spool.publish, 7, file)
        self.assertTrue(file.closed)
        self.assertEqual(self.files(), [])

    def test_the_folders_themselves(self) -> None:
        """A queue that was just made would vanish as a whole, with what was acknowledged."""
        synced: list[str] = []

        class Noting(Files):
            def fsync(self, descriptor: int) -> None:
                synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        root = f"{self.root}/state/queue"
        Spool(root, Noting()).sync()
        self.assertEqual(synced[:3], [root, os.path.dirname(root), self.root])
        self.assertEqual(synced[-1], "/")

    def test_private(self) -> None:
        """Other users of the machine must not read mail."""
        file = self.spool.create(7)
        self.assertEqual(stat.S_IMODE(os.fstat(file.fileno()).st_mode), 0o600)
        file.close()
        self.assertEqual(stat.S_IMODE(os.stat(self.root).st_mode), 0o700)

    def test_never_through_a_link(self) -> None:
        """A link that somebody planted must not be written through."""
        os.symlink("/tmp/elsewhere", f"{self.root}/incoming/0000000000007")
        self.assertRaises(OSError, self.spool.create, 7)

    def test_orphans(self) -> None:
        """Only files of ours that are old enough are found for cleaning up."""
        self.spool.create(7).close()
        os.utime(f"{self.root}/incoming/0000000000007", (100.0, 100.0))
        with open(f"{self.root}/large/README", "w"):
            os.utime(f"{self.root}/large/README", (100.0, 100.0))
        self.assertEqual(list(self.spool.orphans(100.0)), [])
        self.assertEqual(list(self.spool.orphans(101.0)), [7])

    def test_orphans_among_files_that_come_and_go(self) -> None:
        """Another process that publishes a file meanwhile must not keep us from claiming mail."""
        for key in (7, 8):
            self.spool.create(key).close()
            os.utime(f"{self.root}/incoming/{key:013}", (100.0, 100.0))
        scandir = os.scandir

        @contextlib.contextmanager
        def removed_at_once(folder: str) -> Iterator[list[os.DirEntry[str]]]:
            with scandir(folder) as files:
                found = sorted(files, key=lambda file: file.name)
            if folder.endswith("incoming"):
                os.unlink(f"{self.root}/incoming/{7:013}")
            yield found

        self.patch(os, "scandir", removed_at_once)
        self.assertEqual(list(self.spool.orphans(101.0)), [8])

    def test_alive_and_dead(self) -> None:
        """The leases of a crashed process are taken over at once; those of a live one never."""
        descriptor = self.spool.show_alive("one")
        self.assertEqual(self.spool.dead_owners(), [])
        os.close(descriptor)
        self.assertEqual(self.spool.dead_owners(), ["one"])
        self.spool.bury("one")
        self.spool.bury("one")
        self.assertEqual(self.spool.dead_owners(), [])

    def test_to_show_alive_fails_once(self) -> None:
        """After one fault the server could never claim a message again."""
        files = FaultyFiles(self.root)
        spool = Spool(self.root, files)
        files.fail("fsync", errno.EIO)
        self.assertRaises(OSError, spool.show_alive, "one")
        os.close(spool.show_alive("one"))

    def test_a_register_that_cannot_be_closed(self) -> None:
        """Its close may fail behind the lock: a lock that nobody knows of would be there for good,
        and the server never claim a message again.
        """
        files = FaultyFiles(self.root)
        spool = Spool(self.root, files)
        files.fail("close", errno.EIO)
        os.close(spool.show_alive("one"))
        files.fail("close", errno.EIO)
        self.assertEqual(spool.dead_owners(), ["one"])

    def test_nobody_looks_while_an_owner_is_entered(self) -> None:
        """An owner that isn't locked yet would be taken for dead, or find its lock taken."""
        register = os.open(f"{self.root}/owners", os.O_RDONLY)
        self.addCleanup(os.close, register)
        flock, looked = fcntl.flock, []

        def noted(descriptor: int, operation: int) -> None:
            flock(descriptor, operation)
            if operation & fcntl.LOCK_NB:
                with self.assertRaises(BlockingIOError):
                    flock(register, fcntl.LOCK_EX | fcntl.LOCK_NB)
                looked.append(descriptor)

        self.patch(fcntl, "flock", noted)
        os.close(self.spool.show_alive("one"))
        self.assertEqual(self.spool.dead_owners(), ["one"])
        self.assertEqual(len(looked), 2)

    def test_turn(self) -> None:
        """Processes with the same queue must wait for each other, those with another not."""
        one, same = self.spool.turn(), Spool(self.root).turn()
        other = Spool(os.path.abspath(self.mktemp())).turn()
        lock = os.open(f"{self.root}/writing.lock", os.O_RDONLY)
        self.addCleanup(os.close, lock)
        with one, other, self.assertRaises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with same:
            pass
        for turn in (one, same, other):
            turn.close()
