"""The POP3 dialogue: every command gets one response, and nothing is deleted without QUIT."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.pop3 import FLUSH, TURN, Pop3Session
from mailframe.wire.pop3_events import (
    Authenticate,
    Event,
    Flush,
    Identify,
    Offer,
    Retrieve,
    StartTls,
    Update,
)
from mailframe.wire.pop3_message import wire_form
from mailframe.wire.sasl import Login

MESSAGES = (b"Subject: one\n\nhello\n", b"Subject: two\n\n.dot\n..dots\n", b"A: b\n\n1\n2\n3\n")
SIZES = tuple(len(m) + m.count(b"\n") for m in MESSAGES)
ANGELO = Login(authzid=b"", user=b"angelo", password=b"open sesame")
LOGIN = b"USER angelo\r\nPASS open sesame\r\n"


class Desk:
    """Answers a session's events from a mailbox in memory, as a server would."""

    def __init__(self, messages: Sequence[bytes] = MESSAGES, offer: Offer | None = None) -> None:
        self.session = Pop3Session(hostname="pop.example", offer=offer or Offer(login=True))
        self.messages = messages
        self.events: list[Event] = []
        self.deleted: tuple[int, ...] | None = None
        self.output = b""
        self.sync_fails = False
        self.piece: int | None = None  # octets in which messages are given, or as a whole

    def say(self, octets: bytes) -> bytes:
        """Send octets; returns all that the server says to them."""
        before = len(self.output)
        self.session.receive(octets)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            self.answer(event)
            self.output += self.session.take_output()
        self.output += self.session.take_output()
        return self.output[before:]

    def answer(self, event: Event) -> None:
        session = self.session
        match event:
            case Authenticate(login):
                if login == ANGELO:
                    session.logged_in([len(m) + m.count(b"\n") for m in self.messages])
                else:
                    session.refuse("wrong login or password", "AUTH")
            case Identify():
                session.identified([b"id%d" % i for i in range(len(self.messages))])
            case Retrieve(index, _):
                if self.piece is None:
                    session.message(wire_form(self.messages[index])[0])
                    return
                file = io.BytesIO(self.messages[index])
                session.message_follows()
                while piece := file.read(self.piece):
                    if not session.content(piece):
                        break
                session.message_sent()
            case Update(indices):
                if self.sync_fails:
                    session.refuse("some deleted messages were not removed", "SYS/TEMP")
                else:
                    self.deleted = indices
                    session.accept("goodbye")
            case StartTls():
                session.tls_begins()
                session.offer = Offer(login=True)
            case Flush():
                pass


def logged_in(messages: Sequence[bytes] = MESSAGES) -> Desk:
    desk = Desk(messages)
    assert desk.say(LOGIN).endswith(b" octets)\r\n")
    return desk


