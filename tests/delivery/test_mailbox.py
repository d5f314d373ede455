"""A Maildir as Twisted's `IMailboxPOP3`."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.delivery.mailbox import Mailboxes, MaildirMailbox
from mailframe.delivery.maildir_files import Files, ForeignMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_session import AT_ONCE
from mailframe.interfaces import MailboxInUse
from mailframe.testing.threads import in_thread


class MailboxCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.path = MailboxPath(self.root, ("mary",))
        self.threads: list[Deferred[Any]] | None = None
        self.mailboxes = Mailboxes(Files(), self.in_thread)
        for number in range(3):
            self.put(f"{number}.a.host", b"message %d\n" % number)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        if self.threads is None:
            return in_thread(function, *args)
        done: Deferred[Any] = Deferred(lambda _: None)
        self.threads.append(done)
        return done.addCallback(lambda _: function(*args))

    def put(self, name: str, octets: bytes) -> None:
        os.makedirs(f"{self.root}/mary/new", exist_ok=True)
        with open(f"{self.root}/mary/new/{name}", "wb") as file:
            file.write(octets)

    def open(self) -> MaildirMailbox:
        mailbox = self.successResultOf(self.mailboxes.open(self.path, 1.7e9))
        assert isinstance(mailbox, MaildirMailbox)
        self.addCleanup(mailbox.close)
        return mailbox


class MailboxTests(MailboxCase):
    """What a POP3 server asks."""

    def test_interface(self) -> None:
        """Twisted's own POP3 server can't use the mailbox."""
        verifyObject(IMailboxPOP3, self.open())

    def test_messages(self) -> None:
        """Sizes, contents and unique ids, by number."""
        mailbox = self.open()
        self.assertEqual(mailbox.listMessages(), [11, 11, 11])
        self.assertEqual(mailbox.listMessages(1), 11)
        self.assertEqual(self.successResultOf(mailbox.getMessage(2)).read(), b"message 2\n")
        self.assertEqual(mailbox.getUidl(0), b"0.a.host")

    def test_unique_ids_last(self) -> None:
        """A client fetches everything again after a restart, or after another program read it."""
        mailbox = self.open()
        before = [mailbox.getUidl(index) for index in range(3)]
        mailbox.close()
        os.makedirs(f"{self.root}/mary/cur", exist_ok=True)
        os.rename(f"{self.root}/mary/new/1.a.host", f"{self.root}/mary/cur/1.a.host:2,S")
        self.mailboxes = Mailboxes(Files(), self.in_thread)
        mailbox = self.open()
        self.assertEqual([mailbox.getUidl(index) for index in range(3)], before)

    def test_wrong_numbers(self) -> None:
        """A number beyond the end, or a negative one, gives somebody another message."""
        mailbox = self.open()
        for index in (-1, 3, 1 << 40):
            for method in (
                *(mailbox.listMessages, mailbox.getMessage, mailbox.getUidl),
                mailbox.deleteMessage,
            ):
                self.assertRaises(ValueError, method, index)

    def test_delete(self) -> None:
        """Nothing is gone before sync, and then what was marked, and only that."""
        mailbox = self.open()
        mailbox.deleteMessage(0)
        mailbox.undeleteMessages()
        mailbox.deleteMessage(1)
        self.assertEqual(mailbox.listMessages(), [11, 0, 11])
        self.assertEqual(mailbox.listMessages(1), 0)
        self.assertRaises(ValueError, mailbox.getMessage, 1)
        self.assertEqual(len(os.listdir(f"{self.root}/mary/new")), 3)
        self.successResultOf(mailbox.sync())
        self.assertEqual(sorted(os.listdir(f"{self.root}/mary/new")), ["0.a.host", "2.a.host"])

    def test_closing_deletes_nothing(self) -> None:
        """A dropped session deletes what was marked."""
        mailbox = self.open()
        mailbox.deleteMessage(1)
        mailbox.close()
        mailbox.close()
        self.assertEqual(len(os.listdir(f"{self.root}/mary/new")), 3)
        self.assertRaises(ValueError, mailbox.sync)
        self.assertRaises(ValueError, mailbox.getMessage, 0)


class AheadTests(MailboxCase):
    """Reading ahead for clients that fetch one message after the other."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(3, 30):
            self.put(f"{number}.a.host", b"message %d\n" % number)
        self.turns = 0

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        self.turns += 1
        return super().in_thread(function, *args)

    def read(self, mailbox: MaildirMailbox, index: int) -> bytes:
        octets: bytes = self.successResultOf(mailbox.getMessage(index)).read()
        self.assertEqual(octets, b"message %d\n" % index)
        return octets

    def test_one_after_the_other(self) -> None:
        """Each small message costs a turn through another thread; or comes out of order."""
        mailbox = self.open()
        self.turns = 0
        for index in range(30):
            self.read(mailbox, index)
        self.assertEqual(self.turns, 3)

    def test_at_random(self) -> None:
        """A client that picks some messages has others read for nothing, or gets those."""
        mailbox = self.open()
        self.turns = 0
        for index in (5, 3, 20, 20, 7):
            self.read(mailbox, index)
        self.assertEqual(self.turns, 5)
        for index in (8, 9, 12, 9, 10, 11):
            self.read(mailbox, index)

    def test_up_to_what_is_deleted(self) -> None:
        """What is deleted is read, or given out."""
        mailbox = self.open()
        mailbox.deleteMessage(3)
        for index in (0, 1, 2):
            self.read(mailbox, index)
        mailbox.deleteMessage(2)
        for index in (2, 3):
            self.assertRaises(ValueError, mailbox.getMessage, index)

    def test_memory(self) -> None:
        """Large messages fill the memory of every session."""
        for number in range(2, 6):
            self.put(f"{number}.a.host", b"x" * 30_000)
        os.unlink(f"{self.root}/mary/new/6.a.host")
        self.put("6.a.host,W=5", b"x" * 1_000_000)  # a name that lies
        mailbox = self.open()
        for index in range(6):
            self.successResultOf(mailbox.getMessage(index)).read()
            held = sum(len(file.read()) for file in mailbox._ahead.values())
            self.assertLessEqual(held, AT_ONCE)
            for file in mailbox._ahead.values():
                file.seek(0)
        with self.successResultOf(mailbox.getMessage(6)) as file:
            self.assertEqual(len(file.read()), 1_000_000)

    def test_fault_of_a_later_one(self) -> None:
        """A message that vanished keeps those before it from being fetched."""
        mailbox = self.open()
        self.read(mailbox, 0)
        os.unlink(f"{self.root}/mary/new/3.a.host")
        self.read(mailbox, 1)
        self.read(mailbox, 2)
        self.failureResultOf(mailbox.getMessage(3), FileNotFoundError)
        self.read(mailbox, 4)

    def test_closed_meanwhile(self) -> None:
        """Messages are kept for a session that is over."""
        mailbox = self.open()
        self.read(mailbox, 0)
        self.threads = []
        reading = mailbox.getMessage(1)
        mailbox.close()
        self.threads.pop().callback(None)
        self.failureResultOf(reading, ValueError)
        self.assertEqual(mailbox._ahead, {})


