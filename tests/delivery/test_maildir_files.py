"""Opening Maildirs."""

from __future__ import annotations

import errno
import os
import stat

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.maildir_files import (
    OURS_STALE,
    STALE,
    ForeignMaildir,
    close_all,
    create_file,
    open_maildir,
    open_regular,
    remove_stale,
    write_all,
)
from mailframe.delivery.maildir_layout import MailboxPath, delivery_stem
from mailframe.files import Files
from mailframe.testing.faulty_files import FaultyFiles


class OpenTests(SynchronousTestCase):
    """A Maildir is ours, or it is not used."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.path = MailboxPath(self.root, ("here.example", "mary"))
        self.files = FaultyFiles(self.root)

    def open(self, sync: bool = False) -> None:
        maildir = open_maildir(self.files, self.path, sync=sync)
        for name in ("tmp", "new", "cur"):
            self.assertTrue(
                os.path.samestat(os.fstat(getattr(maildir, name)), os.stat(f"{self.path}/{name}"))
            )
        close_all(self.files, (maildir.root, maildir.tmp, maildir.new, maildir.cur))
        self.assertEqual(self.files.opened, set())

    def refused(self) -> str:
        error = self.assertRaises(ForeignMaildir, self.open)
        self.assertEqual(self.files.opened, set())
        return str(error)

    def test_makes(self) -> None:
        """The first message for an account finds a mailbox that nobody else can read."""
        self.open()
        for folder in ("", "/here.example", "/here.example/mary", "/here.example/mary/new"):
            self.assertEqual(stat.S_IMODE(os.stat(self.root + folder).st_mode), 0o700)
        self.open()

    def test_makes_durably(self) -> None:
        """After a power cut a mailbox is gone with all that was in it."""
        self.open()
        calls = self.files.calls
        for made, parent in (
            (".", ".."),
            ("here.example", "."),
            ("here.example/mary", "here.example"),
            ("here.example/mary/tmp", "here.example/mary"),
            ("here.example/mary/new", "here.example/mary"),
            ("here.example/mary/cur", "here.example/mary"),
        ):
            at = calls.index(("mkdir", made))
            self.assertIn(("fsync", parent), calls[at:], made)

    def test_syncs_what_is_there(self) -> None:
        """A folder made by a process that died before its sync is lost after all."""
        self.open()
        self.files.calls.clear()
        self.open(sync=True)
        synced = [path for call, path in self.files.calls if call == "fsync"]
        self.assertEqual(synced, [".", "here.example", "here.example/mary"])

    def test_made_meanwhile(self) -> None:
        """Two deliveries that make the same mailbox at once don't disturb each other."""

        def other(operation: str) -> None:
            if operation == "mkdir":
                self.files.before = lambda operation: None
                for name in ("tmp", "new", "cur"):
                    os.makedirs(f"{self.path}/{name}", 0o700)

        self.files.before = other
        self.open()

    def test_links(self) -> None:
        """Whoever can write to a mailbox's folder has mail written elsewhere."""
        for name in ("new", "tmp", "cur", "", "../../here.example"):
            self.path = MailboxPath(self.root + name.replace("/", "_"), self.path.components)
            self.open()
            target = f"{self.path}/{name}"
            target = os.path.normpath(target)
            os.rename(target, target + ".moved")
            os.symlink(target + ".moved", target)
            self.assertIn(os.path.basename(target), self.refused())

    def test_prefix_may_be_a_link(self) -> None:
        """An operator keeps mail on another disk, behind a link."""
        os.mkdir(self.root)
        os.symlink(self.root, self.root + "-link")
        self.path = MailboxPath(self.root + "-link", ("mary",))
        self.open()
        self.assertTrue(os.path.isdir(self.root + "/mary/new"))

    def test_file_in_the_way(self) -> None:
        """A file where the mailbox should be is left as it is."""
        os.makedirs(self.root + "/here.example")
        with open(str(self.path), "w") as file:
            file.write("precious")
        self.refused()
        with open(str(self.path)) as file:
            self.assertEqual(file.read(), "precious")

    def test_others_may_write(self) -> None:
        """Anybody on the machine can put mail into somebody's mailbox, or take it away."""
        self.open()
        os.chmod(f"{self.path}/new", 0o777)
        self.assertIn("anybody may write", self.refused())

    def test_belongs_to_another(self) -> None:
        """Mail is written to a folder that somebody else owns."""
        self.open()
        self.patch(os, "geteuid", lambda: 4242)
        self.assertIn("belongs to user", self.refused())

    def test_faults(self) -> None:
        """No fault on the way leaves a descriptor open."""
        self.open(sync=True)
        for operation in ("open", "fsync"):
            for nth in range(1, 5):
                files = self.files = FaultyFiles(self.root)
                files.fail(operation, errno.EIO, nth)
                try:
                    self.open(sync=True)
                except OSError as error:
                    self.assertEqual(error.errno, errno.EIO)
                else:
                    self.assertLess(files.count(operation), nth)
                self.assertEqual(files.opened, set(), (operation, nth))
        self.files.fail("open", errno.EACCES, 2)
        self.refused()

    def test_faults_while_making(self) -> None:
        """No room for a folder is a fault like another."""
        for operation, nth in [("mkdir", n) for n in range(1, 7)] + [("fsync", 1), ("fsync", 3)]:
            self.root = os.path.abspath(self.mktemp())
            self.path = MailboxPath(self.root, self.path.components)
            self.files = FaultyFiles(self.root)
            self.files.fail(operation, errno.ENOSPC, nth)
            self.assertRaises(OSError, self.open)
            self.assertEqual(self.files.opened, set())
            self.open()