class AuthorizationTests(SynchronousTestCase):
    """Before the login."""

    def test_greeting(self) -> None:
        """A client that finds a timestamp in the greeting would try APOP, which we don't have."""
        desk = Desk()
        desk.session.greet()
        self.assertEqual(desk.say(b""), b"+OK pop.example POP3 server ready\r\n")

    def test_login(self) -> None:
        """A password with a space in it is a password like another."""
        desk = Desk()
        self.assertEqual(
            desk.say(LOGIN), b"+OK send PASS\r\n+OK 3 messages (%d octets)\r\n" % sum(SIZES)
        )
        self.assertTrue(desk.session.authenticated)

    def test_wrong_login(self) -> None:
        """USER gives away nothing; what is wrong is said of both at once."""
        desk = Desk()
        self.assertEqual(
            desk.say(b"USER nobody\r\nPASS x\r\n"),
            b"+OK send PASS\r\n-ERR [AUTH] wrong login or password\r\n",
        )
        self.assertFalse(desk.session.authenticated)

    def test_pass_comes_directly_after_user(self) -> None:
        """A user name that lies about can't be combined with a later password."""
        desk = Desk()
        said = desk.say(b"PASS x\r\nUSER angelo\r\nCAPA\r\nPASS open sesame\r\n")
        self.assertTrue(said.startswith(b"-ERR PASS comes directly after USER\r\n+OK"))
        self.assertTrue(said.endswith(b".\r\n-ERR PASS comes directly after USER\r\n"))

    def test_states(self) -> None:
        """Nobody reaches a mailbox before the login, and nobody logs in twice."""
        desk = Desk()
        for command in (b"STAT", b"LIST", b"RETR 1", b"DELE 1", b"NOOP", b"RSET", b"TOP 1 1"):
            self.assertEqual(desk.say(command + b"\r\n"), b"-ERR log in first\r\n")
        desk = logged_in()
        for command in (b"USER a", b"PASS b", b"AUTH PLAIN", b"STLS"):
            self.assertEqual(desk.say(command + b"\r\n"), b"-ERR only allowed before the login\r\n")
        self.assertEqual(len(desk.events), 1)

    def test_auth_plain(self) -> None:
        """Clients that prefer SASL can log in, with and without an initial response."""
        response = base64.b64encode(b"\0angelo\0open sesame")
        desk = Desk()
        self.assertTrue(desk.say(b"AUTH PLAIN " + response + b"\r\n").startswith(b"+OK 3"))
        desk = Desk()
        self.assertEqual(desk.say(b"auth plain\r\n"), b"+ \r\n")
        self.assertTrue(desk.say(response + b"\r\n").startswith(b"+OK 3"))

    def test_auth_login(self) -> None:
        """LOGIN asks twice."""
        desk = Desk()
        self.assertEqual(desk.say(b"AUTH LOGIN\r\n"), b"+ VXNlcm5hbWU6\r\n")
        self.assertEqual(desk.say(base64.b64encode(b"angelo") + b"\r\n"), b"+ UGFzc3dvcmQ6\r\n")
        self.assertTrue(desk.say(base64.b64encode(b"open sesame") + b"\r\n").startswith(b"+OK"))

    def test_auth_ends(self) -> None:
        """After a cancelled or broken exchange the next line is a command again."""
        for line in (b"*", b"no base64!", base64.b64encode(b"a"), b"A" * 13000):
            desk = Desk()
            desk.say(b"AUTH PLAIN\r\n")
            self.assertTrue(desk.say(line + b"\r\n").startswith(b"-ERR "), line[:20])
            self.assertTrue(desk.say(b"CAPA\r\n").startswith(b"+OK "))
            self.assertEqual(desk.events, [])

    def test_auth_arguments(self) -> None:
        """A mechanism that we don't have is refused, and so is a bad initial response."""
        desk = Desk()
        for line in (b"AUTH", b"AUTH CRAM-MD5", b"AUTH PLAIN a b", b"AUTH PLAIN !", b"AUTH \xff"):
            self.assertTrue(desk.say(line + b"\r\n").startswith(b"-ERR "), line)
        self.assertTrue(desk.say(b"CAPA\r\n").startswith(b"+OK "))

    def test_long_response(self) -> None:
        """RFC 5034 §4: in an exchange, lines may be longer than a command."""
        desk = Desk()
        desk.say(b"AUTH PLAIN\r\n")
        desk.say(base64.b64encode(b"\0angelo\0" + b"p" * 900) + b"\r\n")
        assert isinstance(desk.events[0], Authenticate)
        self.assertEqual(desk.events[0].login.password, b"p" * 900)

    def test_no_password_in_the_clear(self) -> None:
        """A client that would send its password for all to read is stopped before it does."""
        desk = Desk(offer=Offer(stls=True))
        said = desk.say(b"USER angelo\r\nPASS open sesame\r\nAUTH PLAIN AGE=\r\n")
        self.assertEqual(said.count(b"\r\n"), 3)
        self.assertEqual(said.count(b"-ERR [AUTH] passwords are taken over TLS only: use STLS"), 2)
        self.assertEqual(desk.events, [])
        self.assertNotIn(b"use STLS", Desk(offer=Offer()).say(b"USER angelo\r\n"))

    def test_no_password(self) -> None:
        """Where only tokens are taken a password is sent for nothing, and counts as a fault."""
        desk = Desk(offer=Offer(login=True, mechanisms=("XOAUTH2",)))
        said = desk.say(LOGIN)
        self.assertTrue(said.startswith(b"-ERR no password is taken here; CAPA lists"), said)
        self.assertEqual(said.count(b"-ERR "), 2)
        self.assertEqual(desk.events, [])

    def test_capabilities(self) -> None:
        """Clients find out what they may use, and only that (RFC 2449)."""
        always = (
            b"+OK capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
            b"PIPELINING\r\nEXPIRE NEVER\r\nLANG\r\nIMPLEMENTATION mailframe\r\n"
        )
        for offer, more in (
            (Offer(stls=True), b"UTF8\r\nSTLS\r\n"),
            (Offer(login=True), b"UTF8 USER\r\nUSER\r\nSASL PLAIN LOGIN\r\n"),
            (Offer(login=True, mechanisms=("XOAUTH2",)), b"UTF8\r\nSASL XOAUTH2\r\n"),
            (Offer(login=True, mechanisms=()), b"UTF8\r\n"),
            (Offer(login_delay=60), b"UTF8\r\nLOGIN-DELAY 60\r\n"),
        ):
            self.assertEqual(Desk(offer=offer).say(b"CAPA\r\n"), always + more + b".\r\n")

    def test_capabilities_after_the_login(self) -> None:
        """RFC 2449 §5: what is announced before the login is announced after it as well."""
        self.assertEqual(logged_in().say(b"CAPA\r\n"), Desk().say(b"CAPA\r\n"))

    def test_languages(self) -> None:
        """A client shows its user texts in a language that was never chosen (RFC 6856 §3)."""
        for desk in (Desk(), logged_in()):
            self.assertEqual(
                desk.say(b"LANG\r\n"),
                b"+OK languages follow\r\nen English\r\ni-default Default language\r\n.\r\n",
            )
            for wanted, tag in (
                *((b"en", b"en"), (b"EN-gb", b"en"), (b"*", b"en"), (b"i-default", b"i-default")),
                (b"en-latn-gb-boont", b"en"),
            ):
                said = desk.say(b"LANG " + wanted + b"\r\n")
                self.assertEqual(said, b"+OK " + tag + b" the language is English\r\n")
            for wanted in (b"de", b"i", b"x-en", b"mul", b"en de", b"**", b"\xc3\xa9", b"en-"):
                self.assertEqual(desk.say(b"LANG " + wanted + b"\r\n")[:5], b"-ERR ", wanted)

    def test_utf8_in_logins(self) -> None:
        """UTF-8 in user and password is taken, and nothing else beyond ASCII is (RFC 6856 §2.3)."""
        desk = Desk()
        self.assertEqual(desk.say("USER j\u00e9rome\r\n".encode()), b"+OK send PASS\r\n")
        desk.say("PASS \u00e9\r\n".encode())
        (event,) = desk.events
        assert isinstance(event, Authenticate)
        assert isinstance(event.login, Login)
        self.assertEqual(event.login.password, b"\xc3\xa9")
        self.assertEqual(desk.say(b"USER \xff\r\n"), b"-ERR the argument is not UTF-8\r\n")

    def test_stls(self) -> None:
        """After the handshake the user name from before counts for nothing."""
        desk = Desk(offer=Offer(stls=True, login=True))
        self.assertEqual(desk.say(b"USER angelo\r\nSTLS\r\n")[-15:], b"+OK begin TLS\r\n")
        self.assertEqual(desk.session.injected, b"")
        self.assertTrue(desk.say(b"PASS open sesame\r\n").startswith(b"-ERR"))
        self.assertEqual(desk.say(b"STLS\r\n"), b"-ERR TLS can't be started\r\n")

    def test_stls_injection(self) -> None:
        """What an attacker slips in behind STLS is never read as a command (CVE-2021-33515)."""
        desk = Desk(offer=Offer(stls=True))
        desk.session.receive(b"STLS\r\nCAPA\r\nUSER x")
        self.assertEqual(desk.session.next_event(), StartTls())
        desk.session.tls_begins()
        self.assertEqual(desk.session.injected, b"CAPA\r\nUSER x")
        self.assertEqual(desk.session.take_output(), b"+OK begin TLS\r\n")
        self.assertIsNone(desk.session.next_event())

    def test_quit(self) -> None:
        """A client may leave without a login."""
        desk = Desk()
        self.assertEqual(desk.say(b"QUIT\r\nCAPA\r\n"), b"+OK pop.example says goodbye\r\n")
        self.assertTrue(desk.session.closing)
        self.assertIsNone(desk.deleted)


