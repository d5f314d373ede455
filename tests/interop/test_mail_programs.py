"""Mail programs of people, over TLS: mutt, s-nail, msmtp send; getmail, mpop, fetchmail fetch."""

from __future__ import annotations

import email
import email.policy
import smtplib
from pathlib import Path

from tests.interop.ourselves import PASSWORD
from tests.interop.programs import maildir
from tests.interop.relaying import RelayCase

# mutt 2.2 with GNU SASL takes SCRAM-SHA-256-PLUS when it is offered, and can't do its binding.
UNBOUND = 'set smtp_authenticators="scram-sha-256"'


class MuttTests(RelayCase):
    """mutt with smtp_url, as people without a mail server on their machine use it."""

    def send(self, url: str, *settings: str) -> bytes:
        """Send a text with a report beside it; returns what arrived."""
        mutt = self.program("mutt", "mutt")
        attached = self.write("report.bin", "".join(map(chr, range(32, 127))) * 500)
        lines = (
            f'set smtp_url="{url}"',
            f'set smtp_pass="{PASSWORD}"',
            'set from="angelo@demo.example"',
            "set realname=Angelo use_envelope_from=yes copy=no record= use_8bitmime=yes",
            f'set ssl_ca_certificates_file="{self.folder}/ca.pem" certificate_file=',
            f'set hostname=client.example tmpdir="{self.folder}"',
            *settings,
        )
        control = self.write("muttrc", "\n".join(lines) + "\n")
        self.run_program(
            *(mutt, "-n", "-F", control, "-s", "héllo from mutt", "-a", attached),
            *("--", "jsmith@demo.example"),
            input="Hello,\n.\nGrüße\n".encode(),
        )
        self.wait_for("the message", lambda: self.inbox("jsmith"))
        (octets,) = self.inbox("jsmith")
        message = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(message["Return-Path"], "<angelo@demo.example>")
        body, report = message.iter_parts()
        self.assertIn("Hello,\n.\n", body.get_content())
        content = report.get_content()
        content = content.encode() if isinstance(content, str) else content
        self.assertEqual(content.rstrip(b"\n"), attached.read_bytes())
        return octets

    def test_in_clear(self) -> None:
        """On this machine a login needs no TLS."""
        self.serve_mail()
        octets = self.send(
            f"smtp://angelo%40demo.example@127.0.0.1:{self.submission}",
            "set ssl_starttls=no ssl_force_tls=no smtp_authenticators=plain",
        )
        self.assertRegex(octets, rb"with ESMTPA\s")

    def test_starttls(self) -> None:
        """Nothing goes in clear."""
        self.serve_mail(tls="starttls")
        octets = self.send(
            f"smtp://angelo%40demo.example@localhost:{self.submission}",
            "set ssl_starttls=yes ssl_force_tls=yes",
            UNBOUND,
        )
        self.assertRegex(octets, rb"with ESMTPSA\s")

    def test_implicit(self) -> None:
        """Port 465; and a server that does not offer what mutt can't do needs no settings there."""
        self.configure(tls="implicit")
        text, key = self.configuration.read_text(), 'protocol = "submission"\n'
        offer = 'mechanisms = ["SCRAM-SHA-256", "PLAIN"]\n'
        self.configuration.write_text(text.replace(key, key + offer))
        self.server = self.serve(self.configuration, self.smtp, self.submission)
        self.send(f"smtps://angelo%40demo.example@localhost:{self.submission}")


class SenderTests(RelayCase):
    """Other senders, over TLS that they verify."""

    def test_msmtp(self) -> None:
        """Several recipients of the command line, and Bcc taken out."""
        msmtp = self.program("msmtp", "msmtp")
        self.serve_mail(tls="starttls")
        control = self.write(
            "msmtprc",
            f"account default\nhost localhost\nport {self.submission}\nauth on\n"
            f'user angelo@demo.example\npassword "{PASSWORD}"\ntls on\ntls_starttls on\n'
            f"tls_trust_file {self.folder}/ca.pem\nfrom angelo@demo.example\n",
        )
        self.run_program(
            *(msmtp, "-C", control, "-t"),
            input=b"From: angelo@demo.example\nTo: jsmith@demo.example\n"
            b"Bcc: mary@demo.example\nSubject: secret\n\nHello\n",
        )
        self.wait_for("both to have it", lambda: self.inbox("jsmith") and self.inbox("mary"))
        self.assertNotIn(b"Bcc", self.inbox("jsmith")[0])

    def test_s_nail(self) -> None:
        """smtps."""
        s_nail = self.program("s-nail", "s-nail")
        self.serve_mail(tls="implicit")
        user = "angelo%40demo.example:" + PASSWORD.replace(" ", "%20")
        self.run_program(
            *(s_nail, "-:/", "-S", "v15-compat", "-S", "smtp-auth=login", "-S", "sendwait"),
            *("-S", f"tls-ca-file={self.folder}/ca.pem", "-S", "tls-verify=strict"),
            *("-S", f"mta=smtps://{user}@localhost:{self.submission}"),
            *("-S", f"DEAD={self.folder}/dead"),
            *("-r", "angelo@demo.example", "-s", "by s-nail", "jsmith@demo.example"),
            input=b"Hello\n",
        )
        self.wait_for("the message", lambda: self.inbox("jsmith"))


