"""The receiving dialogue: `mailframe.wire.smtp_receiver`."""

from __future__ import annotations

import base64
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.wire.smtp_events import (
    Authenticate,
    Content,
    Data,
    EndOfData,
    Event,
    Mail,
    Rcpt,
    StartTls,
)
from mailframe.wire.smtp_extensions import Offer
from tests.wire.dialogue import Player, player, sides

LOGINS = Offer(size=1000, tls=True, mechanisms=("PLAIN", "LOGIN"), login=True)
OFFERED = """
    S: 250-here.example
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-SMTPUTF8
    S: 250 DELIVERBY 60
"""
START = f"""
    C: EHLO client.example
    {OFFERED}
"""
SMUGGLING = (
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
)


class DialogueCase(SynchronousTestCase):
    """Plays scripts in several ways of cutting what the client says."""

    def play(self, script: str, offer: Offer | None = None, **limits: int) -> Player:
        """Play it whole, octet by octet and cut at random; the answers must be the same."""
        client, server = sides(script)
        whole = player(offer, **limits)
        whole.feed(client)
        self.assertEqual(whole.output, server)
        singly = player(offer, **limits)
        for octet in client:
            singly.feed(bytes([octet]))
        self.assertEqual(singly.output, server)
        self.assertEqual(singly.content, whole.content)
        random = Random(0)  # not a secret
        for _ in range(20):
            cut = player(offer, **limits)
            position = 0
            while position < len(client):
                step = random.randint(1, 40)
                cut.feed(client[position : position + step])
                position += step
            self.assertEqual(cut.output, server)
            self.assertEqual(cut.content, whole.content)
            self.assertEqual(cut.receiver.closing, whole.receiver.closing)
        return whole


