"""Greeting, EHLO and STARTTLS, against servers good and bad."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.wire.sender_events import (
    Ended,
    Failed,
    Ready,
    StartTls,
)
from tests.wire.sending import GREETING, Dialogue, ehlo


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
        for line, code, answer in (
            (b"554 5.7.1 go away\r\n", 554, b"QUIT\r\n"),  # RFC 5321 §3.1: it waits for that
            (b"421 4.3.2 busy\r\n", 421, b""),
        ):
            dialogue = Dialogue()
            self.assertEqual(dialogue.hear(line), answer)
            self.assertEqual(dialogue.sender.parting, bool(answer))
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

    def test_hello_refused_with_the_door(self) -> None:
        """Nobody could tell why a server that closes with its refusal does not let us in."""
        for end, how in (("connection_lost", "lost connection"), ("timed_out", "timed out")):
            dialogue = Dialogue()
            dialogue.hear(GREETING)
            dialogue.hear(b"550 5.7.1 you are on a list\r\n")
            getattr(dialogue.sender, end)()
            dialogue.take()
            self.assertEqual(
                str(dialogue.last.reply),
                f"451 4.4.2 {how} after EHLO was answered with: 550 5.7.1 you are on a list",
            )
            self.assertEqual(dialogue.last.stage, "hello")
        dialogue = Dialogue()
        dialogue.hear(GREETING)
        dialogue.hear(b"500 what?\r\n")
        dialogue.hear(b"250 mx\r\n")
        dialogue.begin()
        dialogue.sender.connection_lost()
        dialogue.take()
        self.assertIn("while waiting for the reply to MAIL", str(dialogue.last.reply))

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
            self.assertEqual(dialogue.hear(ehlo("PIPELINING")), b"QUIT\r\n")
            self.assertEqual(dialogue.last.reply.status, "4.7.10")
            dialogue = Dialogue(tls=policy)
            dialogue.hear(GREETING)
            dialogue.hear(b"500 eh\r\n")
            self.assertEqual(dialogue.hear(b"250 hi\r\n"), b"QUIT\r\n")
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
