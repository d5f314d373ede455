"""The tester's favourite client, with the features it has."""

from __future__ import annotations

import re
import smtplib
from pathlib import Path

from tests.interop.programs import free_ports
from tests.interop.relaying import JSMITH, TEXT
from tests.interop.servers import sunk
from tests.interop.swaks import SwaksCase

LEAVING = (
    ("--quit-after", "AUTH"),
    ("--drop-after", "CONNECT"),
    ("--drop-after-send", "TLS"),
    ("--drop-after", "MAIL"),
    ("--drop-after-send", "RCPT"),
    ("--drop-after", "DATA"),
    ("--drop-after-send", "DATA"),
)
# What swaks ends with when the server refused, by what it refused.
NO_RECIPIENT, DATA, LOGIN, TLS = 24, 26, 28, 29


class DialogueTests(SwaksCase):
    """Without TLS."""

    def test_protocols(self) -> None:
        """HELO and EHLO, with a login or without, are told apart in the trace."""
        self.serve_mail()
        self.swaks("--protocol", "SMTP", port=self.smtp)
        self.assertIn(b"with SMTP id", self.arrived(1)[0])
        self.swaks("--protocol", "ESMTP", port=self.smtp)
        self.swaks("--protocol", "ESMTPA", *self.logging_in("LOGIN"))
        kinds = {message.split(b"with ", 1)[1].split()[0] for message in self.arrived(3)}
        self.assertEqual(kinds, {b"SMTP", b"ESMTP", b"ESMTPA"})

    def test_logins(self) -> None:
        """Each mechanism that both know; wrong passwords and unknown mechanisms are refused."""
        self.serve_mail()
        for n, kind in enumerate(("PLAIN", "LOGIN"), 1):
            self.swaks(*self.logging_in(kind))
            self.arrived(n)
        self.assertEqual(self.ended(*self.logging_in("PLAIN", "wrong")), LOGIN)
        self.assertEqual(self.ended(*self.logging_in("CRAM-MD5")), LOGIN)
        self.assertEqual(self.ended(), NO_RECIPIENT)
        self.assertEqual(len(self.inbox("jsmith")), 2)

    def ended(self, *options: str | Path) -> int:
        """What swaks ends with."""
        return self.swaks(*options, check=False).returncode

    def test_many_recipients_pipelined(self) -> None:
        """Hundreds of commands in one write are all answered, each recipient for itself."""
        (port,) = free_ports(1)
        _, dump = self.start_sink(port)
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"))
        names = [f"user{n}@mindspring.example" for n in range(90)]
        unknown = [f"nobody{n}@demo.example" for n in range(5)]
        self.swaks(
            *(*self.logging_in(), "--pipeline", "--h-To", "undisclosed-recipients:;"),
            *("--to", ",".join(names + unknown + [JSMITH])),
        )
        self.wait_for("the sink to have it", lambda: sunk(dump))
        self.wait_for("an empty queue", lambda: not self.queued())
        text = b"".join(sunk(dump))
        for name in (*names, JSMITH):
            self.assertEqual(text.count(b"X-Rcpt-Args: <%s>" % name.encode()), 1)

    def test_octets(self) -> None:
        """Dots, blanks, 8 bits and long lines survive swaks and us."""
        self.serve_mail()
        data = self.folder / "data"
        data.write_bytes(TEXT)
        self.swaks("--data", f"@{data}", port=self.smtp)
        (message,) = self.arrived()
        # swaks itself adds lines to the end
        self.assert_same(message.rstrip(b"\n"), TEXT.rstrip(b"\r\n"))

    def test_lines_too_long(self) -> None:
        """A line of 1001 octets is refused in words that say so, and nothing is kept."""
        self.serve_mail()
        data = self.folder / "data"
        data.write_bytes(b"Subject: x\n\n" + b"y" * 1001 + b"\n")
        done = self.swaks("--data", f"@{data}", port=self.smtp, check=False)
        self.assertEqual(done.returncode, DATA)
        self.assertRegex(done.stdout, rb"5\d\d 5\.\d\.\d.*line")
        self.assertEqual(self.inbox("jsmith"), [])

    def test_attachment(self) -> None:
        """What programs that send reports do."""
        self.serve_mail()
        attached = self.write("report.csv", "a;b\n1;2\n")
        self.swaks("--attach", f"@{attached}", "--h-Subject", "report", port=self.smtp)
        (message,) = self.arrived()
        self.assertIn(b"Content-Type: multipart/mixed", message)
        self.assertIn(b"report.csv", message)

    def test_over_a_socket_file(self) -> None:
        """Programs on this machine may come in over a socket file; others over IPv6."""
        path = self.folder / "smtp.sock"
        (port,) = free_ports(1)
        six = f"tcp6:{port}:interface=\\\\:\\\\:1"
        self.serve_mail(
            f'[[server]]\nname = "socket"\nprotocol = "smtp"\nlisten = ["unix:{path}", "{six}"]\n'
        )
        self.run_program(
            *(self.program("swaks", "swaks"), "--socket", path, "--helo", "client.example"),
            *("--from", "angelo@demo.example", "--to", "jsmith@demo.example"),
        )
        self.arrived()
        # swaks needs a module for IPv6 that not everyone has
        with smtplib.SMTP("::1", port, "client.example") as client:
            client.sendmail("a@far.example", ["jsmith@demo.example"], "Subject: x\r\n\r\nx")
        trace = b"Received: from client.example ([IPv6:::1])\n"
        self.assertIn(trace, b"".join(self.arrived(2)))


