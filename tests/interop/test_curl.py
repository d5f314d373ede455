"""curl sends and fetches, over each kind of TLS; nmap asks what our servers can do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.interop.ourselves import PASSWORD
from tests.interop.relaying import TEXT, RelayCase

ANGELO = f"angelo@demo.example:{PASSWORD}"
JSMITH = f"jsmith@demo.example:{PASSWORD}"


class CurlCase(RelayCase):
    """Runs curl."""

    def curl(
        self, *options: str | Path, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run curl, which trusts our authority alone."""
        trust = ("--cacert", self.folder / "ca.pem")
        return self.run_program(
            self.program("curl", "curl"), "-sS", *trust, *options, input=input, check=check
        )

    def send(
        self,
        url: str,
        *recipients: str,
        options: tuple[str, ...] = (),
        text: bytes = TEXT,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Send a message, which curl reads in pieces."""
        named = [word for each in recipients for word in ("--mail-rcpt", each)]
        return self.curl(
            *("--mail-from", "angelo@demo.example", *named, "--user", ANGELO, *options),
            *("--upload-file", "-", f"{url}/client.example"),
            input=text,
            check=check,
        )

    def arrived(self, name: str = "jsmith") -> bytes:
        """Wait for a message."""
        self.wait_for(f"a message for {name}", lambda: self.inbox(name))
        (message,) = self.inbox(name)
        return message


class SendTests(CurlCase):
    """curl smtp://"""

    def test_starttls(self) -> None:
        """Nothing is sent but over TLS; the octets stay what they were."""
        self.serve_mail(tls="starttls")
        url = f"smtp://localhost:{self.submission}"
        self.send(url, "jsmith@demo.example", options=("--ssl-reqd",))
        message = self.arrived()
        self.assert_same(message)
        self.assertRegex(message, rb"with ESMTPSA\s")

    def test_implicit(self) -> None:
        """smtps, with a login by name of the mechanism."""
        self.serve_mail(tls="implicit")
        url = f"smtps://localhost:{self.submission}"
        self.send(url, "jsmith@demo.example", options=("--login-options", "AUTH=LOGIN"))
        self.assert_same(self.arrived())

    def test_some_recipients_are_refused(self) -> None:
        """A list with a bad address in it reaches the others when the client wants so."""
        self.serve_mail()
        url = f"smtp://localhost:{self.submission}"
        everyone = ("nobody@demo.example", "jsmith@demo.example", "mary@demo.example")
        stopped = self.send(url, *everyone, check=False)
        self.assertEqual(stopped.returncode, 55, "curl's word for a refused RCPT")
        self.send(url, *everyone, options=("--mail-rcpt-allowfails",))
        self.assert_same(self.arrived())
        self.assert_same(self.arrived("mary"))

    def test_large(self) -> None:
        """Megabytes in pieces; what is larger than we take is refused before it is all sent."""
        self.serve_mail('[limits]\nmessage_size = "6MB"\n')
        url = f"smtp://localhost:{self.submission}"
        large = TEXT + (b"z" * 76 + b"\r\n") * 70_000
        self.send(url, "jsmith@demo.example", text=large)
        self.assert_same(self.arrived(), large)
        larger = self.send(url, "mary@demo.example", text=large + large, check=False)
        self.assertNotEqual(larger.returncode, 0)
        self.assertEqual(self.inbox("mary"), [])

    def test_verify_and_expand(self) -> None:
        """Asking who has a mailbox here is of no use."""
        self.serve_mail()
        url = f"smtp://localhost:{self.smtp}"
        answers = {
            self.curl("--request", "VRFY", "--mail-rcpt", name, url, check=False).stdout
            for name in ("jsmith", "nobody")
        }
        self.assertEqual(len(answers), 1)


class FetchTests(CurlCase):
    """curl pop3://"""

    def serve_with_message(self, tls: str) -> None:
        self.serve_mail(tls=tls)
        url = f"{'smtps' if tls == 'implicit' else 'smtp'}://localhost:{self.submission}"
        self.send(url, "jsmith@demo.example")
        self.message = self.arrived().replace(b"\n", b"\r\n")

    def check_fetching(self, url: str, *options: str) -> None:
        """List, read, look at the top, and delete."""
        login = ("--user", JSMITH, *options)
        listed = self.curl(*login, f"{url}/").stdout
        self.assertRegex(listed, rb"^1 %d\r\n$" % len(self.message))
        self.assertEqual(self.curl(*login, f"{url}/1").stdout, self.message)
        ids = {self.curl(*login, "--request", "UIDL", f"{url}/").stdout for _ in range(2)}
        self.assertEqual(len(ids), 1)
        top = self.curl(*login, "--request", "TOP 1 0", f"{url}/").stdout
        self.assertIn(b"Subject: octet", top)
        self.assertNotIn(b"xxx", top)
        self.curl(*login, "--request", "DELE", "--head", f"{url}/1")
        self.assertEqual(self.curl(*login, f"{url}/").stdout.strip(), b"")

    def test_stls(self) -> None:
        """pop3 with STLS."""
        self.serve_with_message("starttls")
        self.check_fetching(f"pop3://localhost:{self.pop3}", "--ssl-reqd")

    def test_implicit(self) -> None:
        """pop3s, with each login that both know."""
        self.serve_with_message("implicit")
        url = f"pop3s://localhost:{self.pop3}"
        for mechanism in ("AUTH=PLAIN", "AUTH=LOGIN"):
            self.curl("--user", JSMITH, "--login-options", mechanism, f"{url}/1")
        self.check_fetching(url)


class NmapTests(RelayCase):
    """What nmap reads from greetings and capabilities."""

    def test_commands_and_capabilities(self) -> None:
        """Our answers to EHLO, HELP and CAPA are in the form that programs expect."""
        self.serve_mail()
        found = self.run_program(
            *(self.program("nmap", "nmap"), "-Pn", "-n", "--host-timeout", "30s"),
            *("-p", f"{self.submission},{self.pop3}", "127.0.0.1"),
            *("--script", "+smtp-commands,+pop3-capabilities"),
        ).stdout.decode()
        commands = re.search(r"smtp-commands: mx.demo.example, (.*)", found)
        assert commands is not None, found
        for word in ("PIPELINING", "SIZE 25000000", "8BITMIME", "ENHANCEDSTATUSCODES", "AUTH"):
            self.assertIn(word, commands[1])
        self.assertRegex(found, r"(?m)^\|_? 2\.0\.0 .*MAIL RCPT DATA")
        capabilities = re.search(r"pop3-capabilities: (.*)", found)
        assert capabilities is not None, found
        for word in ("UIDL", "TOP", "PIPELINING", "RESP-CODES", "SASL("):
            self.assertIn(word, capabilities[1])
