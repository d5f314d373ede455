"""Dovecot is our next hop over LMTP (RFC 2033)."""

from __future__ import annotations

from pathlib import Path

from tests.interop.dovecot import DovecotCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import RelayCase

DOMAIN = "mindspring.example"


class DovecotTests(DovecotCase, RelayCase):
    """Mail for a domain whose mailboxes Dovecot keeps."""

    def setUp(self) -> None:
        super().setUp()
        (self.port,) = free_ports(1)
        self.dovecot = self.start_dovecot(self.port, DOMAIN, "jsmith", "kim", "full")

    def serve_for(self, via: str, **kwargs: object) -> None:
        self.serve_mail(rules=self.rule(via, more='protocol = "lmtp"\n'), **kwargs)

    def box(self, name: str) -> list[bytes]:
        return maildir(self.dovecot / "mail" / name)

    def test_over_a_socket_file(self) -> None:
        """The usual way to a Dovecot on the same machine."""
        self.serve_for(f"unix:{self.dovecot}/lmtp")
        self.submit([f"jsmith@{DOMAIN}"])
        self.wait_for("Dovecot to deliver", lambda: self.box("jsmith"))
        (message,) = self.box("jsmith")
        self.assertIn(b"\n.\n..dots and all\n", message)
        self.assertIn(b"Return-Path: <angelo@demo.example>\n", message)
        self.wait_for("an empty queue", lambda: not self.queued())

    def test_over_tcp(self) -> None:
        """And to one on another; several messages go over one connection."""
        self.serve_for(f"tcp:127.0.0.1:{self.port}")
        for n in range(3):
            self.submit([f"jsmith@{DOMAIN}", f"kim@{DOMAIN}"], subject=f"number {n}")
        self.wait_for(
            "Dovecot to deliver", lambda: len(self.box("jsmith")) == len(self.box("kim")) == 3
        )
        self.wait_for("an empty queue", lambda: not self.queued())

    def test_octet_for_octet(self) -> None:
        """Nothing is changed on the way, with whatever extension it goes."""
        self.serve_for(f"unix:{self.dovecot}/lmtp")
        self.submit_octets(tls=False)
        self.wait_for("Dovecot to deliver", lambda: self.box("jsmith"))
        self.assert_same(self.box("jsmith")[0])

    def test_each_recipient_has_its_reply(self) -> None:
        """One unknown is bounced, one who can't be written to waits, and the third has it."""
        self.no_room_for("full")
        self.serve_for(f"unix:{self.dovecot}/lmtp", queue='retry_every = "5m"')
        self.submit([f"jsmith@{DOMAIN}", f"nobody@{DOMAIN}", f"full@{DOMAIN}"])
        self.wait_for("Dovecot to deliver", lambda: self.box("jsmith"))
        self.wait_for("the bounce", self.inbox)
        (bounce,) = self.inbox()
        self.assertIn(b"Final-Recipient: rfc822; nobody@mindspring.example", bounce)
        self.assertIn(b"Status: 5.1.1", bounce)
        (waiting,) = self.queued()
        states = {r["address"]: r for r in waiting["recipients"]}
        self.assertEqual(states[f"jsmith@{DOMAIN}"]["state"], "relayed")
        self.assertEqual(states[f"nobody@{DOMAIN}"]["state"], "failed")
        self.assertEqual(states[f"full@{DOMAIN}"]["state"], "pending")
        self.assertRegex(states[f"full@{DOMAIN}"]["last_reply"], r"^4\d\d 4\.")

    def no_room_for(self, name: str) -> None:
        """Have Dovecot find something else where the mailbox should be."""
        Path(self.dovecot / "mail" / name).write_text("not a folder")
