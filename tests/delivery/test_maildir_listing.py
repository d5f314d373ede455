"""What a Maildir holds, and of what size, whoever else is at work in it."""

from __future__ import annotations

import errno
import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_files import close_all, open_maildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_listing import Lister, Listing, nothing, told_by_names
from mailframe.delivery.maildir_names import base_name
from mailframe.testing.faulty_files import FaultyFiles


class ListingCase(SynchronousTestCase):
    """One Maildir."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = FaultyFiles(self.root)
        for folder in ("tmp", "new", "cur"):
            os.makedirs(f"{self.root}/mary/{folder}")
        self.maildir = open_maildir(self.files, MailboxPath(self.root, ("mary",)), sync=False)
        self.addCleanup(
            close_all,
            self.files,
            (self.maildir.root, self.maildir.tmp, self.maildir.new, self.maildir.cur),
        )
        self.seen: list[str] = []
        observer = lambda event: self.seen.append(event.get("log_format") or "")  # noqa: E731 # short
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def put(self, name: str, octets: bytes = b"x\n", folder: str = "new") -> str:
        path = f"{self.root}/mary/{folder}/{name}"
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def lister(self) -> Lister:
        return Lister(self.files, self.maildir, MailboxPath(self.root, ("mary",)))

    def list(self, before: Listing | None = None) -> Listing:
        return self.lister().listing(before or nothing())


class ListTests(ListingCase):
    """Which messages there are."""

    def test_order(self) -> None:
        """Messages change their numbers, or come in another order than they arrived in."""
        names = [f"{1_700_000_000 + n // 3}.{n % 3}.host,W=3" for n in range(50)]
        shuffled = random.Random(1).sample(names, len(names))
        for name in shuffled:
            self.put(name)
        self.assertEqual(self.list().names, names)
        self.put("900000000.old.host")
        self.put("0900000001.odd.host")
        undated = self.put("undated", folder="cur")
        os.utime(undated, (1_600_000_000, 1_600_000_000))
        listing = self.list()
        self.assertEqual(
            listing.names, ["900000000.old.host", "0900000001.odd.host", "undated", *names]
        )
        self.assertEqual(list(listing.in_cur), [0, 0, 1] + [0] * 50)

    def test_ignored(self) -> None:
        """A link shows its owner any file that the server can read; dot files are no messages."""
        self.put("5.kept.host")
        before = self.list()
        os.symlink("/etc/passwd", f"{self.root}/mary/new/1.a.host,W=3")
        os.mkdir(f"{self.root}/mary/new/2.b.host")
        os.mkfifo(f"{self.root}/mary/cur/3.c.host:2,")
        self.put(".hidden")
        for known in (None, before):
            self.seen.clear()
            self.assertEqual(self.list(known).names, ["5.kept.host"])
            self.assertEqual(len([line for line in self.seen if "not a regular" in line]), 3)

    def test_unreadable(self) -> None:
        """One message that can't be read hides all the others."""
        self.put("1.a.host")
        self.put("2.b.host,W=3")
        self.files.fail("open", errno.EACCES)
        lister = self.lister()
        self.assertEqual(lister.listing(nothing()).names, ["2.b.host,W=3"])
        self.assertFalse(lister.complete)
        self.put("undated")
        self.files.fail("stat", errno.EACCES)
        self.assertEqual(self.list().names, ["1.a.host", "2.b.host,W=3"])

    def test_gone_or_moved_meanwhile(self) -> None:
        """Messages that another program takes while they are listed are missing, or stop all."""
        for name in ("1.a.host", "2.b.host", "3.c.host"):
            self.put(name)
        new, cur = f"{self.root}/mary/new", f"{self.root}/mary/cur"

        def take(operation: str) -> None:
            if operation == "open":
                self.files.before = lambda operation: None
                os.rename(f"{new}/1.a.host", f"{cur}/1.a.host:2,S")
                os.rename(f"{new}/2.b.host", f"{cur}/2.b.host:2,")
                os.unlink(f"{new}/3.c.host")

        self.files.before = take
        lister = self.lister()
        listing = lister.listing(nothing())
        self.assertEqual(listing.names, ["1.a.host:2,S", "2.b.host:2,"])
        self.assertEqual(list(listing.in_cur), [1, 1])
        self.assertFalse(lister.complete)

    def test_names_that_tell_all(self) -> None:
        """An index is kept where none is needed, or none where the sizes have to be read."""
        self.put("1.a.host,W=3")
        self.assertTrue(told_by_names(self.list()))
        self.put("2.a.host")
        self.assertFalse(told_by_names(self.list()))

    def test_again(self) -> None:
        """All messages are read again for one that came."""
        for number in range(10):
            self.put(f"{number}.a.host", b"x\n" * number)
        before = self.list()
        os.rename(f"{self.root}/mary/new/3.a.host", f"{self.root}/mary/cur/3.a.host:2,S")
        os.unlink(f"{self.root}/mary/new/5.a.host")
        self.put("9.b.host", b"12345\n")
        opened = self.files.count("open")
        after = self.list(before)
        self.assertEqual(self.files.count("open") - opened, 1)
        fresh = self.list()
        self.assertEqual(
            (after.names, after.in_cur, after.sizes), (fresh.names, fresh.in_cur, fresh.sizes)
        )
        self.assertEqual(len(after), 10)