class TransactionTests(DialogueCase):
    """Mail comes in, however it is cut and pipelined."""

    def test_message(self) -> None:
        """A plain message arrives octet for octet, and QUIT waits for its reply."""
        played = self.play(
            START
            + """
            C: MAIL FROM:<a@x.example> SIZE=12 BODY=8BITMIME AUTH=<>
            S: 250 2.1.0 sender
            C: RCPT TO:<b@here.example>
            S: 250 2.1.5 recipient
            C: rcpt to: <Postmaster>
            S: 250 2.1.5 recipient
            C: DATA
            S: 354 go
            C: Subject: x
            C:
            C: ..stuffed \\xff
            C: .
            S: 250 2.0.0 queued
            C: QUIT
            S: 221 2.0.0 bye
            """
        )
        self.assertEqual(played.content, b"Subject: x\r\n\r\n.stuffed \xff\r\n")
        self.assertTrue(played.receiver.closing)
        mail = next(event for event in played.events if isinstance(event, Mail))
        self.assertEqual((str(mail.sender), mail.size, mail.body), ("a@x.example", 12, "8BITMIME"))
        recipients = [str(e.recipient) for e in played.events if isinstance(e, Rcpt)]
        self.assertEqual(recipients, ["b@here.example", "postmaster@here.example"])

    def test_two_messages_over_helo(self) -> None:
        """A second message does not mix with the first, nor a reset one with either."""
        played = self.play(
            """
            C: HELO client.example
            S: 250 here.example
            C: MAIL FROM:<>
            S: 250 2.1.0 sender
            C: RCPT TO:<b@here.example>
            S: 250 2.1.5 recipient
            C: DATA
            S: 354 go
            C: .
            S: 250 2.0.0 queued
            C: MAIL FROM:<a@x.example>
            S: 250 2.1.0 sender
            C: RSET
            S: 250 2.0.0 ok
            C: RCPT TO:<b@here.example>
            S: 503 5.5.1 send MAIL first
            C: MAIL FROM:<a@x.example>
            S: 250 2.1.0 sender
            C: EHLO [192.0.2.1]
            """
            + OFFERED
            + """
            C: RCPT TO:<b@here.example>
            S: 503 5.5.1 send MAIL first
            """
        )
        self.assertEqual(played.content, b"")

    def test_sequence(self) -> None:
        """Commands out of order are refused and change nothing."""
        self.play(
            """
            C: MAIL FROM:<a@x.example>
            S: 503 5.5.1 send EHLO or HELO first
            C: RCPT TO:<b@here.example>
            S: 503 5.5.1 send EHLO or HELO first
            C: DATA
            S: 503 5.5.1 send EHLO or HELO first
            C: RSET
            S: 250 2.0.0 ok
            C: MAIL FROM:<a@x.example>
            S: 503 5.5.1 send EHLO or HELO first
            C: HELO x
            S: 250 here.example
            C: DATA
            S: 503 5.5.1 send MAIL first
            C: MAIL FROM:<a@x.example>
            S: 250 2.1.0 sender
            C: MAIL FROM:<a@x.example>
            S: 503 5.5.1 a sender is already given; RSET starts over
            C: DATA
            S: 554 5.5.1 no valid recipients
            C: RCPT TO:<nobody@here.example>
            S: 550 5.1.1 nobody
            C: DATA
            S: 554 5.5.1 no valid recipients
            C: RCPT TO:<b@here.example>
            S: 250 2.1.5 recipient
            C: RCPT TO:<nobody@here.example>
            S: 550 5.1.1 nobody
            C: MAIL FROM:<a@x.example>
            S: 503 5.5.1 a sender is already given; RSET starts over
            C: DATA
            S: 354 go
            C: .
            S: 250 2.0.0 queued
            C: DATA
            S: 503 5.5.1 send MAIL first
            """
        )

    def test_small_commands(self) -> None:
        """The commands beside the way are answered as RFC 5321 wants, and tell no secrets."""
        self.play(
            """
            C: NOOP
            S: 250 2.0.0 ok
            C: noop with an argument
            S: 250 2.0.0 ok
            C: VRFY somebody
            S: 252 2.5.2 can't verify the user, but will take mail for them and try
            C: VRFY
            S: 501 5.5.4 this command needs an argument
            C: EXPN list
            S: 502 5.5.1 command not implemented
            C: HELP
            S: 214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH; \
HELP and one of these says more
            C: HELP rcpt
            S: 214 2.0.0 RCPT TO:<recipient> [parameters] names one recipient of it
            C: HELP XCLIENT
            S: 504 5.5.4 there is no such command
            C: RSET now
            S: 501 5.5.4 this command takes no argument
            C: QUIT now
            S: 501 5.5.4 this command takes no argument
            C: STARTTLS
            S: 502 5.5.1 command not implemented
            C: AUTH PLAIN
            S: 503 5.5.1 send EHLO or HELO first
            C: TURN
            S: 500 5.5.2 command not recognised
            C:
            S: 500 5.5.2 command not recognised
            C: EHLO
            S: 501 5.5.4 one host name or address literal is needed
            C: QUIT \x20
            S: 221 2.0.0 bye
            """
        )

    def test_bad_arguments(self) -> None:
        """What can't be understood is refused with a code that says why."""
        self.play(
            """
            C: HELO x
            S: 250 here.example
            C: MAIL
            S: 501 5.5.4 MAIL FROM:<address> is needed
            C: MAIL FROM:a@x.example
            S: 501 5.1.7 an address in angle brackets is needed, <like@this.example>
            C: MAIL FROM:<a@x.example>SIZE=1
            S: 501 5.5.4 a space is needed between the path and what follows it
            C: MAIL FROM:<a@x.example> SIZE=1 SIZE=1
            S: 501 5.5.4 the parameter SIZE is given twice
            C: MAIL FROM:<a@x.example> SIZE
            S: 501 5.5.4 SIZE needs 1 to 20 digits
            C: MAIL FROM:<a@x.example> BODY=9BIT
            S: 501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME
            C: MAIL FROM:<a@x.example> AUTH=+0A
            S: 501 5.5.4 the value holds a character that is not printable ASCII
            C: MAIL FROM:<a@x.example> XYZ=1
            S: 555 5.5.4 a parameter is not recognised
            C: MAIL FROM:<a@x.example>
            S: 250 2.1.0 sender
            C: RCPT b@here.example
            S: 501 5.5.4 RCPT TO:<address> is needed
            C: RCPT TO:<@a.example,@b.example:u@x@here.example>
            S: 501 5.1.3 the domain is not a host name
            C: RCPT TO:<b@here.example> SIZE=1
            S: 555 5.5.4 a parameter is not recognised
            C: DATA now
            S: 554 5.5.1 no valid recipients
            """
        )

    def test_controls(self) -> None:
        """No control character or octet beyond ASCII gets into an envelope."""
        self.play(
            """
            C: HELO x\\x00y
            S: 501 5.5.2 only printable ASCII is allowed in an argument
            C: HELO x
            S: 250 here.example
            C: MAIL FROM:<a\\tb@x.example>
            S: 501 5.5.2 only printable ASCII is allowed in an argument
            C: MAIL FROM:<j\\xc3\\xb6@x.example>
            S: 550 5.6.7 an address beyond ASCII needs SMTPUTF8
            C: MAIL FROM:<j\\xc3@x.example>
            S: 501 5.5.2 only printable ASCII is allowed in an argument
            C: NOOP \\xc3\\xb6
            S: 501 5.5.2 only printable ASCII is allowed in an argument
            C: MAIL FROM:<a@x.example>\\nRCPT TO:<b@here.example>
            S: 500 5.5.2 a line ends in CR LF; a bare CR or LF is not allowed
            C: NOOP\\rQUIT
            S: 500 5.5.2 a line ends in CR LF; a bare CR or LF is not allowed
            C: \\x16\\x03\\x01
            S: 500 5.5.2 only printable ASCII is allowed in a command
            """
        )

    def test_long_lines(self) -> None:
        """Lines up to the limits are taken, longer ones cost one error each."""
        for octets, good in (
            (b"NOOP " + b"x" * 505, True),
            (b"NOOP " + b"x" * 506, False),
            (b"NOOP " + b"x" * 100_000, False),
            (b"X" * 600, False),
        ):
            played = player()
            played.feed(octets + b"\r\nNOOP\r\n")
            first, second, _ = played.output.split(b"\r\n")
            self.assertEqual(first == b"250 2.0.0 ok", good)
            self.assertEqual(good, not first.startswith(b"500 5.5.2 line too long"))
            self.assertEqual(second, b"250 2.0.0 ok")

    def test_parameters_have_room(self) -> None:
        """A long sender with all its parameters is not too long (RFC 1870, 4954, 6152)."""
        played = player()
        auth = b"x" * 490
        played.feed(b"HELO x\r\nMAIL FROM:<a@x.example> AUTH=" + auth + b" SIZE=1\r\n")
        self.assertTrue(played.output.endswith(b"250 2.1.0 sender\r\n"))

    def test_refusals(self) -> None:
        """A refused DATA keeps the transaction; a refused message ends it."""
        replies = {Data: Reply(451, "4.3.0", "later"), Mail: Reply(250, "2.1.0", "ok")}
        played = player()
        played.answer = lambda event: replies.get(type(event))
        played.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n")
        self.assertEqual(played.receiver.state, "rcpt")
        self.assertTrue(played.receiver.in_transaction)
        replies[Data] = Reply(354, None, "go")
        replies[EndOfData] = Reply(451, "4.3.0", "later")
        played.feed(b"DATA\r\nx\r\n.\r\n")
        self.assertEqual(played.receiver.state, "ready")
        self.assertFalse(played.receiver.closing)


