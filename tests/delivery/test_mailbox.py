"""A Maildir as Twisted's `IMailboxPOP3`."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.delivery.mailbox import Mailboxes, MaildirMailbox
from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.files import Files
from mailframe.interfaces import IPop3Mailbox, MailboxInUse
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
                *(mailbox.deleteMessage, mailbox.fetch),
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


class FetchTests(MailboxCase):
    """What our own POP3 server asks."""

    def test_interface(self) -> None:
        """Our server serves it the slow way."""
        verifyObject(IPop3Mailbox, self.open())

    def test_messages(self) -> None:
        """Wire forms, sizes and unique ids."""
        mailbox = self.open()
        self.assertEqual(list(mailbox.sizes), [11, 11, 11])
        self.assertEqual(
            self.successResultOf(mailbox.uidls()), [b"0.a.host", b"1.a.host", b"2.a.host"]
        )
        reading = mailbox.fetch(1)
        assert not isinstance(reading, bytes)
        self.assertEqual(self.successResultOf(reading), b"message 1\r\n.\r\n")

    def test_remove(self) -> None:
        """More goes than was asked for, or less."""
        mailbox = self.open()
        self.successResultOf(mailbox.remove((0, 2)))
        self.assertEqual(os.listdir(f"{self.root}/mary/new"), ["1.a.host"])

    def test_true_sizes(self) -> None:
        """A size that a name tells wrongly is told by each session."""
        self.put("3.a.host,W=5", b"message\n")
        mailbox = self.open()
        self.assertEqual(mailbox.sizes[3], 5)
        reading = mailbox.fetch(3)
        assert not isinstance(reading, bytes)
        self.successResultOf(reading)
        self.assertEqual(mailbox.sizes[3], 5)
        self.threads = []
        mailbox.close()
        self.failureResultOf(self.mailboxes.open(self.path, 1.7e9), MailboxInUse)
        self.threads.pop().callback(None)
        self.threads = None
        self.assertEqual(self.open().sizes[3], 9)

    def test_after_the_end(self) -> None:
        """A closed mailbox reads or removes something by a number that is another's now."""
        mailbox = self.open()
        mailbox.close()
        self.assertRaises(ValueError, mailbox.fetch, 0)
        self.assertRaises(ValueError, mailbox.uidls)
        self.assertRaises(ValueError, mailbox.remove, (0,))


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
