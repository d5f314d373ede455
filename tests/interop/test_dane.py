"""DANE with real name servers that sign and validate, and real handshakes."""

from __future__ import annotations

from tests.delivery.chains import Party, party
from tests.interop.programs import free_ports
from tests.interop.relaying import RelayCase
from tests.interop.signed_names import SIGNED, UNSIGNED, SignedNamesCase
from tests.interop.tls_servers import TlsServers


class DaneTests(RelayCase, SignedNamesCase):
    """Our relay client, BIND twice, and a server at each of many addresses."""

    def setUp(self) -> None:
        super().setUp()
        (self.port,) = free_ports(1)
        self.hosts = TlsServers(self.port, self.folder)
        self.addCleanup(self.hosts.close)
        self.lines: dict[str, list[str]] = {SIGNED: [], UNSIGNED: []}
        self.count = 0

    def host(self, name: str, zone: str, shown: Party | None, *records: object) -> str:
        """A host, and a domain of the same name whose exchanger it is; returns its address."""
        self.count += 1
        address = f"127.0.9.{self.count}"
        self.hosts.add(address, shown)
        self.lines[zone] += [
            f"{name} MX 10 mx-{name}",
            f"mx-{name} A {address}",
            *(f"_{self.port}._tcp.mx-{name} TLSA {record}" for record in records),
        ]
        return address

    def start_all(self, *forged: str) -> None:
        """Start the name servers and our own server."""
        resolver = self.start_signed_names(self.lines[SIGNED], self.lines[UNSIGNED], forged=forged)
        self.serve_mail(
            f"[relay]\nport = {self.port}\nallow_private = true\n"
            f'[dns]\nservers = ["127.0.0.1:{resolver}"]\nvalidating = true\n'
        )

    def taken_by(self, address: str) -> list[tuple[str, bool]]:
        return [(t.recipient, t.encrypted) for t in self.hosts.taken if t.address == address]

    def replies(self) -> dict[str, str]:
        """The last reply for each recipient that waits."""
        return {
            recipient["address"]: recipient["last_reply"] or ""
            for message in self.queued()
            for recipient in message["recipients"]
            if recipient["state"] == "pending"
        }

    def test_dane(self) -> None:
        """Whoever sits between us and a domain that uses DANE could read its mail; or its own
        servers would get none."""
        own, old, other = party(), party(), party()
        expired = party(days=(-9, -2))
        authority = party(authority=True, common_name="authority")
        signed = party(f"mx-authority.{SIGNED}", by=authority)
        misnamed = party("other.example", by=authority)
        good = {
            "own": self.host("own", SIGNED, own, own.tlsa()),
            "whole": self.host("whole", SIGNED, own, own.tlsa(3, 0, 2)),
            "rollover": self.host("rollover", SIGNED, own, old.tlsa(), own.tlsa()),
            "expired": self.host("expired", SIGNED, expired, expired.tlsa()),
            "authority": self.host("authority", SIGNED, signed, authority.tlsa(2, 0, 1)),
            "unusable": self.host("unusable", SIGNED, own, other.tlsa(1, 1, 1)),
        }
        # RFC 7672 §3.2: a certificate for the domain that one is an alias of, and one whose name is
        # the common name alone
        hosting = party(f"hosting.{SIGNED}", by=authority)
        common = party(by=authority, common_name=f"mx-common.{SIGNED}")
        good |= {
            "hosting": self.host("hosting", SIGNED, hosting, authority.tlsa(2, 0, 1)),
            "common": self.host("common", SIGNED, common, authority.tlsa(2, 0, 1)),
        }
        bad = {
            "mismatch": self.host("mismatch", SIGNED, own, other.tlsa()),
            "misnamed": self.host("misnamed", SIGNED, misnamed, authority.tlsa(2, 0, 1)),
            "stripped": self.host("stripped", SIGNED, None, own.tlsa()),
            "forged": self.host("forged", SIGNED, own, "3 1 1 " + "ab12" * 16),
        }
        insecure = {
            "wrong": (self.host("wrong", UNSIGNED, own, other.tlsa()), True),
            "clear": (self.host("clear", UNSIGNED, None, own.tlsa()), False),
        }
        self.lines[SIGNED] += [
            # the first exchanger is not the one it should be, the second is
            "backup MX 10 mx-mismatch",
            "backup MX 20 mx-own",
            # an alias of a host that is all right
            "aliased MX 10 alias",
            "alias CNAME mx-own",
            "hosted CNAME hosting",
            # a signed domain whose exchanger nobody vouches for
            f"elsewhere MX 10 mx-wrong.{UNSIGNED}.",
        ]
        self.start_all("AB12" * 7)

        delivered = [*good, "backup", "aliased", "elsewhere", "hosted"]
        recipients = [f"anna@{name}.{SIGNED}" for name in (*delivered, *bad)]
        recipients += [f"anna@{name}.{UNSIGNED}" for name in insecure]
        self.submit(recipients)
        self.wait_for("all that can be delivered to be so", lambda: len(self.replies()) == len(bad))
        self.wait_for("reasons", lambda: all(self.replies().values()))

        replies = self.replies()
        self.assertEqual(set(replies), {f"anna@{name}.{SIGNED}" for name in bad})
        for name, status, words in (
            ("mismatch", "4.7.5", "fits no TLSA record"),
            ("misnamed", "4.7.5", "not for the server's name"),
            ("stripped", "4.7.10", "does not offer STARTTLS"),
            (
                "forged",
                "4.4.3",
                f"the TLSA records at _{self.port}._tcp.mx-forged.{SIGNED} can't be had",
            ),
        ):
            self.assertIn(words, replies[f"anna@{name}.{SIGNED}"])
            self.assertIn(f" {status} ", replies[f"anna@{name}.{SIGNED}"])
            self.assertEqual(self.taken_by(bad[name]), [])
        self.assertNotIn(bad["forged"], {address for address, _ in self.hosts.said})
        for name, address in good.items():
            self.assertIn((f"anna@{name}.{SIGNED}", True), self.taken_by(address))
        for name in ("backup", "aliased"):
            self.assertIn((f"anna@{name}.{SIGNED}", True), self.taken_by(good["own"]))
        self.assertIn((f"anna@hosted.{SIGNED}", True), self.taken_by(good["hosting"]))
        self.assertEqual(
            {taken.name for taken in self.hosts.taken if taken.address == good["own"]},
            {f"mx-own.{SIGNED}"},
        )
        for name, (address, encrypted) in insecure.items():
            self.assertIn((f"anna@{name}.{UNSIGNED}", encrypted), self.taken_by(address))
        self.assertIn((f"anna@elsewhere.{SIGNED}", True), self.taken_by(insecure["wrong"][0]))

    def test_postfix(self) -> None:
        """Postfix, to which a domain's TLSA records point, would get no mail."""
        self.make_certificate()
        done = self.run_program(
            *("openssl", "x509", "-in", self.folder / "chain.pem", "-outform", "DER")
        )
        (self.folder / "own.der").write_bytes(done.stdout)
        done = self.run_program("openssl", "dgst", "-sha256", "-r", self.folder / "own.der")
        digest = done.stdout.decode().split()[0]
        inbox = self.start_postfix(
            self.port, f"postfix.{SIGNED}", tls=True, settings=["smtpd_tls_loglevel = 1"]
        )
        self.lines[SIGNED] += [
            "postfix MX 10 mx-postfix",
            "mx-postfix A 127.0.0.1",
            f"_{self.port}._tcp.mx-postfix TLSA 3 0 1 {digest}",
        ]
        self.start_all()
        self.submit([f"anna@postfix.{SIGNED}"])
        self.wait_for("a message", lambda: any(inbox.glob("new/*")))
        log = (self.folder / "postfix" / "postfix.log").read_text()
        self.assertIn("TLS connection established", log)