class Utf8Tests(SynchronousTestCase):
    """UTF8 (RFC 6856 §2)."""

    message = "Subject: caf\u00e9\nTo: x\n\n\u00e9\n".encode()

    def fetch(self, desk: Desk, command: bytes) -> bytes:
        line, _, body = desk.say(command + b"\r\n").partition(b"\r\n")
        self.assertTrue(line.startswith(b"+OK "), line)
        if command.startswith(b"RETR"):
            self.shown = int(line.split()[1])
        return body

    def test_when(self) -> None:
        """The mode is changed amidst a session, or survives a handshake that it came before."""
        desk = Desk(offer=Offer(stls=True, login=True))
        self.assertEqual(desk.say(b"UTF8 x\r\n"), b"-ERR the command takes no argument\r\n")
        for _ in range(2):
            self.assertEqual(desk.say(b"UTF8\r\n"), b"+OK UTF-8 enabled\r\n")
        desk.say(b"STLS\r\n")
        self.assertFalse(desk.session._utf8)
        self.assertTrue(logged_in().say(b"UTF8\r\n").startswith(b"-ERR "))

    def test_messages(self) -> None:
        """A client gets UTF-8 that it did not ask for, or a surrogate though it did."""
        whole = self.message.replace(b"\n", b"\r\n")
        surrogate = b"Subject: =?utf-8?b?Y2Fmw6k=?=\r\nTo: x\r\n\r\n"
        for piece in (None, 1, 7, 100):
            plain, utf8 = Desk([self.message]), Desk([self.message])
            utf8.say(b"UTF8\r\n")
            for desk in (plain, utf8):
                desk.piece = piece
                desk.say(LOGIN)
            self.assertEqual(self.fetch(utf8, b"RETR 1"), whole + b".\r\n")
            self.assertEqual(self.shown, len(whole))
            body = "\u00e9\r\n".encode()
            self.assertEqual(self.fetch(plain, b"RETR 1"), surrogate + body + b".\r\n")
            if piece is None:
                self.assertEqual(self.shown, len(surrogate + body))
            self.assertEqual(self.fetch(plain, b"TOP 1 0"), surrogate + b".\r\n")

    def test_all_header(self) -> None:
        """A message without a body loses its last field."""
        message = "Subject: caf\u00e9".encode()
        for piece in (None, 3):
            for command in (b"RETR 1", b"TOP 1 5"):
                desk = Desk([message])
                desk.piece = piece
                desk.say(LOGIN)
                self.assertEqual(
                    self.fetch(desk, command), b"Subject: =?utf-8?b?Y2Fmw6k=?=\r\n.\r\n"
                )


