"""Extensions of the SMTP server, LMTP and proxies, with real clients."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import time
from base64 import b64encode
from email.message import EmailMessage

from tests.interop.ourselves import PASSWORD
from tests.interop.programs import free_ports
from tests.interop.test_curl import CurlCase
from tests.interop.test_swaks import SwaksCase

RECIPIENT = 24  # what swaks ends with when the recipient was refused


class InternationalTests(CurlCase):
    """SMTPUTF8."""

    def setUp(self) -> None:
        """An account whose name is not ASCII."""
        super().setUp()
        self.configure()
        accounts = self.accounts()
        password = accounts.partition('password = "')[2].partition('"')[0]
        joerg = f'[[account]]\naddress = "j\u00f6rg@demo.example"\npassword = "{password}"\n'
        self.write("accounts.toml", f"{accounts}\n{joerg}")

    def test_smtplib(self) -> None:
        """Python's own client sends to and from internationalised addresses."""
        self.serve_mail()
        message = EmailMessage()
        message["From"], message["To"] = "\u7528\u6237@demo.example", "j\u00f6rg@demo.example"
        message["Subject"] = "Gr\u00fc\u00dfe"
        message.set_content("Hallo\n")
        with smtplib.SMTP("127.0.0.1", self.smtp, "client.example", timeout=30) as client:
            client.send_message(message)
        self.wait_for("the message", lambda: self.messages("j%C3%B6rg"))
        (found,) = self.messages("j%C3%B6rg")
        self.assertIn("From: \u7528\u6237@demo.example\n".encode(), found)
        self.assertIn(b"with UTF8SMTP id", found)
        self.assertIn("Delivered-To: j\u00f6rg@demo.example\n".encode(), found)

    def messages(self, name: str) -> list[bytes]:
        """What is in a mailbox."""
        return [path.read_bytes() for path in (self.mailbox(name) / "new").glob("*")]

    def test_login(self) -> None:
        """Who has such a name can log in with it, and fetch mail by it."""
        self.serve_mail()
        with smtplib.SMTP("127.0.0.1", self.submission, "client.example", timeout=30) as client:
            client.ehlo()
            token = f"\0j\u00f6rg@demo.example\0{PASSWORD}".encode()
            code, _ = client.docmd("AUTH PLAIN", b64encode(token).decode())
            self.assertEqual(code, 235)

    def test_curl(self) -> None:
        """curl says SMTPUTF8 where an address needs it."""
        self.serve_mail()
        self.environment["LC_ALL"] = "C.UTF-8"
        self.send(f"smtp://localhost:{self.submission}", "j\u00f6rg@demo.example")
        self.wait_for("the message", lambda: self.messages("j%C3%B6rg"))


