"""Writing into Maildirs, with every kind of fault at every step."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_writer import Copy, Draft, Placement, Vanished, Writer
from mailframe.testing.faulty_files import FaultyFiles


class WriterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.files = FaultyFiles(self.root)
        self.writer = Writer(self.files, "t")

    def copy(self, stem: str = "1.Qa", mailbox: str = "mary") -> Copy:
        return Copy(
            path=MailboxPath(self.root, (mailbox,)),
            tmp=self.writer.tmp_name(stem),
            pieces=(b"head\n", f"body of {stem}\n".encode()),
        )

    def placement(self, copy: Copy, repeat: bool = False) -> Placement:
        name = ".".join(copy.tmp.split(".")[:2]) + ".host,S=5"
        return Placement(path=copy.path, tmp=copy.tmp, name=name, repeat=repeat)

    def place(self, *copies: Copy, repeat: bool = False) -> Sequence[Exception | None]:
        results = self.writer.place([self.placement(copy, repeat) for copy in copies])
        self.assert_closed()
        return results

    def deliver(self, *copies: Copy) -> Sequence[Exception | None]:
        """Both halves; what failed in the first is not placed."""
        results = self.writer.prepare(copies)
        ready = [c for c, error in zip(copies, results, strict=True) if error is None]
        placed = iter(self.writer.place([self.placement(copy) for copy in ready]))
        self.assert_closed()
        return [next(placed) if error is None else error for error in results]

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

    def syncs(self) -> list[str]:
        return [path for call, path in self.files.calls if call == "fsync"]


class BatchTests(WriterCase):
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
        two, three = self.copy("2.Qb"), self.copy("3.Qc")
        self.writer.prepare((two, three))
        calls = self.files.calls
        for copy in (two, three):
            written = calls.index(("write", f"mary/tmp/{copy.tmp}"))
            synced = calls.index(("fsync", f"mary/tmp/{copy.tmp}"))
            self.assertTrue(written < synced < calls.index(("fsync", "mary/tmp")))
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])
        self.files.calls.clear()
        self.place(two, three)
        calls = self.files.calls
        renamed = max(calls.index(("rename", f"mary/new/{n}.host,S=5")) for n in ("2.Qb", "3.Qc"))
        for folder in ("new", "tmp"):
            self.assertEqual(calls.count(("fsync", f"mary/{folder}")), 1)
            self.assertGreater(calls.index(("fsync", f"mary/{folder}")), renamed)

    def test_first_use_syncs_folders(self) -> None:
        """The first delivery of a process makes sure of the mailbox's own folders."""
        self.deliver(self.copy())
        other = FaultyFiles(self.root)
        for expected in (True, False):
            other.calls.clear()
            if expected:
                self.writer = Writer(other, "u")
            self.writer.prepare([self.copy("2.Qb")])
            self.assertEqual(("fsync", "mary") in other.calls, expected)

    def test_name_is_taken(self) -> None:
        """A file of another process is written to, or removed."""
        self.deliver(self.copy())
        copy = self.copy("2.Qb")
        with open(f"{self.root}/mary/tmp/{copy.tmp}", "w") as file:
            file.write("half of")
        (result,) = self.deliver(copy)
        self.assertIsInstance(result, FileExistsError)
        self.assertEqual(self.listing("tmp"), [copy.tmp])
        self.assertEqual(self.deliver(self.copy("2.Qb")), [None])
        self.assert_whole()

    def test_placed_by_an_earlier_attempt(self) -> None:
        """A message that was placed before a crash is taken for lost, or left to chance."""
        copy = self.copy()
        self.deliver(copy)
        os.unlink(f"{self.root}/mary/new/1.Qa.host,S=5")
        self.files.calls.clear()
        self.assertEqual(self.place(copy, repeat=True), [None])
        self.assertEqual(self.listing(), [])
        self.assertEqual(sorted(set(self.syncs())), ["mary/cur", "mary/new", "mary/tmp"])

    def test_vanished(self) -> None:
        """A copy that somebody removed is taken for delivered; or its neighbours suffer."""
        gone, there = self.copy(), self.copy("2.Qb")
        self.writer.prepare((gone, there))
        os.unlink(f"{self.root}/mary/tmp/{gone.tmp}")
        results = self.place(gone, there)
        self.assertIsInstance(results[0], Vanished)
        self.assertIsNone(results[1])
        self.assertEqual(self.listing(), ["2.Qb.host,S=5"])

    def test_is_there(self) -> None:
        """A message that is there is not seen, or one that is not there is."""
        copy = self.copy()
        placement = self.placement(copy)
        self.assertFalse(self.writer.is_there(placement))
        self.deliver(copy)
        self.assertTrue(self.writer.is_there(placement))
        os.rename(f"{self.root}/mary/new/1.Qa.host,S=5", f"{self.root}/mary/cur/1.Qa.host,S=5:2,RS")
        self.assertTrue(self.writer.is_there(placement))
        self.assertFalse(self.writer.is_there(self.placement(self.copy("2.Qb"))))
        self.assert_closed()

    def test_bad_mailbox(self) -> None:
        """One bad mailbox harms the others in the batch."""
        os.symlink("/nowhere", f"{self.root}/bob")
        copies = self.copy(), self.copy(mailbox="bob"), self.copy(mailbox="carl")
        kinds = [type(None), ForeignMaildir, type(None)]
        self.assertEqual([type(result) for result in self.deliver(*copies)], kinds)
        self.assertEqual(self.listing(mailbox="carl"), ["1.Qa.host,S=5"])
        results = self.place(*copies, repeat=True)
        self.assertEqual([type(result) for result in results], kinds)

    def test_short_writes(self) -> None:
        """A disk that takes little at a time makes messages with holes."""
        self.files.most = 3
        self.assertEqual(self.deliver(self.copy()), [None])
        self.assert_whole()

    def test_every_fault(self) -> None:
        """Whatever fails, each message is there whole or postponed, and a retry brings it once."""
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
        copies = [*(self.copy(stem) for stem in stems), self.copy("9.Qz", mailbox="bob")]
        prepared = self.writer.prepare(copies)
        self.assert_closed()
        # What failed leaves nothing, and what did not is there.
        lying = self.listing("tmp") + self.listing("tmp", "bob")
        for copy, result in zip(copies, prepared, strict=True):
            self.assertEqual(copy.tmp in lying, result is None)
        self.assertEqual(self.listing(), [])
        ready = [c for c, error in zip(copies, prepared, strict=True) if error is None]
        placed = self.place(*ready)
        self.assert_whole()
        for result in (*prepared, *placed):
            if result is not None:
                assert isinstance(result, OSError)
                self.assertEqual(result.errno, number)
        for copy, result in zip(ready, placed, strict=True):
            if result is None:
                mailbox = copy.path.components[0]
                self.assertIn(self.placement(copy).name, self.listing("new", mailbox))
        self.files.faults.clear()
        # The next attempt: what was recorded as ready is finished, the rest is written anew.
        self.assertEqual(self.place(*ready, repeat=True), [None] * len(ready))
        rest = [c for c, error in zip(copies, prepared, strict=True) if error is not None]
        again = [self.copy(".".join(c.tmp.split(".")[:2]), c.path.components[0]) for c in rest]
        self.assertEqual(self.deliver(*again), [None] * len(again))
        self.assertEqual(self.listing(), [f"{stem}.host,S=5" for stem in stems])
        self.assertEqual(self.listing("new", "bob"), ["9.Qz.host,S=5"])
        self.assertEqual(self.listing("tmp") + self.listing("tmp", "bob"), [])
        self.assert_whole()

    def test_failed_sync_is_not_tried_again(self) -> None:
        """A second sync on the same descriptor falsely succeeds, and the message is lost."""
        self.deliver(self.copy())
        self.files.fail("fsync", errno.EIO)
        self.files.calls.clear()
        copy = self.copy("2.Qb")
        (result,) = self.deliver(copy)
        self.assertIsInstance(result, OSError)
        self.assertEqual(len(self.syncs()), 1)
        self.assertIn(("unlink", f"mary/tmp/{copy.tmp}"), self.files.calls)
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])

    def test_failed_folder_is_opened_afresh(self) -> None:
        """The retry's sync on a descriptor that failed falsely succeeds, and the mail is lost."""
        self.writer.prepare([self.copy()])
        (old,) = self.writer._maildirs._kept.values()
        copy = self.copy(stem="2.Qb")
        self.writer.prepare([copy])
        self.assertEqual(list(self.writer._maildirs._kept.values()), [old])
        self.files.fail("fsync", errno.EIO)
        (result,) = self.writer.place([self.placement(copy)])
        self.assertIsInstance(result, OSError)
        self.assertNotIn(old.new, self.files.opened)
        self.files.calls.clear()
        self.assertEqual(self.place(copy, repeat=True), [None])
        self.assertIn(("open", "mary/new"), self.files.calls)
        self.assertIn(("fsync", "mary"), self.files.calls)

    def test_failed_folder_is_not_synced_by_others(self) -> None:
        """A delivery that was at work in the same folder believes the second sync."""
        self.deliver(self.copy())
        draft = self.writer.begin(MailboxPath(self.root, ("mary",)), self.writer.tmp_name("2.Qb"))
        self.files.fail("fsync", errno.EIO, 2)
        (result,) = self.writer.prepare([self.copy("3.Qc")])
        self.assertIsInstance(result, OSError)
        syncs = self.files.count("fsync")
        self.assertRaises(OSError, self.writer.finish, draft)
        self.assertEqual(self.files.count("fsync"), syncs + 1)  # its own file
        self.writer.abandon(draft)
        self.assert_closed()
        self.assertEqual(self.listing("tmp"), [])
        self.assertEqual(self.deliver(self.copy("2.Qb")), [None])

    def test_bug(self) -> None:
        """An error that nobody thought of postpones messages, and stops nothing."""
        self.deliver(self.copy())
        self.files.faults["write", self.files.count("write") + 1] = RuntimeError("a bug")
        (one, two) = self.deliver(self.copy("2.Qb"), self.copy("2.Qb", mailbox="bob"))
        self.assertEqual([type(one), type(two)], [RuntimeError, type(None)])


