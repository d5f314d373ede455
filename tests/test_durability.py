"""Covers mailframe.durability."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from mailframe.durability import Doubt, Folder, doubts_about, of_process
from mailframe.mounts import parse_mounts
from mailframe.testing.faulty_files import FaultyFiles
from tests.test_mounts import line

MAPS = """\
55d0a000-55d0b000 r--p 00000000 fe:00 12 /usr/bin/python3.11
7f1000000000-7f1000001000 r-xp 00000000 fe:00 13 /usr/lib/x86_64-linux-gnu/libc.so.6
"""


class DoubtCase(SynchronousTestCase):
    """A folder, and what is doubted about it."""

    def setUp(self) -> None:
        self.folder = os.path.realpath(self.mktemp())
        os.makedirs(self.folder)
        self.files = FaultyFiles(self.folder)

    def doubts(
        self,
        kind: str = "ext4",
        options: str = "rw",
        *,
        more: str = "",
        moves: tuple[str, ...] = (),
        ours: bool = True,
        path: str = "",
    ) -> list[Doubt]:
        text = line(1, 0, "/", kind, options) + "\n" + more
        folder = Folder(path=path or self.folder, moves=moves, ours=ours)
        return doubts_about([folder], mounts=parse_mounts(text), maps=MAPS, files=self.files)


class MountTests(DoubtCase):
    """What a folder lies on."""

    def test_disk(self) -> None:
        """A server does not start on an ordinary disk."""
        for kind in ("ext4", "xfs", "btrfs", "zfs", "f2fs", "ext3", "bcachefs"):
            self.assertEqual(self.doubts(kind, "rw,barrier,errors=remount-ro"), [])

    def test_lost(self) -> None:
        """Mail that was acknowledged is gone after a restart or a power cut."""
        for kind, options, word in (
            ("tmpfs", "rw", "in memory"),
            ("ramfs", "rw", "in memory"),
            ("rootfs", "rw", "in memory"),
            ("ext4", "rw,nobarrier", "nobarrier"),
            ("ext4", "rw,barrier=0", "barrier=0"),
            ("overlay", "rw,volatile", "volatile"),
            ("xfs", "ro", "read-only"),
        ):
            found = [doubt for doubt in self.doubts(kind, options) if doubt.level == "error"]
            self.assertEqual(len(found), 1, kind)
            self.assertEqual(found[0].subject, self.folder)
            self.assertIn(word, found[0].problem)
            self.assertIn(f"{kind} at /", found[0].problem)
            self.assertTrue(found[0].mend)

    def test_weaker(self) -> None:
        """Nobody is told that mail may come twice, or goes with the container."""
        for kind, options, word in (
            ("nfs4", "rw,hard", "twice"),
            ("cifs", "rw", "twice"),
            ("fuse.sshfs", "rw", "another program"),
            ("fuseblk", "rw", "another program"),
            ("9p", "rw", "another program"),
            ("vfat", "rw", "no journal"),
            ("overlay", "rw,lowerdir=/a:/b", "container"),
            ("ext4", "rw,data=writeback", "data=writeback"),
        ):
            (doubt,) = self.doubts(kind, options)
            self.assertEqual(doubt.level, "warn")
            self.assertIn(word, doubt.problem)

    def test_through_a_link(self) -> None:
        """A link to memory passes for a folder on a disk."""
        os.symlink(self.folder, link := self.mktemp())
        link = os.path.abspath(link)
        (doubt,) = self.doubts(more=line(2, 1, self.folder, "tmpfs"), path=link)
        self.assertEqual((doubt.level, doubt.subject), ("error", link))

    def test_not_there_yet(self) -> None:
        """At the first start memory is taken for a disk, or a folder is made by who only looks."""
        path = os.path.join(self.folder, "queue")
        self.assertEqual(self.doubts(path=path), [])
        (doubt,) = self.doubts("tmpfs", path=path)
        self.assertEqual(doubt.subject, path)
        self.assertFalse(os.path.exists(path))

    def test_parts_of_a_maildir(self) -> None:
        """Every delivery to a mailbox fails, and nobody knows why."""
        box = os.path.join(self.folder, "here.example", "jsmith")
        tmp = os.path.join(box, "tmp")
        for name in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(box, name))
        (doubt,) = self.doubts(more=line(2, 1, tmp))
        self.assertEqual((doubt.level, doubt.subject), ("error", tmp))
        self.assertIn(box, doubt.mend)

    def test_below(self) -> None:
        """What is mounted below mailboxes and is none of them keeps the server from starting."""
        tmp = os.path.join(self.folder, "joe", "tmp")
        os.makedirs(tmp)
        (doubt,) = self.doubts(more=line(2, 1, tmp, "tmpfs"))
        self.assertEqual((doubt.level, doubt.subject), ("warn", tmp))
        hidden = line(2, 1, tmp, "tmpfs") + "\n" + line(3, 1, self.folder, "xfs")
        self.assertEqual(self.doubts(more=hidden), [])


class ProcessTests(SynchronousTestCase):
    """Libraries that switch syncing off."""

    def test_found(self) -> None:
        """A server that was tested with libeatmydata goes into service with it."""
        self.assertEqual(list(of_process(MAPS)), [])
        library = "/usr/lib/x86_64-linux-gnu/libeatmydata.so.1.3.0"
        (doubt,) = of_process(f"{MAPS}7f2-7f3 r-xp 0 fe:00 14 {library}\n")
        self.assertEqual(doubt.level, "error")
        self.assertIn(library, doubt.problem)


class TrialTests(DoubtCase):
    """What is tried on the folder itself."""

    def test_well(self) -> None:
        """Something of the trial is left behind, or a step of it is left out."""
        for name in ("incoming", "large"):
            os.mkdir(os.path.join(self.folder, name))
        self.assertEqual(self.doubts(moves=("incoming", "large", "missing")), [])
        self.assertEqual(sorted(os.listdir(self.folder)), ["incoming", "large"])
        for name in ("incoming", "large"):
            self.assertEqual(os.listdir(os.path.join(self.folder, name)), [])
        self.assertEqual([self.files.count(n) for n in ("write", "rename", "fsync")], [1, 1, 3])
        self.assertEqual(self.files.opened, set())

    def test_faults(self) -> None:
        """A server starts where every message would be refused, or where a sync does nothing."""
        for name in ("incoming", "large"):
            os.mkdir(os.path.join(self.folder, name))
        for operation, number, nth, word in (
            ("open", errno.EACCES, 1, "written to"),
            ("write", errno.ENOSPC, 1, "written to"),
            ("fsync", errno.EIO, 1, "written to"),
            ("rename", errno.EXDEV, 1, "one step"),
            ("fsync", errno.EINVAL, 2, "synced"),
            ("fsync", errno.EIO, 3, "synced"),
        ):
            self.files.fail(operation, number, nth)
            (doubt,) = self.doubts(moves=("incoming", "large"))
            self.assertEqual((doubt.level, doubt.subject), ("error", self.folder))
            self.assertIn(word, doubt.problem)
            self.assertIn(os.strerror(number), doubt.problem)
            self.assertEqual(self.files.opened, set())
            for name in ("incoming", "large"):
                self.assertEqual(os.listdir(os.path.join(self.folder, name)), [])

    def test_mailboxes_in_folders_of_others(self) -> None:
        """Mailboxes can't lie in /home, as that itself can't be written to."""
        self.patch(os, "access", lambda path, mode: False)
        self.assertEqual(self.doubts(ours=False), [])
        self.assertEqual((self.files.count("write"), self.files.count("fsync")), (0, 1))
