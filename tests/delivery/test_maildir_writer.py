"""Writing into Maildirs, with every kind of fault at every step."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_writer import Copy, Writer
from tests.delivery.faulty_files import FaultyFiles


class WriterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.files = FaultyFiles(self.root)
        self.writer = Writer(self.files, "t")

    def copy(self, stem: str = "1.Qa", mailbox: str = "mary", repeat: bool = False) -> Copy:
        return Copy(
            path=MailboxPath(self.root, (mailbox,)),
            stem=stem,
            name=f"{stem}.host,S=5",
            pieces=(b"head\n", f"body of {stem}\n".encode()),
            repeat=repeat,
        )

    def deliver(self, *copies: Copy) -> Sequence[Exception | None]:
        results = self.writer.deliver(copies)
        self.assert_closed()
        return results

    def assert_closed(self) -> None:
        """No descriptor is left open but those of Maildirs, which the writer lets go of."""
        self.assertLessEqual(len(self.files.opened), 4)
        self.writer.close()
        self.assertEqual(self.files.opened, set())

    def listing(self, folder: str = "new", mailbox: str = "mary") -> list[str]:
        path = f"{self.root}/{mailbox}/{folder}"
        return sorted(os.listdir(path)) if os.path.exists(path) else []

    def assert_whole(self, mailbox: str = "mary") -> None:
        """No message is there in part."""
        for name in self.listing("new", mailbox):
            stem = name.split(".host")[0]
            with open(f"{self.root}/{mailbox}/new/{name}", "rb") as file:
                self.assertEqual(file.read(), f"head\nbody of {stem}\n".encode())


class DeliverTests(WriterCase):
    """Batches of small messages."""

    def test_delivers(self) -> None:
        """Each message of a batch is in its mailbox, whole, and nothing is left over."""
        copies = [self.copy(f"{n}.Q{n}", mailbox) for n in range(3) for mailbox in ("mary", "bob")]
        self.assertEqual(self.deliver(*copies), [None] * 6)
        for mailbox in ("mary", "bob"):
            self.assertEqual(
                self.listing("new", mailbox), ["0.Q0.host,S=5", "1.Q1.host,S=5", "2.Q2.host,S=5"]
            )
            self.assertEqual(self.listing("tmp", mailbox), [])
            self.assert_whole(mailbox)

    def test_order_of_syncs(self) -> None:
        """After a power cut a delivered message is gone or empty: a sync is missing or late."""
        self.deliver(self.copy())
        self.files.calls.clear()
        self.deliver(self.copy("2.Qb"), self.copy("3.Qc"))
        calls = self.files.calls
        placed = []
        for number, name in ((1, "2.Qb"), (2, "3.Qc")):
            written = calls.index(("write", f"mary/tmp/{name}.t-{number}"))
            synced = calls.index(("fsync", f"mary/tmp/{name}.t-{number}"))
            renamed = calls.index(("rename", f"mary/new/{name}.host,S=5"))
            self.assertTrue(written < synced < renamed)
            placed.append(renamed)
        self.assertEqual(calls.count(("fsync", "mary/new")), 1)
        self.assertGreater(calls.index(("fsync", "mary/new")), max(placed))

    def test_first_use_syncs_folders(self) -> None:
        """The first delivery of a process makes sure of the mailbox's own folders."""
        self.deliver(self.copy())
        other = FaultyFiles(self.root)
        for expected in (True, False):
            other.calls.clear()
            if expected:
                self.writer = Writer(other, "u")
            self.writer.deliver([self.copy("2.Qb")])
            self.assertEqual(("fsync", "mary") in other.calls, expected)

    def test_left_over_from_a_dead_process(self) -> None:
        """A tmp file of a process that had our number is not written to."""
        self.deliver(self.copy())
        with open(f"{self.root}/mary/tmp/2.Qb.t-1", "w") as file:
            file.write("half of")
        self.assertEqual(self.deliver(self.copy("2.Qb")), [None])
        self.assert_whole()

    def test_repeat(self) -> None:
        """A crash between delivery and its record makes the message come twice."""
        self.deliver(self.copy())
        for folder, name in (("new", "1.Qa.host,S=5"), ("cur", "1.Qa.host,S=5:2,S")):
            os.rename(f"{self.root}/mary/new/1.Qa.host,S=5", f"{self.root}/mary/{folder}/{name}")
            self.files.calls.clear()
            self.assertEqual(self.deliver(self.copy(repeat=True)), [None])
            self.assertEqual(self.listing("new") + self.listing("cur"), [name])
            self.assertNotIn("write", [call for call, _ in self.files.calls])
            # Who delivered it may have died before the sync.
            self.assertIn(("fsync", f"mary/{folder}"), self.files.calls)

    def test_repeat_of_what_is_not_there(self) -> None:
        """A crash before delivery loses the message."""
        self.assertEqual(self.deliver(self.copy(repeat=True)), [None])
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])

    def test_bad_mailbox(self) -> None:
        """One bad mailbox harms the others in the batch."""
        os.symlink("/nowhere", f"{self.root}/bob")
        results = self.deliver(self.copy(), self.copy(mailbox="bob"), self.copy(mailbox="carl"))
        self.assertEqual(
            [type(result) for result in results], [type(None), ForeignMaildir, type(None)]
        )
        self.assertEqual(self.listing(mailbox="carl"), ["1.Qa.host,S=5"])

    def test_short_writes(self) -> None:
        """A disk that takes little at a time makes messages with holes."""
        self.files.most = 3
        self.assertEqual(self.deliver(self.copy()), [None])
        self.assert_whole()

    def test_every_fault(self) -> None:
        """Whatever fails, each message is there whole or postponed, and a retry brings it once."""
        self.deliver(self.copy("0.Q0", "bob"))
        stems = ("1.Qa", "2.Qb", "3.Qc")
        for operation in ("open", "write", "fsync", "rename", "close", "mkdir"):
            for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
                for nth in range(1, 13):
                    with self.subTest(operation=operation, number=number, nth=nth):
                        self._fault(operation, number, nth, stems)

    def _fault(self, operation: str, number: int, nth: int, stems: Sequence[str]) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.files = FaultyFiles(self.root)
        self.writer = Writer(self.files, "t")
        self.files.most = 8  # each message takes two writes or more
        self.files.fail(operation, number, nth)
        results = self.deliver(
            *[self.copy(stem) for stem in stems], self.copy("9.Qz", mailbox="bob")
        )
        self.assert_whole()
        self.assertEqual(self.listing("tmp"), [])
        names = self.listing()
        for stem, result in zip(stems, results, strict=False):
            self.assertEqual(f"{stem}.host,S=5" in names, result is None)
            if result is not None:
                assert isinstance(result, OSError)
                self.assertEqual(result.errno, number)
        again = [self.copy(stem, repeat=True) for stem in stems]
        self.assertEqual(self.deliver(*again), [None, None, None])
        self.assertEqual(self.listing(), [f"{stem}.host,S=5" for stem in stems])
        self.assert_whole()

    def test_failed_sync_is_not_tried_again(self) -> None:
        """A second sync on the same descriptor falsely succeeds, and the message is lost."""
        self.deliver(self.copy())
        self.files.fail("fsync", errno.EIO)
        self.files.calls.clear()
        (result,) = self.deliver(self.copy("2.Qb"))
        self.assertIsInstance(result, OSError)
        self.assertEqual([c for c, _ in self.files.calls].count("fsync"), 1)
        self.assertIn(("unlink", "mary/tmp/2.Qb.t-1"), self.files.calls)
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])

    def test_failed_sync_of_the_folder(self) -> None:
        """A message whose name may not survive is not called delivered, and comes once."""
        self.deliver(self.copy())
        self.files.fail("fsync", errno.EIO, 2)
        (result,) = self.deliver(self.copy("2.Qb"))
        self.assertIsInstance(result, OSError)
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])

    def test_failed_folder_is_opened_afresh(self) -> None:
        """The retry's sync on a descriptor that failed falsely succeeds, and the mail is lost."""
        self.writer.deliver([self.copy()])
        (old,) = self.writer._maildirs._kept.values()
        self.writer.deliver([self.copy(stem="2.Qb")])
        self.assertEqual(list(self.writer._maildirs._kept.values()), [old])
        self.files.fail("fsync", errno.EIO, 2)
        (result,) = self.writer.deliver([self.copy("3.Qc")])
        self.assertIsInstance(result, OSError)
        self.assertNotIn(old.new, self.files.opened)
        self.files.calls.clear()
        self.assertEqual(self.deliver(self.copy("3.Qc", repeat=True)), [None])
        self.assertIn(("open", "mary/new"), self.files.calls)
        self.assertIn(("fsync", "mary"), self.files.calls)

    def test_failed_folder_is_not_synced_by_others(self) -> None:
        """A delivery that was at work in the same folder believes the second sync."""
        self.deliver(self.copy())
        for cur in (False, True):
            draft = self.writer.begin(MailboxPath(self.root, ("mary",)), "2.Qb", False)
            assert draft is not None
            if cur:  # found there, so that new and cur are synced
                self.files.fail("fsync", errno.EIO, 2)
                (result,) = self.writer.deliver([self.copy(repeat=True)])
            else:
                self.files.fail("fsync", errno.EIO, 2)
                (result,) = self.writer.deliver([self.copy("3.Qc")])
            self.assertIsInstance(result, OSError)
            syncs = self.files.count("fsync")
            self.assertRaises(OSError, self.writer.finish, draft, "2.Qb.host,S=5")
            self.assertEqual(self.files.count("fsync"), syncs + 1)  # its own file
            self.assertEqual(self.listing(), ["1.Qa.host,S=5"])
            self.writer.abandon(draft)
            self.assert_closed()
        self.assertEqual(self.deliver(self.copy("2.Qb")), [None])

    def test_bug(self) -> None:
        """An error that nobody thought of postpones messages, and stops nothing."""
        self.files.faults["entries", 1] = RuntimeError("a bug")
        (one, two) = self.deliver(self.copy(repeat=True), self.copy(mailbox="bob"))
        self.assertIsInstance(one, RuntimeError)
        self.assertIsNone(two)