class DraftTests(WriterCase):
    """Messages written piece by piece."""

    def begin(self, stem: str = "1.Qa") -> tuple[Draft, Placement]:
        path = MailboxPath(self.root, ("mary",))
        tmp = self.writer.tmp_name(stem)
        placement = Placement(path=path, tmp=tmp, name=f"{stem}.host,S=5", repeat=False)
        return self.writer.begin(path, tmp), placement

    def test_delivers(self) -> None:
        """A large message is seen when it is whole, and not before."""
        draft, placement = self.begin()
        self.writer.write(draft, b"head\n")
        self.writer.write(draft, b"body of 1.Qa\n")
        self.files.calls.clear()
        self.writer.finish(draft)
        self.assertEqual(self.syncs(), [f"mary/tmp/{placement.tmp}", "mary/tmp"])
        self.assertEqual(self.listing(), [])
        self.writer.abandon(draft)
        self.assertEqual(self.writer.place([placement]), [None])
        self.assert_whole()
        self.assertEqual(self.listing(), ["1.Qa.host,S=5"])
        self.assertEqual(self.listing("tmp"), [])
        self.assert_closed()

    def test_abandoned(self) -> None:
        """A large message that broke off leaves nothing, and no more is written to its file."""
        draft, _ = self.begin()
        self.writer.abandon(draft)
        self.assertRaises(OSError, self.writer.write, draft, b"x")
        self.assertRaises(OSError, self.writer.finish, draft)
        self.assertEqual(self.listing("tmp") + self.listing(), [])

    def test_every_fault(self) -> None:
        """Whatever fails, nothing is left of a large message, neither file nor descriptor."""
        self.deliver(self.copy("0.Q0"))
        for operation in ("open", "write", "fsync"):
            for nth in range(1, 6):
                self.files = FaultyFiles(self.root)
                self.writer = Writer(self.files, "t")
                self.files.fail(operation, errno.EIO, nth)
                draft = None
                try:
                    draft, placement = self.begin()
                    self.writer.write(draft, b"head\n")
                    self.writer.write(draft, b"body of 1.Qa\n")
                    self.writer.finish(draft)
                except OSError:
                    if draft is not None:
                        self.writer.abandon(draft)
                    self.assertEqual(self.listing("tmp"), [])
                else:
                    self.assertEqual(self.listing("tmp"), [placement.tmp])
                    os.unlink(f"{self.root}/mary/tmp/{placement.tmp}")
                self.assert_closed()
