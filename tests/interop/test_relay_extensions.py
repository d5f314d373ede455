"""What Postfix and Dovecot offer a client, used by ours."""

from __future__ import annotations

from mailframe.address import Address
from mailframe.envelope import Recipient
from mailframe.outcome import Delivered, Refused
from mailframe.testing.samples import EVIDENCE
from tests.interop.agent import CONTENT, HEADER, AgentCase
from tests.interop.dovecot import DovecotCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import TEXT

DOMAIN = "demo.example"
BIG = TEXT + (b"y" * 76 + b"\r\n") * 20_000
BINARY = (
    b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n\0\xff\r\nbare\nline\rends\r\n"
)


def unix(content: bytes) -> bytes:
    """The content with the line ends that it has in a Maildir."""
    return content.replace(b"\r\n", b"\n")


class PostfixTests(AgentCase):
    """Postfix: PIPELINING, CHUNKING, DSN, SMTPUTF8, 8BITMIME, no BINARYMIME."""

    def setUp(self) -> None:
        super().setUp()
        (port,) = free_ports(1)
        self.where = f"tcp:127.0.0.1:{port}"
        self.there = self.start_postfix(port, DOMAIN)

    def log(self) -> str:
        return (self.folder / "postfix/postfix.log").read_text(errors="replace")

    def test_content(self) -> None:
        """Content of every kind arrives octet for octet, in chunks and without."""
        contents = (CONTENT, TEXT, BIG)
        for chunking in (True, False):
            agent = self.agent(chunking=chunking)
            for content in contents:
                job = self.job(self.where, content=content, body="8BITMIME")
                self.assertIsInstance(self.deliver(agent, job)[0], Delivered)
        self.wait_for("Postfix to deliver", lambda: len(maildir(self.there)) == 6)
        for content in contents:
            there = [message.endswith(unix(content)) for message in maildir(self.there)]
            self.assertEqual(there.count(True), 2)
        self.assertNotIn("improper command pipelining", self.log())

    def test_nobody(self) -> None:
        """Chunks for recipients that are all refused do no harm to the next message."""
        agent = self.agent()
        for content in (CONTENT, BIG):
            (gone,) = self.deliver(
                agent, self.job(self.where, "gone@demo.example", content=content)
            )
            self.assertIsInstance(gone, Refused)
            self.assertEqual(gone.reply.status, "5.1.6")
            outcomes = self.deliver(
                agent, self.job(self.where, "a@demo.example", "gone@demo.example", content=content)
            )
            self.assertEqual([type(outcome) for outcome in outcomes], [Delivered, Refused])
        self.wait_for("Postfix to deliver", lambda: len(maildir(self.there)) == 2)
        self.assertEqual(self.log().count("]: connect from"), 2)  # ours, and the probe

    def test_too_large(self) -> None:
        """A message that Postfix finds too large on the way is refused, not tried for days."""
        agent = self.agent()
        job = self.job(self.where, content=BIG * 7)
        (outcome,) = self.deliver(agent, job)
        self.assertIsInstance(outcome, Refused)
        self.assertEqual(outcome.reply.status, "5.3.4")

    def test_notices(self) -> None:
        """Postfix knows what the sender wants to be told, of whom, and takes that over."""
        original = Recipient(
            address=Address.parse("old+name@demo.example"),
            evidence=EVIDENCE,
            notify=("SUCCESS", "FAILURE"),
            orcpt="rfc822;first=name@demo.example",
        )
        job = self.job(self.where, originals=(original,), ret="HDRS", envid="number 1+1=2")
        (outcome,) = self.deliver(self.agent(), job)
        self.assertIsInstance(outcome, Delivered)
        self.assertTrue(outcome.notifies)
        self.wait_for("message and notice", lambda: len(maildir(self.there)) == 2)
        (notice,) = (m for m in maildir(self.there) if b"multipart/report" in m)
        self.assertIn(b"\nOriginal-Envelope-Id: number 1+1=2\n", notice)
        self.assertIn(b"\nOriginal-Recipient: rfc822;first=name@demo.example\n", notice)

    def test_internationalised(self) -> None:
        """Addresses and headers beyond ASCII go to a server that takes them."""
        content = HEADER + "Subject: Grüße\r\n\r\nText\r\n".encode()
        job = self.job(
            self.where, Address("jürgen", DOMAIN), content=content, smtputf8=True, body="8BITMIME"
        )
        (outcome,) = self.deliver(self.agent(), job)
        self.assertIsInstance(outcome, Delivered, repr(outcome))
        self.wait_for("the message", lambda: maildir(self.there))
        self.assertIn(unix(content), maildir(self.there)[0])

    def test_binary(self) -> None:
        """Binary content is encoded, for Postfix does not take it."""
        (outcome,) = self.deliver(
            self.agent(), self.job(self.where, content=BINARY, body="BINARYMIME")
        )
        self.assertIsInstance(outcome, Delivered)
        self.wait_for("the message", lambda: maildir(self.there))
        self.assertIn(b"\nContent-Transfer-Encoding: base64\n", maildir(self.there)[0])


class DovecotTests(DovecotCase, AgentCase):
    """Dovecot's LMTP: PIPELINING, CHUNKING, 8BITMIME."""

    def test_chunks(self) -> None:
        """Content arrives octet for octet, and each recipient has its own outcome."""
        (port,) = free_ports(1)
        dovecot = self.start_dovecot(port, DOMAIN, "jsmith", "kim")
        where = f"tcp:127.0.0.1:{port}"
        names = [f"{name}@{DOMAIN}" for name in ("jsmith", "nobody", "kim")]
        for chunking in (True, False):
            agent = self.agent(chunking=chunking)
            for content in (TEXT, BIG):
                job = self.job(where, *names, content=content, protocol="lmtp", body="8BITMIME")
                for _ in range(2):
                    outcomes = self.deliver(agent, job)
                    self.assertEqual(
                        [type(outcome) for outcome in outcomes], [Delivered, Refused, Delivered]
                    )
        for name in ("jsmith", "kim"):
            messages = maildir(dovecot / "mail" / name)
            self.assertEqual(len(messages), 8)
            for message in messages:
                self.assertTrue(message.endswith((unix(TEXT), unix(BIG))))
