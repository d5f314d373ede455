"""The names of our internet: BIND, for the root and all below it, and as a resolver.

Whoever has no data for a question asks the resolver, that asks the root, and follows its
delegations. So there are the answers that only a real resolver gives: SERVFAIL for a zone whose
servers are silent, and no answer at all when it can't be reached.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.interop.programs import InteropCase

ROOT_SERVER = "198.51.100.53"
RESOLVER = "192.0.2.53"
SILENT_SERVER = "198.51.100.54"  # the address of nobody

_OPTIONS = """
options {{
    directory "{folder}";
    listen-on {{ {address}; 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    managed-keys-directory "{folder}";
    dnssec-validation no;
    empty-zones-enable no;
    qname-minimization off;
    notify no;
    {more}
}};
controls {{ }};
logging {{ category default {{ default_stderr; }}; category lame-servers {{ null; }}; }};
zone "." {{ type {kind}; file "{folder}/root"; }};
{zones}
"""
_START = """$TTL 1
@ IN SOA root-server.example. hostmaster.example. {serial} 1 1 1 1
@ NS root-server.example.
"""
_BELOW = f"""example. NS root-server.example.
root-server.example. A {ROOT_SERVER}
"""
_EXAMPLE = f"""root-server A {ROOT_SERVER}
silent NS silent-server
silent-server A {SILENT_SERVER}
"""
_HINTS = f""". 3600 NS root-server.example.
root-server.example. 3600 A {ROOT_SERVER}
"""


class NamesCase(InteropCase):
    """Mix-in of the two name servers."""

    def start_root_server(self, *records: str) -> None:
        """Answer for the root and for ``example``, where this thread is.

        :param records: lines of the zone ``example``; ``silent`` is a zone with no server
        """
        folder = self.folder / "root-server"
        folder.mkdir()
        self._records: tuple[str, ...] = ()
        self._serial = 0
        (folder / "root").write_text(_START.format(serial=1) + _BELOW)
        self._write_example(records)
        zone = f'zone "example" {{ type primary; file "{folder}/example"; }};'
        self._root_server = self._start_bind(
            folder, ROOT_SERVER, "primary", "recursion no;", zones=zone
        )

    def start_resolver(self) -> None:
        """Resolve names for everyone, where this thread is."""
        folder = self.folder / "resolver"
        folder.mkdir()
        (folder / "root").write_text(_HINTS)
        more = "recursion yes; allow-query { any; }; allow-recursion { any; };"
        patience = "resolver-query-timeout 1000; servfail-ttl 0; max-ncache-ttl 1;"
        self._start_bind(folder, RESOLVER, "hint", more + patience)

    def add_records(self, *records: str) -> None:
        """Have the zone ``example`` say more."""
        self._write_example((*self._records, *records))
        self._root_server.send_signal(signal.SIGHUP)

    def _write_example(self, records: tuple[str, ...]) -> None:
        self._records = records
        self._serial += 1
        text = _START.format(serial=self._serial) + _EXAMPLE + "\n".join(records) + "\n"
        (self.folder / "root-server" / "example").write_text(text)

    def _start_bind(
        self, folder: Path, address: str, kind: str, more: str, *, zones: str = ""
    ) -> subprocess.Popen[bytes]:
        named = self.program("named", "bind9")
        configuration = folder / "named.conf"
        configuration.write_text(
            _OPTIONS.format(folder=folder, address=address, kind=kind, more=more, zones=zones)
        )
        process = self.start(named, "-4", "-f", "-n", "1", "-c", configuration)
        self.wait_for_port(53, process)
        return process
