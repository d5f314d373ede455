"""Each protocol gets its server."""

from __future__ import annotations

import os

import trustme
from twisted.internet.ssl import CertificateOptions

from mailframe.testing.fakes import DENIED
from tests.whole_server import ServerTests


class Protocols(ServerTests):
    """Each protocol gets its server."""

    def certificate(self) -> dict[str, str]:
        """A certificate and its key."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        issued = trustme.CA().issue_cert("mx.here.example")
        table = {key: os.path.join(folder, key) for key in ("certificate", "private_key")}
        issued.private_key_pem.write_to_path(table["private_key"])
        for pem in issued.cert_chain_pems:
            pem.write_to_path(table["certificate"], append=True)
        return table

    def test_greetings(self) -> None:
        """Each must speak its protocol, with TLS by default when there is a certificate."""
        servers = [
            {"name": name, "protocol": protocol, "listen": f"tcp:{port}"}
            for name, protocol, port in [
                ("mx", "smtp", 25),
                ("sub", "submission", 587),
                ("pop", "pop3", 110),
                ("web", "console", 80),
            ]
        ]
        self.start(servers=servers, tls=self.certificate())
        for port in (25, 587):
            self.assertIn(b"STARTTLS", self.say(self.connect(port), "EHLO client.example"))
        self.assertTrue(self.connect(110).received.startswith(b"+OK"))
        self.assertIn(b"STLS", self.say(self.connect(110), "CAPA"))
        answered = self.say(self.connect(80), "GET / HTTP/1.1\r\nHost: localhost\r\n")
        self.assertTrue(answered.startswith(b"HTTP/1.1 200"))

    def test_implicit_tls(self) -> None:
        """Nothing may be said in clear on a server with implicit TLS."""
        servers = [
            {"name": name, "protocol": name, "listen": f"tcp:{port}", "tls": "implicit"}
            for name, port in [("submission", 465), ("pop3", 995), ("console", 443)]
        ]
        self.start(servers=servers, tls=self.certificate())
        for port in (465, 995, 443):
            peer = self.connect(port)
            self.assertEqual(peer.received, b"")
            peer.transport.startTLS(CertificateOptions())  # type: ignore[union-attr]  # connected
            self.reactor.advance(0)
            self.assertIn(
                b"HTTP/1.1 200" if port == 443 else b"mx.here.example",
                self.say(peer, "GET / HTTP/1.1\r\nHost: localhost\r\n")
                if port == 443
                else peer.received,
            )

    def test_authorisation_is_asked(self) -> None:
        """Whoever is no customer must not have mail carried."""
        self.authorisation.verdict = DENIED
        self.start()
        reply = self.say(self.begin(), "RCPT TO:<b@there.example>")
        self.assertTrue(reply.startswith(b"550 5.7.1"))
