"""The client's side of SMTP and LMTP, against servers good and bad."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.reply import Reply
from mailframe.wire.sasl import Login
from mailframe.wire.sender_dialogue import command_line
from mailframe.wire.sender_events import (
    ContentWanted,
    Ended,
    Event,
    Failed,
    Ready,
    Settled,
    StartTls,
    Transaction,
)
from mailframe.wire.smtp_sender import Sender

ANGELO = Address.parse("angelo@rosse.example")
BOB = Address.parse("bob@blu.example")
CAROL = Address.parse("carol@blu.example")
LOGIN = Login(authzid=b"", user=b"user", password=b"secret")
GREETING = b"220 mx.blu.example ready\r\n"


def ehlo(*extensions: str) -> bytes:
    """A reply to EHLO."""
    lines = ["mx.blu.example", *extensions]
    return b"".join(
        f"250{' ' if index == len(lines) - 1 else '-'}{line}\r\n".encode()
        for index, line in enumerate(lines)
    )


def transaction(
    recipients: Sequence[Address] = (BOB,), size: int = 100, **kwargs: Any
) -> Transaction:
    """A transaction from Angelo."""
    return Transaction(sender=ANGELO, recipients=tuple(recipients), size=size, **kwargs)


class Dialogue:
    """A sender, and what it said and told."""

    def __init__(self, **kwargs: Any) -> None:
        self.sender = Sender(hostname="mx.rosse.example", **kwargs)
        self.events: list[Event] = []

    def hear(self, octets: bytes, *, split: bool = False) -> bytes:
        """Have the server say something; returns what the client says then."""
        said = b""
        for piece in [bytes([octet]) for octet in octets] if split else [octets]:
            self.sender.receive(piece)
            said += self.take()
        return said

    def take(self) -> bytes:
        """What the client says now."""
        self.events += self.sender.take_events()
        return self.sender.take_output()

    def ready(self, *extensions: str) -> Dialogue:
        """Get as far as the first transaction."""
        self.hear(GREETING)
        self.hear(ehlo(*extensions))
        assert self.events == [Ready()], self.events
        self.events.clear()
        return self

    def begin(self, *args: Any, **kwargs: Any) -> bytes:
        """Begin a transaction; returns what the client says."""
        self.sender.begin(transaction(*args, **kwargs))
        return self.take()

    def send(self, *pieces: bytes) -> bytes:
        """Give the content; returns what the client says."""
        for piece in pieces:
            self.sender.content(piece)
        self.sender.end_of_content()
        return self.take()

    @property
    def last(self) -> Event:
        """The last event."""
        return self.events[-1]


class SessionTests(SynchronousTestCase):
    """From the greeting to the first transaction."""

    def test_ehlo(self) -> None:
        """No mail could be sent at all."""
        dialogue = Dialogue()
        self.assertEqual(dialogue.sender.stage, "greeting")
        self.assertEqual(dialogue.take(), b"")
        self.assertEqual(dialogue.hear(GREETING), b"EHLO mx.rosse.example\r\n")
        self.assertEqual(dialogue.sender.stage, "hello")
        self.assertEqual(dialogue.hear(ehlo("size 1000", "Pipelining", "8BITMIME")), b"")
        self.assertEqual(dialogue.events, [Ready()])
        self.assertEqual(
            dialogue.sender.extensions, {"SIZE": "1000", "PIPELINING": "", "8BITMIME": ""}
        )
        self.assertEqual(dialogue.sender.stage, "idle")

    def test_helo(self) -> None:
        """Servers that know no EHLO could not be sent mail."""
        dialogue = Dialogue()
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(b"502 what?\r\n"), b"HELO mx.rosse.example\r\n")
        dialogue.hear(b"250 hello\r\n")
        self.assertEqual(dialogue.last, Ready())
        self.assertEqual(dialogue.sender.extensions, {})

    def test_lmtp(self) -> None:
        """A local delivery server would be spoken to in the wrong protocol."""
        dialogue = Dialogue(protocol="lmtp")
        self.assertEqual(dialogue.hear(GREETING), b"LHLO mx.rosse.example\r\n")
        dialogue.hear(b"500 no SMTP here\r\n")
        self.assertEqual(
            dialogue.last, Failed(reply=Reply(500, None, "no SMTP here"), stage="hello")
        )

    def test_greeting_refuses(self) -> None:
        """The words by which a server turns us away would be lost."""
        for line, code in ((b"554 5.7.1 go away\r\n", 554), (b"421 4.3.2 busy\r\n", 421)):
            dialogue = Dialogue()
            self.assertEqual(dialogue.hear(line), b"")
            self.assertIsInstance(dialogue.last, Failed)
            self.assertEqual(dialogue.last.reply.code, code)
            self.assertEqual(dialogue.last.stage, "greeting")
            self.assertEqual(dialogue.last.replies, ())
            self.assertEqual(dialogue.sender.stage, "closed")

    def test_hello_refused(self) -> None:
        """A server that refuses both EHLO and HELO, or EHLO for now, would hang the session."""
        for replies, code in (
            ((b"550 no\r\n", b"550 really\r\n"), 550),
            ((b"450 later\r\n",), 450),
            ((b"500 eh\r\n", b"421 bye\r\n"), 421),
        ):
            dialogue = Dialogue()
            dialogue.hear(GREETING)
            for reply in replies:
                dialogue.hear(reply)
            self.assertEqual((dialogue.last.reply.code, dialogue.last.stage), (code, "hello"))

    def test_nonsense(self) -> None:
        """Replies of an impossible kind would be taken for agreement."""
        for replies in (
            (b"250 hi\r\n",),
            (GREETING, b"354 go on\r\n"),
            (GREETING, b"500 eh\r\n", b"354 go on\r\n"),
            (GREETING, b"nonsense\r\n"),
            (GREETING, ehlo("STARTTLS"), b"354 go on\r\n"),
        ):
            dialogue = Dialogue()
            for reply in replies:
                dialogue.hear(reply)
            self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (451, "4.5.0"))
            self.assertEqual(dialogue.sender.stage, "closed")

    def test_nothing_is_read_after_the_end(self) -> None:
        """A server could go on filling memory when the session is over."""
        dialogue = Dialogue()
        dialogue.hear(b"554 no\r\n")
        self.assertEqual(dialogue.hear(b"220 yes\r\n" * 3), b"")
        self.assertEqual(len(dialogue.events), 1)
        dialogue.sender.connection_lost()
        dialogue.sender.timed_out()
        dialogue.sender.fail(Reply(451, "4.3.0", "x"))
        self.assertEqual(dialogue.take(), b"")
        self.assertEqual(len(dialogue.events), 1)

    def test_quit(self) -> None:
        """Servers would see our connections break instead of end."""
        dialogue = Dialogue().ready()
        dialogue.sender.quit()
        self.assertEqual(dialogue.take(), b"QUIT\r\n")
        self.assertEqual(dialogue.sender.stage, "quit")
        dialogue.hear(b"221 bye\r\n")
        self.assertEqual(dialogue.events, [Ended()])
        for end in ("connection_lost", "timed_out"):
            dialogue = Dialogue().ready()
            dialogue.sender.quit()
            getattr(dialogue.sender, end)()
            dialogue.take()
            self.assertEqual(dialogue.events, [Ended()])

    def test_said_while_idle(self) -> None:
        """A server's goodbye, or its noise, would be taken for the reply to the next command."""
        for line, code in ((b"421 4.4.2 idle too long\r\n", 421), (b"250 hm\r\n", 451)):
            dialogue = Dialogue().ready()
            dialogue.hear(line)
            self.assertEqual((dialogue.last.reply.code, dialogue.last.stage), (code, "idle"))
        dialogue = Dialogue().ready()
        dialogue.hear(b"250 the beginning of")
        dialogue.begin()
        self.assertTrue(dialogue.last.untouched)

    def test_silence(self) -> None:
        """A server that says nothing at all would hold a connection for ever."""
        dialogue = Dialogue()
        dialogue.sender.timed_out()
        dialogue.take()
        self.assertEqual(
            dialogue.last,
            Failed(
                reply=Reply(451, "4.4.2", "timed out while waiting for the greeting"),
                stage="greeting",
            ),
        )