class OrderTests(SynchronousTestCase):
    """After an event nothing more is parsed until its reply is given."""

    def test_quit_waits(self) -> None:
        """A client that pipelines QUIT behind its message still hears whether it was kept."""
        played = player()
        played.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n")
        receiver = played.receiver
        receiver.receive(b"x\r\n.\r\nQUIT\r\n")
        receiver.next_event()
        self.assertIsInstance(receiver.next_event(), EndOfData)
        self.assertIsNone(receiver.next_event())
        self.assertFalse(receiver.closing)
        self.assertEqual(receiver.take_output(), b"")
        self.assertEqual(len(receiver), 6)
        receiver.reply(Reply(250, "2.0.0", "kept"))
        self.assertIsNone(receiver.next_event())
        self.assertEqual(receiver.take_output(), b"250 2.0.0 kept\r\n221 2.0.0 bye\r\n")
        self.assertTrue(receiver.closing)
        receiver.receive(b"NOOP\r\n")
        self.assertIsNone(receiver.next_event())

    COMMANDS = (
        b"NOOP",
        b"RSET",
        b"HELO x",
        b"EHLO x",
        b"MAIL FROM:<a@x.example>",
        b"MAIL FROM:<>",
        b"MAIL FROM:a",
        b"RCPT TO:<b@here.example>",
        b"RCPT TO:<no@here.example>",
        b"VRFY x",
        b"BLAH",
        b"NO\nOP",
        b"x" * 600,
        b"AUTH PLAIN AHUAcA==",
        b"STARTTLS now",
    )

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.sampled_from(COMMANDS), max_size=30), st.data())
    def test_one_reply_each(self, commands: list[bytes], data: st.DataObject) -> None:
        """Every command gets exactly one reply, the same whether or not it was pipelined."""
        apart = player(LOGINS, errors=1000, junk_commands=1000)
        for command in commands:
            before = apart.output
            apart.feed(command + b"\r\n")
            lines = apart.output[len(before) :].split(b"\r\n")[:-1]
            self.assertEqual([line[3:4] for line in lines[:-1]], [b"-"] * (len(lines) - 1))
            self.assertEqual(lines[-1][3:4], b" ")
        together = player(LOGINS, errors=1000, junk_commands=1000)
        stream = b"".join(command + b"\r\n" for command in commands)
        while stream:
            cut = data.draw(st.integers(1, len(stream)))
            together.feed(stream[:cut])
            stream = stream[cut:]
        self.assertEqual(together.output, apart.output)

    @settings(deadline=None, max_examples=150)
    @given(st.binary(max_size=300), st.data())
    def test_any_octets(self, octets: bytes, data: st.DataObject) -> None:
        """No stream of octets at all breaks the dialogue."""
        played = player(LOGINS)
        while octets:
            cut = data.draw(st.integers(1, len(octets)))
            played.feed(octets[:cut])
            octets = octets[cut:]