class FileTests(SynchronousTestCase):
    """Single files."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.descriptor = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, self.descriptor)
        self.files = FaultyFiles(self.folder)

    def test_create(self) -> None:
        """A message can be read by others, or overwrites a file."""
        os.close(create_file(self.files, "x", self.descriptor))
        self.assertEqual(stat.S_IMODE(os.stat(self.folder + "/x").st_mode), 0o600)
        self.assertRaises(FileExistsError, create_file, self.files, "x", self.descriptor)
        os.symlink("nowhere", self.folder + "/y")
        self.assertRaises(FileExistsError, create_file, self.files, "y", self.descriptor)

    def test_open(self) -> None:
        """POP3 hands out a file from elsewhere, or hangs at a pipe."""
        os.symlink("/etc/passwd", self.folder + "/link")
        os.mkfifo(self.folder + "/pipe")
        os.mkdir(self.folder + "/folder")
        self.assertRaises(OSError, open_regular, self.files, "link", self.descriptor)
        for name in ("pipe", "folder"):
            self.assertRaises(ForeignMaildir, open_regular, self.files, name, self.descriptor)
        self.assertRaises(FileNotFoundError, open_regular, self.files, "none", self.descriptor)
        self.assertEqual(self.files.opened, set())

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.binary(max_size=9), max_size=4), st.integers(1, 7))
    def test_short_writes(self, pieces: list[bytes], most: int) -> None:
        """A disk that takes little at a time makes messages with holes."""
        self.files.most = most
        with open(self.folder + "/short", "wb", buffering=0) as file:
            write_all(self.files, file.fileno(), pieces)
        with open(self.folder + "/short", "rb") as file:
            self.assertEqual(file.read(), b"".join(pieces))

    def test_write_of_nothing(self) -> None:
        """A disk that takes nothing at all keeps a thread busy for ever."""
        self.files.most = 0
        with open(self.folder + "/none", "wb", buffering=0) as file:
            self.assertRaises(OSError, write_all, self.files, file.fileno(), [b"x"])

    def test_stale(self) -> None:
        """What dead writers left goes, and what is being written stays (Haraka #2591)."""
        now = 10_000_000.0
        stem = delivery_stem(now, "q1", Address("mary", "here.example"))
        for name, age in (
            ("old", STALE + 1),
            ("young", STALE - 1),
            ("folder", STALE + 1),
            (f"{stem}.1-1", OURS_STALE - 1),  # it may lie ready for a queue that was down
            (f"{stem}.1-2", OURS_STALE + 1),
        ):
            path = f"{self.folder}/{name}"
            if name == "folder":
                os.mkdir(path)
            else:
                open(path, "w").close()
            os.utime(path, (now - age, now - age))
        remove_stale(Files(), self.descriptor, now)
        self.assertEqual(
            sorted(os.listdir(self.folder)), sorted([f"{stem}.1-1", "folder", "young"])
        )