class StartTlsTests(SynchronousTestCase):
    """STARTTLS, and who would like to be in between."""

    def test_upgrade(self) -> None:
        """Mail would go in clear although the server has TLS."""
        dialogue = Dialogue()
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(ehlo("STARTTLS", "SIZE 5")), b"STARTTLS\r\n")
        self.assertEqual(dialogue.sender.stage, "starttls")
        self.assertEqual(dialogue.hear(b"220 go\r\n"), b"")
        self.assertEqual(dialogue.events, [StartTls()])
        self.assertEqual(dialogue.sender.stage, "tls")
        dialogue.sender.tls_started()
        self.assertEqual(dialogue.take(), b"EHLO mx.rosse.example\r\n")
        self.assertEqual(dialogue.sender.extensions, {})
        self.assertEqual(dialogue.hear(ehlo("STARTTLS", "PIPELINING")), b"")
        self.assertEqual(dialogue.last, Ready())
        self.assertEqual(dialogue.sender.extensions, {"STARTTLS": "", "PIPELINING": ""})

    def test_response_injection(self) -> None:
        """Somebody in between could put words into the server's mouth, in clear, ahead of TLS."""
        for policy in ("opportunistic", "require", "verify"):
            dialogue = Dialogue(tls=policy)
            dialogue.hear(GREETING)
            dialogue.hear(ehlo("STARTTLS"))
            self.assertEqual(dialogue.hear(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"), b"")
            self.assertIsInstance(dialogue.last, Failed)
            self.assertEqual(dialogue.last.stage, "starttls")  # not "tls": no retry in clear
            self.assertNotIn(StartTls(), dialogue.events)
        dialogue = Dialogue()
        dialogue.hear(GREETING)
        dialogue.hear(ehlo("STARTTLS"))
        dialogue.hear(b"220 go\r\n2")
        self.assertIsInstance(dialogue.last, Failed)

    def test_stripped(self) -> None:
        """Somebody in between could have mail sent in clear by hiding STARTTLS."""
        for policy in ("require", "verify"):
            dialogue = Dialogue(tls=policy)
            dialogue.hear(GREETING)
            self.assertEqual(dialogue.hear(ehlo("PIPELINING")), b"")
            self.assertEqual(dialogue.last.reply.status, "4.7.10")
            dialogue = Dialogue(tls=policy)
            dialogue.hear(GREETING)
            dialogue.hear(b"500 eh\r\n")
            self.assertEqual(dialogue.hear(b"250 hi\r\n"), b"")
            self.assertEqual(dialogue.last.reply.status, "4.7.10")

    def test_refused(self) -> None:
        """A refusal of STARTTLS would lose mail where TLS is optional, or leak it elsewhere."""
        dialogue = Dialogue()
        dialogue.hear(GREETING)
        dialogue.hear(ehlo("STARTTLS"))
        dialogue.hear(b"454 no TLS today\r\n")
        self.assertEqual(dialogue.last, Ready())
        dialogue = Dialogue(tls="require")
        dialogue.hear(GREETING)
        dialogue.hear(ehlo("STARTTLS"))
        dialogue.hear(b"501 never\r\n")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.10"))

    def test_none(self) -> None:
        """TLS could not be switched off for a server that has it broken."""
        dialogue = Dialogue(tls="none").ready("STARTTLS")
        self.assertEqual(dialogue.take(), b"")

    def test_already_encrypted(self) -> None:
        """TLS would be begun inside TLS."""
        dialogue = Dialogue(tls="verify", encrypted=True).ready("STARTTLS")
        self.assertEqual(dialogue.take(), b"")


class AuthTests(SynchronousTestCase):
    """The login for a smarthost."""

    def test_plain(self) -> None:
        """Smarthosts that want a login could not be used."""
        dialogue = Dialogue(login=LOGIN, encrypted=True)
        dialogue.hear(GREETING)
        said = dialogue.hear(ehlo("AUTH LOGIN PLAIN"))
        self.assertEqual(said, b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret") + b"\r\n")
        self.assertEqual(dialogue.sender.stage, "auth")
        dialogue.hear(b"235 2.7.0 welcome\r\n")
        self.assertEqual(dialogue.last, Ready())

    def test_login(self) -> None:
        """Smarthosts that offer only LOGIN, or in the old form, could not be used."""
        dialogue = Dialogue(login=LOGIN, loopback=True)
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(ehlo("AUTH=LOGIN X")), b"AUTH LOGIN\r\n")
        self.assertEqual(
            dialogue.hear(b"334 VXNlcm5hbWU6\r\n"), base64.b64encode(b"user") + b"\r\n"
        )
        self.assertEqual(
            dialogue.hear(b"334 UGFzc3dvcmQ6\r\n"), base64.b64encode(b"secret") + b"\r\n"
        )
        dialogue.hear(b"235 ok\r\n")
        self.assertEqual(dialogue.last, Ready())

    def test_never_in_clear(self) -> None:
        """The password could be read by everyone on the way."""
        dialogue = Dialogue(login=LOGIN)
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(ehlo("AUTH PLAIN")), b"")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.11"))

    def test_not_offered(self) -> None:
        """Mail would go out without the login that the route asks for."""
        for extensions in ((), ("AUTH CRAM-MD5",)):
            dialogue = Dialogue(login=LOGIN, encrypted=True)
            dialogue.hear(GREETING)
            self.assertEqual(dialogue.hear(ehlo(*extensions)), b"")
            self.assertEqual(dialogue.last.reply.status, "4.7.0")

    def test_refused(self) -> None:
        """Mail would bounce because of a wrong password in our configuration."""
        dialogue = Dialogue(login=LOGIN, encrypted=True)
        dialogue.hear(GREETING)
        dialogue.hear(ehlo("AUTH PLAIN"))
        dialogue.hear(b"535 5.7.8 wrong\r\n")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.8"))
        self.assertIn("535 5.7.8 wrong", str(dialogue.last.reply))

    def test_endless_challenges(self) -> None:
        """A server could keep asking for ever."""
        for replies in ([b"334 \r\n"] * 3, [b"250 ok\r\n"]):
            dialogue = Dialogue(login=LOGIN, encrypted=True)
            dialogue.hear(GREETING)
            dialogue.hear(ehlo("AUTH LOGIN"))
            for reply in replies:
                dialogue.hear(reply)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")


class TransactionTests(SynchronousTestCase):
    """One message."""

    def test_one_by_one(self) -> None:
        """Servers without PIPELINING would be talked over."""
        dialogue = Dialogue().ready()
        self.assertEqual(dialogue.begin([BOB, CAROL]), b"MAIL FROM:<angelo@rosse.example>\r\n")
        self.assertEqual(dialogue.sender.stage, "mail")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"RCPT TO:<bob@blu.example>\r\n")
        self.assertEqual(dialogue.sender.stage, "recipient")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"RCPT TO:<carol@blu.example>\r\n")
        self.assertEqual(dialogue.hear(b"550 5.1.1 nobody\r\n"), b"DATA\r\n")
        self.assertEqual(dialogue.sender.stage, "data")
        self.assertEqual(dialogue.events, [])
        dialogue.hear(b"354 go\r\n")
        self.assertEqual(dialogue.events, [ContentWanted()])
        self.assertEqual(dialogue.sender.stage, "content")
        self.assertEqual(dialogue.send(b".a\r\n", b".b"), b"..a\r\n..b\r\n.\r\n")
        self.assertEqual(dialogue.sender.stage, "final")
        dialogue.hear(b"250 2.0.0 queued as 1\r\n")
        self.assertEqual(
            dialogue.last,
            Settled((Reply(250, "2.0.0", "queued as 1"), Reply(550, "5.1.1", "nobody"))),
        )

    def test_pipelined(self) -> None:
        """Every message would take a round trip for every command."""
        for split in (False, True):
            dialogue = Dialogue().ready("PIPELINING", "SIZE", "8BITMIME")
            self.assertEqual(
                dialogue.begin([BOB, CAROL], body="8BITMIME"),
                b"MAIL FROM:<angelo@rosse.example> SIZE=100 BODY=8BITMIME\r\n"
                b"RCPT TO:<bob@blu.example>\r\nRCPT TO:<carol@blu.example>\r\nDATA\r\n",
            )
            dialogue.hear(b"250 a\r\n450 4.2.1 later\r\n250 c\r\n354 d\r\n", split=split)
            self.assertEqual(dialogue.events, [ContentWanted()])
            self.assertEqual(dialogue.send(b"x\r\n"), b"x\r\n.\r\n")
            dialogue.hear(b"250 2.0.0 thanks\r\n", split=split)
            self.assertEqual(
                dialogue.last,
                Settled((Reply(450, "4.2.1", "later"), Reply(250, "2.0.0", "thanks"))),
            )

    def test_null_reverse_path(self) -> None:
        """Bounces could not be sent."""
        dialogue = Dialogue().ready()
        dialogue.sender.begin(Transaction(sender=None, recipients=(BOB,), size=1))
        self.assertEqual(dialogue.take(), b"MAIL FROM:<>\r\n")

    def test_many_in_one_session(self) -> None:
        """Every message would need a connection of its own."""
        dialogue = Dialogue().ready("PIPELINING")
        for number in range(3):
            self.assertTrue(dialogue.begin().startswith(b"MAIL"), number)
            dialogue.hear(b"250 a\r\n250 b\r\n354 c\r\n")
            self.assertEqual(dialogue.send(b"x"), b"x\r\n.\r\n")
            dialogue.hear(b"554 5.6.0 spam\r\n" if number == 1 else b"250 ok\r\n")
            self.assertIsInstance(dialogue.last, Settled)
            self.assertEqual(dialogue.sender.stage, "idle")

    def test_mail_refused(self) -> None:
        """A refused sender would be tried for each recipient, or taken as accepted."""
        refusal = Reply(550, "5.7.1", "not you")
        dialogue = Dialogue().ready()
        dialogue.begin([BOB, CAROL])
        self.assertEqual(dialogue.hear(b"550 5.7.1 not you\r\n"), b"")
        self.assertEqual(dialogue.last, Settled((refusal, refusal)))
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"550 5.7.1 not you\r\n503 a\r\n503 b\r\n503 c\r\n")
        self.assertEqual(dialogue.last, Settled((refusal, refusal)))
        self.assertTrue(dialogue.begin().startswith(b"MAIL"))  # no transaction, so no RSET

    def test_all_recipients_refused(self) -> None:
        """A message for nobody would be sent, or the next one would join its transaction."""
        refusal = Reply(550, "5.1.1", "nobody")
        dialogue = Dialogue().ready()
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n")
        self.assertEqual(dialogue.hear(b"550 5.1.1 nobody\r\n"), b"")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertEqual(dialogue.begin(), b"RSET\r\n")
        self.assertEqual(dialogue.sender.stage, "reset")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"MAIL FROM:<angelo@rosse.example>\r\n")

    def test_all_recipients_refused_pipelined(self) -> None:
        """A server that says 354 nevertheless would be left waiting for content."""
        refusal = Reply(550, "5.1.1", "nobody")
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n554 5.5.1 no recipients\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        said = dialogue.begin()
        self.assertTrue(said.startswith(b"RSET\r\nMAIL"), said)
        self.assertEqual(
            dialogue.hear(b"250 reset\r\n250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n"), b".\r\n"
        )
        self.assertNotIn(ContentWanted(), dialogue.events)
        dialogue.hear(b"554 no valid recipients\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertTrue(dialogue.begin().startswith(b"MAIL"))

    def test_lost_after_an_empty_message(self) -> None:
        """A refused recipient would be tried again because the connection broke afterwards."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n")
        dialogue.sender.connection_lost()
        dialogue.take()
        self.assertEqual(dialogue.last.replies, (Reply(550, "5.1.1", "nobody"),))

    def test_data_refused(self) -> None:
        """A refusal of DATA would be lost, or reported of recipients that were refused before."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n250 ok\r\n452 4.3.1 full\r\n")
        self.assertEqual(
            dialogue.last, Settled((Reply(550, "5.1.1", "nobody"), Reply(452, "4.3.1", "full")))
        )

    def test_too_many_recipients(self) -> None:
        """Recipients beyond an old server's limit would bounce instead of being tried later."""
        dialogue = Dialogue().ready()
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"250 ok\r\n")
        dialogue.hear(b"552 too many recipients\r\n")
        dialogue.hear(b"552 5.2.2 mailbox full\r\n")
        self.assertEqual(
            dialogue.last,
            Settled(
                (Reply(452, "4.5.3", "too many recipients"), Reply(552, "5.2.2", "mailbox full"))
            ),
        )

    def test_too_large(self) -> None:
        """A message would be sent whole only to be refused for its size."""
        dialogue = Dialogue().ready("SIZE 99")
        self.assertEqual(dialogue.begin(), b"")
        (reply,) = dialogue.last.replies
        self.assertEqual((reply.code, reply.status), (552, "5.3.4"))
        self.assertEqual(dialogue.sender.stage, "idle")
        self.assertTrue(dialogue.begin(size=99).endswith(b" SIZE=99\r\n"))
        for no_limit in ("SIZE 0", "SIZE", "SIZE what"):
            self.assertTrue(Dialogue().ready(no_limit).begin().startswith(b"MAIL"))

    def test_eight_bit_content(self) -> None:
        """Content that the next server does not take would be sent, and damaged on the way."""
        dialogue = Dialogue().ready()
        self.assertEqual(dialogue.begin(body="8BITMIME"), b"")
        (reply,) = dialogue.last.replies
        self.assertEqual((reply.code, reply.status), (554, "5.6.3"))

    def test_quoted_local_part(self) -> None:
        """An address could end its command and begin another."""
        dialogue = Dialogue().ready()
        strange = Address('a>\\ "b', "blu.example")
        dialogue.begin([strange])
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b'RCPT TO:<"a>\\\\ \\"b"@blu.example>\r\n')

    def test_one_line_per_command(self) -> None:
        """Whatever got into a command could smuggle in another one."""
        for text in ("MAIL\r\nRCPT", "a\nb", "a\rb", "a\0b"):
            with self.assertRaises(ValueError):
                command_line(text)

    def test_lmtp(self) -> None:
        """The outcome of each LMTP recipient would be lost."""
        dialogue = Dialogue(protocol="lmtp").ready("PIPELINING")
        dialogue.begin([BOB, ANGELO, CAROL])
        dialogue.hear(b"250 ok\r\n250 a\r\n550 5.1.1 nobody\r\n250 c\r\n354 go\r\n")
        dialogue.send(b"x")
        dialogue.hear(b"250 2.0.0 delivered\r\n")
        self.assertEqual(dialogue.events, [ContentWanted()])
        dialogue.hear(b"452 4.2.2 full\r\n")
        self.assertEqual(
            dialogue.last,
            Settled(
                (
                    Reply(250, "2.0.0", "delivered"),
                    Reply(550, "5.1.1", "nobody"),
                    Reply(452, "4.2.2", "full"),
                )
            ),
        )

    def test_lmtp_lost_between_replies(self) -> None:
        """A recipient whose LMTP delivery succeeded would get the message twice."""
        dialogue = Dialogue(protocol="lmtp").ready()
        dialogue.begin([BOB, CAROL])
        for reply in (b"250 ok\r\n", b"250 b\r\n", b"250 c\r\n", b"354 go\r\n"):
            dialogue.hear(reply)
        dialogue.send(b"x")
        dialogue.hear(b"250 2.0.0 delivered\r\n")
        dialogue.sender.connection_lost()
        dialogue.take()
        self.assertEqual([reply and reply.code for reply in dialogue.last.replies], [250, 451])

    def test_lmtp_354_for_nobody(self) -> None:
        """An LMTP server that wants content for nobody would leave both sides waiting."""
        dialogue = Dialogue(protocol="lmtp").ready("PIPELINING")
        dialogue.begin()
        self.assertEqual(dialogue.hear(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n"), b".\r\n")
        settled, failed = dialogue.events
        self.assertEqual(settled, Settled((Reply(550, "5.1.1", "no"),)))
        self.assertIsInstance(failed, Failed)
        self.assertEqual(failed.replies, ())


class BrokenTransactionTests(SynchronousTestCase):
    """Servers that leave, break the protocol or go silent in the middle of a message."""

    def at(self, stage: str, *extensions: str) -> Dialogue:
        """A dialogue with two recipients, the second refused once RCPT is over."""
        dialogue = Dialogue().ready(*extensions)
        dialogue.begin([BOB, CAROL])
        for line in (b"250 ok\r\n", b"250 ok\r\n", b"550 5.1.1 nobody\r\n", b"354 go\r\n"):
            if dialogue.sender.stage != stage:
                dialogue.hear(line)
        if stage in ("content", "final"):
            dialogue.sender.content(b"x\r\n")
        if stage == "final":
            dialogue.sender.end_of_content()
        dialogue.take()
        self.assertEqual(dialogue.sender.stage, stage)
        return dialogue

    def test_lost_before_the_dot(self) -> None:
        """Recipients would not be tried at the next host, or refused ones would be."""
        nobody = Reply(550, "5.1.1", "nobody")
        for end in ("connection_lost", "timed_out"):
            for stage, replies in (
                ("mail", (None, None)),
                ("recipient", (None, None)),
                ("data", (None, nobody)),
                ("content", (None, nobody)),
            ):
                dialogue = self.at(stage)
                getattr(dialogue.sender, end)()
                dialogue.take()
                self.assertIsInstance(dialogue.last, Failed)
                self.assertEqual(dialogue.last.replies, replies)
                self.assertEqual(dialogue.last.stage, stage)
                self.assertEqual(dialogue.last.untouched, stage == "mail")
                self.assertEqual(dialogue.last.reply.status, "4.4.2")

    def test_lost_after_the_dot(self) -> None:
        """A message that may have been delivered would be sent again to another host at once."""
        for end, words in (("connection_lost", "lost connection"), ("timed_out", "timed out")):
            dialogue = self.at("final")
            getattr(dialogue.sender, end)()
            dialogue.take()
            first, second = dialogue.last.replies
            self.assertEqual(
                str(first),
                f"451 4.4.2 {words} after the final dot: the message may have been delivered, "
                "and may arrive twice",
            )
            self.assertEqual(second.code, 550)

    def test_421(self) -> None:
        """A server that shuts down would have refused recipients it said nothing of."""
        for stage in ("mail", "recipient", "data", "content"):
            dialogue = self.at(stage)
            dialogue.hear(b"421 4.3.2 shutting down\r\n")
            self.assertIsNone(dialogue.last.replies[0])
            self.assertEqual(dialogue.last.reply.code, 421)
            self.assertEqual(dialogue.last.untouched, stage == "mail")
        dialogue = self.at("final")
        dialogue.hear(b"421 4.3.2 shutting down\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [421, 550])

    def test_refused_while_content_is_sent(self) -> None:
        """A refusal that comes early would be lost, and the message sent again."""
        dialogue = self.at("content")
        dialogue.hear(b"552 5.3.4 too big\r\n")
        self.assertIsInstance(dialogue.last, Failed)
        self.assertEqual([reply.code for reply in dialogue.last.replies], [552, 550])
        self.assertEqual(dialogue.sender.stage, "closed")
        dialogue.sender.end_of_content()
        self.assertEqual(dialogue.take(), b"")

    def test_accepted_while_content_is_sent(self) -> None:
        """A message that was sent in part would count as delivered."""
        dialogue = self.at("content")
        dialogue.hear(b"250 thanks\r\n")
        self.assertEqual(dialogue.last.reply.status, "4.5.0")
        self.assertIsNone(dialogue.last.replies[0])

    def test_impossible_replies(self) -> None:
        """A reply of the wrong kind would be taken for agreement."""
        for stage, line in (
            ("mail", b"354 go\r\n"),
            ("recipient", b"354 go\r\n"),
            ("data", b"250 ok\r\n"),
            ("data", b"334 what\r\n"),
        ):
            dialogue = self.at(stage)
            dialogue.hear(line)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")
            self.assertEqual(dialogue.last.stage, stage)
            self.assertIsNone(dialogue.last.replies[0])
        dialogue = self.at("final")
        dialogue.hear(b"354 again\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [451, 550])
        self.assertIn("may have been delivered", str(dialogue.last.replies[0]))

    def test_reset_refused(self) -> None:
        """Two messages would be mixed up when the server did not forget the first."""
        dialogue = Dialogue().ready()
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n")
        dialogue.hear(b"550 no\r\n")
        dialogue.begin()
        dialogue.hear(b"500 what?\r\n")
        self.assertEqual(dialogue.last.stage, "reset")
        self.assertEqual(dialogue.last.replies, (None,))
        self.assertTrue(dialogue.last.untouched)

    def test_replies_to_nothing(self) -> None:
        """A server could answer commands that were not sent yet."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        dialogue.send(b"x")
        dialogue.hear(b"250 ok\r\n250 and the next one too\r\n")
        self.assertIsInstance(dialogue.events[-2], Settled)
        self.assertIsInstance(dialogue.last, Failed)
        self.assertEqual(dialogue.last.replies, ())

    def test_fault_of_ours(self) -> None:
        """A fault of ours would have the message tried at every other host."""
        dialogue = self.at("content")
        fault = Reply(451, "4.3.0", "our disk is broken")
        dialogue.sender.fail(fault)
        dialogue.take()
        self.assertEqual(dialogue.last.replies, (fault, Reply(550, "5.1.1", "nobody")))
        self.assertEqual(dialogue.last.stage, "content")


class AnyServerTests(SynchronousTestCase):
    """Whatever a server says."""

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any_replies(self, data: st.DataObject) -> None:
        """Some order of replies could leave a recipient without an outcome, or with two."""
        lines = st.sampled_from(
            [
                b"220 x\r\n",
                b"250 x\r\n",
                b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
                b"250-x\r\n250 PIPELINING\r\n",
                b"354 x\r\n",
                b"421 x\r\n",
                b"450 x\r\n",
                b"550 x\r\n",
                b"garbage\r\n",
            ]
        )
        dialogue = Dialogue(protocol=data.draw(st.sampled_from(["smtp", "lmtp"])))
        usual = [b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n"]
        ended = begun = settled = 0
        for step in range(25):
            line = usual[step] if step < 2 and data.draw(st.booleans()) else data.draw(lines)
            dialogue.hear(line)
            for event in dialogue.events:
                if isinstance(event, Ready):
                    begun += 1
                elif isinstance(event, StartTls):
                    dialogue.sender.tls_started()
                elif isinstance(event, ContentWanted):
                    dialogue.sender.content(b"x\r\n")
                    if data.draw(st.booleans()):
                        dialogue.sender.end_of_content()
                elif isinstance(event, Settled):
                    self.assertEqual(len(event.replies), 2)
                    self.assertTrue(all(not 300 <= reply.code < 400 for reply in event.replies))
                    settled += 1
                    begun += 1
                else:
                    self.assertIn(len(event.replies), (0, 2))
                    ended += 1
            dialogue.events.clear()
            if dialogue.sender.stage == "idle" and begun > settled:
                dialogue.sender.begin(transaction([BOB, CAROL]))
        self.assertLessEqual(ended, 1)
        if ended:
            self.assertEqual(dialogue.sender.stage, "closed")
