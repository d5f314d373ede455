"""A message goes through every mail transport agent there is."""

from __future__ import annotations

import email

from tests.interop.exim import EximCase
from tests.interop.opensmtpd import OpenSmtpdCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import RelayCase


class ChainTests(EximCase, OpenSmtpdCase, RelayCase):
    """Client, mailframe, Exim, OpenSMTPD, Postfix, mailbox; and all the way back."""

    def test_there_and_back(self) -> None:
        """Each hands it to the next, and says so in the trace; what the last refuses comes back."""
        exim, opensmtpd, postfix = free_ports(3)
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{exim}"))
        self.start_exim(exim, "exim.example", hop=opensmtpd)
        self.start_opensmtpd(opensmtpd, "opensmtpd.example", hop=postfix)
        there = self.start_postfix(postfix, "mindspring.example", hop=self.smtp)
        self.submit_octets(tls=False)
        self.wait_for("Postfix to deliver", lambda: maildir(there))
        (octets,) = maildir(there)
        self.assert_same(octets)
        trace = email.message_from_bytes(octets).get_all("Received", [])
        self.assertEqual(
            [line.split("by ")[1].split()[0] for line in trace],
            ["next.mindspring.example", "opensmtpd.example", "exim.example", "mx.demo.example"],
        )
        self.submit(["gone@mindspring.example"])
        self.wait_for("the bounce", self.inbox)
        self.assertIn(b"by opensmtpd.example", self.inbox()[0])
        self.assertIn(b"550 5.1.6", self.inbox()[0])
