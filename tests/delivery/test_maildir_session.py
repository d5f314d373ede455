"""A locked Maildir: what is listed, read and removed while other programs are at work in it."""

from __future__ import annotations

import errno
import fcntl
import io
import os

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_names import base_name
from mailframe.delivery.maildir_session import AT_ONCE, Session
from mailframe.interfaces import MailboxInUse
from mailframe.testing.faulty_files import FaultyFiles

NOW = 1_700_000_000.0


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = FaultyFiles(self.root)
        self.opened: list[Session] = []
        for folder in ("tmp", "new", "cur"):
            os.makedirs(f"{self.root}/mary/{folder}")

    def tearDown(self) -> None:
        for session in self.opened:
            session.close()
        self.assertEqual(self.files.opened, set())

    def put(self, name: str, octets: bytes = b"x\n", folder: str = "new") -> str:
        path = f"{self.root}/mary/{folder}/{name}"
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def open(self) -> Session:
        path = MailboxPath(self.root, ("mary",))
        session = Session.open(self.files, path, NOW)
        self.opened.append(session)
        return session

    def names(self, folder: str = "new") -> list[str]:
        return sorted(os.listdir(f"{self.root}/mary/{folder}"))

    def read(self, session: Session, index: int) -> bytes:
        with session.read(index) as file:
            return file.read()


class ListTests(SessionCase):
    """What a mailbox holds."""

    def test_order(self) -> None:
        """Messages come in the order in which they arrived, and keep their numbers."""
        self.put("1700000002.b.host")
        self.put("900000000.z.host:2,S", folder="cur")
        self.put("1700000001.a.host,S=2,W=3")
        undated = self.put("undated")
        os.utime(undated, (1_600_000_000, 1_600_000_000))
        self.assertEqual(
            [base_name(name) for name in self.open().listing.names],
            ["900000000.z.host", "undated", "1700000001.a.host,S=2,W=3", "1700000002.b.host"],
        )

    def test_flags_are_not_the_name(self) -> None:
        """A message seen in both folders while another program moves it is one message."""
        self.put("1.a.host")
        self.put("1.a.host:2,ST", folder="cur")
        listing = self.open().listing
        self.assertEqual((listing.names, list(listing.in_cur)), (["1.a.host:2,ST"], [1]))

    def test_tidies_up(self) -> None:
        """What dead writers left fills the disk."""
        stale = self.put("1.old", folder="tmp")
        os.utime(stale, (NOW - 200_000, NOW - 200_000))
        young = self.put("2.young", folder="tmp")
        os.utime(young, (NOW, NOW))
        self.open()
        self.assertEqual(self.names("tmp"), ["2.young"])