class DataTests(DialogueCase):
    """Content that is not allowed is refused, and none of it is ever a command."""

    def begin(self, **limits: int) -> Player:
        """A dialogue up to DATA."""
        played = player(**limits)
        played.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n")
        played.output = b""
        played.events.clear()
        return played

    def test_smuggling(self) -> None:
        """No known sequence smuggles a second message in; the connection is closed."""
        for sequence in SMUGGLING:
            stream = (
                b"hello"
                + sequence
                + b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\nx\r\n.\r\n"
                + b"MAIL FROM:<evil@x.example>\r\n"
            )
            for cut in range(len(stream)):
                played = self.begin()
                played.feed(stream[:cut])
                played.feed(stream[cut:])
                self.assertEqual([type(e) for e in played.events].count(Mail), 0, sequence)
                self.assertTrue(played.output.startswith(b"554 5.6.0 "))
                self.assertEqual(played.output.count(b"\r\n"), 1)
                self.assertTrue(played.receiver.closing)

    def test_long_line(self) -> None:
        """A line over the limit is refused, and the dialogue goes on."""
        played = self.begin(data_line=100)
        played.feed(b"x" * 99 + b"\r\n.\r\nNOOP\r\n")
        self.assertTrue(played.output.startswith(b"554 5.6.0 "))
        self.assertTrue(played.output.endswith(b"250 2.0.0 ok\r\n"))

    def test_nothing_is_kept_back(self) -> None:
        """Content streams through: memory does not grow with the message."""
        played = self.begin()
        for _ in range(100):
            played.feed(b"x" * 70 + b"\r\n")
            self.assertEqual(len(played.receiver), 0)
        self.assertGreaterEqual(len(played.content), 100 * 72 - 2)

    def test_chunks_before_reply(self) -> None:
        """Octets that arrive in pieces before the receiver is asked are joined."""
        played = self.begin()
        played.receiver.receive(b"a\r\n")
        played.receiver.receive(b".\r\nNOOP\r\n")
        played.feed(b"")
        self.assertEqual(played.content, b"a\r\n")
        self.assertEqual(played.output, b"250 2.0.0 queued\r\n250 2.0.0 ok\r\n")

    def test_unreadable_chunk_size(self) -> None:
        """What follows a BDAT that can't be read is content, of which none may be a command."""
        chunk = b"Subject: x\r\nMAIL FROM:<evil@x.example>\r\n"
        for line in (b"BDAT 42\n" + chunk, b"bdat 42\r" + chunk, b"BDAT " + b"4" * 15_000 + chunk):
            for cut in (len(line), 14_000, 30, 3):
                played = player()
                played.feed(b"HELO x\r\n" + line[:cut])
                played.feed(line[cut:] + b"NOOP\r\n")
                self.assertNotIn(Mail, [type(event) for event in played.events])
                self.assertTrue(played.receiver.closing)
                self.assertEqual(played.output.count(b"\r\n"), 2)

    def test_octets_while_the_end_waits(self) -> None:
        """A command that comes while the last content is being written is lost: nobody answers."""
        for opening, last in (
            (b"DATA\r\n", b"a\r\n.\r\nNO"),
            (b"BDAT 3 LAST\r\n", b"a\r\nNO"),
        ):
            played = player()
            played.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\n" + opening)
            played.output = b""
            played.receiver.receive(last)
            self.assertEqual(played.receiver.next_event(), Content(octets=b"a\r\n"))
            played.feed(b"OP\r\n")
            self.assertEqual(played.output, b"250 2.0.0 queued\r\n250 2.0.0 ok\r\n")


