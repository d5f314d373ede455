"""One POP3 connection: logins, messages piece by piece, slow clients, and every kind of fault."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from mailframe.interfaces import MailboxInUse
from mailframe.outcome import Deny
from mailframe.reply import Reply
from mailframe.server.limits import Limits
from mailframe.server.pop3_answers import PART, PIECE
from mailframe.server.pop3_connection import LINGER, MAX_UNREAD
from mailframe.units import Seconds
from tests.server.pop3_fakes import LOGIN, MARY, MESSAGES, Client, Pop3Case

WRONG = b"USER mary@here.example\r\nPASS open\r\n"
LINE = b"0123456789abcde\n"


class File:
    """A file that notes its use, and fails when told to.

    :ivar closed: how often it was closed
    """

    def __init__(self, octets: bytes, fails_after: int = 1 << 30) -> None:
        self._file = io.BytesIO(octets)
        self._left = fails_after
        self.reads = 0
        self.closed = 0

    def read(self, size: int) -> bytes:
        assert not self.closed
        self.reads += 1
        self._left -= 1
        if self._left < 0:
            raise OSError("the disk")
        return self._file.read(size)

    def close(self) -> None:
        self.closed += 1


class DialogueTests(Pop3Case):
    """A client fetches its mail."""

    def test_session(self) -> None:
        """The everyday use of a mailbox."""
        client = self.connect()
        self.assertEqual(client.received, b"+OK pop.example POP3 server ready\r\n")
        self.say(client, LOGIN)
        for command, response in (
            (b"STAT", b"+OK 3 62"),
            (b"UIDL 2", b"+OK 2 id1"),
            (b"RETR 2", b"+OK 22 octets\r\nSubject: two\r\n\r\n..dot\r\n."),
            (b"TOP 3 1", b"+OK the beginning follows\r\nA: b\r\n\r\n1\r\n."),
            (b"DELE 2", b"+OK message 2 will be deleted"),
            (b"QUIT", b"+OK pop.example says goodbye"),
        ):
            self.assertEqual(self.say(client, command + b"\r\n"), response + b"\r\n")
        assert client.lost is not None
        client.lost.trap(ConnectionDone)
        self.assertEqual((self.mailbox.marked, self.mailbox.synced), ({1}, 1))
        self.assertEqual(self.mailbox.closed, 1)

    def test_pipelined(self) -> None:
        """A client that asks for all at once gets all, in order."""
        client = self.connect()
        said = self.say(client, LOGIN + b"RETR 1\r\nUIDL\r\nRETR 3\r\nDELE 1\r\nQUIT\r\n")
        lines = said.split(b"\r\n")
        self.assertEqual(
            [line[:6] for line in lines if line.startswith((b"+OK", b"-ERR"))],
            [b"+OK se", b"+OK 3 ", b"+OK 23", b"+OK un", b"+OK 17", b"+OK me", b"+OK po"],
        )
        self.assertEqual(self.mailbox.synced, 1)

    def test_dropped(self) -> None:
        """A connection that breaks deletes mail that was never read."""
        client = self.logged_in()
        self.say(client, b"DELE 1\r\n")
        client.transport.abortConnection()
        self.reactor.advance(0)
        self.assertEqual(self.mailbox.marked, set())
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (0, 1))

    def test_nothing_to_delete(self) -> None:
        """Leaving without deletions touches nothing."""
        self.say(self.logged_in(), b"QUIT\r\n")
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (0, 1))


class SegmentTests(DialogueTests):
    """The same, with one octet in each packet."""

    segment = 1


class LoginTests(Pop3Case):
    """Who gets in."""

    def test_wrong(self) -> None:
        """An unknown user is answered like a wrong password: nobody finds out who is here."""
        client = self.connect()
        unknown = WRONG.replace(b"mary", b"nobody")
        self.assertEqual(self.say(client, WRONG), self.say(client, unknown))
        self.assertTrue(client.received.endswith(b"wrong login or password\r\n"))
        self.assertIn(b"\r\n-ERR [AUTH] ", client.received)
        self.assertEqual(self.authorisation.asked, [])
        self.assertIn(b"+OK 3 messages", self.say(client, LOGIN))

    def test_guessing(self) -> None:
        """A password can be guessed as fast as the line allows."""
        client = self.connect()
        for _ in range(3):
            self.assertIn(b"-ERR [AUTH]", self.say(client, WRONG))
        for delay in (2, 4):
            self.assertNotIn(b"-ERR", self.say(client, WRONG))
            self.reactor.advance(delay)
            self.assertIn(b"-ERR [AUTH]", client.received)
        self.say(client, WRONG)
        self.reactor.advance(8)
        self.assertIn(b"-ERR [AUTH] too many failed logins", client.received)
        self.assertIsNotNone(client.lost)

    def test_leaves_while_it_waits(self) -> None:
        """A client that leaves meanwhile causes an error."""
        client = self.connect()
        for _ in range(4):
            self.say(client, WRONG)
        client.transport.abortConnection()
        self.reactor.advance(30)

    def test_accounts_fail(self) -> None:
        """A fault of the accounts lets somebody in, or is taken for a wrong password."""
        self.accounts.login_trouble = RuntimeError("database")
        client = self.connect()
        self.assertIn(b"-ERR [SYS/TEMP] ", self.say(client, LOGIN))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.accounts.login_trouble = None
        self.assertIn(b"+OK 3", self.say(client, LOGIN))

    def test_not_admitted(self) -> None:
        """Somebody reads a mailbox over a server that its provider does not allow."""
        self.authorisation.admission = Deny(
            reason="not over this server",
            rule="rosse",
            plugin="fake",
            reply=Reply(550, "5.7.1", "use pop.blu.example instead"),
        )
        client = self.connect()
        self.assertIn(b"-ERR [AUTH] use pop.blu.example instead\r\n", self.say(client, LOGIN))
        self.assertIn(b"-ERR log in first", self.say(client, b"STAT\r\n"))
        ((asked, _, _),) = self.authorisation.asked
        self.assertEqual(asked.login, str(MARY))
        self.assertEqual(self.mailbox.closed, 0)

    def test_authorisation_fails(self) -> None:
        """Unsure is no: a fault opens no mailbox."""
        for trouble in (RuntimeError("bug"), "nonsense", Deferred()):
            self.authorisation.admit_trouble = trouble
            client = self.connect()
            self.say(client, LOGIN)
            self.reactor.advance(31)
            self.assertIn(b"-ERR [SYS/TEMP] ", client.received)
        self.flushLoggedErrors()

    def test_temporarily_not_admitted(self) -> None:
        """A client that may come back later is told so."""
        self.authorisation.admission = Deny(reason="unsure", reply=Reply(451, "4.3.0", "later"))
        self.assertIn(b"-ERR [SYS/TEMP] later\r\n", self.say(self.connect(), LOGIN))

    def test_mailbox_in_use(self) -> None:
        """A client asks its user for another password when the mailbox is only busy."""
        self.mailboxes.open_trouble = MailboxInUse()
        client = self.connect()
        self.assertIn(b"-ERR [IN-USE] ", self.say(client, LOGIN))
        self.mailboxes.open_trouble = None
        self.assertIn(b"+OK 3", self.say(client, LOGIN))

    def test_mailbox_fails(self) -> None:
        """A mailbox that can't be listed stays locked."""
        self.mailboxes.open_trouble = OSError("disk")
        client = self.connect()
        self.assertIn(b"-ERR [SYS/TEMP] ", self.say(client, LOGIN))
        self.mailboxes.open_trouble = None
        self.mailbox.list_trouble = OSError("disk")
        self.assertIn(b"-ERR [SYS/TEMP] ", self.say(client, LOGIN))
        self.assertEqual(self.mailbox.closed, 1)
        self.flushLoggedErrors(OSError)

    def test_leaves_while_the_mailbox_opens(self) -> None:
        """A mailbox is locked for a client that has left."""
        opening: Deferred[Any] = Deferred()
        self.mailboxes.open_trouble = opening
        client = self.connect()
        self.say(client, LOGIN)
        client.transport.abortConnection()
        self.reactor.advance(0)
        opening.callback(self.mailbox)
        self.assertEqual(self.mailbox.closed, 1)

    def test_leaves_while_the_login_is_proved(self) -> None:
        """A mailbox is opened for a client that has left."""
        proving: Deferred[Any] = Deferred()
        self.accounts.login_trouble = proving
        client = self.connect()
        self.say(client, LOGIN)
        client.transport.abortConnection()
        self.reactor.advance(0)
        proving.callback(str(MARY).encode())
        self.assertEqual(self.authorisation.asked, [])


