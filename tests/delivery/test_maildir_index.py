"""The index of a Maildir: fast, and never wrong."""

from __future__ import annotations

import errno
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from mailframe.delivery import maildir_session
from mailframe.delivery.maildir_index import QUIET, UNSETTLED, Index, load, save, settled, stamps_of
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_session import Session
from tests.delivery.test_maildir_listing import ListingCase


class IndexCase(ListingCase):
    """A Maildir with three messages whose names tell no size."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(3):
            self.put(f"{number}.a.host", b"x\n" * number)
        self.path = f"{self.root}/mary/mailframe-pop3.index"

    def kept(self) -> Index:
        index = Index(stamps_of(self.files, self.maildir), self.list())
        save(self.files, self.maildir, index)
        return index

    def same(self, one: Index | None, other: Index) -> None:
        assert one is not None
        self.assertEqual(one.stamps, other.stamps)
        for name in ("names", "in_cur", "sizes"):
            self.assertEqual(getattr(one.listing, name), getattr(other.listing, name))


class FileTests(IndexCase):
    """The file."""

    def test_there_and_back(self) -> None:
        """What was kept is not what is read; odd names above all."""
        self.put(os.fsdecode(b"4.\xff\n\xc3\xa9.host:2,S"), folder="cur")
        kept = self.kept()
        self.same(load(self.files, self.maildir), kept)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(f"{self.root}/mary/tmp"), [])

    def test_empty(self) -> None:
        """An empty Maildir has an index that can't be read."""
        for number in range(3):
            os.unlink(f"{self.root}/mary/new/{number}.a.host")
        kept = self.kept()
        self.same(load(self.files, self.maildir), kept)

    @settings(deadline=None, max_examples=150)
    @given(st.integers(0, 10_000), st.integers(1, 255), st.booleans())
    def test_damage(self, place: int, bits: int, cut: bool) -> None:
        """A damaged index shows messages that are not there, or stops a session."""
        self.kept()
        with open(self.path, "rb") as file:
            octets = bytearray(file.read())
        place %= len(octets)
        if cut:
            del octets[place:]
        else:
            octets[place] ^= bits
        with open(self.path, "wb") as file:
            file.write(octets)
        self.assertIsNone(load(self.files, self.maildir))

    def test_names_that_lead_elsewhere(self) -> None:
        """Whoever can write an index has a file from elsewhere served, or removed."""
        for name in ("../../etc/passwd", "/etc/passwd", "..", ".", "", ".x"):
            index = self.kept()
            index.listing.names[1] = name
            save(self.files, self.maildir, index)
            self.assertIsNone(load(self.files, self.maildir), name)

    def test_links_and_faults(self) -> None:
        """A link in the index' place is followed; or an unreadable one stops a session."""
        self.assertIsNone(load(self.files, self.maildir))
        os.symlink("/etc/passwd", self.path)
        self.assertIsNone(load(self.files, self.maildir))
        self.kept()
        self.assertFalse(os.path.islink(self.path))
        for operation in ("open", "read"):
            self.files.fail(operation, errno.EIO)
            self.assertIsNone(load(self.files, self.maildir))
        self.assertIsNotNone(load(self.files, self.maildir))

    def test_can_not_be_written(self) -> None:
        """A full disk keeps a user from reading mail, or leaves half an index."""
        index = Index(UNSETTLED, self.list())
        for operation in ("open", "write", "rename"):
            self.files.fail(operation, errno.ENOSPC)
            save(self.files, self.maildir, index)
            self.assertEqual(sorted(os.listdir(f"{self.root}/mary")), ["cur", "new", "tmp"])
        with open(f"{self.path}.new", "wb") as file:
            file.write(b"left by a session that was cut off")
        kept = self.kept()
        self.same(load(self.files, self.maildir), kept)

    def test_settled(self) -> None:
        """A change in the very tick in which a folder was listed is never seen."""
        stamps = stamps_of(self.files, self.maildir)
        changed = max(stamps[2:4] + stamps[6:8]) / 1e9
        self.assertFalse(settled(stamps, changed + QUIET - 0.5))
        self.assertFalse(settled(stamps, changed - 1000))
        self.assertTrue(settled(stamps, changed + QUIET + 0.5))


