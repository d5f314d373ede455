"""What ``mailframe check`` finds out from the files that the configuration names."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import attrs
from cryptography import x509
from twisted.internet.task import Clock

from mailframe.accounts.file import build
from mailframe.accounts.lookup import Lookup
from mailframe.accounts.store import AccountsError, AccountStore
from mailframe.accounts.strcred_checkers import CheckerError
from mailframe.address import Address
from mailframe.assembly import make_site
from mailframe.certificates import CertificateError, load_context
from mailframe.cli.endpoints import listening_place
from mailframe.envelope import Client
from mailframe.settings import Settings, TlsSettings

Level: TypeAlias = Literal["ok", "warn", "error"]
EXPIRES_SOON = datetime.timedelta(days=14)


@attrs.frozen
class Finding:
    """One thing that was looked at.

    :ivar level: ``error`` is what keeps mail from being served
    :ivar subject: what it is about, a word or a path
    :ivar message: how it is
    :ivar mend: what to do about it, ``""`` when there is nothing to mend
    """

    level: Level
    subject: str
    message: str
    mend: str = ""


def of_accounts(settings: Settings) -> Iterator[Finding]:
    """The accounts file, where there is one."""
    chosen = settings.chosen["accounts"]
    if chosen.part.name != "file":
        yield Finding("ok", "accounts", f"are kept by the plugin {chosen.part.name!r}")
        return
    path = chosen.settings.path
    try:
        store = AccountStore.load(path)
    except AccountsError as error:
        yield Finding("error", "accounts", str(error), "repair the file, or see to its owner")
        return
    add = f"mailframe account add ADDRESS -c {settings.path}"
    if store.read_as is None:
        yield Finding("error", "accounts", f"{path} does not exist", add)
        return
    yield Finding(
        "ok", "accounts", f"{len(store.accounts)} accounts and {len(store.aliases)} aliases"
    )
    try:
        build(chosen.settings, make_site(settings, Clock(), makes=False))  # it writes nothing
    except CheckerError as error:
        yield Finding("error", "accounts", str(error), "mend it in [accounts]")
    if not store.accounts:
        yield Finding("ok", "accounts", "nobody has an account yet", add)
    lookup = Lookup(subaddress=chosen.settings.subaddress, postmaster=chosen.settings.postmaster)
    for domain in settings.local_domains if store.accounts else ():
        postmaster = Address("postmaster", domain)
        if lookup.find(store, postmaster) is None:
            yield Finding(
                "warn",
                "accounts",
                f"there is no {postmaster}, whom every domain must have (RFC 5321 §4.5.1)",
                f"mailframe account alias {postmaster} ADDRESS -c {settings.path}; or name "
                "somebody for all domains with [accounts] postmaster",
            )
    yield from _of_targets(settings, store, lookup)
    if store.without_scram and store.scram_iterations is not None:
        # Where nobody has keys, nobody misses them.
        lacking = ", ".join(map(str, store.without_scram[:10]))
        yield Finding(
            "warn",
            "accounts",
            f"SCRAM is not offered to anybody, as it would fail for {lacking}",
            f"mailframe account passwd ADDRESS -c {settings.path}, with the same password or not",
        )
    if not getattr(chosen.settings, "checkers", ()):
        for address in [each for each, hashed in store.accounts.items() if hashed is None]:
            yield Finding(
                "warn",
                "accounts",
                f"{address} has no password, so nobody can read its mail",
                f"mailframe account passwd {address} -c {settings.path}",
            )
    for address in [*store.accounts, *store.aliases]:
        if address.domain not in settings.local_domains:
            yield Finding(
                "warn",
                "accounts",
                f"{address} is not in a local domain: mail for it goes elsewhere",
                f"add {address.domain} to local_domains, or remove it",
            )
    yield from _private(path, "accounts")


def _of_targets(settings: Settings, store: AccountStore, lookup: Lookup) -> Iterator[Finding]:
    """Aliases for addresses here that nobody has: their mail would be returned."""
    aliases = [(str(alias), targets) for alias, targets in store.aliases.items()]
    aliases += [(f"@{domain}", targets) for domain, targets in store.catch_all.items()]
    if lookup.postmaster is not None:
        aliases.append(("[accounts] postmaster", (lookup.postmaster,)))
    for name, targets in aliases:
        for target in targets:
            if target.domain in settings.local_domains and lookup.find(store, target) is None:
                yield Finding(
                    "warn",
                    "accounts",
                    f"{name} stands for {target}, whom nobody is: such mail is returned",
                    f"mailframe account add {target} -c {settings.path}, or change {name}",
                )


def of_tls(settings: Settings, now: datetime.datetime) -> Iterator[Finding]:
    """The certificate and its key, and logins that would go without."""
    if settings.tls is not None:
        yield from _certificate(settings.tls, settings.hostname, now)
        yield from _private(settings.tls.private_key, "private_key")
        return
    for server in settings.servers:
        if server.protocol not in ("submission", "pop3"):
            continue
        places = [place for each in server.listen if (place := listening_place(each)) is not None]
        if any(not _is_loopback(place.interface) for place in places):
            yield Finding(
                "warn",
                f"server {server.name}",
                "there is no [tls], so nobody can log in from another machine",
                "set certificate and private_key in [tls]",
            )


def _is_loopback(interface: str) -> bool:
    return interface == "localhost" or (
        Client(server="", protocol="", address=interface).is_loopback
    )


def _certificate(tls: TlsSettings, hostname: str, now: datetime.datetime) -> Iterator[Finding]:
    try:
        load_context(tls.certificate, tls.private_key)
        with open(tls.certificate, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (CertificateError, OSError, ValueError) as error:
        yield Finding("error", "tls", str(error), "put a PEM certificate and its key there")
        return
    until = certificate.not_valid_after_utc
    ends = f"{until:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        starts = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
        yield Finding("error", "tls", f"the certificate is not valid before {starts}", "wait")
    elif now > until:
        yield Finding("error", "tls", f"the certificate expired on {ends}", "renew it")
    elif now > until - EXPIRES_SOON:
        yield Finding("warn", "tls", f"the certificate expires on {ends}", "renew it")
    else:
        yield Finding("ok", "tls", f"certificate and key match; valid until {ends}")
    if not _covers(certificate, hostname):
        yield Finding(
            "warn",
            "tls",
            f"the certificate is not for {hostname}",
            "get one that names it, or clients that verify it will not connect",
        )


def _covers(certificate: x509.Certificate, hostname: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        return False
    parent = hostname.partition(".")[2]
    return any(name.lower() in (hostname, f"*.{parent}") for name in names)


def of_files(settings: Settings) -> Iterator[Finding]:
    """The folders the server writes to, and the files with passwords."""
    yield from _folder(settings.state_dir, "state_dir")
    if os.path.isdir(settings.state_dir):
        yield from _private(settings.state_dir, "state_dir")
    for seam in ("queue", "delivery"):
        path = getattr(settings.chosen[seam].settings, "path", None)
        if isinstance(path, str):
            # "mail/{domain}/{mailbox}": what stands before the first brace is there for all
            root = path.partition("{")[0].rstrip("/") if "{" in path else path
            yield from _folder(root, seam)
    for rule in getattr(settings.chosen["routing"].settings, "rule", ()):
        path = getattr(rule, "password_file", None)
        if path:
            yield from _readable(path)
            yield from _private(path, "password_file")


def _folder(path: str, subject: str) -> Iterator[Finding]:
    """A folder that is, or can be made, writable."""
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing) or "/"
    if not os.path.isdir(existing):
        yield Finding("error", subject, f"{existing} is not a folder", "move it away")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            "error",
            subject,
            f"{existing} can't be written to by the user who asks",
            "change its owner, or check as the user whom the server runs as",
        )
    elif existing == path:
        yield Finding("ok", subject, f"{path} is writable")
    else:
        yield Finding("ok", subject, f"{path} will be made")


def _readable(path: str) -> Iterator[Finding]:
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        reason = f"{path} can't be read: {error.strerror}"
        yield Finding("error", "password_file", reason, "write the password there, mode 0600")
        return
    if empty:
        yield Finding("error", "password_file", f"{path} is empty", "write the password there")
    else:
        yield Finding("ok", "password_file", f"{path} can be read")


def _private(path: str, subject: str) -> Iterator[Finding]:
    """Whether others than the owner may read it."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return  # told already, by who wanted to read it
    if mode & 0o077:
        wanted = "0700" if os.path.isdir(path) else "0600"
        yield Finding(
            "warn",
            subject,
            f"{path} is open to other users (mode {mode:04o})",
            f"chmod {wanted} {path}",
        )


def document(findings: list[Finding]) -> dict[str, Any]:
    """The document of ``check --json``."""
    return {
        "findings": [attrs.asdict(finding) for finding in findings],
        "errors": sum(finding.level == "error" for finding in findings),
        "warnings": sum(finding.level == "warn" for finding in findings),
    }
