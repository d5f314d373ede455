"""May a client read its mailbox here?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.realm import make_portal
from mailframe.envelope import Client
from mailframe.guard import PluginFault, as_deferred
from mailframe.interfaces import MailboxInUse
from mailframe.outcome import Deny
from mailframe.reply import Reply
from mailframe.server.limits import Limits
from mailframe.server.mailbox_access import MailboxAccess, NoAccess, OpenMailbox
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation
from mailframe.units import Seconds
from tests.server.pop3_fakes import MARY, MESSAGES, FakeMailbox, FakeMailboxes

CLIENT = Client(server="pop", protocol="pop3", address="192.0.2.9", login=str(MARY))


class MailboxAccessTests(SynchronousTestCase):
    """The authorisation is asked first, and unsure is no."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = FakeMailbox(list(MESSAGES))
        self.mailboxes = FakeMailboxes(self.mailbox)
        self.authorisation = FakeAuthorisation()
        self.access = MailboxAccess(
            portal=make_portal(FakeAccounts(), self.mailboxes),
            authorisation=self.authorisation,
            authorisation_name="fake",
            limits=Limits(),
            clock=self.clock,
        )

    def open(self) -> OpenMailbox | NoAccess:
        opening = as_deferred(self.access.open(CLIENT, MARY))
        self.clock.advance(31)
        return self.successResultOf(opening)

    def refused(self) -> NoAccess:
        answer = self.open()
        assert isinstance(answer, NoAccess)
        return answer

    def test_opens(self) -> None:
        """The mailbox with its sizes, to be logged out of."""
        opened = self.open()
        assert isinstance(opened, OpenMailbox)
        self.assertEqual(list(opened.mailbox.sizes), [23, 22, 17])
        self.assertEqual(self.authorisation.asked, [(CLIENT, None, None)])
        opened.log_out()
        self.assertEqual(self.mailbox.closed, 1)

    def test_denied(self) -> None:
        """A refused client is told the authorisation's words, and no mailbox is opened."""
        deny = Deny(reason="r", reply=Reply(550, "5.7.1", ("use", "another server")))
        self.authorisation.admission = deny
        self.assertEqual(self.refused(), NoAccess("AUTH", "use another server"))
        self.assertEqual(self.mailbox.closed, 0)

    def test_authorisation_hangs(self) -> None:
        """A plugin that does not answer lets everybody in, or keeps everybody waiting."""
        self.authorisation.admit_trouble = Deferred()
        self.assertEqual(self.refused().code, "SYS/TEMP")
        self.flushLoggedErrors()

    def test_faults(self) -> None:
        """The inside of a fault is shown to a client."""
        for trouble, code in ((MailboxInUse(), "IN-USE"), (OSError("/srv/mail"), "SYS/TEMP")):
            self.mailboxes.open_trouble = trouble
            answer = self.refused()
            self.assertEqual(answer.code, code)
            self.assertNotIn("/srv", answer.text)
        self.flushLoggedErrors(OSError)

    def test_listing_hangs(self) -> None:
        """A mailbox that can't be listed stays locked."""
        self.mailbox.list_trouble = Deferred()
        self.assertEqual(self.refused().code, "SYS/TEMP")
        self.assertEqual(self.mailbox.closed, 1)

    def test_login_delay(self) -> None:
        """A client that comes back too early is let in; or told nothing that it understands."""
        self.access = MailboxAccess(
            portal=make_portal(FakeAccounts(), self.mailboxes),
            authorisation=self.authorisation,
            authorisation_name="fake",
            limits=Limits(login_delay=Seconds(60.0)),
            clock=self.clock,
        )
        self.mailboxes.open_trouble = MailboxInUse()
        self.assertEqual(self.refused().code, "IN-USE")
        self.mailboxes.open_trouble = None
        self.assertIsInstance(self.open(), OpenMailbox)
        self.assertEqual(
            self.refused(),
            NoAccess("LOGIN-DELAY", "too early after the last login, try again in 29 s"),
        )
        self.assertIsInstance(self.open(), OpenMailbox)

    def test_no_mailboxes(self) -> None:
        """A delivery agent whose mailboxes can't be read makes logins fail in an odd way."""
        self.access = MailboxAccess(
            portal=make_portal(FakeAccounts(), None),
            authorisation=self.authorisation,
            authorisation_name="fake",
            limits=Limits(),
            clock=self.clock,
        )
        self.assertEqual(self.refused().code, "SYS/TEMP")
        self.flushLoggedErrors(NotImplementedError)

    def test_ask(self) -> None:
        """A method that answers at once does as well as one that takes its time."""
        self.assertEqual(self.successResultOf(as_deferred(self.access.ask(lambda: 5))), 5)

        def fails() -> None:
            raise FileNotFoundError

        asked = as_deferred(self.access.ask(fails, FileNotFoundError))
        self.failureResultOf(asked, FileNotFoundError)
        self.failureResultOf(as_deferred(self.access.ask(fails)), PluginFault)
        self.flushLoggedErrors(FileNotFoundError)
