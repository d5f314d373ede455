"""Ordinary clients submit mail, and stock POP3 clients fetch it."""

from __future__ import annotations

import poplib
import smtplib
from pathlib import Path

from tests.interop.dovecot_pop3 import give_to, write_dovecot
from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import free_ports, maildir

MESSAGE = b"From: angelo@demo.example\nTo: jsmith@demo.example\nSubject: by hand\n\nHello\n"


class SubmissionTests(MailframeCase):
    """Each client hands over a message that ends up in jsmith's mailbox."""

    def arrives(self, subject: bytes, name: str = "jsmith") -> bytes:
        self.wait_for(f"a message in {name}'s mailbox", lambda: maildir(self.mailbox(name)))
        (message,) = maildir(self.mailbox(name))
        self.assertIn(b"Subject: " + subject, message)
        self.assertIn(b"Return-Path: <angelo@demo.example>\n", message)
        self.assertIn(b"by mx.demo.example", message)
        return message

    def test_smtplib(self) -> None:
        """Python programs send with smtplib; dots at line starts must survive."""
        self.serve_mail()
        reply = self.submit(["jsmith@demo.example"])
        self.assertRegex(reply, r"^2\.0\.0 queued as [0-9a-v]{13}$")
        message = self.arrives(b"greetings")
        self.assertIn(b"Hello,\n.\n..dots and all\n", message)
        (fetched,) = self.fetch("jsmith")
        self.assertEqual(fetched.replace(b"\r\n", b"\n").rstrip(), message.rstrip())

    def test_swaks(self) -> None:
        """The tester's favourite, with AUTH LOGIN and PIPELINING."""
        swaks = self.program("swaks", "swaks")
        self.serve_mail()
        self.run_program(
            *(swaks, "--server", "127.0.0.1", "--port", str(self.submission), "--pipeline"),
            *("--auth", "LOGIN", "--auth-user", "angelo@demo.example", "--auth-password", PASSWORD),
            *("--from", "angelo@demo.example", "--to", "jsmith@demo.example"),
            *("--h-Subject", "by swaks"),
        )
        self.arrives(b"by swaks")

    def test_msmtp(self) -> None:
        """The sendmail of many laptops."""
        msmtp = self.program("msmtp", "msmtp")
        self.serve_mail()
        configuration = self.write(
            "msmtprc",
            f"account default\nhost 127.0.0.1\nport {self.submission}\nauth plain\n"
            f'user angelo@demo.example\npassword "{PASSWORD}"\ntls off\n'
            "from angelo@demo.example\n",
        )
        self.run_program(msmtp, "-C", configuration, "jsmith@demo.example", input=MESSAGE)
        self.arrives(b"by hand")

    def test_s_nail(self) -> None:
        """The mail command."""
        s_nail = self.program("s-nail", "s-nail")
        self.serve_mail()
        user = "angelo%40demo.example:" + PASSWORD.replace(" ", "%20")
        self.run_program(
            *(s_nail, "-:/", "-S", "v15-compat", "-S", "smtp-auth=plain"),
            *("-S", f"DEAD={self.folder}/dead"),
            *("-S", f"mta=smtp://{user}@127.0.0.1:{self.submission}", "-S", "sendwait"),
            *("-r", "angelo@demo.example", "-s", "by s-nail", "jsmith@demo.example"),
            input=b"Hello\n",
        )
        self.arrives(b"by s-nail")

    def test_curl(self) -> None:
        """Scripts send with curl."""
        curl = self.program("curl", "curl")
        self.serve_mail()
        self.run_program(
            *(curl, "-sS", f"smtp://127.0.0.1:{self.submission}/client.example"),
            *("--user", f"angelo@demo.example:{PASSWORD}", "--mail-from", "angelo@demo.example"),
            *("--mail-rcpt", "jsmith@demo.example", "--upload-file", "-", "--crlf"),
            input=MESSAGE,
        )
        self.arrives(b"by hand")

    def test_the_send_command(self) -> None:
        """Programs on this machine put mail into the queue of the running server."""
        self.serve_mail()
        self.mailframe(
            *("send", "-c", self.configuration, "-f", "angelo@demo.example", "jsmith@demo.example"),
            input=MESSAGE,
        )
        self.arrives(b"by hand")

    def test_unknown_mailbox(self) -> None:
        """A typing mistake is told at once, not by a bounce."""
        self.serve_mail()
        error = self.assertRaises(
            smtplib.SMTPRecipientsRefused, self.submit, ["nobody@demo.example"]
        )
        self.assertEqual(error.recipients["nobody@demo.example"][0], 550)