class DraftTests(WriterCase):
    """Messages written piece by piece."""

    path = property(lambda self: MailboxPath(self.root, ("mary",)))

    def test_delivers(self) -> None:
        """A large message is seen when it is whole, and not before."""
        draft = self.writer.begin(self.path, "1.Qa", False)
        assert draft is not None
        self.writer.write(draft, b"head\n")
        self.writer.write(draft, b"body of 1.Qa\n")
        self.assertEqual(self.listing(), [])
        self.files.calls.clear()
        self.writer.finish(draft, "1.Qa.host,S=5")
        self.assertEqual(
            [call for call in self.files.calls if call[0] in ("fsync", "rename")],
            [
                ("fsync", "mary/tmp/1.Qa.t-0"),
                ("rename", "mary/new/1.Qa.host,S=5"),
                ("fsync", "mary/new"),
            ],
        )
        self.writer.abandon(draft)
        self.assert_whole()
        self.assertEqual(self.listing("tmp"), [])
        self.assert_closed()

    def test_repeat(self) -> None:
        """A large message that is there already is not written again."""
        self.deliver(self.copy())
        self.assertIsNone(self.writer.begin(self.path, "1.Qa", True))
        self.assertIn(("fsync", "mary/cur"), self.files.calls)
        draft = self.writer.begin(self.path, "2.Qb", True)
        assert draft is not None
        self.writer.abandon(draft)
        self.assert_closed()

    def test_abandoned(self) -> None:
        """A large message that broke off leaves nothing, and no more is written to its file."""
        draft = self.writer.begin(self.path, "1.Qa", False)
        assert draft is not None
        self.writer.abandon(draft)
        self.assertRaises(OSError, self.writer.write, draft, b"x")
        self.assertRaises(OSError, self.writer.finish, draft, "x")
        self.assertEqual(self.listing("tmp") + self.listing(), [])

    def test_failed_folder(self) -> None:
        """The retry of a large message syncs a descriptor that failed, and believes it."""
        self.deliver(self.copy())
        draft = self.writer.begin(self.path, "2.Qb", False)
        assert draft is not None
        self.files.fail("fsync", errno.EIO, 2)
        self.assertRaises(OSError, self.writer.finish, draft, "2.Qb.host,S=5")
        self.writer.abandon(draft)
        self.assertEqual(self.files.opened, set())
        self.files.fail("fsync", errno.EIO)
        self.assertRaises(OSError, self.writer.begin, self.path, "1.Qa", True)
        self.assertEqual(self.files.opened, set())
        self.assertIsNone(self.writer.begin(self.path, "1.Qa", True))
        self.assert_closed()

    def test_every_fault(self) -> None:
        """Whatever fails, nothing is left of a large message, neither file nor descriptor."""
        self.deliver(self.copy("0.Q0"))
        for operation in ("open", "write", "fsync", "rename", "entries"):
            for nth in range(1, 6):
                self.files = FaultyFiles(self.root)
                self.writer = Writer(self.files, "t")
                self.files.fail(operation, errno.EIO, nth)
                draft = None
                try:
                    draft = self.writer.begin(self.path, "1.Qa", True)
                    assert draft is not None
                    self.writer.write(draft, b"head\n")
                    self.writer.write(draft, b"body of 1.Qa\n")
                    self.writer.finish(draft, "1.Qa.host,S=5")
                except OSError:
                    if draft is not None:
                        self.writer.abandon(draft)
                    self.assertEqual(self.listing(), ["0.Q0.host,S=5"])
                self.assertEqual(self.listing("tmp"), [])
                self.assert_closed()
                for name in self.listing()[1:]:
                    os.unlink(f"{self.root}/mary/new/{name}")