class SessionTests(IndexCase):
    """Sessions with it."""

    later = 3600.0

    def open(self, later: float | None = None) -> list[tuple[str, int]]:
        """Open a session some time after the last change; what it finds."""
        now = max(os.stat(f"{self.root}/mary/{sub}").st_ctime for sub in ("new", "cur"))
        session = Session.open(
            self.files,
            MailboxPath(self.root, ("mary",)),
            now + (self.later if later is None else later),
        )
        listing = session.listing
        session.close()
        return list(zip(listing.names, listing.sizes, strict=True))

    def listings(self) -> int:
        return self.files.count("regular") + self.files.count("names")

    def test_opens_from_it(self) -> None:
        """A mailbox where nothing has changed is listed and read again at each login."""
        first = self.open()
        before = (self.listings(), self.files.count("stat"))
        self.assertEqual(self.open(), first)
        self.assertEqual((self.listings(), self.files.count("stat")), before)

    def test_changes(self) -> None:
        """What came, went or was flagged since is not seen, or its size is wrong."""
        new, cur = f"{self.root}/mary/new", f"{self.root}/mary/cur"
        changes = (
            lambda: self.put("3.b.host", b"12\n"),
            lambda: os.rename(f"{new}/1.a.host", f"{cur}/1.a.host:2,"),
            lambda: os.rename(f"{cur}/1.a.host:2,", f"{cur}/1.a.host:2,S"),
            lambda: os.unlink(f"{new}/0.a.host"),
            lambda: self.put("4.c.host", b"123\n", folder="cur"),
        )
        self.open()
        for change in changes:
            change()
            expected = self.list()
            for _ in range(2):
                self.assertEqual(
                    self.open(), list(zip(expected.names, expected.sizes, strict=True))
                )

    def test_unsettled(self) -> None:
        """A message that comes in the tick in which the mailbox was listed is never seen."""
        self.open(later=0.5)
        index = load(self.files, self.maildir)
        assert index is not None
        self.assertEqual(index.stamps, UNSETTLED)
        before, opened = self.listings(), self.files.count("open")
        self.open()
        self.assertEqual(self.listings(), before + 2)
        # The folders' names, the lock, the index to read and to write: the sizes are known.
        self.assertEqual(self.files.count("open") - opened, 8)
        before = self.listings()
        self.open()
        self.assertEqual(self.listings(), before)

    def test_few_changes(self) -> None:
        """The index of a large mailbox is written for each message that comes, or for no number."""
        self.open()
        written = os.stat(self.path).st_ino
        self.put("5.d.host")
        self.assertEqual(len(self.open(later=0.5)), 4)
        self.assertEqual(os.stat(self.path).st_ino, written)
        for number in range(maildir_session.FEW):
            self.put(f"{number + 6}.d.host")
        self.assertEqual(len(self.open(later=0.5)), 4 + maildir_session.FEW)
        self.assertNotEqual(os.stat(self.path).st_ino, written)

    def test_unreadable(self) -> None:
        """A message that could not be read once is left out for ever."""
        self.files.fail("open", errno.EACCES, nth=9)
        self.assertEqual(len(self.open()), 2)
        self.assertEqual(len(self.open()), 3)

    def test_a_copy(self) -> None:
        """A Maildir that was copied, or put back from a backup, shows what it held before."""
        self.open()
        os.rename(f"{self.root}/mary/new", f"{self.root}/mary/old")
        os.mkdir(f"{self.root}/mary/new", 0o700)
        self.assertEqual(self.open(), [])

    def test_where_none_is_needed(self) -> None:
        """Each small mailbox has an index that is written at each login."""
        self.kept()
        for number in range(3):
            os.unlink(f"{self.root}/mary/new/{number}.a.host")
        self.put("1.a.host,W=3")
        self.open()
        self.assertFalse(os.path.exists(self.path))
        self.patch(maildir_session, "MANY", 1)
        self.open()
        self.assertTrue(os.path.exists(self.path))
