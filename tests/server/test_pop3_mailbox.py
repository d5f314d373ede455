"""Mailboxes of other people's making."""

from __future__ import annotations

import io

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.guard import as_deferred
from mailframe.interfaces import IPop3Mailbox
from mailframe.server.pop3_mailbox import AnyMailbox
from tests.server.pop3_fakes import FakeMailbox


class AnyMailboxTests(SynchronousTestCase):
    """An `IMailboxPOP3` serves as well."""

    def setUp(self) -> None:
        self.inner = FakeMailbox([b"one\n", b"two\n"])
        self.mailbox = AnyMailbox(self.inner, [5, 5])

    def test_interface(self) -> None:
        """A method that a connection calls is not there."""
        verifyObject(IPop3Mailbox, self.mailbox)

    def test_messages(self) -> None:
        """Messages and unique ids, whether they come at once or not."""
        for trouble in (None, succeed(io.BytesIO(b"two\n"))):
            self.inner.get_trouble = trouble
            self.assertEqual(self.successResultOf(self.mailbox.fetch(1)).read(), b"two\n")
        self.assertEqual(self.successResultOf(as_deferred(self.mailbox.uidls())), [b"id0", b"id1"])
        self.inner.uidl_trouble = KeyError()
        self.failureResultOf(as_deferred(self.mailbox.uidls()), KeyError)
        self.inner.get_trouble = KeyError()
        self.failureResultOf(self.mailbox.fetch(0), KeyError)

    def test_remove(self) -> None:
        """More is removed than was asked for, or a failure looks like a success."""
        self.successResultOf(as_deferred(self.mailbox.remove((1,))))
        self.assertEqual((self.inner.marked, self.inner.synced), ({1}, 1))
        self.inner.sync_trouble = OSError()
        self.failureResultOf(as_deferred(self.mailbox.remove((0,))), OSError)