class FetchTests(MailframeCase):
    """Each POP3 client fetches what lies in jsmith's mailbox."""

    def setUp(self) -> None:
        super().setUp()
        self.inbox = self.folder / "inbox"

    def serve_with_mail(self, **kwargs: object) -> None:
        self.serve_mail(**kwargs)
        with smtplib.SMTP("127.0.0.1", self.smtp, "client.example") as client:
            for n in range(3):
                text = b"Subject: number %d\r\n\r\n.\r\n..\r\n" % n + b"x" * 900 + b"\r\n"
                client.sendmail("a@far.example", ["jsmith@demo.example"], text)
        self.wait_for("three messages", lambda: len(maildir(self.mailbox("jsmith"))) == 3)

    def fetched(self, path: Path, text: bytes | None = None) -> None:
        text = text if text is not None else b"\n".join(maildir(path))
        for n in range(3):
            self.assertEqual(text.count(b"Subject: number %d" % n), 1)
        self.assertEqual(text.count(b"\n.\n..\nxxx") + text.count(b"\n.\r\n..\r\nxxx"), 3)

    def test_poplib_deletes(self) -> None:
        """What a client deletes is gone, and only after QUIT."""
        self.serve_with_mail()
        self.assertEqual(len(self.fetch("jsmith")), 3)
        client = poplib.POP3("127.0.0.1", self.pop3)
        client.user("jsmith@demo.example")
        client.pass_(PASSWORD)
        client.dele(2)
        client.close()
        self.wait_for("the lock to be free", lambda: self.count() == 3)
        client = poplib.POP3("127.0.0.1", self.pop3)
        client.user("jsmith@demo.example")
        client.pass_(PASSWORD)
        client.dele(2)
        client.quit()
        self.assertEqual(self.count(), 2)

    def count(self) -> int:
        try:
            return len(self.fetch("jsmith"))
        except poplib.error_proto:
            return -1

    def test_fetchmail(self) -> None:
        """The classic, handing over to a delivery command."""
        fetchmail = self.program("fetchmail", "fetchmail")
        self.serve_with_mail()
        sink = self.write("sink", f"#!/bin/sh\ncat >> {self.folder}/fetched\n", 0o755)
        control = self.write(
            "fetchmailrc",
            f'poll 127.0.0.1 port {self.pop3} proto pop3 user "jsmith@demo.example" '
            f'password "{PASSWORD}" no sslcertck sslproto "" fetchall no rewrite mda "{sink}"\n',
            0o600,
        )
        self.run_program(
            fetchmail, "-f", control, "--nosyslog", "-N", "--pidfile", self.folder / "p"
        )
        self.fetched(self.inbox, (self.folder / "fetched").read_bytes())
        self.wait_for("an empty mailbox", lambda: not maildir(self.mailbox("jsmith")))

    def test_mpop(self) -> None:
        """The fetching sibling of msmtp, which pipelines."""
        mpop = self.program("mpop", "mpop")
        self.serve_with_mail()
        for sub in ("new", "cur", "tmp"):
            (self.inbox / sub).mkdir(parents=True)
        control = self.write(
            "mpoprc",
            f"account default\nhost 127.0.0.1\nport {self.pop3}\nuser jsmith@demo.example\n"
            f'password "{PASSWORD}"\ntls off\nauth user\ndelivery maildir {self.inbox}\n'
            f"uidls_file {self.folder}/uidls\nkeep on\n",
        )
        self.run_program(mpop, "-C", control)
        self.fetched(self.inbox)
        self.run_program(mpop, "-C", control)
        self.assertEqual(len(maildir(self.inbox)), 3, "unique ids changed between two sessions")

    def test_getmail(self) -> None:
        """The fetcher that trusts UIDL."""
        getmail = self.program("getmail", "getmail6")
        self.serve_with_mail()
        fetched = self.folder / "fetched"
        sink = self.write("sink", f"#!/bin/sh\ncat >> {fetched}\n", 0o755)
        self.write(
            "getmail/getmailrc",
            f"[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = {self.pop3}\n"
            f"username = jsmith@demo.example\npassword = {PASSWORD}\n"
            f"[destination]\ntype = MDA_external\npath = {sink}\nallow_root_commands = true\n"
            "[options]\ndelete = false\nread_all = false\n",
        )
        for _ in range(2):
            self.run_program(getmail, "--getmaildir", self.folder / "getmail")
            self.fetched(self.inbox, fetched.read_bytes())

    def test_curl(self) -> None:
        """Scripts fetch with curl."""
        curl = self.program("curl", "curl")
        self.serve_with_mail()
        url = f"pop3://127.0.0.1:{self.pop3}"
        login = ("--user", f"jsmith@demo.example:{PASSWORD}")
        listed = self.run_program(curl, "-sS", *login, f"{url}/").stdout
        self.assertEqual(len(listed.splitlines()), 3)
        text = b"".join(
            self.run_program(curl, "-sS", *login, f"{url}/{n}").stdout for n in (1, 2, 3)
        )
        self.fetched(self.inbox, text)

    def test_dovecot_reads_the_same_maildir(self) -> None:
        """A user who moves to Dovecot, or reads with it beside us, loses nothing."""
        self.need_root()
        dovecot = self.program("dovecot", "dovecot-pop3d")
        self.serve_with_mail()
        (port,) = free_ports(1)
        self.folder.joinpath("mail").chmod(0o755)
        self.mailbox("jsmith").parent.chmod(0o755)
        configuration = write_dovecot(self.folder, port, self.mailbox("jsmith"))
        process = self.start(dovecot, "-F", "-c", configuration)
        self.wait_for_port(port, process)
        messages = self.fetch("jsmith", port)
        self.fetched(self.inbox, b"\n".join(messages).replace(b"\r\n", b"\n"))
        give_to(self.mailbox("jsmith"), "root")
        self.assertEqual(
            sorted(messages), sorted(self.fetch("jsmith")), "two servers, two different mailboxes"
        )