class TlsTests(SwaksCase):
    """With TLS, through swaks's own OpenSSL."""

    def test_starttls(self) -> None:
        """A client that wants nothing but TLS with a good certificate gets it."""
        self.serve_mail(tls="starttls")
        self.swaks(*self.verifying(), *self.logging_in())
        for version in ("tlsv1_2", "tlsv1_3"):
            self.swaks(*self.verifying(), "--tls-protocol", version, port=self.smtp)
        kinds = [message.split(b"with ", 1)[1].split()[0] for message in self.arrived(3)]
        self.assertEqual(sorted(kinds), [b"ESMTPS", b"ESMTPS", b"ESMTPSA"])
        old = self.swaks("--tls", "--tls-protocol", "tlsv1_1", check=False)
        self.assertEqual(old.returncode, TLS)

    def test_tls_on_connect(self) -> None:
        """Port 465."""
        self.serve_mail(tls="implicit")
        self.swaks(*self.verifying("--tls-on-connect"), *self.logging_in("LOGIN"), "--pipeline")
        self.assertIn(b"with ESMTPSA\n", self.arrived()[0])

    def test_every_protocol(self) -> None:
        """Each way that swaks has a name for is told apart in the trace, login and cipher too."""
        here, there = free_ports(2)
        listen = "interface=127.0.0.1"
        self.serve_mail(
            f'[[server]]\nname = "lmtp"\nprotocol = "lmtp"\nlisten = "tcp:{here}:{listen}"\n'
            '[[server]]\nname = "wrapped"\nprotocol = "submission"\ntls = "implicit"\n'
            f'listen = "tcp:{there}:{listen}"\nshow_login = true\n',
            tls="starttls",
        )
        login = self.logging_in()
        for n, (protocol, port, *options) in enumerate(
            (
                ("ESMTPS", self.smtp),
                ("ESMTPSA", self.submission, *login, "--pipeline"),
                ("ESMTPSA", self.submission, *self.logging_in("LOGIN"), "--auth-extra", "x=y"),
                ("LMTP", here, "--pipeline"),
                ("LMTPS", here),
                ("LMTPSA", here, *login),
                ("SSMTPA", there, *login),
            ),
            1,
        ):
            trusting = ("--tls-ca-path", str(self.folder / "ca.pem"))
            self.swaks("--protocol", protocol, *trusting, *options, port=port)
            self.arrived(n)
        messages = self.arrived(7)
        kinds = sorted(each.split(b"with ", 1)[1].split()[0] for each in messages)
        self.assertEqual(
            kinds,
            [b"ESMTPS", b"ESMTPSA", b"ESMTPSA", b"ESMTPSA", b"LMTP", b"LMTPS", b"LMTPSA"],
        )
        shown = re.compile(
            rb"Received: from client\.example \(\[127\.0\.0\.1\]\)\n"
            rb"\tby mx\.demo\.example with ESMTPSA\n\t\(TLSv1\.3 TLS_AES_\w+\)\n"
            rb"\t\(authenticated as angelo@demo\.example\) id \w+\n"
            rb"\t\(let in by providers, rule login: angelo@demo\.example has logged in\)\n"
            rb"\tfor <jsmith@demo\.example>;\n\t\w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000\n"
        )
        self.assertEqual(len([each for each in messages if shown.search(each)]), 1, messages)

    def test_a_client_that_leaves(self) -> None:
        """Whenever a client goes away, with or without a word, the next is served."""
        self.serve_mail(tls="starttls")
        login = self.logging_in()
        for option, stage in LEAVING:
            self.swaks("--tls", *login, option, stage, check=False)
        self.assertEqual(self.inbox("jsmith"), [])
        self.swaks("--tls", *login, "--drop-after", "DOT", check=False)
        self.arrived()
        with smtplib.SMTP("localhost", self.submission) as client:
            self.assertEqual(client.noop()[0], 250)
