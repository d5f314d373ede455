"""OpenSMTPD sends to us, and is our next hop."""

from __future__ import annotations

import smtplib
import ssl

from tests.interop import neighbours
from tests.interop.opensmtpd import OpenSmtpdCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import JSMITH


class OpenSmtpdTests(OpenSmtpdCase, neighbours.NeighbourTests):
    """What every neighbour is put through."""

    neighbour = OpenSmtpdCase.start_opensmtpd

    def test_as_a_next_hop_over_tls(self) -> None:
        """A server whose TLS is broken gets nothing in clear under ``tls = "verify"``.

        Such is OpenSMTPD 6.8 with OpenSSL 3, for any client: it can't sign with its key.
        """
        port, box = self.start_with_us(tls=True)
        if self.tls_works(port):
            self.submit_octets(tls=True)
            self.wait_for("OpenSMTPD to deliver", lambda: maildir(box))
            return
        self.submit_octets(tls=True)
        self.wait_for("an attempt", lambda: self.queued()[0]["recipients"][0]["attempts"] >= 1)
        self.assertIn("4.7.5 the TLS handshake", self.queued()[0]["recipients"][0]["last_reply"])
        self.assertEqual(maildir(box), [])

    def test_tls_where_it_works(self) -> None:
        """A server whose TLS is broken gets its mail in clear under ``tls = "opportunistic"``."""
        self.make_certificate()
        (port,) = free_ports(1)
        box = self.start_opensmtpd(port, neighbours.THERE, tls=True)
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"))
        self.submit([JSMITH])
        self.wait_for("OpenSMTPD to deliver", lambda: maildir(box))

    def tls_works(self, port: int) -> bool:
        """Whether Python's own client gets TLS from it."""
        with smtplib.SMTP("localhost", port, timeout=30) as client:
            try:
                client.starttls(context=self.trusting())
            except (ssl.SSLError, ConnectionError):
                return False
            return True
