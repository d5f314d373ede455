"""What ``mailframe check`` finds in the configuration and the files it names."""

from __future__ import annotations

import datetime
import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import trustme
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts import passwords
from mailframe.accounts.file import FileSettings
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.cli.findings import (
    Finding,
    document,
    of_accounts,
    of_files,
    of_tls,
)
from mailframe.plugin import SEAMS, Part
from mailframe.settings import Chosen, ServerSettings, Settings, TlsSettings
from mailframe.units import FilePath

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SUBMISSION = ServerSettings(
    name="submission", protocol="submission", listen=("tcp:2587:interface=127.0.0.1",), tls="none"
)


class FindingsCase(SynchronousTestCase):
    """A folder with settings that are well."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)
        self.own = {
            "accounts": FileSettings(path=FilePath(self.path("accounts.toml"))),
            "authorisation": SimpleNamespace(provider=()),
            "routing": SimpleNamespace(rule=()),
            "queue": SimpleNamespace(path=None),
            "delivery": SimpleNamespace(path=self.path("mail/{domain}/{mailbox}")),
        }
        names = {"accounts": "file"}
        self.settings = Settings(
            path=self.path("mailframe.toml"),
            hostname="mx.rosse.example",
            state_dir=self.path("state"),
            local_domains=("rosse.example",),
            servers=(SUBMISSION,),
            chosen={
                seam: Chosen(
                    part=Part(
                        seam=seam, name=names.get(seam, "x"), help="x", settings="x:x", builds="x:x"
                    ),
                    settings=self.own[seam],
                )
                for seam in SEAMS
            },
        )

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)
        return path

    def change(self, **changes: Any) -> Settings:
        return attrs.evolve(self.settings, **changes)

    def assert_found(self, findings: Any, level: str, *words: str) -> Finding:
        """One finding of this level has all the words, and says what to mend."""
        found = list(findings)
        for each in found:
            text = f"{each.subject} {each.message} {each.mend}"
            if each.level == level and all(word in text for word in words):
                self.assertEqual(bool(each.mend), level != "ok", each)
                return each
        raise self.failureException(f"no {level} with {words} in {found}")

    def assert_well(self, findings: Any) -> None:
        found = list(findings)
        self.assertEqual([each for each in found if each.level != "ok"], [])
        self.assertTrue(found)


class OfAccounts(FindingsCase):
    """The accounts file."""

    def test_missing(self) -> None:
        """The server would not start, and nobody would know why."""
        self.assert_found(of_accounts(self.settings), "error", "account add")

    def test_broken(self) -> None:
        """A slip in the file would only show when the server starts."""
        self.write("accounts.toml", "= nonsense")
        self.assert_found(of_accounts(self.settings), "error", "accounts.toml")

    def test_empty(self) -> None:
        """A fresh configuration would be called wrong."""
        self.write("accounts.toml", "")
        self.assertNotIn("warn", {each.level for each in of_accounts(self.settings)})

    def test_open_to_others(self) -> None:
        """Every user of the machine could try to crack the passwords."""
        path = self.write("accounts.toml", "", 0o644)
        self.assert_found(of_accounts(self.settings), "warn", f"chmod 0600 {path}", "0644")

    def test_foreign_domain(self) -> None:
        """An account would never get mail."""
        text = '[[alias]]\naddress = "a@other.example"\nto = ["b@rosse.example"]\n'
        self.write("accounts.toml", text)
        self.assert_found(of_accounts(self.settings), "warn", "a@other.example")

    def test_postmaster(self) -> None:
        """Nobody could tell us that something is wrong with our mail (RFC 5321 §4.5.1)."""
        two = self.change(local_domains=("rosse.example", "blu.example"))
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords, "PasswordHasher", quick)
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.add("a@rosse.example", "secret words")
        self.assert_found(of_accounts(self.settings), "warn", "postmaster@rosse.example")
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.alias("Postmaster@rosse.example", ["a@rosse.example"])
        self.assert_well(of_accounts(self.settings))
        self.assert_found(of_accounts(two), "warn", "postmaster@blu.example", "account alias")
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.add("postmaster@blu.example", "secret words")
        self.assert_well(of_accounts(two))

    def test_postmaster_of_all_domains(self) -> None:
        """Who names one postmaster for all domains would be told to name one for each."""
        settings = self.change(local_domains=("rosse.example", "blu.example"))
        self.own["accounts"] = postmaster = attrs.evolve(
            self.own["accounts"], postmaster=Address("a", "rosse.example")
        )
        chosen = {**settings.chosen}
        chosen["accounts"] = attrs.evolve(chosen["accounts"], settings=postmaster)
        settings = attrs.evolve(settings, chosen=chosen)
        self.write("accounts.toml", '[[account]]\naddress = "b@rosse.example"\n')
        self.assert_found(of_accounts(settings), "warn", "postmaster stands for a@rosse.example")
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords, "PasswordHasher", quick)
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.remove("b@rosse.example")
            store.add("a@rosse.example", "secret words")
        self.assert_well(of_accounts(settings))

    def test_aliases_of_nobody(self) -> None:
        """Mail for an alias would be taken, and then returned."""
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords, "PasswordHasher", quick)
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.add("postmaster@rosse.example", "secret words")
            store.alias("info@rosse.example", ["postmaster+info@rosse.example", "x@far.example"])
        self.assert_well(of_accounts(self.settings))
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.alias("info@rosse.example", ["nobody@rosse.example"])
            store.catch("blu.example", ["nobody@rosse.example"])
        found = list(of_accounts(self.settings))
        for name in ("info@rosse.example", "@blu.example"):
            self.assert_found(found, "warn", f"{name} stands for nobody@rosse.example")

    def test_scram(self) -> None:
        """One account from before would keep SCRAM from all, and nobody would know why."""
        quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        self.patch(passwords, "PasswordHasher", quick)
        hashed = passwords.Passwords().hash("x")
        old = f'[[account]]\naddress = "postmaster@rosse.example"\npassword = "{hashed}"\n'
        self.write("accounts.toml", old)
        self.assert_well(of_accounts(self.settings))
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.add("a@rosse.example", "secret words")
        self.assert_found(of_accounts(self.settings), "warn", "postmaster@rosse.example", "passwd")
        with AccountStore.changing(self.path("accounts.toml")) as store:
            store.set_password("postmaster@rosse.example", "x")
        self.assert_well(of_accounts(self.settings))

    def test_no_password(self) -> None:
        """A forgotten line would leave a mailbox that nobody can read."""
        self.write("accounts.toml", '[[account]]\naddress = "postmaster@rosse.example"\n')
        self.assert_found(of_accounts(self.settings), "warn", "has no password", "account passwd")
        chosen = dict(self.settings.chosen)
        settings = attrs.evolve(chosen["accounts"].settings, checkers=("unix",))
        chosen["accounts"] = attrs.evolve(chosen["accounts"], settings=settings)
        self.assert_well(of_accounts(self.change(chosen=chosen)))

    def test_checkers(self) -> None:
        """All would be called well, and the server would not start."""
        self.write("accounts.toml", "")
        chosen = dict(self.settings.chosen)
        for words, wrong in (
            ("checkers: 'unx' is not installed", {"checkers": ("unx",)}),
            ("domain: 'a b' is no domain name", {"domain": "a b"}),
        ):
            settings = attrs.evolve(self.own["accounts"], **wrong)
            chosen["accounts"] = attrs.evolve(chosen["accounts"], settings=settings)
            found = of_accounts(self.change(chosen=chosen))
            self.assert_found(found, "error", words, "[accounts]")
        self.assertFalse(os.path.exists(self.settings.state_dir))

    def test_other_plugin(self) -> None:
        """Accounts that another plugin keeps would be called missing."""
        chosen = dict(self.settings.chosen)
        part = attrs.evolve(chosen["accounts"].part, name="ldap")
        chosen["accounts"] = Chosen(part=part, settings=SimpleNamespace())
        self.assert_well(of_accounts(self.change(chosen=chosen)))


class OfTls(FindingsCase):
    """The certificate and its key."""

    def make(self, start: datetime.datetime, end: datetime.datetime, name: str | None) -> Settings:
        """Settings with a certificate of this time and name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([])
        builder = x509.CertificateBuilder(
            issuer_name=subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=1,
            not_valid_before=start,
            not_valid_after=end,
        )
        if name is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        self.write("cert.pem", certificate.public_bytes(pem))
        self.write(
            "key.pem",
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )
        return self.with_tls()

    def with_tls(self) -> Settings:
        return self.change(
            tls=TlsSettings(
                certificate=FilePath(self.path("cert.pem")),
                private_key=FilePath(self.path("key.pem")),
            )
        )

    def days(self, before: int, after: int, name: str | None = "mx.rosse.example") -> Settings:
        return self.make(
            NOW - datetime.timedelta(days=before), NOW + datetime.timedelta(days=after), name
        )

    def test_well(self) -> None:
        """A good certificate would be complained about."""
        self.assert_well(of_tls(self.days(1, 60), NOW))
        self.assert_well(of_tls(self.days(1, 60, "*.rosse.example"), NOW))

    def test_times(self) -> None:
        """All clients would turn away one morning."""
        self.assert_found(of_tls(self.days(60, -1), NOW), "error", "expired on 2025-12-31")
        self.assert_found(of_tls(self.days(60, 10), NOW), "warn", "expires on 2026-01-11")
        self.assert_found(of_tls(self.days(-1, 60), NOW), "error", "not valid before 2026-01-02")

    def test_other_name(self) -> None:
        """Clients that verify the certificate would not connect."""
        for name in ("mx.blu.example", None, "*.mx.rosse.example"):
            self.assert_found(of_tls(self.days(1, 60, name), NOW), "warn", "not for mx.rosse")

    def test_missing_and_mismatched(self) -> None:
        """The server would fail when it starts."""
        self.assert_found(of_tls(self.with_tls(), NOW), "error", "cert.pem")
        settings = self.days(1, 60)
        other = trustme.CA().issue_cert("x.example").private_key_pem.bytes()
        self.write("key.pem", other)
        self.assert_found(of_tls(settings, NOW), "error", "key.pem")

    def test_key_open_to_others(self) -> None:
        """Every user of the machine could pass for the server."""
        settings = self.days(1, 60)
        os.chmod(self.path("key.pem"), 0o640)
        self.assert_found(of_tls(settings, NOW), "warn", "key.pem", "chmod 0600")

    def test_no_tls(self) -> None:
        """Nobody would learn why no client can log in."""
        self.assertEqual(list(of_tls(self.settings, NOW)), [])
        wide = attrs.evolve(SUBMISSION, listen=("tcp:587",))
        self.assert_found(of_tls(self.change(servers=(wide,)), NOW), "warn", "[tls]")
        mx = attrs.evolve(wide, protocol="smtp")
        self.assertEqual(list(of_tls(self.change(servers=(mx,)), NOW)), [])