class RetrieveTests(Pop3Case):
    """Messages from files, and slow clients."""

    def file(self, octets: bytes, **keywords: Any) -> File:
        file = File(octets, **keywords)
        self.mailbox.files[0] = file
        self.mailbox.messages[0] = octets
        return file

    def test_in_pieces(self) -> None:
        """A large message arrives whole."""
        file = self.file(LINE * 20_000)
        said = self.say(self.logged_in(), b"RETR 1\r\nNOOP\r\n")
        whole = LINE.replace(b"\n", b"\r\n") * 20_000
        self.assertEqual(said, b"+OK 340000 octets\r\n" + whole + b".\r\n+OK nothing done\r\n")
        self.assertEqual(file.closed, 1)

    def test_slow_client(self) -> None:
        """A client that does not read has the whole message put into memory."""
        file = self.file(LINE * 200_000)
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"RETR 1\r\n")
        reads = file.reads
        self.assertLess(reads, 20)
        self.reactor.advance(60)
        self.assertEqual(file.reads, reads)
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertTrue(client.received.endswith(b"e\r\n.\r\n"))
        self.assertEqual(client.received.count(b"e\r\n"), 200_000)
        self.assertEqual(file.closed, 1)

    def test_what_waits(self) -> None:
        """Each of a thousand slow clients has several pieces of its message in memory."""
        self.file(b"A: b\n\n" + b"x\n" * 500_000)
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"RETR 1\r\n")
        (connection,) = self.factory.connections
        transport: Any = connection.transport
        self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, PIECE)

    def test_after_a_large_message(self) -> None:
        """Once a message did not fit into the line at once, each answer takes a turn more."""
        self.file(b"A: b\n\n" + b"x\n" * 100_000)
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"RETR 1\r\n")
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertTrue(client.received.endswith(b"x\r\n.\r\n"))
        (connection,) = self.factory.connections
        self.assertIsNotNone(connection._outlet._send)
        self.assertEqual(self.say(client, b"NOOP\r\n"), b"+OK nothing done\r\n")

    def test_client_that_never_reads(self) -> None:
        """A connection that goes no further is kept for ever, and its mailbox locked."""
        file = self.file(LINE * 200_000)
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"RETR 1\r\n")
        self.reactor.advance(1300)
        self.assertEqual((file.closed, self.mailbox.closed), (1, 1))

    def test_client_that_never_reads_short_answers(self) -> None:
        """Likewise when all that it does not read are short answers."""
        client = self.logged_in()
        client.transport.pauseProducing()
        for _ in range(40):
            self.say(client, b"CAPA\r\n" * 1000)
        (connection,) = self.factory.connections
        self.assertLess(len(connection._session), 2 * MAX_UNREAD)
        self.reactor.advance(1300)
        self.assertEqual(self.mailbox.closed, 1)

    def test_reads_again(self) -> None:
        """Commands that waited because the client did not read are answered when it does."""
        client = self.logged_in()
        client.transport.pauseProducing()
        for _ in range(40):
            self.say(client, b"CAPA\r\n" * 1000)
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertEqual(client.received.count(b"+OK capability"), 40_000)

    def test_many_commands_while_it_waits(self) -> None:
        """A client fills the memory with commands while one is being answered."""
        self.file(b"x\n")
        client = self.logged_in()
        self.threads = []
        self.say(client, b"RETR 1\r\n")
        for _ in range(20):
            self.say(client, b"NOOP\r\n" * 2000)
        (connection,) = self.factory.connections
        self.assertLess(len(connection._session), 3 * MAX_UNREAD)
        self.run_thread()
        self.run_thread()
        self.assertEqual(client.received.count(b"+OK nothing done"), 40_000)

    def test_top_reads_no_more_than_needed(self) -> None:
        """The beginning of a large message costs reading all of it."""
        file = self.file(b"A: b\n\n" + LINE * 100_000)
        said = self.say(self.logged_in(), b"TOP 1 1\r\n")
        self.assertEqual(said, b"+OK the beginning follows\r\nA: b\r\n\r\n0123456789abcde\r\n.\r\n")
        self.assertEqual((file.reads, file.closed), (1, 1))
        self.assertLess(PIECE, len(LINE) * 100_000)

    def test_removed_by_another(self) -> None:
        """A message that another program removed ends the session."""
        self.mailbox.get_trouble = FileNotFoundError()
        client = self.logged_in()
        self.assertIn(b"-ERR the message is not there any more", self.say(client, b"RETR 1\r\n"))
        self.assertIn(b"+OK", self.say(client, b"NOOP\r\n"))

    def test_can_not_be_opened(self) -> None:
        """A message that can't be read ends the session, or hangs it."""
        client = self.logged_in()
        for trouble in (OSError("disk"), Deferred()):
            self.mailbox.get_trouble = trouble
            self.say(client, b"RETR 1\r\n")
            self.reactor.advance(31)
            self.assertTrue(client.received.startswith(b"-ERR [SYS/TEMP] "), client.received)
        self.flushLoggedErrors(OSError)

    def test_breaks_off(self) -> None:
        """Half a message looks like a whole one."""
        for fails_after in (0, 2):
            file = self.file(LINE * 20_000, fails_after=fails_after)
            client = self.logged_in()
            said = self.say(client, b"RETR 1\r\n")
            self.assertNotIn(b"\r\n.\r\n", said)
            self.assertNotIn(b"-ERR", said)
            self.assertIsNotNone(client.lost)
            self.assertEqual(file.closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_leaves_while_a_thread_reads(self) -> None:
        """A file is closed while a thread reads it: its number may be another file's by then."""
        file = self.file(LINE * 20_000)
        client = self.logged_in()
        self.threads = []
        self.say(client, b"RETR 1\r\n")
        client.transport.abortConnection()
        self.reactor.advance(0)
        self.assertEqual((file.closed, self.mailbox.closed), (0, 0))
        self.run_thread()
        self.assertEqual((file.closed, self.mailbox.closed), (1, 1))
        self.assertEqual(self.threads, [])


class UpdateTests(Pop3Case):
    """Deleting."""

    def test_fails(self) -> None:
        """A client believes its mail deleted, and gets it again."""
        for field in ("delete_trouble", "sync_trouble"):
            self.mailbox = self.mailboxes.mailbox = type(self.mailbox)(list(MESSAGES))
            setattr(self.mailbox, field, ValueError("fault"))
            client = self.logged_in()
            said = self.say(client, b"DELE 1\r\nQUIT\r\n")
            self.assertIn(
                b"\r\n-ERR [SYS/TEMP] some deleted messages were not removed: delete them again "
                b"next time\r\n",
                said,
            )
            self.assertIsNotNone(client.lost)
            self.assertEqual(self.mailbox.closed, 1)
        self.flushLoggedErrors(ValueError)

    def test_no_permission(self) -> None:
        """A client tries again for ever what only an administrator can mend."""
        self.mailbox.sync_trouble = self.mailbox.get_trouble = PermissionError(13, "no")
        client = self.logged_in()
        told = self.say(client, b"RETR 1\r\nDELE 1\r\nQUIT\r\n").split(b"\r\n")
        self.assertEqual(told[0], b"-ERR [SYS/PERM] the message can't be read: tell the postmaster")
        self.assertTrue(told[2].startswith(b"-ERR [SYS/PERM] some deleted messages were not"))
        self.assertEqual(self.mailbox.closed, 1)

    def test_many(self) -> None:
        """A client that deletes many messages is told that it failed, as it takes long."""
        self.mailbox.messages = [b"x\n"] * (2 * PART + 1)
        client = self.connect()
        self.say(client, LOGIN + b"".join(b"DELE %d\r\n" % n for n in range(1, 2 * PART + 2)))
        self.mailbox.sync_trouble = syncing = Deferred[None]()
        self.say(client, b"QUIT\r\n")
        for _ in range(3):
            self.reactor.advance(20)
            self.assertEqual(client.received, b"")
            self.mailbox.sync_trouble, done = Deferred[None](), syncing
            syncing = self.mailbox.sync_trouble
            done.callback(None)
        self.reactor.advance(0)
        self.assertIn(b"+OK pop.example says goodbye", client.received)
        self.assertEqual((len(self.mailbox.marked), self.mailbox.synced), (2 * PART + 1, 3))

    def test_waits(self) -> None:
        """The goodbye comes before the deletion is safe, or the lock is kept after it."""
        self.mailbox.sync_trouble = syncing = Deferred[None]()
        client = self.logged_in()
        said = self.say(client, b"DELE 1\r\nQUIT\r\n")
        self.assertNotIn(b"goodbye", said)
        self.assertEqual(self.mailbox.closed, 0)
        syncing.callback(None)
        self.assertEqual(self.mailbox.closed, 1)
        self.reactor.advance(0)
        self.assertIn(b"goodbye", client.received)

    def test_leaves_meanwhile(self) -> None:
        """A client that hangs up right after QUIT has its deletions cut off half-way."""
        self.mailbox.sync_trouble = syncing = Deferred[None]()
        client = self.logged_in()
        self.say(client, b"DELE 1\r\nQUIT\r\n")
        client.transport.abortConnection()
        self.reactor.advance(0)
        self.assertEqual(self.mailbox.closed, 0)
        syncing.callback(None)
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (1, 1))