class TimeTests(SwaksCase):
    """When a message is to be delivered."""

    def test_held(self) -> None:
        """FUTURERELEASE: what is meant for later stays in the queue until then."""
        self.serve_mail()
        with smtplib.SMTP("127.0.0.1", self.submission, "client.example", timeout=30) as client:
            client.login("angelo@demo.example", PASSWORD)
            client.ehlo()
            longest, _, latest = client.esmtp_features["futurerelease"].partition(" ")
            self.assertEqual(longest, "2592000")
            self.assertRegex(latest, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertEqual(client.esmtp_features["deliverby"], "60")
            for options, code in (
                (["HOLDFOR=2592001"], 501),
                (["HOLDFOR=120", "BY=60;R"], 501),
                (["BY=59;R"], 555),
                (["HOLDFOR=5", "BY=60;R"], 250),
            ):
                asked = time.time()
                self.assertEqual(client.mail("angelo@demo.example", options)[0], code, options)
            client.rcpt("jsmith@demo.example")
            self.assertEqual(client.data(b"Subject: later\r\n\r\nhello\r\n")[0], 250)
        self.arrived()
        (path,) = (self.mailbox("jsmith") / "new").iterdir()
        self.assertGreater(path.stat().st_mtime, asked + 4)


class ChunkTests(SwaksCase):
    """BDAT."""

    def say(self, octets: bytes, *, tls: bool = False) -> list[str]:
        """Say all of it at once; returns the replies."""
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", self.smtp), 30))
            client: socket.socket = plain
            if tls:
                context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
                client = stack.enter_context(
                    context.wrap_socket(plain, server_hostname="localhost")
                )
            file = client.makefile("rb")
            replies = [file.readline().decode()]
            client.sendall(octets)
            replies += [line.decode() for line in file]
        return [line[:3] for line in replies if line[3] == " "]

    def test_pipelined(self) -> None:
        """A message in many chunks, all sent at once, arrives octet for octet."""
        body = bytes(range(32, 127)) * 700
        lines = b"".join(body[at : at + 70] + b"\r\n" for at in range(0, len(body), 70))
        content = b"Subject: chunks\r\n\r\n" + b".\r\n..\r\nQUIT\r\n" + lines
        chunks = [content[at : at + 997] for at in range(0, len(content), 997)]
        said = b"".join(b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in chunks)
        envelope = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<jsmith@demo.example>\r\n"
        for tls in (None, "implicit"):
            self.serve_mail(tls=tls)
            replies = self.say(
                b"EHLO x\r\n" + envelope + said + b"BDAT 0 LAST\r\nQUIT\r\n", tls=tls is not None
            )
            self.assertEqual(replies, ["220", *["250"] * (4 + len(chunks)), "221"])
            found = self.arrived()[-1].replace(b"\n", b"\r\n")
            self.assertTrue(found.endswith(content))
            assert self.server is not None
            self.end(self.server)
            for path in (self.mailbox("jsmith") / "new").glob("*"):
                path.unlink()

    def test_broken_off(self) -> None:
        """Half a chunk is no message."""
        self.serve_mail()
        with socket.create_connection(("127.0.0.1", self.smtp), 30) as client:
            client.sendall(b"EHLO x\r\n" if client.recv(100) else b"")
            client.recv(1000)
            client.sendall(
                b"MAIL FROM:<a@x.example>\r\nRCPT TO:<jsmith@demo.example>\r\n"
                b"BDAT 100 LAST\r\nSubject: x\r\n\r\n"
            )
            client.recv(1000)
        self.submit(["jsmith@demo.example"])
        self.assertEqual(len(self.arrived()), 1)


class LmtpTests(SwaksCase):
    """LMTP, over TCP and over a socket file."""

    def test_swaks(self) -> None:
        """A mail server before us hands mail over and hears of each recipient."""
        (port,) = free_ports(1)
        path = self.folder / "lmtp.sock"
        self.serve_mail(
            '[[server]]\nname = "lmtp"\nprotocol = "lmtp"\n'
            f'listen = ["tcp:{port}:interface=127.0.0.1", "unix:{path}"]\n'
        )
        heard = self.swaks(
            *("--protocol", "LMTP", "--to", "jsmith@demo.example,mary@demo.example"), port=port
        )
        self.assertEqual(heard.stdout.count(b"queued as"), 2)
        self.run_program(
            *(self.program("swaks", "swaks"), "--socket", path, "--protocol", "LMTP"),
            *("--from", "angelo@demo.example", "--to", "jsmith@demo.example"),
        )
        self.assertIn(b"with LMTP id", self.arrived(2)[0])
        refused = self.swaks("--protocol", "LMTP", "--to", "x@far.example", port=port, check=False)
        self.assertEqual(refused.returncode, RECIPIENT)

    def test_smtplib(self) -> None:
        """Python's LMTP client."""
        path = self.folder / "lmtp.sock"
        self.serve_mail(f'[[server]]\nname = "l"\nprotocol = "lmtp"\nlisten = "unix:{path}"\n')
        with smtplib.LMTP(str(path)) as client:
            refused = client.sendmail(
                "a@x.example",
                ["jsmith@demo.example", "nobody@demo.example"],
                b"Subject: x\r\n\r\nx\r\n",
            )
        self.assertEqual(list(refused), ["nobody@demo.example"])
        self.arrived()


class XclientTests(SwaksCase):
    """Who stands before us and speaks for others."""

    def test_xclient(self) -> None:
        """A trusted filter says for whom it speaks; its client is judged."""
        (port,) = free_ports(1)
        self.serve_mail(
            '[[server]]\nname = "behind"\nprotocol = "smtp"\nxclient = ["127.0.0.0/8"]\n'
            f'listen = "tcp:{port}:interface=127.0.0.1"\nshow_login = true\n',
            authorisation='plugin = "providers"\n[[authorisation.provider]]\nname = "blu"\n'
            'networks = ["198.51.100.0/24"]\naccounts = ["*@demo.example"]\n',
            rules='[[routing.rule]]\nrecipients = ["*@far.example"]\nvia = "tcp:127.0.0.1:9"\n',
        )
        client = ("--xclient-addr", "198.51.100.7", "--xclient-name", "spike.example")
        self.swaks(*client, port=port)
        (message,) = self.arrived()
        self.assertIn(b"from client.example ([198.51.100.7])", message)
        self.swaks(*client, "--to", "x@far.example", port=port)
        elsewhere = ("--xclient-addr", "IPV6:2001:db8::7", "--to", "x@far.example")
        self.assertEqual(self.swaks(*elsewhere, port=port, check=False).returncode, RECIPIENT)
        login = ("--xclient-login", "angelo@demo.example")
        self.swaks(*elsewhere, *login, port=port)
        untrusted = self.swaks(*client, port=self.smtp, check=False)
        self.assertNotEqual(untrusted.returncode, 0)