class FetcherTests(RelayCase):
    """What stays on the server is fetched once, over TLS that is verified."""

    def serve_with_mail(self, tls: str) -> None:
        self.serve_mail(tls=tls)
        self.receive(0, 1, 2)

    def receive(self, *numbers: int) -> None:
        """Have messages come in."""
        count = len(self.inbox("jsmith")) + len(numbers)
        client: smtplib.SMTP
        if "implicit" in self.configuration.read_text():
            client = smtplib.SMTP_SSL("localhost", self.smtp, context=self.trusting())
        else:
            client = smtplib.SMTP("localhost", self.smtp)
        with client:
            for n in numbers:
                text = b"Subject: number %d\r\n\r\n.\r\n..\r\n" % n
                client.sendmail("a@far.example", ["jsmith@demo.example"], text)
        self.wait_for("the messages", lambda: len(self.inbox("jsmith")) == count)

    def check_once(self, fetch: object, fetched: Path) -> None:
        """Fetch twice; then one more came in, and the server was restarted."""
        assert callable(fetch)

        def numbers() -> list[int]:
            text = fetched.read_bytes() if fetched.is_file() else b"".join(maildir(fetched))
            return [text.count(b"Subject: number %d" % n) for n in range(4)]

        fetch()
        self.assertEqual(numbers(), [1, 1, 1, 0])
        fetch()
        self.assertEqual(numbers(), [1, 1, 1, 0])
        self.receive(3)
        assert self.server is not None
        self.end(self.server)
        self.server = self.serve(self.configuration, self.smtp, self.submission, self.pop3)
        fetch()
        self.assertEqual(numbers(), [1, 1, 1, 1])
        self.assertEqual(len(self.inbox("jsmith")), 4)

    def test_mpop(self) -> None:
        """mpop keeps a list of unique ids."""
        mpop = self.program("mpop", "mpop")
        self.serve_with_mail("starttls")
        box = self.folder / "inbox"
        for sub in ("new", "cur", "tmp"):
            (box / sub).mkdir(parents=True)
        control = self.write(
            "mpoprc",
            f"account default\nhost localhost\nport {self.pop3}\nuser jsmith@demo.example\n"
            f'password "{PASSWORD}"\nauth on\ntls on\ntls_starttls on\n'
            f"tls_trust_file {self.folder}/ca.pem\ndelivery maildir {box}\n"
            f"uidls_file {self.folder}/uidls\nkeep on\n",
        )
        self.check_once(lambda: self.run_program(mpop, "-C", control), box)

    def test_getmail(self) -> None:
        """getmail too, over pop3s."""
        getmail = self.program("getmail", "getmail6")
        self.serve_with_mail("implicit")
        fetched = self.folder / "fetched"
        sink = self.write("sink", f"#!/bin/sh\ncat >> {fetched}\n", 0o755)
        self.write(
            "getmail/getmailrc",
            f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\n"
            f"port = {self.pop3}\nusername = jsmith@demo.example\npassword = {PASSWORD}\n"
            f"ca_certs = {self.folder}/ca.pem\n"
            f"[destination]\ntype = MDA_external\npath = {sink}\nallow_root_commands = true\n"
            "[options]\ndelete = false\nread_all = false\n",
        )
        self.check_once(
            lambda: self.run_program(getmail, "--getmaildir", self.folder / "getmail"), fetched
        )

    def test_fetchmail(self) -> None:
        """fetchmail with keep."""
        fetchmail = self.program("fetchmail", "fetchmail")
        self.serve_with_mail("starttls")
        fetched = self.folder / "fetched"
        sink = self.write("sink", f"#!/bin/sh\ncat >> {fetched}\n", 0o755)
        control = self.write(
            "fetchmailrc",
            f'set idfile "{self.folder}/ids"\n'
            f'poll localhost port {self.pop3} proto pop3 uidl user "jsmith@demo.example" '
            f'password "{PASSWORD}" sslproto "TLS1.2+" sslcertck sslcertfile '
            f'"{self.folder}/ca.pem" keep no rewrite mda "{sink}"\n',
        )
        pid = self.folder / "pid"

        def fetch() -> None:
            options = ("-f", control, "--nosyslog", "-N", "--pidfile", pid)
            done = self.run_program(fetchmail, *options, check=False)
            # 1 is its word for nothing new
            self.assertIn(done.returncode, (0, 1), done.stdout)

        self.check_once(fetch, fetched)