class LockTests(SessionCase):
    """One session at a time."""

    def test_other_process(self) -> None:
        """Two sessions delete by numbers that mean different messages."""
        self.open()
        self.assertRaises(MailboxInUse, self.open)

    def test_released(self) -> None:
        """A mailbox stays locked after its session."""
        self.open().close()
        self.open()

    def test_lock_of_another_program(self) -> None:
        """The lock is one that other programs can take."""
        lock = f"{self.root}/mary/mailframe-pop3.lock"
        with open(lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertRaises(MailboxInUse, self.open)
        self.open()
        os.unlink(lock)

    def test_linked_lock(self) -> None:
        """A link in place of the lock file makes a file elsewhere."""
        os.symlink("/tmp/mailframe-nowhere", f"{self.root}/mary/mailframe-pop3.lock")
        self.assertRaises(OSError, self.open)
        self.assertFalse(os.path.exists("/tmp/mailframe-nowhere"))

    def test_faults(self) -> None:
        """A mailbox that can't be opened leaves nothing open or locked."""
        self.put("1.a.host")
        steps = [("open", n) for n in range(1, 7)] + [("regular", n) for n in (1, 2)]
        for operation, nth in [*steps, ("entries", 1)]:
            self.files = FaultyFiles(self.root)
            self.files.fail(operation, errno.EIO, nth)
            self.assertRaises((OSError, ForeignMaildir), self.open)
            self.assertEqual(self.files.opened, set(), (operation, nth))


class ReadTests(SessionCase):
    """Messages, while they are moved about."""

    def test_small_and_large(self) -> None:
        """What is read is the file, whether it is read at once or piece by piece."""
        large = b"0123456789abcde\n" * AT_ONCE
        self.put("1.a.host", b"small\n")
        self.put("2.b.host,W=1", large)
        self.put("3.c.host,W=1", large[:AT_ONCE])
        session = self.open()
        with session.read(0) as file:
            self.assertIsInstance(file, io.BytesIO)
        self.assertEqual(self.read(session, 0), b"small\n")
        for index, octets in ((1, large), (2, large[:AT_ONCE])):
            with session.read(index) as file:
                self.assertNotIsInstance(file, io.BytesIO)
                self.assertEqual(b"".join(iter(lambda f=file: f.read(AT_ONCE), b"")), octets)

    def test_moved(self) -> None:
        """A message that an IMAP server marks as read can't be fetched any more."""
        path = self.put("1.a.host", b"moving\n")
        session = self.open()
        os.rename(path, f"{self.root}/mary/cur/1.a.host:2,")
        self.assertEqual(self.read(session, 0), b"moving\n")
        os.rename(f"{self.root}/mary/cur/1.a.host:2,", f"{self.root}/mary/cur/1.a.host:2,S")
        self.assertEqual(self.read(session, 0), b"moving\n")
        os.unlink(f"{self.root}/mary/cur/1.a.host:2,S")
        self.assertRaises(FileNotFoundError, session.read, 0)

    def test_sizes_mended(self) -> None:
        """A message in whose name Dovecot mends the sizes can't be fetched, and is not deleted."""
        wrong = self.put("1.a.host,S=9,W=9:2,S", b"moving\n", folder="cur")
        self.put("2.b.host,W=3")
        session = self.open()
        before = session.uidls()
        mended = f"{self.root}/mary/cur/1.a.host,S=7,W=8:2,S"
        os.rename(wrong, mended)
        self.assertEqual(self.read(session, 0), b"moving\n")
        self.assertEqual(session.uidls(), before)
        os.rename(mended, wrong)
        session.remove((0,))
        self.assertEqual((self.names("cur"), self.names()), ([], ["2.b.host,W=3"]))

    def test_restless(self) -> None:
        """A message that moves whenever one looks for it is not looked for without end."""
        self.put("1.a.host", b"moving\n")
        session = self.open()
        places = ["new/1.a.host", "cur/1.a.host:2,", "cur/1.a.host:2,S"] * 3

        def move(operation: str) -> None:
            if operation == "open":
                os.rename(f"{self.root}/mary/{places[0]}", f"{self.root}/mary/{places[1]}")
                del places[0]

        self.files.before = move
        self.assertRaises(FileNotFoundError, session.read, 0)

    def test_fault(self) -> None:
        """A message that can't be read is an error, and no end of the mailbox."""
        self.put("1.a.host,W=1")
        session = self.open()
        self.files.fail("open", errno.EIO)
        self.assertRaises(OSError, session.read, 0)

    def test_many_moved(self) -> None:
        """A client that fetches what another program has just moved waits for hours."""
        for number in range(20):
            self.put(f"{number + 10}.a.host", b"%d\n" % number)
        session = self.open()
        for name in self.names():
            os.rename(f"{self.root}/mary/new/{name}", f"{self.root}/mary/cur/{name}:2,S")
        os.unlink(f"{self.root}/mary/cur/15.a.host:2,S")
        os.unlink(f"{self.root}/mary/cur/16.a.host:2,S")
        before = self.files.count("names")
        for number in range(20):
            if number in (5, 6):
                self.assertRaises(FileNotFoundError, session.read, number)
            else:
                self.assertEqual(self.read(session, number), b"%d\n" % number)
        self.assertEqual(self.files.count("names") - before, 2)

    def test_comes_back(self) -> None:
        """A message that was away for a moment can't be fetched any more."""
        path = self.put("1.a.host", b"moving\n")
        session = self.open()
        os.rename(path, f"{self.root}/mary/elsewhere")
        self.assertRaises(FileNotFoundError, session.read, 0)
        os.rename(f"{self.root}/mary/elsewhere", f"{self.root}/mary/cur/1.a.host:2,S")
        self.assertEqual(self.read(session, 0), b"moving\n")


class FetchTests(SessionCase):
    """Several messages in one turn, in their wire form."""

    def test_wire_form(self) -> None:
        """Dots are taken for the end, or the end is missing."""
        self.put("1.a.host", b".x\n\n.\nlast")
        self.put("2.a.host", b"")
        session = self.open()
        self.assertEqual(session.fetch((0, 1)), [b"..x\r\n\r\n..\r\nlast\r\n.\r\n", b".\r\n"])

    def test_faults(self) -> None:
        """A message that can't be read keeps those before it from being fetched."""
        for number in range(1, 5):
            self.put(f"{number}.a.host", b"%d\n" % number)
        session = self.open()
        os.unlink(f"{self.root}/mary/new/3.a.host")
        self.assertEqual(session.fetch((0, 1, 2, 3)), [b"1\r\n.\r\n", b"2\r\n.\r\n"])
        self.assertRaises(FileNotFoundError, session.fetch, (2, 3))
        self.files.fail("read", errno.EIO)
        self.assertRaises(OSError, session.fetch, (0,))

    def test_large(self) -> None:
        """A large message is read into memory whole, or ends what is read ahead in a leak."""
        self.put("1.a.host,W=5", b"1\n")
        self.put("2.a.host,W=5", b"x\n" * AT_ONCE)  # a name that lies
        session = self.open()
        self.assertEqual(session.fetch((0, 1)), [b"1\r\n.\r\n"])
        (file,) = session.fetch((1, 0))
        assert not isinstance(file, bytes)
        with file:
            self.assertEqual(len(file.read()), 2 * AT_ONCE)

    def test_not_a_file(self) -> None:
        """What was put in a message's place is served, or a pipe keeps a thread waiting."""
        self.put("1.a.host,W=3")
        self.put("2.b.host,W=3")
        self.put("3.c.host,W=3")
        session = self.open()
        new = f"{self.root}/mary/new"
        for name in self.names():
            os.unlink(f"{new}/{name}")
        os.mkfifo(f"{new}/1.a.host,W=3")
        os.mkdir(f"{new}/2.b.host,W=3")
        os.symlink("/etc/passwd", f"{new}/3.c.host,W=3")
        self.assertRaises(ForeignMaildir, session.fetch, (0,))
        for index in (1, 2):
            self.assertRaises(OSError, session.fetch, (index,))

    def test_a_name_that_lies(self) -> None:
        """A size that is wrong stays wrong for ever."""
        self.put("1.a.host,W=50", b"1\n")
        self.put("2.b.host,W=3", b"2\n")
        session = self.open()
        self.assertEqual(list(session.listing.sizes), [50, 3])
        session.fetch((0, 1))
        session.fetch((0,))
        self.assertEqual(session.corrections, {0: 3})
        session.keep_corrections()
        session.close()
        for _ in range(3):
            session = self.open()
            self.assertEqual(list(session.listing.sizes), [3, 3])
            session.close()


class RemoveTests(SessionCase):
    """Deletion."""

    def test_removes(self) -> None:
        """What is deleted comes back after a power cut, or something else is deleted."""
        for number in range(4):
            self.put(f"{number}.a.host,W=1")
        self.put("4.a.host,W=1:2,S", folder="cur")
        session = self.open()
        self.files.calls.clear()
        session.remove((1, 3, 4))
        self.assertEqual(self.names(), ["0.a.host,W=1", "2.a.host,W=1"])
        self.assertEqual(self.names("cur"), [])
        self.assertEqual(
            sorted(self.files.calls[3:]), [("fsync", "mary/cur"), ("fsync", "mary/new")]
        )
        session.remove((1, 3, 4))
        self.assertEqual(self.names(), ["0.a.host,W=1", "2.a.host,W=1"])

    def test_moved_or_gone(self) -> None:
        """A message that was moved is deleted all the same; one that is gone is no error."""
        moved, gone = self.put("1.a.host,W=1"), self.put("2.a.host,W=1")
        session = self.open()
        os.rename(moved, f"{self.root}/mary/cur/1.a.host,W=1:2,S")
        os.unlink(gone)
        session.remove((0, 1))
        self.assertEqual(self.names() + self.names("cur"), [])

    def test_many_moved_or_gone(self) -> None:
        """A client waits for minutes at QUIT, as each message that is not there is looked for."""
        for number in range(40):
            self.put(f"{number}.a.host,W=1")
        session = self.open()
        for number in range(0, 40, 3):
            os.unlink(f"{self.root}/mary/new/{number}.a.host,W=1")
        for number in range(1, 40, 3):
            name = f"{number}.a.host,W=1"
            os.rename(f"{self.root}/mary/new/{name}", f"{self.root}/mary/cur/{name}:2,S")
        before = self.files.count("names")
        session.remove(range(40))
        self.assertEqual(self.names() + self.names("cur"), [])
        self.assertEqual(self.files.count("names") - before, 2)

    def test_restless(self) -> None:
        """A client is told that a message is deleted that nobody could get hold of."""
        self.put("1.a.host,W=1")
        self.put("2.a.host,W=1")
        session = self.open()
        places = ["new/1.a.host,W=1", "cur/1.a.host,W=1:2,", "cur/1.a.host,W=1:2,S"] * 3

        def move(operation: str) -> None:
            if operation == "unlink":
                os.rename(f"{self.root}/mary/{places[0]}", f"{self.root}/mary/{places[1]}")
                del places[0]

        self.files.before = move
        self.assertRaises(FileNotFoundError, session.remove, (0,))
        self.files.before = lambda operation: None
        session.remove((0, 1))
        self.assertEqual(self.names() + self.names("cur"), [])

    def test_partial_failure(self) -> None:
        """The client is told that all is deleted when it isn't; or one fault saves the rest."""
        for number in range(3):
            self.put(f"{number}.a.host,W=1")
        for operation, left in (("unlink", 1), ("fsync", 0)):
            session = self.open()
            self.files.fail(operation, errno.EIO)
            self.assertRaises(OSError, session.remove, range(len(session.listing)))
            session.close()
            self.assertEqual(len(self.names()), left)


class CloseTests(SessionCase):
    """The end of a session."""

    def test_while_a_thread_works(self) -> None:
        """A descriptor is closed and used for another file while a thread still reads with it."""
        self.put("1.a.host")
        session = self.open()

        def leave(operation: str) -> None:
            self.files.before = lambda operation: None
            session.close()
            self.assertNotEqual(self.files.opened, set())

        self.files.before = leave
        session.remove((0,))
        self.assertEqual(self.files.opened, set())
        self.assertEqual(self.names(), [])

    def test_nothing_afterwards(self) -> None:
        """A closed session deletes something by a descriptor that is another folder's now."""
        self.put("1.a.host")
        session = self.open()
        session.close()
        session.close()
        self.assertRaises(ValueError, session.read, 0)
        self.assertRaises(ValueError, session.remove, (0,))
