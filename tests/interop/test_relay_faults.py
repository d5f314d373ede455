"""What smtp-sink can do wrong, stage by stage, and what becomes of the message."""

from __future__ import annotations

from mailframe.outcome import Delivered, Outcome, Postponed, Refused
from tests.interop.agent import CONTENT, AgentCase
from tests.interop.programs import free_ports
from tests.interop.servers import sunk

STAGES = ("CONNECT", "EHLO", "EHLO,HELO", "MAIL", "RCPT", "DATA", ".")
BIG = CONTENT + (b"x" * 70 + b"\r\n") * 20_000
EIGHT_BIT = "Subject: x\r\n\r\nnaïve text with few such letters\r\n".encode()


class SinkTests(AgentCase):
    """smtp-sink with its switches for faults."""

    def outcome(
        self, *options: str, content: bytes = CONTENT, lmtp: bool = False, **envelope: object
    ) -> Outcome:
        """Start a sink, hand it a message twice, and see that both come to the same."""
        (port,) = free_ports(1)
        self.sink, self.dump = self.start_sink(port, *options)
        agent = self.agent()
        protocol = "lmtp" if lmtp else "smtp"
        job = self.job(f"tcp:127.0.0.1:{port}", content=content, protocol=protocol, **envelope)
        (first,), (second,) = self.deliver(agent, job), self.deliver(agent, job)
        self.assertEqual(type(first), type(second))
        return first

    def test_refusals(self) -> None:
        """A stage at which a server refuses: for good, the message returns; for now, it waits."""
        for option, kind, codes in (("-f", Refused, (500,)), ("-r", Postponed, (450,))):
            for stage in STAGES:
                outcome = self.outcome(option, stage)
                if option == "-f" and stage == "EHLO":  # RFC 5321 §3.2: HELO does
                    self.assertIsInstance(outcome, Delivered)
                    self.assertEqual(len(sunk(self.dump)), 2)
                else:
                    self.assertIsInstance(outcome, kind, f"{option} {stage}")
                    self.assertIn(outcome.reply.code, codes)

    def test_disconnections(self) -> None:
        """A stage at which a server closes, with 421 and without: the message waits."""
        for option in ("-q", "-Q"):
            for stage in STAGES:
                outcome = self.outcome(option, stage)
                self.assertIsInstance(outcome, Postponed, f"{option} {stage}")
                code = 451 if option == "-q" else 421
                self.assertEqual(outcome.reply.code, code, f"{option} {stage}")
                if option == "-q":
                    words = "may arrive twice" if stage == "." else "lost connection while"
                    self.assertIn(words, str(outcome.reply))

    def test_refused_in_the_middle_of_the_content(self) -> None:
        """A server that says 550 while content is sent, and reads no more: that is the answer."""
        for content in (CONTENT, BIG):
            outcome = self.outcome("-A", "0", content=content)
            self.assertIsInstance(outcome, Refused)
            self.assertEqual(outcome.reply.code, 550)

    def test_old_servers(self) -> None:
        """Servers without this and that get the message all the same."""
        for options in (
            ("-e",),  # no ESMTP
            ("-p",),  # no PIPELINING
            ("-8",),  # no 8BITMIME
            ("-E", "-N"),  # no ENHANCEDSTATUSCODES, no DSN
            ("-P",),  # a Cisco PIX in between
        ):
            for content in (CONTENT, BIG):
                outcome = self.outcome(*options, content=content)
                self.assertIsInstance(outcome, Delivered, str(options))
                self.assertEqual(len(sunk(self.dump)), 2)
                for message in sunk(self.dump):
                    self.assertTrue(message.endswith(content.replace(b"\r\n", b"\n") + b"\n"))

    def test_without_8bitmime(self) -> None:
        """Content beyond ASCII is encoded for a server that does not take it."""
        outcome = self.outcome("-8", content=EIGHT_BIT, body="8BITMIME")
        self.assertIsInstance(outcome, Delivered)
        for message in sunk(self.dump):
            self.assertIn(b"\nna=C3=AFve text", message)
            self.assertIn(b"Content-Transfer-Encoding: quoted-printable", message)
        outcome = self.outcome(content=EIGHT_BIT, body="8BITMIME")
        self.assertIsInstance(outcome, Delivered)
        self.assertIn("\nnaïve text".encode(), sunk(self.dump)[0])

    def test_slow(self) -> None:
        """A server that takes its time to read gets a large message whole."""
        self.assertIsInstance(self.outcome("-H", "1", content=BIG), Delivered)
        self.assertEqual(len(sunk(self.dump)), 2)

    def test_lmtp(self) -> None:
        """The same over LMTP, where each recipient has its own reply."""
        self.assertIsInstance(self.outcome("-L", lmtp=True), Delivered)
        self.assertEqual(len(sunk(self.dump)), 2)
        for option, stage, kind in (
            ("-f", "LHLO", Refused),
            ("-f", "DATA", Refused),
            ("-r", ".", Postponed),
            ("-q", ".", Postponed),
            ("-Q", "RCPT", Postponed),
        ):
            outcome = self.outcome("-L", option, stage, lmtp=True)
            self.assertIsInstance(outcome, kind, f"{option} {stage}")
