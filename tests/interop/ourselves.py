"""A mailframe of its own for each test, configured and started as users do."""

from __future__ import annotations

import email.policy
import poplib
import smtplib
import ssl
import subprocess
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import trustme

from tests.interop.programs import InteropCase, free_ports

PASSWORD = "correct horse"
_ACCOUNTS: dict[str, str] = {}  # by domain


class MailframeCase(InteropCase):
    """A mailframe with the accounts angelo, jsmith and mary at demo.example.

    ``self.smtp``, ``self.submission`` and ``self.pop3`` are its ports; ``serve_mail`` starts it.

    :cvar domain: its local domain
    :cvar interface: where it listens
    :cvar names: for which its certificate is good
    """

    domain = "demo.example"
    interface = "127.0.0.1"
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    key_type = trustme.KeyType.ECDSA

    def setUp(self) -> None:
        super().setUp()
        self.smtp, self.submission, self.pop3 = free_ports(3)
        self.configuration = self.folder / "mailframe.toml"
        self.server: subprocess.Popen[bytes] | None = None

    def configure(
        self,
        more: str = "",
        *,
        tls: str | None = None,
        queue: str = 'retry_every = "1s"',
        authorisation: str = 'plugin = "providers"',
        rules: str = "",
    ) -> None:
        """Write the configuration and the accounts.

        :param more: tables to add
        :param tls: ``starttls`` or ``implicit`` for all servers; makes a certificate
        """
        keys = f'tls = "{tls}"' if tls else ""
        tables = ""
        if tls:
            self.make_certificate()
            tables = '[tls]\ncertificate = "chain.pem"\nprivate_key = "key.pem"\n'
        servers = "".join(
            f'[[server]]\nname = "{name}"\nprotocol = "{protocol}"\n'
            f'listen = "tcp:{port}:interface={self.interface}"\n{keys}\n'
            for name, protocol, port in (
                ("mx", "smtp", self.smtp),
                ("submission", "submission", self.submission),
                ("pop", "pop3", self.pop3),
            )
        )
        self.write(
            "mailframe.toml",
            f'hostname = "mx.{self.domain}"\nlocal_domains = ["{self.domain}"]\n'
            f"{servers}{tables}"
            '[accounts]\nplugin = "file"\npath = "accounts.toml"\n'
            f"[authorisation]\n{authorisation}\n"
            f'[routing]\nplugin = "table"\n{rules}\n'
            f'[queue]\nplugin = "sqlite"\nrequire_durable = false\n{queue}\n'
            '[delivery]\nplugin = "maildir"\npath = "mail/{domain}/{mailbox}"\n'
            f"{more}",
        )
        if not (self.folder / "accounts.toml").exists():
            self.write("accounts.toml", self.accounts())

    def accounts(self) -> str:
        """The accounts file, as the command writes it; made once for all tests of a process."""
        if self.domain not in _ACCOUNTS:
            path = self.write("accounts.toml", "")
            for name in ("angelo", "jsmith", "mary"):
                self.mailframe(
                    *("account", "add", "-c", self.configuration, "--password-stdin"),
                    f"{name}@{self.domain}",
                    input=PASSWORD.encode() + b"\n",
                )
            _ACCOUNTS[self.domain] = path.read_text()
        return _ACCOUNTS[self.domain]

    def make_certificate(self) -> None:
        """A certificate for our names, and its authority in ``ca.pem``; once."""
        if (self.folder / "ca.pem").exists():
            return
        authority = trustme.CA()
        certificate = authority.issue_cert(
            *self.names, common_name=self.names[0], key_type=self.key_type
        )
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        with (self.folder / "chain.pem").open("wb") as chain:
            for blob in certificate.cert_chain_pems:
                chain.write(blob.bytes())
        key = self.folder / "key.pem"
        key.touch(0o600)
        key.write_bytes(certificate.private_key_pem.bytes())

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts our certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def serve_mail(self, *args: object, **kwargs: object) -> None:
        """Configure and start."""
        self.configure(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        self.server = self.serve(self.configuration, self.smtp, self.submission, self.pop3)

    # --- clients ---------------------------------------------------------------------------------

    def submit(
        self,
        recipients: Sequence[str],
        *,
        sender: str = "angelo@demo.example",
        login: str | None = "angelo@demo.example",
        subject: str = "greetings",
    ) -> str:
        """Submit a message with smtplib; returns the last reply's text."""
        message = EmailMessage()
        message["From"], message["To"] = sender or "nobody", ", ".join(recipients)
        message["Subject"] = subject
        message.set_content("Hello,\n.\n..dots and all\n")
        port = self.submission if login else self.smtp
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=30) as client:
            if login:
                client.login(login, PASSWORD)
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                if code != 250:
                    raise smtplib.SMTPRecipientsRefused({recipient: (code, text)})
            code, text = client.data(message.as_bytes(policy=email.policy.SMTP))
            if code != 250:
                raise smtplib.SMTPDataError(code, text)
            return text.decode()

    def fetch(self, name: str, port: int | None = None) -> list[bytes]:
        """All messages of a mailbox, with poplib."""
        client = poplib.POP3("127.0.0.1", port or self.pop3, timeout=30)
        client.user(f"{name}@{self.domain}")
        client.pass_(PASSWORD)
        count, _ = client.stat()
        messages = [b"\r\n".join(client.retr(n + 1)[1]) for n in range(count)]
        client.quit()
        return messages

    def mailbox(self, name: str) -> Path:
        """The Maildir of an account."""
        return self.folder / "mail" / self.domain / name