class TlsTests(SynchronousTestCase):
    """Nothing said in the clear counts under TLS."""

    OFFER = Offer(size=1000, starttls=True, mechanisms=("PLAIN",), login=False)

    def test_reset(self) -> None:
        """After STARTTLS the client has to begin anew (RFC 3207 §4.2)."""
        played = player(self.OFFER)
        played.feed(b"EHLO x\r\n")
        self.assertIn(b"250-STARTTLS\r\n", played.output)
        self.assertNotIn(b"AUTH", played.output)
        played.feed(b"MAIL FROM:<>\r\n")
        played.feed(b"STARTTLS\r\n")
        self.assertTrue(played.output.endswith(b"220 2.0.0 tls\r\n"))
        self.assertEqual(played.receiver.state, "start")
        played.receiver.offer = Offer(tls=True)
        played.feed(b"MAIL FROM:<>\r\nSTARTTLS\r\n")
        self.assertIn(b"503 5.5.1 send EHLO", played.output)
        self.assertTrue(played.output.endswith(b"503 5.5.1 TLS is already active\r\n"))

    def test_injection(self) -> None:
        """Octets behind STARTTLS, in the same segment or while the reply is awaited, are fatal."""
        for late in (False, True):
            played = player(self.OFFER)
            receiver = played.receiver
            receiver.receive(b"EHLO x\r\n")
            played.feed(b"")
            receiver.receive(b"STARTTLS\r\n" + (b"" if late else b"RSET\r\n"))
            self.assertIsInstance(receiver.next_event(), StartTls)
            if late:
                receiver.receive(b"RSE")
            receiver.reply(Reply(220, "2.0.0", "tls"))
            self.assertTrue(receiver.injected)
            self.assertTrue(receiver.closing)
            self.assertEqual(receiver.take_output(), b"")
            receiver.receive(b"NOOP\r\n")
            self.assertIsNone(receiver.next_event())

    def test_refused(self) -> None:
        """When TLS can't be started the dialogue goes on in the clear."""
        played = player(self.OFFER)
        played.answer = lambda e: Reply(454, "4.7.0", "no") if isinstance(e, StartTls) else None
        played.feed(b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertTrue(played.output.endswith(b"454 4.7.0 no\r\n250 2.0.0 ok\r\n"))

    def test_auth_in_the_clear(self) -> None:
        """A password is not asked for where others could listen, and refused when it comes."""
        played = player(self.OFFER)
        played.feed(b"EHLO x\r\nAUTH PLAIN AHUAcA==\r\n")
        self.assertTrue(
            played.output.endswith(b"538 5.7.11 encryption required: use STARTTLS first\r\n")
        )


class AuthTests(DialogueCase):
    """Logins are read as RFC 4954 has it."""

    HELO = """
        C: HELO x
        S: 250 here.example
    """

    def logins(self, played: Player) -> list[tuple[bytes, bytes]]:
        """What was claimed."""
        claims = [event.login for event in played.events if isinstance(event, Authenticate)]
        return [(login.user, login.password) for login in claims]

    def test_offered(self) -> None:
        """Clients find the mechanisms in the EHLO reply."""
        played = player(LOGINS)
        played.feed(b"EHLO x\r\n")
        self.assertIn(b"250-AUTH PLAIN LOGIN\r\n", played.output)

    def test_plain(self) -> None:
        """PLAIN with an initial response; once is enough."""
        played = self.play(
            self.HELO
            + """
            C: AUTH PLAIN AHUAcA==
            S: 235 2.7.0 in
            C: AUTH PLAIN AHUAcA==
            S: 503 5.5.1 already authenticated
            C: MAIL FROM:<>
            S: 250 2.1.0 sender
            """,
            LOGINS,
        )
        self.assertEqual(self.logins(played), [(b"u", b"p")])

    def test_exchanges(self) -> None:
        """PLAIN and LOGIN with their challenges."""
        for script in (
            "C: auth plain\nS: 334 \nC: AHUAcA==\nS: 235 2.7.0 in",
            "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\n"
            "C: cA==\nS: 235 2.7.0 in",
            "C: AUTH LOGIN dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 2.7.0 in",
        ):
            played = self.play(self.HELO.rstrip() + "\n" + script, LOGINS)
            self.assertEqual(self.logins(played), [(b"u", b"p")])

    def test_errors(self) -> None:
        """Every way to get it wrong has its code, and none leaves an exchange open."""
        self.play(
            self.HELO
            + """
            C: AUTH
            S: 501 5.5.4 a mechanism is needed, and at most one initial response
            C: AUTH PLAIN a b
            S: 501 5.5.4 a mechanism is needed, and at most one initial response
            C: AUTH CRAM-MD5
            S: 504 5.5.4 authentication mechanism not recognised
            C: AUTH PLAIN !
            S: 501 5.5.2 the response is not base64
            C: AUTH PLAIN =
            S: 501 5.5.2 the response does not have the three parts of PLAIN
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: *
            S: 501 5.7.0 authentication cancelled
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: NOOP!
            S: 501 5.5.2 the response is not base64
            C: NOOP
            S: 250 2.0.0 ok
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: dQ\\n==
            S: 500 5.5.2 a line ends in CR LF; a bare CR or LF is not allowed
            C: NOOP
            S: 250 2.0.0 ok
            C: MAIL FROM:<>
            S: 250 2.1.0 sender
            C: AUTH LOGIN
            S: 503 5.5.1 not allowed during a mail transaction
            """,
            LOGINS,
        )

    def test_not_offered(self) -> None:
        """A server without logins says so."""
        played = player()
        played.feed(b"HELO x\r\nAUTH PLAIN\r\n")
        self.assertTrue(played.output.endswith(b"502 5.5.1 command not implemented\r\n"))

    def test_lengths(self) -> None:
        """Long responses are taken up to the limits of RFC 4954, and passwords up to ours."""
        for size, code in ((1024, b"235"), (1025, b"501"), (9300, b"500"), (20_000, b"500")):
            response = base64.b64encode(b"\0u\0" + b"p" * size)
            for lines in (b"AUTH PLAIN " + response, b"AUTH PLAIN\r\n" + response):
                played = player(LOGINS)
                played.feed(b"HELO x\r\n" + lines + b"\r\nNOOP\r\n")
                last, noop, _ = played.output.split(b"\r\n")[-3:]
                self.assertEqual(last[:3], code)
                if code == b"500" and lines.startswith(b"AUTH PLAIN\r\n"):
                    self.assertEqual(last[4:9], b"5.5.6")  # RFC 4954 §6
                self.assertEqual(noop, b"250 2.0.0 ok")

    def test_refused(self) -> None:
        """After a wrong password another may be tried."""
        played = player(LOGINS)
        wrong = Reply(535, "5.7.8", "no")

        def answer(event: Event) -> Reply | None:
            return wrong if isinstance(event, Authenticate) and len(played.events) < 3 else None

        played.answer = answer
        played.feed(b"HELO x\r\nAUTH PLAIN AHUAcA==\r\nAUTH PLAIN AHUAcQ==\r\n")
        self.assertTrue(played.output.endswith(b"535 5.7.8 no\r\n235 2.7.0 in\r\n"))
        self.assertTrue(played.receiver.authenticated)


class EndTests(SynchronousTestCase):
    """A client that only makes trouble is sent away."""

    def test_too_many_errors(self) -> None:
        """Errors end in 421, given as the reply to the last of them."""
        played = player(errors=3)
        played.feed(b"X\r\n" * 10)
        lines = played.output.split(b"\r\n")[:-1]
        self.assertEqual([line[:3] for line in lines], [b"500", b"500", b"421"])
        self.assertTrue(played.receiver.closing)

    def test_refused_recipients_count(self) -> None:
        """Guessing mailboxes is an error each time; a message that is kept forgives."""
        played = player(errors=3)
        guess = b"RCPT TO:<no@here.example>\r\n"
        start = b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\n"
        played.feed(start + guess * 2 + b"DATA\r\n.\r\n")
        self.assertFalse(played.receiver.closing)
        played.feed(start + guess * 2)
        self.assertFalse(played.receiver.closing)
        played.feed(guess)
        self.assertTrue(played.receiver.closing)

    def test_junk(self) -> None:
        """Commands that do nothing are errors when there are very many."""
        played = player(errors=5, junk_commands=10)
        played.feed(b"NOOP\r\n" * 14)
        self.assertFalse(played.receiver.closing)
        self.assertEqual(played.output.count(b"250 "), 14)
        played.feed(b"NOOP\r\n")
        self.assertTrue(played.receiver.closing)

    def test_browsers(self) -> None:
        """A web page that posts here gets nowhere."""
        for line, code in ((b"GET / HTTP/1.1", b"421"), (b"POST /", b"421")):
            played = player()
            played.feed(line + b"\r\nNOOP\r\n")
            self.assertEqual(played.output[:3], code)
            self.assertEqual(played.output.count(b"\r\n"), 1)
            self.assertTrue(played.receiver.closing)

    def test_greeting(self) -> None:
        """A client that talks before the greeting is sent away (RFC 5321 §4.3.1)."""
        played = player()
        played.receiver.greet(Reply(220, None, "here"))
        self.assertEqual(played.receiver.take_output(), b"220 here\r\n")
        early = player()
        early.receiver.receive(b"EHLO x\r\n")
        early.receiver.greet(Reply(220, None, "here"))
        self.assertEqual(early.receiver.take_output()[:10], b"554 5.5.1 ")
        self.assertTrue(early.receiver.closing)
        refused = player()
        refused.receiver.greet(Reply(421, "4.7.0", "busy"))
        self.assertTrue(refused.receiver.closing)

    def test_hang_up(self) -> None:
        """The last word is said once."""
        played = player()
        played.receiver.hang_up(Reply(421, "4.4.2", "late"))
        played.receiver.hang_up(Reply(421, "4.4.2", "late"))
        self.assertEqual(played.receiver.take_output(), b"421 4.4.2 late\r\n")