class ContinuedTests(ListingCase):
    """A listing from an earlier one."""

    def name(self, number: int, more: str = "") -> str:
        return f"{1_700_000_000 + number}.x.host{more}"

    def setUp(self) -> None:
        super().setUp()
        for number in range(10):
            self.put(self.name(number), b"x\n" * number)
        os.rename(
            *(f"{self.root}/mary/{x}" for x in (f"new/{self.name(4)}", f"cur/{self.name(4)}"))
        )
        self.before = self.list()

    def same(self) -> Listing:
        """The listing, which is the one that is found without an earlier one."""
        after, fresh = self.list(self.before), self.list()
        self.assertEqual(after.names, fresh.names)
        self.assertEqual(after.in_cur, fresh.in_cur)
        self.assertEqual(after.sizes, fresh.sizes)
        return after

    def test_changes(self) -> None:
        """What came, went or moved is missing, listed twice, or in the wrong place."""
        new, cur = f"{self.root}/mary/new", f"{self.root}/mary/cur"
        for change in (
            lambda: None,
            lambda: os.unlink(f"{new}/{self.name(0)}"),
            lambda: self.put(self.name(20), b"12345\n"),
            lambda: self.put(self.name(20, ",S=1,W=2:2,S"), folder="cur"),
            lambda: self.put("1700000005.a.host"),  # between others
            lambda: self.put("undated"),
            lambda: os.rename(f"{new}/{self.name(9)}", f"{cur}/{self.name(9)}"),
            lambda: os.rename(f"{new}/{self.name(8)}", f"{cur}/{self.name(8)}:2,S"),
            lambda: os.link(f"{new}/{self.name(7)}", f"{cur}/{self.name(7)}:2,S"),
            lambda: [os.unlink(f"{sub}/{name}") for sub in (new, cur) for name in os.listdir(sub)],
            lambda: self.put(self.name(1)),
            lambda: self.put("0900000001.odd.host"),
            lambda: [self.put(f"{1_700_000_000 + n}.z.host") for n in range(30)],
        ):
            change()
            self.before = self.same()
            self.assertEqual(len(set(map(base_name, self.before.names))), len(self.before))

    def test_reads_only_what_came(self) -> None:
        """All messages are looked at again for one that came."""
        self.put(self.name(20), b"12345\n")
        opened, stats = self.files.count("open"), self.files.count("stat")
        self.list(self.before)
        self.assertEqual(self.files.count("open") - opened, 1)
        self.assertEqual(self.files.count("stat") - stats, 1)

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=25))
    def test_whatever_happens(self, changes: list[tuple[int, int]]) -> None:
        """After some order of changes a message is missing, or stands in another place."""
        folders = [f"{self.root}/mary/{sub}" for sub in ("new", "cur")]
        for folder in folders:
            for name in os.listdir(folder):
                os.unlink(f"{folder}/{name}")
        self.before = self.list()
        for kind, number in changes:
            there = sorted((name, folder) for folder in folders for name in os.listdir(folder))
            if kind == 0:
                self.put(self.name(number, ",S=1,W=2" if number % 2 else ""), b"x\n" * number)
            elif kind == 1:
                undated = self.put(f"undated{number}")
                os.utime(undated, (1_700_000_000 + number, 1_700_000_000 + number))
            elif kind == 2:
                self.before = self.same()
            elif there:
                name, folder = there[number % len(there)]
                if kind == 3:
                    os.unlink(f"{folder}/{name}")
                else:
                    base = base_name(name)
                    for old in os.listdir(folders[1]):
                        if base_name(old) == base and (old, folders[1]) != (name, folder):
                            os.unlink(f"{folders[1]}/{old}")  # which of two it is can't be told
                    flagged = base + (":2," if kind == 4 else ":2,S")
                    os.rename(f"{folder}/{name}", f"{folders[1]}/{flagged}")
        self.before = self.same()
        self.before = self.same()

    def test_costs_little(self) -> None:
        """All messages are put in order again for one that came, went or was flagged."""
        new, cur = f"{self.root}/mary/new", f"{self.root}/mary/cur"
        afresh = self.patch(Lister, "_afresh", lambda *args: self.fail("it was listed afresh"))
        for change in (
            lambda: self.put(self.name(20)),
            lambda: self.put("1700000020.a.host"),  # in the same second
            lambda: self.put("1700000005.a.host"),  # between others
            lambda: self.put("1600000000.a.host", folder="cur"),  # before all others
            lambda: os.rename(f"{new}/{self.name(9)}", f"{cur}/{self.name(9)}:2,"),
            lambda: os.rename(f"{cur}/{self.name(9)}:2,", f"{cur}/{self.name(9)}:2,S"),
            lambda: os.unlink(f"{new}/{self.name(0)}"),
        ):
            change()
            lister = self.lister()
            self.before = lister.listing(self.before)
            self.assertEqual(lister.changes, 1)
        afresh.restore()
        self.same()

    def test_renamed_meanwhile(self) -> None:
        """A message is gone for a session because somebody flagged it while it was looked for."""
        old, new = f"{self.name(4)}", f"{self.name(4)}:2,S"
        names = self.files.names

        def missing(descriptor: int) -> list[str]:
            found = names(descriptor)
            if descriptor == self.maildir.cur and old in found:
                # What readdir may do: the old name is gone, the new one lies behind it.
                os.rename(*(f"{self.root}/mary/cur/{name}" for name in (old, new)))
                os.utime(f"{self.root}/mary/cur", ns=(1, 1))
                return [name for name in found if name != old]
            return found

        self.patch(self.files, "names", missing)
        self.assertIn(new, self.list(self.before).names)

    def test_restless(self) -> None:
        """A folder that others change all the time is read without end."""
        names = self.files.names

        def touch(descriptor: int) -> list[str]:
            times.append(descriptor)
            os.utime(f"{self.root}/mary/cur", ns=(1, len(times)))
            return names(descriptor)

        times: list[int] = []
        self.patch(self.files, "names", touch)
        self.assertEqual(self.list(self.before).names, self.before.names)
        self.assertLess(len(times), 6)

    def test_gone_meanwhile(self) -> None:
        """A message that came and went again is listed."""
        path = self.put(self.name(20))
        self.files.before = lambda operation: (
            os.unlink(path) if operation == "open" and os.path.exists(path) else None
        )
        lister = self.lister()
        self.assertEqual(lister.listing(self.before).names, self.before.names)
        self.assertFalse(lister.complete)
