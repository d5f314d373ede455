"""Scanners look at our TLS: the servers as they are, and no option that could be turned on."""

from __future__ import annotations

import re

import trustme

from tests.interop.ourselves import MailframeCase

_PROTOCOL = re.compile(r"^(SSLv\d|TLSv1\.\d)\s+(enabled|disabled)", re.MULTILINE)
_CIPHER = re.compile(r"^(?:Preferred|Accepted)\s+(TLSv1\.\d)\s+(\d+) bits\s+(\S+)", re.MULTILINE)


class ScannerTests(MailframeCase):
    """What anyone may find out with a scanner."""

    # The kind of key for which bad ciphers exist that no elliptic curve has.
    key_type = trustme.KeyType.RSA

    def scan(self, port: int, *options: str) -> None:
        """sslscan finds nothing old, weak or known to be broken."""
        found = self.run_program(
            *(self.program("sslscan", "sslscan"), "--no-colour", "--timeout=10", *options),
            f"localhost:{port}",
        ).stdout.decode()
        versions = dict(_PROTOCOL.findall(found))
        self.assertEqual(
            {version for version, state in versions.items() if state == "enabled"},
            {"TLSv1.2", "TLSv1.3"},
            found,
        )
        self.assertEqual(len(versions), 6, found)
        self.assertIn("Session renegotiation not supported", found)
        self.assertIn("Server supports TLS Fallback SCSV", found)
        self.assertNotRegex(found, r"(?m)^Compression enabled|[^t] vulnerable to heartbleed")
        ciphers = _CIPHER.findall(found)
        self.assertGreater(len(ciphers), 5, found)
        for version, bits, name in ciphers:
            self.assertGreaterEqual(int(bits), 128)
            self.assertRegex(name, "^TLS_" if version == "TLSv1.3" else "^(EC)?DHE-RSA-")
            self.assertNotRegex(name, "RC4|3DES|DES|MD5|NULL|EXP|anon|PSK|CCM8")

    def test_starttls(self) -> None:
        """SMTP, submission and POP3 after STARTTLS and STLS."""
        self.serve_mail(tls="starttls")
        self.scan(self.smtp, "--starttls-smtp")
        self.scan(self.submission, "--starttls-smtp")
        self.scan(self.pop3, "--starttls-pop3")

    def test_implicit(self) -> None:
        """Ports 465 and 995; nmap finds nothing to mark down in ciphers and compression."""
        self.serve_mail(tls="implicit")
        self.scan(self.submission)
        self.scan(self.pop3)
        found = self.run_program(
            *(self.program("nmap", "nmap"), "-Pn", "-n", "-p", f"{self.submission},{self.pop3}"),
            *("--script", "+ssl-enum-ciphers", "--host-timeout", "30s", "localhost"),
        ).stdout.decode()
        self.assertEqual(found.count("least strength: A"), 2, found)
        self.assertEqual(re.findall(r"compressors:\W+(\w+)", found), ["NULL", "NULL"])
        self.assertNotIn("warnings:", found)

    def test_openssl_cannot_renegotiate(self) -> None:
        """A client that asks for another handshake is refused (CVE-2011-1473)."""
        self.serve_mail(tls="implicit")
        done = self.run_program(
            *(self.program("openssl", "openssl"), "s_client", "-tls1_2", "-crlf"),
            *("-connect", f"localhost:{self.submission}", "-CAfile", self.folder / "ca.pem"),
            input=b"R\n",
            check=False,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, b"no renegotiation")

    def test_certificate_is_good(self) -> None:
        """The name is verified by a client that knows nothing of us but our authority."""
        self.serve_mail(tls="implicit")
        done = self.run_program(
            *(self.program("openssl", "openssl"), "s_client", "-verify_return_error", "-brief"),
            *("-verify_hostname", "localhost", "-connect", f"localhost:{self.pop3}"),
            *("-CAfile", self.folder / "ca.pem"),
            input=b"QUIT\r\n",
        )
        self.assertIn(b"Verification: OK", done.stdout)
