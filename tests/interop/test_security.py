"""Who may do what, over what, with real clients and a real scanner."""

from __future__ import annotations

import poplib
import smtplib
import ssl

from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import maildir

PROVIDERS = """plugin = "providers"
[[authorisation.provider]]
name = "rosse"
networks = ["127.0.0.0/8"]
accounts = ["*@demo.example"]
customer = "both"
servers = ["submission", "pop"]
use_instead = "smtp.blu.example"
"""


class RelayingTests(MailframeCase):
    """Not an open relay."""

    def test_a_stranger_is_told_why(self) -> None:
        """The refusal says why and what to use instead; local mail is taken from anyone."""
        self.serve_mail(authorisation=PROVIDERS)
        error = self.assertRaises(
            smtplib.SMTPRecipientsRefused, self.submit, ["kim@far.example"], login=None
        )
        code, text = error.recipients["kim@far.example"]
        self.assertEqual(code, 550)
        self.assertTrue(text.startswith(b"5.7.1 "), text)
        self.assertIn(b"smtp.blu.example", text)
        self.submit(["jsmith@demo.example"], sender="kim@far.example", login=None)
        self.wait_for("local mail", lambda: maildir(self.mailbox("jsmith")))

    def test_nmap_finds_no_open_relay(self) -> None:
        """Sixteen tricks with percent signs, quotes and source routes."""
        nmap = self.program("nmap", "nmap")
        self.serve_mail()
        found = self.run_program(
            *(nmap, "-Pn", "-n", "-p", str(self.smtp), "127.0.0.1"),
            *("--script", "+smtp-open-relay,+smtp-commands", "--script-args"),
            "smtp-open-relay.domain=far.example,smtp-open-relay.ip=192.0.2.1",
        ).stdout
        self.assertIn(b"doesn't seem to be an open relay", found)

    def test_provider_by_server(self) -> None:
        """Customers may use the servers that their provider rents, and no other."""
        self.serve_mail(authorisation=PROVIDERS.replace('"submission", "pop"', '"submission"'))
        error = self.assertRaises(poplib.error_proto, self.fetch, "jsmith")
        self.assertIn("smtp.blu.example", str(error))


class TlsTests(MailframeCase):
    """Encryption and logins."""

    def test_starttls_with_smtplib_and_poplib(self) -> None:
        """The standard library's clients upgrade and verify."""
        self.serve_mail(tls="starttls")
        with smtplib.SMTP("localhost", self.submission) as client:
            client.starttls(context=self.trusting())
            client.login("angelo@demo.example", PASSWORD)
            client.sendmail("angelo@demo.example", ["jsmith@demo.example"], "Subject: x\r\n\r\nx")
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))
        self.assertIn(b"with ESMTPSA", maildir(self.mailbox("jsmith"))[0])
        pop3 = poplib.POP3("localhost", self.pop3)
        pop3.stls(self.trusting())
        pop3.user("jsmith@demo.example")
        pop3.pass_(PASSWORD)
        self.assertEqual(pop3.stat()[0], 1)
        pop3.quit()

    def test_implicit_with_smtplib_and_poplib(self) -> None:
        """Ports 465 and 995."""
        self.serve_mail(tls="implicit")
        with smtplib.SMTP_SSL("localhost", self.submission, context=self.trusting()) as client:
            client.login("angelo@demo.example", PASSWORD)
            client.sendmail("angelo@demo.example", ["jsmith@demo.example"], "Subject: x\r\n\r\nx")
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))
        pop3 = poplib.POP3_SSL("localhost", self.pop3, context=self.trusting())
        pop3.user("jsmith@demo.example")
        pop3.pass_(PASSWORD)
        self.assertEqual(pop3.stat()[0], 1)
        pop3.quit()

    def test_swaks_and_curl_over_tls(self) -> None:
        """Foreign TLS stacks agree with ours."""
        swaks, curl = self.program("swaks", "swaks"), self.program("curl", "curl")
        self.serve_mail(tls="starttls")
        self.run_program(
            *(swaks, "--server", "127.0.0.1", "--port", str(self.submission), "--tls"),
            *("--auth", "PLAIN", "--auth-user", "angelo@demo.example", "--auth-password", PASSWORD),
            *("--from", "angelo@demo.example", "--to", "jsmith@demo.example"),
        )
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))
        listed = self.run_program(
            *(curl, "-sS", "--ssl-reqd", "--cacert", self.folder / "ca.pem"),
            *("--user", f"jsmith@demo.example:{PASSWORD}", f"pop3://localhost:{self.pop3}/"),
        ).stdout
        self.assertEqual(len(listed.splitlines()), 1)

    def test_fetchmail_over_stls(self) -> None:
        """fetchmail refuses to log in unless STLS works and the certificate is good."""
        fetchmail = self.program("fetchmail", "fetchmail")
        self.serve_mail(tls="starttls")
        self.submit(["jsmith@demo.example"], login=None)
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))
        sink = self.write("sink", f"#!/bin/sh\ncat >> {self.folder}/fetched\n", 0o755)
        control = self.write(
            "fetchmailrc",
            f'poll localhost port {self.pop3} proto pop3 user "jsmith@demo.example" '
            f'password "{PASSWORD}" sslproto "TLS1.2+" sslcertck sslcertfile '
            f'"{self.folder}/ca.pem" fetchall no rewrite mda "{sink}"\n',
        )
        self.run_program(
            fetchmail, "-f", control, "--nosyslog", "-N", "--pidfile", self.folder / "p"
        )
        self.assertIn(b"greetings", (self.folder / "fetched").read_bytes())

    def test_old_protocols_are_refused(self) -> None:
        """TLS 1.0 and 1.1 are broken (RFC 8996)."""
        self.serve_mail(tls="implicit")
        context = self.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertRaises(
            (ssl.SSLError, ConnectionError),
            smtplib.SMTP_SSL,
            "localhost",
            self.submission,
            context=context,
        )

    def test_wrong_password(self) -> None:
        """The same words whether the account exists or not."""
        self.serve_mail()
        answers = set()
        for user in ("angelo@demo.example", "nobody@demo.example"):
            with smtplib.SMTP("127.0.0.1", self.submission) as client:
                error = self.assertRaises(
                    smtplib.SMTPAuthenticationError, client.login, user, "wrong"
                )
                answers.add((error.smtp_code, error.smtp_error))
        self.assertEqual(len(answers), 1)
        self.assertEqual(answers.pop()[0], 535)
