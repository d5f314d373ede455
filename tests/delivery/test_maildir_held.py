"""Maildirs that are kept open."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import maildir_held
from mailframe.delivery.maildir_held import Held, HeldMaildirs
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.testing.faulty_files import FaultyFiles


class HeldTests(SynchronousTestCase):
    """Walking to a folder again is spared, and nothing else is changed by it."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = FaultyFiles(self.root)
        self.maildirs = HeldMaildirs(self.files)

    def path(self, name: str = "mary") -> MailboxPath:
        return MailboxPath(self.root, (name,))

    def use(self, name: str = "mary") -> Held:
        held = self.maildirs.take(self.path(name))
        self.maildirs.give_back(held)
        return held

    def assert_is(self, held: Held, name: str = "mary") -> None:
        for folder, descriptor in (("tmp", held.tmp), ("new", held.new)):
            there = os.stat(f"{self.root}/{name}/{folder}")
            self.assertTrue(os.path.samestat(there, os.fstat(descriptor)))

    def test_kept(self) -> None:
        """Each delivery walks to its folder anew."""
        held = self.use()
        before = self.files.count("open")
        self.assertIs(self.use(), held)
        self.assertEqual(self.files.count("open"), before)
        self.assert_is(held)
        self.maildirs.close()
        self.assertEqual(self.files.opened, set())
        self.assert_is(self.use())
        self.maildirs.close()

    def test_moved_away(self) -> None:
        """Mail goes on into a Maildir that was moved aside, where nobody looks for it."""
        self.use()
        os.rename(f"{self.root}/mary", f"{self.root}/mary.old")
        self.assert_is(self.use())
        os.rename(f"{self.root}/mary", f"{self.root}/mary.older")
        os.rename(f"{self.root}/mary.old", f"{self.root}/mary")
        self.assert_is(self.use())
        self.maildirs.close()
        self.assertEqual(self.files.opened, set())

    def test_few(self) -> None:
        """A server with many accounts runs out of descriptors."""
        self.patch(maildir_held, "KEEP", 2)
        for name in ("a", "b", "a", "c"):
            self.use(name)
        self.assertEqual(len(self.files.opened), 4)
        before = self.files.count("open")
        self.use("a")
        self.assertEqual(self.files.count("open"), before)
        self.use("b")
        self.assertGreater(self.files.count("open"), before)
        self.maildirs.close()

    def test_in_use(self) -> None:
        """A descriptor is closed under a thread that works with it."""
        held = self.maildirs.take(self.path())
        again = self.maildirs.take(self.path())
        self.maildirs.close()
        self.assert_is(held)
        self.maildirs.give_back(again)
        self.assert_is(held)
        self.maildirs.give_back(held)
        self.assertEqual(self.files.opened, set())

    def test_opened_twice_at_once(self) -> None:
        """Two threads that open one Maildir at once leave one of the two open for ever."""
        inner: list[Held] = []

        def other(operation: str) -> None:
            if operation == "open" and not inner:
                self.files.before = lambda operation: None
                inner.append(self.maildirs.take(self.path()))

        self.files.before = other
        outer = self.maildirs.take(self.path())
        self.maildirs.give_back(inner[0])
        self.maildirs.give_back(outer)
        self.assertEqual(len(self.files.opened), 2)
        self.maildirs.close()
        self.assertEqual(self.files.opened, set())

    def test_moved_while_in_use(self) -> None:
        """Likewise when one of them finds it moved."""
        first = self.maildirs.take(self.path())
        os.rename(f"{self.root}/mary", f"{self.root}/mary.old")
        second = self.maildirs.take(self.path())
        self.assert_is(second)
        self.maildirs.give_back(first)
        self.maildirs.give_back(second)
        self.assertEqual(len(self.files.opened), 2)
        self.maildirs.close()

    def test_cur(self) -> None:
        """The folder of seen messages is looked for elsewhere, or a link to it is followed."""
        held = self.maildirs.take(self.path())
        cur = self.maildirs.open_cur(held)
        self.assertTrue(os.path.samestat(os.stat(f"{self.root}/mary/cur"), os.fstat(cur)))
        os.close(cur)
        os.rename(f"{self.root}/mary/cur", f"{self.root}/mary/elsewhere")
        os.symlink("elsewhere", f"{self.root}/mary/cur")
        self.assertRaises(OSError, self.maildirs.open_cur, held)
        self.maildirs.give_back(held)
        self.maildirs.close()

    def test_syncs_once(self) -> None:
        """The folders' own safety costs a sync each time, or is forgotten after a fault."""
        self.files.fail("fsync", errno.EIO, 1)
        self.assertRaises(OSError, self.use)
        for synced in (True, False):
            self.files.calls.clear()
            self.use()
            self.maildirs.close()
            self.assertEqual(("fsync", "mary") in self.files.calls, synced)
