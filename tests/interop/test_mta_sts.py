"""MTA-STS with real DNS, real HTTPS and real handshakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.delivery.chains import Party, party
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import RelayCase
from tests.interop.tls_servers import TlsServers

# Python's own HTTPS server, with a folder for each name that it is called by.
WEB = """
import http.server, os, ssl, sys

class Answer(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        return os.path.join(os.getcwd(), self.headers["Host"], path.rpartition("/")[2])

server = http.server.ThreadingHTTPServer((sys.argv[1], 443), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
"""
POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmax_age: 86400\r\n"
NAME = "the certificate is not for the server's name"


class MtaStsTests(RelayCase):
    """Our relay client, dnsmasq, an HTTPS server, Postfix, and servers at some addresses."""

    names = ("localhost", "127.0.0.1", "mx.good.example")

    def setUp(self) -> None:
        super().setUp()
        self.need_root()  # for the port of HTTPS
        (self.port,) = free_ports(1)
        # Others may test on this machine at the same time: what is at port 443 must be ours.
        self.net = f"127.{self.port // 256}.{self.port % 256}"
        self.hosts = TlsServers(self.port, self.folder)
        self.addCleanup(self.hosts.close)
        self.authority = party(authority=True, common_name="authority")
        self.records: list[str] = []
        self.count = 10

    def publish(
        self, name: str, shown: Party | None, *, mode: str = "enforce", mx: str = "", at: str = ""
    ) -> str:
        """A domain with a policy and a server; returns the server's address.

        :param shown: the server's certificate
        :param mx: its name, where that is not the one that the policy has
        :param at: its address, where there is one already
        """
        self.count += 1
        domain, address = f"{name}.example", at or f"{self.net}.{self.count}"
        mx = mx or f"mx.{domain}"
        if not at:
            self.hosts.add(address, shown)
        self.records += [
            f"mx-host={domain},{mx},10",
            f"host-record={mx},{address}",
            f"host-record=mta-sts.{domain},{self.net}.1",
            f"txt-record=_mta-sts.{domain},v=STSv1; id=1;",
        ]
        self.write(
            f"web/mta-sts.{domain}/mta-sts.txt", POLICY.format(mode=mode, domain=domain), 0o644
        )
        return address

    def good(self, name: str, **more: Any) -> Party:
        return party(name, by=self.authority, **more)

    def start_web(self, *names: str) -> Any:
        """Start the HTTPS server, with a certificate for some names."""
        shown = self.good("unused.example") if not names else party(*names, by=self.authority)
        pem = self.folder / "web.pem"
        pem.write_bytes(
            shown.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + shown.certificate.public_bytes(Encoding.PEM)
        )
        script = self.write("web.py", WEB)
        python = self.program("python3", "python3")
        process = self.start(python, script, f"{self.net}.1", pem, cwd=self.folder / "web")
        self.wait_for("HTTPS", lambda: b"serving" in process.log.read_bytes())
        return process

    def start_us(self, records: Sequence[str]) -> None:
        """Start our own server with a DNS of its own."""
        self.make_certificate()
        roots = self.folder / "roots.pem"
        roots.write_bytes(
            (self.folder / "ca.pem").read_bytes()
            + self.authority.certificate.public_bytes(Encoding.PEM)
        )
        self.environment["SSL_CERT_FILE"] = str(roots)
        dns = self.start_dns(*records)
        self.serve_mail(
            f"[relay]\nport = {self.port}\nallow_private = true\n"
            f'[dns]\nservers = ["127.0.0.1:{dns}"]\n'
        )

    def taken_by(self, address: str) -> list[bool]:
        """Of each recipient that a server took, whether over TLS."""
        return [taken.encrypted for taken in self.hosts.taken if taken.address == address]

    def replies(self) -> dict[str, str]:
        """The last reply for each domain that mail waits for."""
        return {
            recipient["address"].partition("@")[2]: recipient["last_reply"]
            for message in self.queued()
            for recipient in message["recipients"]
            if recipient["state"] == "pending" and recipient["last_reply"]
        }

    def counted(self) -> dict[tuple[str, str, str], int]:
        """Sessions that fared badly, by domain, kind of policy and result."""
        done = self.mailframe("tls-report", "-c", self.configuration, "--json")
        found = {}
        for policy in json.loads(done.stdout)["policies"]:
            name, kind = policy["policy"]["policy-domain"], policy["policy"]["policy-type"]
            found[name, kind, ""] = policy["summary"]["total-successful-session-count"]
            for failure in policy.get("failure-details", ()):
                found[name, kind, failure["result-type"]] = failure["failed-session-count"]
        return found

    def test_policies(self) -> None:
        """Whoever sits between us and a domain with a policy could read its mail."""
        inbox: Path
        self.make_certificate()
        inbox = self.start_postfix(
            self.port, "good.example", tls=True, settings=("smtpd_tls_received_header = yes",)
        )
        self.publish("good", None, at="127.0.0.1")
        evil = "mx.evil.example"
        bad = {
            "misnamed": self.publish("misnamed", self.good("other.example")),
            "untrusted": self.publish("untrusted", party("mx.untrusted.example")),
            "expired": self.publish("expired", self.good("mx.expired.example", days=(-9, -2))),
            "clear": self.publish("clear", None),
            "stranger": self.publish("stranger", self.good(evil), mx=evil),
        }
        tried = self.publish("testing", self.good("other.example"), mode="testing")
        off = self.publish("off", None, mode="none")
        web = self.publish("badweb", None)  # which the certificate of the web server is not for
        names = ("good", *bad, "testing", "off")
        self.start_web(*(f"mta-sts.{name}.example" for name in names))
        self.start_us(self.records)
        self.submit([f"kim@{name}.example" for name in (*names, "badweb")])
        self.wait_for("good.example to have it", lambda: maildir(inbox))
        (octets,) = maildir(inbox)
        self.assertIn(b"using TLSv1.3", octets)
        self.wait_for("all to be tried", lambda: len(self.replies()) == len(bad))
        policy = "asked for is MTA-STS of {0}.example, mode enforce"
        failed = "454 4.7.5 the TLS handshake failed: "
        authority = "the certificate is signed by itself, not by an authority that is trusted here"
        for name, words in (
            ("misnamed", failed + f"{NAME}; {policy}"),
            ("untrusted", failed + f"{authority}; {policy}"),
            ("expired", failed + f"the certificate has expired; {policy}"),
            ("clear", f"; {policy}"),
            (
                "stranger",
                f"451 4.7.5 {evil} is not among the exchangers that the MTA-STS of {{0}}.example"
                " names",
            ),
        ):
            self.assertIn(words.format(name), self.replies()[f"{name}.example"])
            self.assertEqual(self.taken_by(bad[name]), [], name)
        (message,) = self.queued()
        explain = ("explain", "-c", self.configuration, "--message", message["id"])
        told = self.mailframe(*explain).stdout.decode()
        self.assertIn("tls verify: MTA-STS of misnamed.example, mode enforce", told)
        self.assertIn(f"{evil} is not among the exchangers", told)
        self.assertEqual(self.taken_by(tried), [True])
        self.assertEqual(self.taken_by(off), [False])
        self.assertEqual(self.taken_by(web), [False])
        bad_ones = [
            (f"{name}.example", kind, result)
            for name, kind, result in (
                ("misnamed", "sts", "certificate-host-mismatch"),
                ("untrusted", "sts", "certificate-not-trusted"),
                ("expired", "sts", "certificate-expired"),
                ("clear", "sts", "starttls-not-supported"),
                ("stranger", "sts", "validation-failure"),
                ("testing", "sts", "certificate-host-mismatch"),
                ("badweb", "sts", "sts-webpki-invalid"),
                ("off", "no-policy-found", "starttls-not-supported"),
            )
        ]
        good = ("good.example", "sts", "")
        # Counts are added some seconds after the first, and those of slow sessions with the next.
        self.wait_for("counts", lambda: {good, *bad_ones} <= self.counted().keys())
        counts = self.counted()
        self.assertEqual(counts[good], 1)
        for domain, kind, _ in bad_ones:
            self.assertEqual(counts[domain, kind, ""], 0)

    def test_policy_gone(self) -> None:
        """Whoever holds DNS and HTTPS back, and STARTTLS, could read mail to a domain whose policy
        we knew; or it would be forgotten when the server is started again."""
        first = self.publish("kept", self.good("mx.kept.example"))
        web = self.start_web("mta-sts.kept.example")
        self.start_us(self.records)
        self.submit(["kim@kept.example"])
        self.wait_for("the first message to arrive", lambda: self.taken_by(first) == [True])
        self.end(web)
        assert self.server
        self.end(self.server)
        clear = f"{self.net}.99"
        self.hosts.add(clear, None)
        self.start_us(
            ["mx-host=kept.example,mx.kept.example,10", f"host-record=mx.kept.example,{clear}"]
        )
        self.submit(["kim@kept.example"])
        self.wait_for("the second message to be tried", self.replies)
        self.assertIn("MTA-STS of kept.example, mode enforce", self.replies()["kept.example"])
        self.assertEqual(self.taken_by(clear), [])
