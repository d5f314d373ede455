"""Real name servers with DNSSEC: BIND with a signed zone, and BIND as a resolver that validates."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop.programs import InteropCase, free_ports

SIGNED, UNSIGNED = "signed.test", "plain.test"
_OPTIONS = """
options {{
    directory "{folder}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    managed-keys-directory "{folder}";
    empty-zones-enable no;
    notify no;
    {more}
}};
controls {{ }};
logging {{ category default {{ default_stderr; }}; category lame-servers {{ null; }}; }};
"""
_START = """$TTL 60
@ IN SOA ns hostmaster 1 3600 3600 3600 60
@ NS ns
ns A 127.0.0.1
"""


class SignedNamesCase(InteropCase):
    """Mix-in of the name servers."""

    def start_signed_names(
        self, signed: Sequence[str], unsigned: Sequence[str] = (), *, forged: Sequence[str] = ()
    ) -> int:
        """Serve the zones `SIGNED` and `UNSIGNED`; returns the port of the resolver.

        :param signed: lines of the zone file of the first
        :param unsigned: and of the second
        :param forged: texts that are struck out of the first when it is signed already
        """
        named = self.program("named", "bind9")
        folder = self.folder / "names"
        folder.mkdir()
        anchor = self._sign(folder, signed, forged)
        (folder / UNSIGNED).write_text(_START + "\n".join(unsigned) + "\n")
        answering, resolving = free_ports(2)
        zones = "".join(
            f'zone "{name}" {{ type primary; file "{folder}/{file}"; }};\n'
            for name, file in ((SIGNED, f"{SIGNED}.signed"), (UNSIGNED, UNSIGNED))
        )
        self._named(named, folder, answering, "recursion no; dnssec-validation no;", zones)
        self._named(
            *(named, folder, resolving),
            "recursion yes; dnssec-validation yes; forward only;"
            f" forwarders {{ 127.0.0.1 port {answering}; }};",
            f'trust-anchors {{ "{SIGNED}." static-key {anchor}; }};\n',
        )
        return resolving

    def _sign(self, folder: Path, lines: Sequence[str], forged: Sequence[str]) -> str:
        """Make a key and sign the zone; returns the key as BIND wants its trust anchors."""
        keygen = self.program("dnssec-keygen", "bind9")
        signer = self.program("dnssec-signzone", "bind9")
        zone = folder / SIGNED
        zone.write_text(_START + "\n".join(lines) + "\n")
        done = self.run_program(
            *(keygen, "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K", folder, SIGNED)
        )
        key = folder / f"{done.stdout.decode().split()[-1]}.key"
        self.run_program(
            *(signer, "-q", "-S", "-z", "-K", folder, "-d", folder, "-o", SIGNED),
            *("-f", folder / f"{SIGNED}.signed", zone),
        )
        signed = folder / f"{SIGNED}.signed"
        text = signed.read_text()
        for octets in forged:
            self.assertTrue(octets in text, octets)
            text = text.replace(octets, octets[::-1])
        signed.write_text(text)
        (record,) = [
            line for line in key.read_text().splitlines() if not line.startswith(";") and line
        ]
        flags, protocol, algorithm, *words = record.split("DNSKEY", 1)[1].split()
        return f'{flags} {protocol} {algorithm} "{"".join(words)}"'

    def _named(
        self, named: str, folder: Path, port: int, more: str, zones: str
    ) -> subprocess.Popen[bytes]:
        configuration = folder / f"{port}.conf"
        configuration.write_text(_OPTIONS.format(folder=folder, port=port, more=more) + zones)
        process = self.start(named, "-4", "-g", "-n", "1", "-c", configuration)
        self.wait_for_port(port, process)
        return process