class OpenTests(MailboxCase):
    """Opening and locking."""

    def test_in_use(self) -> None:
        """Two sessions of one server have the mailbox at once."""
        mailbox = self.open()
        self.failureResultOf(self.mailboxes.open(self.path, 1.7e9), MailboxInUse)
        mailbox.close()
        self.open()

    def test_other_server(self) -> None:
        """Two servers have it at once; or one refusal locks it for good."""
        mailbox = self.open()
        other = Mailboxes(Files(), self.in_thread)
        self.failureResultOf(other.open(self.path, 1.7e9), MailboxInUse)
        mailbox.close()
        self.successResultOf(other.open(self.path, 1.7e9)).close()

    def test_fault(self) -> None:
        """A mailbox that could not be opened once can't be opened any more."""
        os.chmod(f"{self.root}/mary", 0o777)
        self.failureResultOf(self.mailboxes.open(self.path, 1.7e9), ForeignMaildir)
        os.chmod(f"{self.root}/mary", 0o700)
        self.open()

    def test_nobody_waits(self) -> None:
        """A client that leaves while its mailbox is opened leaves it locked."""
        self.threads = []
        opening = self.mailboxes.open(self.path, 1.7e9)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.threads.pop().callback(None)
        self.threads = None
        self.open()

    def test_nobody_waits_for_a_message(self) -> None:
        """A message that is opened for a client that has left stays open."""
        mailbox = self.open()
        self.threads = []
        opening = mailbox.getMessage(0)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        mailbox.close()
        self.threads.pop().addErrback(lambda failure: failure.trap(ValueError)).callback(None)