class OfFiles(FindingsCase):
    """Folders and password files."""

    def test_to_be_made(self) -> None:
        """A fresh configuration would be called wrong."""
        self.assert_well(of_files(self.settings))

    def test_made(self) -> None:
        """A server that ran would be called wrong."""
        for name in ("state", "mail"):
            os.mkdir(self.path(name), 0o700)
        self.assert_well(of_files(self.settings))
        self.assert_found(of_files(self.settings), "ok", self.path("mail"), "writable")

    def test_open_state(self) -> None:
        """Every user of the machine could read queued mail."""
        os.mkdir(self.path("state"))
        os.chmod(self.path("state"), 0o755)
        self.assert_found(of_files(self.settings), "warn", "chmod 0700", "state")

    def test_in_the_way(self) -> None:
        """No message could be delivered."""
        self.write("mail", "")
        self.assert_found(of_files(self.settings), "error", "not a folder")

    def test_not_writable(self) -> None:
        """No message could be delivered."""
        self.patch(os, "access", lambda *_: False)
        self.assert_found(of_files(self.settings), "error", "can't be written")

    def test_password_files(self) -> None:
        """Mail through a smarthost would wait for a password that is not there."""
        rule = SimpleNamespace(password_file=self.path("secret"))
        self.own["routing"].rule = (rule, SimpleNamespace(password_file=None))
        self.assert_found(of_files(self.settings), "error", "secret", "No such file")
        self.write("secret", "")
        self.assert_found(of_files(self.settings), "error", "secret", "empty")
        self.write("secret", "x", 0o604)
        self.assert_found(of_files(self.settings), "warn", "secret", "0604")
        self.write("secret", "x")
        self.assert_well(of_files(self.settings))


class Documents(SynchronousTestCase):
    """The document of ``check --json``."""

    def test_counts(self) -> None:
        """A monitor could not see at a glance whether all is well."""
        findings = [
            Finding("ok", "a", "b"),
            Finding("warn", "a", "b", "c"),
            Finding("error", "", ""),
        ]
        found = document(findings)
        self.assertEqual((found["errors"], found["warnings"]), (1, 1))
        self.assertEqual(
            found["findings"][1], {"level": "warn", "subject": "a", "message": "b", "mend": "c"}
        )