class HalfClosedTests(Pop3Case):
    """A client that has said everything closes its side, and listens."""

    def half_close(self, client: Client, octets: bytes) -> bytes:
        """Send, close that side, and take what comes."""
        client.received = b""
        client.transport.write(octets)
        client.transport.loseWriteConnection()
        self.reactor.advance(0)
        return client.received

    def test_whole_session(self) -> None:
        """A script that sends a whole session at once is cut off, and its deletions are lost."""
        self.mailbox.sync_trouble = syncing = Deferred[None]()
        client = self.connect()
        self.half_close(client, LOGIN + b"RETR 2\r\nDELE 2\r\nQUIT\r\n")
        self.assertIsNone(client.lost)
        syncing.callback(None)
        self.reactor.advance(0)
        self.assertIn(b"\r\n..dot\r\n.\r\n+OK message 2 will be", client.received)
        self.assertTrue(client.received.endswith(b"goodbye\r\n"))
        self.assertIsNotNone(client.lost)
        self.assertEqual((self.mailbox.marked, self.mailbox.closed), ({1}, 1))

    def test_without_quit(self) -> None:
        """A client that says no goodbye is kept for ten minutes, or has its mail deleted."""
        client = self.connect()
        said = self.half_close(client, LOGIN + b"DELE 1\r\nSTAT\r\nQUI")
        self.assertTrue(said.endswith(b"+OK 2 39\r\n"), said)
        self.assertIsNotNone(client.lost)
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (0, 1))

    def test_long_answers(self) -> None:
        """What takes several turns, or room in the line, is cut off."""
        self.mailbox.messages = [b"x\n"] * 50_000
        self.mailbox.files[0] = File(LINE * 20_000)
        client = self.connect()
        client.transport.pauseProducing()
        self.half_close(client, LOGIN + b"LIST\r\nRETR 1\r\n" + b"NOOP\r\n" * 2000)
        self.assertIsNone(client.lost)
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertEqual(client.received.count(b"abcde\r\n"), 20_000)
        self.assertEqual(client.received.count(b"+OK nothing done\r\n"), 2000)
        self.assertIsNotNone(client.lost)

    def test_between_commands(self) -> None:
        """Nothing is waited for; the mailbox is unlocked at once."""
        client = self.logged_in()
        self.assertEqual(self.half_close(client, b""), b"")
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.mailbox.closed, 1)