class TransactionTests(SynchronousTestCase):
    """With the mailbox."""

    def dialogue(self, desk: Desk, *lines: tuple[bytes, bytes]) -> None:
        for command, response in lines:
            self.assertEqual(desk.say(command + b"\r\n"), response + b"\r\n", command)

    def test_listing(self) -> None:
        """Sizes are those of what is sent; what is marked does not show."""
        one, two, three = SIZES
        self.dialogue(
            logged_in(),
            (b"STAT", b"+OK 3 %d" % sum(SIZES)),
            (b"LIST 2", b"+OK 2 %d" % two),
            (b"DELE 2", b"+OK message 2 will be deleted"),
            (b"STAT", b"+OK 2 %d" % (one + three)),
            (b"LIST 2", b"-ERR message 2 is marked as deleted"),
            (
                b"list",
                b"+OK 2 messages (%d octets)\r\n1 %d\r\n3 %d\r\n." % (one + three, one, three),
            ),
            (b"RSET", b"+OK 3 messages (%d octets)" % sum(SIZES)),
            (b"STAT", b"+OK 3 %d" % sum(SIZES)),
            (b"NOOP", b"+OK nothing done"),
        )

    def test_empty_mailbox(self) -> None:
        """A client of an empty mailbox gets empty lists, not errors."""
        self.dialogue(
            logged_in(()),
            (b"STAT", b"+OK 0 0"),
            (b"LIST", b"+OK 0 messages (0 octets)\r\n."),
            (b"UIDL", b"+OK unique ids follow\r\n."),
            (b"RETR 1", b"-ERR no such message"),
        )

    def test_unique_ids(self) -> None:
        """Asked for once, and kept for the session."""
        desk = logged_in()
        self.dialogue(
            desk,
            (b"UIDL 2", b"+OK 2 id1"),
            (b"DELE 1", b"+OK message 1 will be deleted"),
            (b"UIDL 1", b"-ERR message 1 is marked as deleted"),
            (b"UIDL", b"+OK unique ids follow\r\n2 id1\r\n3 id2\r\n."),
        )
        self.assertEqual(desk.events.count(Identify()), 1)

    def test_retrieve(self) -> None:
        """A line that is a dot in the message does not end it."""
        for piece in (None, 1, 5, 100):
            desk = logged_in()
            desk.piece = piece
            self.dialogue(
                desk,
                (b"RETR 2", b"+OK 30 octets\r\nSubject: two\r\n\r\n..dot\r\n...dots\r\n."),
                (b"TOP 3 2", b"+OK the beginning follows\r\nA: b\r\n\r\n1\r\n2\r\n."),
                (b"TOP 3 0", b"+OK the beginning follows\r\nA: b\r\n\r\n."),
                (b"TOP 3 9", b"+OK the beginning follows\r\nA: b\r\n\r\n1\r\n2\r\n3\r\n."),
            )

    def test_arguments(self) -> None:
        """Whatever number a client makes up, it gets an error and no other message."""
        desk = logged_in()
        for line in (
            *(
                b"RETR",
                b"RETR 0",
                b"RETR 4",
                b"RETR -1",
                b"RETR x",
                b"RETR 1 2",
                b"RETR 99999999999",
            ),
            *(b"DELE", b"DELE 0", b"DELE 1.5", b"TOP 1", b"TOP 1 -1", b"TOP 1 2 3", b"TOP 0 0"),
            *(b"LIST 0", b"LIST 1 2", b"UIDL 4294967297", b"STAT 1", b"NOOP 1", b"RETR \xb2"),
        ):
            desk.session._errors_left = 20
            self.assertTrue(desk.say(line + b"\r\n").startswith(b"-ERR "), line)
        self.assertEqual(desk.events[1:], [])

    def test_delete_at_quit(self) -> None:
        """Deleted is what was marked when the client took its leave, and nothing before."""
        desk = logged_in()
        desk.say(b"DELE 3\r\nDELE 1\r\n")
        self.assertIsNone(desk.deleted)
        self.assertEqual(desk.say(b"DELE 1\r\n"), b"-ERR message 1 is marked as deleted\r\n")
        self.assertEqual(desk.say(b"QUIT\r\nSTAT\r\n"), b"+OK goodbye\r\n")
        self.assertEqual(desk.deleted, (0, 2))
        self.assertTrue(desk.session.closing)

    def test_reset(self) -> None:
        """RSET takes all marks away."""
        desk = logged_in()
        desk.say(b"DELE 3\r\nRSET\r\nQUIT\r\n")
        self.assertEqual(desk.deleted, ())

    def test_failing_delete(self) -> None:
        """A client whose messages are still there must not believe them gone."""
        desk = logged_in()
        desk.sync_fails = True
        self.assertTrue(desk.say(b"DELE 1\r\nQUIT\r\n").endswith(b"were not removed\r\n"))
        self.assertTrue(desk.session.closing)

    def test_much_output(self) -> None:
        """Many long lists in one packet are not piled up in memory."""
        desk = logged_in([b"x\n"] * 20_000)
        most = 0
        desk.session.receive(b"LIST\r\nDELE 3\r\nUIDL\r\nLIST\r\n")
        output = b""
        while (event := desk.session.next_event()) is not None:
            desk.answer(event)
            if event == Flush():
                self.assertFalse(desk.session.between_responses)
            piece = desk.session.take_output()
            most = max(most, len(piece))
            output += piece
        output += desk.session.take_output()
        self.assertLess(most, 2 * FLUSH)
        first, _, rest = output.partition(b"\r\n.\r\n")
        self.assertEqual(first.count(b"\r\n"), 20_000)
        uidls, _, last = rest.partition(b"\r\n.\r\n")
        self.assertEqual(uidls.count(b"\r\n"), 20_000)
        self.assertNotIn(b"\r\n3 ", uidls)
        self.assertEqual(last.count(b"\r\n"), 20_001)
        self.assertTrue(desk.session.between_responses)

    def test_many_commands(self) -> None:
        """One client that sends many commands at once keeps all others waiting."""
        desk = logged_in()
        said = desk.say(b"NOOP\r\n" * 5000)
        self.assertEqual(said.count(b"+OK"), 5000)
        self.assertEqual(desk.events.count(Flush()), 5000 // TURN)


class LineTests(SynchronousTestCase):
    """Lines against the protocol."""

    def test_lines(self) -> None:
        """Only CRLF ends a line, and a line has an end."""
        desk = logged_in()
        for line in (b"", b" ", b"XYZZY", b"STAT\n", b"ST\rAT", b"\nSTAT", b"LIST " + b"1" * 300):
            said = desk.say(line + b"\r\n")
            self.assertTrue(re.fullmatch(rb"-ERR [^\r\n]*\r\n", said), (line, said))
        self.assertEqual(desk.say(b"STAT\r\n")[:3], b"+OK")

    def test_controls(self) -> None:
        """A control character can't come into a log by way of a user name."""
        self.assertTrue(Desk().say(b"USER a\x1bb\r\n").startswith(b"-ERR "))

    def test_many_errors(self) -> None:
        """A client that talks nonsense is not listened to for ever."""
        desk = Desk()
        said = desk.say(b"GET / HTTP/1.1\r\n" * 30)
        self.assertEqual(said.count(b"\r\n"), 20)
        self.assertTrue(said.endswith(b"too many errors, closing the connection\r\n"))
        self.assertTrue(desk.session.closing)
        self.assertEqual(desk.say(b"CAPA\r\n"), b"")

    def test_long_refusal(self) -> None:
        """A plugin's long words don't make a line that is against the protocol."""
        desk = Desk()
        desk.session.receive(b"USER a\r\nPASS b\r\n")
        desk.session.next_event()
        desk.session.refuse("no " * 400, "AUTH")
        self.assertEqual(max(map(len, desk.session.take_output().splitlines(True))), 512)

    def test_words_that_look_like_a_code(self) -> None:
        """A plugin's words are taken for a response code (RFC 2449 §8)."""
        desk = Desk()
        desk.session.receive(b"USER a\r\nPASS b\r\n")
        desk.session.next_event()
        desk.session.take_output()
        desk.session.refuse("[IN-USE] not at all")
        self.assertEqual(desk.session.take_output(), b"-ERR IN-USE] not at all\r\n")


COMMANDS = st.sampled_from(
    [
        *(b"STAT", b"LIST", b"LIST 1", b"LIST 9", b"RETR 1", b"RETR 2", b"TOP 3 1", b"TOP 2"),
        *(b"DELE 1", b"DELE 2", b"DELE 0", b"RSET", b"NOOP", b"UIDL", b"UIDL 3", b"CAPA"),
        *(b"FOO", b"USER angelo", b"PASS open sesame", b"PASS x", b"STLS", b"QUIT"),
        *(b"AUTH", b"AUTH PLAIN AGFuZ2VsbwBvcGVuIHNlc2FtZQ==", b"LIST\nLIST"),
    ]
)


def responses(octets: bytes, commands: Sequence[bytes]) -> list[bytes]:
    """Cut what a server said into the responses to the commands; fails when they don't fit."""
    found = []
    for command in commands:
        line, end, octets = octets.partition(b"\r\n")
        if not end:
            break
        word = command.split(b" ")[0]
        multi = word in (b"CAPA", b"RETR", b"TOP") or command in (b"LIST", b"UIDL")
        if multi and line.startswith(b"+OK"):
            body, end, octets = (b"\r\n" + octets).partition(b"\r\n.\r\n")
            assert end
            line += body
        assert line.startswith((b"+OK", b"-ERR")), line
        found.append(line)
    assert octets == b"", octets
    return found


class PropertyTests(SynchronousTestCase):
    """Whatever a client says."""

    @settings(deadline=None, max_examples=150)
    @given(st.lists(COMMANDS, max_size=12), st.booleans(), st.data())
    def test_one_response_each(
        self, commands: list[bytes], login: bool, data: st.DataObject
    ) -> None:
        """Each command gets one response, however packets are cut; deletion needs QUIT."""
        octets = b"".join(command + b"\r\n" for command in commands)
        whole, split = Desk(), Desk()
        for desk in (whole, split):
            if login:
                desk.say(LOGIN)
                desk.output = b""
        whole.say(octets)
        while octets:
            size = data.draw(st.integers(1, len(octets)))
            split.say(octets[:size])
            octets = octets[size:]
        self.assertEqual(whole.output, split.output)
        found = responses(whole.output, commands)
        if b"QUIT" in commands:
            self.assertEqual(len(found), commands.index(b"QUIT") + 1)
        else:
            self.assertEqual(len(found), len(commands))
            self.assertIsNone(whole.deleted)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=300))
    def test_noise(self, octets: bytes) -> None:
        """Nothing that arrives makes the session fail."""
        desk = logged_in()
        desk.say(octets)
