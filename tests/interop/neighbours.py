"""What every other mail transport agent is put through: as a sender to us, and as our next hop."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import TEXT, RelayCase

THERE = "mindspring.example"
VERIFY = 'tls = "verify"\n'


class NeighbourTests(RelayCase):
    """The tests; a module of each agent mixes them with what starts it.

    ``neighbour`` starts the agent on a port: it takes mail for jsmith and kim at a domain into the
    Maildir that is returned, and hands everything else to a loopback port. With TLS it verifies
    what it sends to, and both offer the same certificate.
    """

    neighbour: Callable[..., Path]
    spool: str  # a pattern of the folders that hold its queue

    def send(self, port: int, sender: str, *recipients: str, text: bytes = TEXT) -> None:
        """Give the agent a message."""
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=30) as client:
            client.sendmail(sender, recipients, text, ["BODY=8BITMIME"])

    def start_with_us(self, *, tls: bool) -> tuple[int, Path]:
        """Start the agent, with us as its next hop; returns its port and its Maildir."""
        (port,) = free_ports(1)
        if tls:
            self.make_certificate()
            self.environment["SSL_CERT_FILE"] = str(self.folder / "ca.pem")
        self.serve_mail(
            tls="starttls" if tls else None,
            rules=self.rule(f"tcp:127.0.0.1:{port}", more=VERIFY if tls else ""),
        )
        return port, self.neighbour(port, THERE, hop=self.smtp, tls=tls)

    def check_sender(self, *, tls: bool) -> bytes:
        """A message from the agent to us arrives as it was sent; returns its trace."""
        port, _ = self.start_with_us(tls=tls)
        self.send(port, "kim@mindspring.example", "jsmith@demo.example", "mary@demo.example")
        self.wait_for("both to have it", lambda: self.inbox("jsmith") and self.inbox("mary"))
        self.wait_for_its_queue()
        for name in ("jsmith", "mary"):
            (message,) = self.inbox(name)
            self.assert_same(message)
            self.assertTrue(message.startswith(b"Return-Path: <kim@mindspring.example>\n"))
        return message[: -len(TEXT)]

    def check_next_hop(self, *, tls: bool) -> None:
        """A message from us to the agent arrives as it was sent."""
        _, box = self.start_with_us(tls=tls)
        self.submit_octets(tls=tls)
        self.wait_for("the agent to deliver", lambda: maildir(box))
        (message,) = maildir(box)
        self.assert_same(message)
        self.assertIn(b"by mx.demo.example", message)
        self.wait_for("an empty queue", lambda: not self.queued())

    def wait_for_its_queue(self) -> None:
        """Wait until the agent knows that everything is delivered, and will not send it again."""

        def is_empty() -> bool:
            folders = self.folder.glob(self.spool)
            return not any(path.is_file() for folder in folders for path in folder.rglob("*"))

        self.wait_for("its queue to be empty", is_empty)

    def test_as_a_sender(self) -> None:
        """The agent's mail reaches our mailboxes octet for octet."""
        self.assertRegex(self.check_sender(tls=False), rb"by mx.demo.example with ESMTP\s")

    def test_as_a_sender_over_tls(self) -> None:
        """The agent finds our STARTTLS and our certificate good, and sends over nothing else."""
        self.assertRegex(self.check_sender(tls=True), rb"by mx.demo.example with ESMTPS\s")

    def test_as_a_next_hop(self) -> None:
        """Mail that we relay reaches the agent's mailboxes octet for octet."""
        self.check_next_hop(tls=False)

    def test_as_a_next_hop_over_tls(self) -> None:
        """``tls = "verify"`` finds the agent's certificate good."""
        self.check_next_hop(tls=True)

    def test_our_refusal_reaches_its_sender(self) -> None:
        """The agent understands which recipient we refused and why, and the others get theirs."""
        port, box = self.start_with_us(tls=False)
        self.send(
            port,
            "kim@mindspring.example",
            "jsmith@demo.example",
            "nobody@demo.example",
            "mary@demo.example",
        )
        self.wait_for("the bounce", lambda: maildir(box))
        (bounce,) = maildir(box)
        self.assertIn(b"nobody@demo.example", bounce)
        self.assertIn(b"5.1.1", bounce)
        self.assertNotIn(b"mary@demo.example", _report(bounce))
        self.wait_for("the others to have it", lambda: self.inbox("jsmith") and self.inbox("mary"))
        self.wait_for_its_queue()

    def test_its_refusal_reaches_our_sender(self) -> None:
        """We understand which recipient the agent refused, and the others get theirs."""
        _, box = self.start_with_us(tls=False)
        self.submit(["jsmith@mindspring.example", "gone@mindspring.example"])
        self.wait_for("the bounce", self.inbox)
        (bounce,) = self.inbox()
        self.assertIn(b"Final-Recipient: rfc822; gone@mindspring.example", bounce)
        self.assertRegex(bounce, rb"Status: 5\.\d\.\d")
        self.wait_for("the other to have it", lambda: maildir(box))

    def test_a_large_message_and_many_at_once(self) -> None:
        """Nothing is lost or mixed up when the agent opens several connections."""
        port, _ = self.start_with_us(tls=False)
        large = TEXT + (b"y" * 76 + b"\r\n") * 5_000
        for n in range(5):
            self.send(
                port,
                "kim@mindspring.example",
                "jsmith@demo.example",
                text=b"X-Number: %d\r\n" % n + large,
            )
        self.wait_for("all", lambda: len(self.inbox("jsmith")) >= 5)
        self.wait_for_its_queue()
        self.assertEqual(len(self.inbox("jsmith")), 5)
        for message in self.inbox("jsmith"):
            self.assert_same(message, large)
        self.assertEqual(
            {_number(message) for message in self.inbox("jsmith")}, {*map(str, range(5))}
        )


def _number(message: bytes) -> str:
    return str(message_from_bytes(message)["X-Number"])


def _report(bounce: bytes) -> bytes:
    """What a bounce says of recipients, without the returned message."""
    for part in message_from_bytes(bounce).walk():
        if part.get_content_type() == "message/delivery-status":
            return part.as_bytes()
    return b""