class FaultTests(Pop3Case):
    """Bugs."""

    def test_unique_ids(self) -> None:
        """A mailbox that can't tell unique ids ends the session, or leaves it without an answer."""
        for trouble in (RuntimeError("bug"), Deferred[bytes]()):
            self.mailbox.uidl_trouble = trouble
            client = self.logged_in()
            said = self.say(client, b"UIDL\r\n")
            if isinstance(trouble, Deferred):
                trouble.errback(RuntimeError("bug"))
                self.reactor.advance(0)
                said = client.received
            self.assertEqual(said, b"-ERR [SYS/TEMP] can't tell unique ids at present\r\n")
            self.mailbox.uidl_trouble = None
            self.assertIn(b"1 id0\r\n", self.say(client, b"UIDL\r\n"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_bug(self) -> None:
        """A bug leaves a client without an answer, or stops the server."""
        client = self.logged_in()
        (connection,) = self.factory.connections
        connection._session._maildrop = None  # type: ignore[assignment]  # what no session has
        self.assertIn(b"-ERR [SYS/TEMP] fault here", self.say(client, b"LIST\r\n"))
        self.assertIsNotNone(client.lost)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_bug_in_an_answer(self) -> None:
        """Likewise when it is in what has to be waited for."""
        for call in ("identified", "message"):
            client = self.logged_in()
            (connection,) = self.factory.connections
            setattr(connection._session, call, None)
            said = self.say(client, b"UIDL\r\n" if call == "identified" else b"RETR 1\r\n")
            self.assertNotIn(b"\r\n.\r\n", said)
            self.assertIsNotNone(client.lost)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_bug_amidst_a_listing(self) -> None:
        """A client takes words about a fault for a part of its listing."""
        client = self.logged_in()
        (connection,) = self.factory.connections
        connection._session._maildrop.size_lines = lambda: (x / 0 for x in (1,))  # type: ignore
        # The strangest of listings will do.
        said = self.say(client, b"LIST\r\n")
        self.assertNotIn(b"fault", said)
        self.assertIsNotNone(client.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TimeTests(Pop3Case):
    """Clients that stay."""

    limits = Limits(session=Seconds(2000.0))

    def test_idle(self) -> None:
        """A client that went away without a word keeps its mailbox locked."""
        client = self.logged_in()
        self.say(client, b"DELE 1\r\n")
        self.reactor.advance(599)
        self.say(client, b"NOOP\r\n")
        self.reactor.advance(599)
        self.assertIsNone(client.lost)
        client.received = b""
        self.reactor.advance(2)
        self.assertIsNotNone(client.lost)
        # RFC 1939 §3: no response, and nothing deleted.
        self.assertEqual(client.received, b"")
        self.assertEqual((self.mailbox.synced, self.mailbox.closed), (0, 1))

    def test_clock_set_back(self) -> None:
        """A mailbox stays locked for as long as the clock was set back."""
        client = self.logged_in()
        self.reactor.advance(300)
        self.reactor.jump(-86_400)
        self.reactor.advance(1200)
        self.assertIsNotNone(client.lost)

    def test_command_octet_by_octet(self) -> None:
        """A client that never ends its command has its mailbox locked for hours."""
        client = self.logged_in()
        for _ in range(10):
            self.say(client, b"N")
            self.reactor.advance(60)
        self.assertIsNotNone(client.lost)

    def test_no_login(self) -> None:
        """A client without a login stays as long as it likes."""
        client = self.connect()
        for _ in range(4):
            self.reactor.advance(150)
            self.say(client, b"CAPA\r\n")
        self.assertIsNotNone(client.lost)

    def test_session(self) -> None:
        """A client that keeps talking has its mailbox locked for days."""
        client = self.logged_in()
        for _ in range(21):
            self.reactor.advance(100)
            self.say(client, b"NOOP\r\n")
        self.assertIsNotNone(client.lost)

    def test_our_own_slowness(self) -> None:
        """A slow disk of ours looks like a silent client."""
        self.mailbox.files[0] = File(b"x\n")
        client = self.logged_in()
        self.threads = []
        self.say(client, b"RETR 1\r\n")
        self.reactor.advance(1500)
        self.assertIsNone(client.lost)
        self.run_thread()
        self.run_thread()
        self.assertIn(b"\r\n.\r\n", client.received)

    def test_will_not_take_the_end(self) -> None:
        """A client that does not read what comes last keeps its connection."""
        self.mailbox.messages[0] = LINE * 100_000
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"RETR 1\r\nQUIT\r\n")
        self.assertGreater(len(self.factory.connections), 0)
        self.reactor.advance(LINGER + 1300)
        self.assertEqual(len(self.factory.connections), 0)


class LongListingTests(Pop3Case):
    """Answers that are made piece by piece."""

    def setUp(self) -> None:
        super().setUp()
        self.mailbox.messages = [b"x\n"] * 100_000

    def logged_in(self) -> Client:
        client = self.connect()
        self.say(client, LOGIN)
        return client

    def test_slow_client(self) -> None:
        """A listing is put into memory whole for a client that does not read."""
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"LIST\r\nUIDL\r\nNOOP\r\n")
        (connection,) = self.factory.connections
        self.assertFalse(connection._session.between_responses)
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.assertEqual(client.received.count(b"\r\n"), 200_005)
        self.assertTrue(client.received.endswith(b"\r\n.\r\n+OK nothing done\r\n"))

    def test_turns(self) -> None:
        """One client that asks for much keeps all the others waiting."""
        client, other = self.logged_in(), self.connect()
        (connection,) = (c for c in self.factory.connections if c._session.authenticated)
        turns = []
        go_on = connection._go_on
        self.patch(connection, "_go_on", lambda: (turns.append(other.received), go_on()))
        other.received = b""
        client.transport.write(b"LIST\r\n" + b"NOOP\r\n" * 2000)
        other.transport.write(b"CAPA\r\n")
        self.reactor.advance(0)
        self.assertGreater(len(turns), 12)
        self.assertIn(b"+OK capability", turns[3])

    def test_leaves_amidst(self) -> None:
        """A client that leaves amidst a listing has it made to its end."""
        client = self.logged_in()
        client.transport.write(b"LIST\r\n")
        (connection,) = self.factory.connections
        self.patch(connection, "_go_on", lambda: self.fail("it goes on"))
        client.transport.abortConnection()
        connection.dataReceived(b"")
        connection.connectionLost()
        self.reactor.advance(0)
        self.assertEqual(self.mailbox.closed, 1)

    def test_server_stops_amidst(self) -> None:
        """A client takes the words of a server that stops for a part of its listing."""
        client = self.logged_in()
        client.transport.pauseProducing()
        self.say(client, b"LIST\r\n")
        drained = self.factory.drain(5)
        self.reactor.advance(0)
        self.assertNoResult(drained)
        client.transport.resumeProducing()
        self.reactor.advance(0)
        self.successResultOf(drained)
        listing, _, rest = client.received.partition(b"\r\n.\r\n")
        self.assertEqual(listing.count(b"\r\n"), 100_000)
        self.assertTrue(rest.startswith(b"-ERR [SYS/TEMP] the server is shutting down"))


class LimitTests(Pop3Case):
    """Many connections."""

    limits = Limits(connections=3, connections_per_address=2, errors=4, login_failures_per_login=2)

    def test_connections(self) -> None:
        """One client takes all connections, or all clients take more than there are."""
        first, _, third = self.connect(), self.connect(), self.connect()
        self.assertEqual(
            third.received, b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
        )
        self.assertIsNotNone(third.lost)
        self.far()
        self.assertTrue(self.far("192.0.2.10").received.startswith(b"-ERR"))
        first.transport.loseConnection()
        self.reactor.advance(0)
        self.assertTrue(self.connect().received.startswith(b"+OK"))

    def test_guessing_over_many_connections(self) -> None:
        """A password is guessed over one connection after the other."""
        for login in (WRONG, WRONG.replace(b"mary", b"nobody")):
            for _ in range(2):
                client = self.connect()
                self.assertIn(b"-ERR [AUTH]", self.say(client, login))
                client.transport.loseConnection()
                self.reactor.advance(0)
        client = self.connect()
        told = self.say(client, LOGIN)
        self.assertIn(b"-ERR [SYS/TEMP] too many failed logins", told)
        self.assertEqual(self.say(client, WRONG.replace(b"mary", b"nobody")), told)

    def test_errors(self) -> None:
        """A client that talks nonsense is not listened to for ever."""
        client = self.connect()
        said = self.say(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nx\r\nCAPA\r\n")
        self.assertEqual(said.count(b"-ERR"), 4)
        self.assertNotIn(b"+OK", said)
        self.assertIsNotNone(client.lost)


class Proxied:
    """A transport whose peer turns out to be another one, as with the PROXY protocol."""

    def __init__(self) -> None:
        self.peer = ("127.0.0.1", 1)
        self.written = b""

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", *self.peer)

    def write(self, octets: bytes) -> None:
        self.written += octets

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming

    def unregisterProducer(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass


class ProxyTests(Pop3Case):
    """Behind a proxy on this machine."""

    limits = Limits(connections_per_address=1)

    def test_counted(self) -> None:
        """All clients are counted as the proxy, or one client takes all connections."""
        told = []
        connections = []
        for address in ("192.0.2.8", "192.0.2.9", "192.0.2.9"):
            connection, transport = self.factory.buildProtocol(None), Proxied()
            connection.makeConnection(transport)  # type: ignore[arg-type]  # as much as is needed
            self.assertIn(b"+OK", transport.written)
            transport.peer = (address, 4711)
            connection.dataReceived(b"CAPA\r\n")
            told.append(transport.written.split(b"\r\n")[1])
            connections.append(connection)
        self.assertEqual([line[:4] for line in told], [b"+OK ", b"+OK ", b"-ERR"])
        for connection in connections:
            connection.connectionLost()

    def test_true_address(self) -> None:
        """A client elsewhere counts as one on this machine, and sends its password in the clear."""
        connection, transport = self.factory.buildProtocol(None), Proxied()
        connection.makeConnection(transport)  # type: ignore[arg-type]  # as much as is needed
        transport.peer = ("192.0.2.9", 4711)
        connection.dataReceived(b"USER mary@here.example\r\n")
        self.assertIn(b"-ERR [AUTH] passwords are taken over TLS only", transport.written)
        connection.connectionLost()
