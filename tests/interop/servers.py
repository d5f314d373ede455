"""Foreign servers that mail is relayed to: Postfix, its smtp-sink, and dnsmasq for the DNS."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop.postfix import write_postfix
from tests.interop.programs import InteropCase, free_ports


class ServersCase(InteropCase):
    """Mix-in of the servers a test may start."""

    def start_sink(self, port: int, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Postfix's smtp-sink; returns it and the folder into which it writes each message."""
        sink = self.program("smtp-sink", "postfix")
        dump = self.folder / f"sink-{port}"
        dump.mkdir(exist_ok=True)
        dump.chmod(0o777)
        process = self.start(
            *(sink, "-u", "nobody" if _is_root() else pwd.getpwuid(_uid()).pw_name),
            *("-R", str(dump), "-d", "message-", *options, f"127.0.0.1:{port}", "100"),
        )
        self.wait_for_port(port, process)
        return process, dump

    def start_postfix(
        self,
        port: int,
        domain: str,
        *,
        hop: int | None = None,
        tls: bool = False,
        lmtp: bool = False,
        name: str = "postfix",
        interface: str = "127.0.0.1",
        settings: Sequence[str] = (),
    ) -> Path:
        """A Postfix that takes mail for a domain into one Maildir, whose path is returned.

        :param hop: the loopback port that gets mail for other domains
        :param tls: offer TLS with the certificate of the test's folder, and send over TLS alone, to
            a server whose certificate is good
        :param lmtp: send over LMTP
        :param name: of its folder
        :param interface: where to listen, an IPv4 address; "" is everywhere, over IPv6 too
        :param settings: more lines for main.cf
        """
        self.need_root()
        postfix = self.program("postfix", "postfix")
        root = self.folder / name
        inbox = write_postfix(
            root,
            port,
            domain,
            "smtpd_recipient_restrictions = check_recipient_access inline:{"
            f"{{gone@{domain} = 550 5.1.6 moved away}}, {{later@{domain} = 450 4.2.1 try later}}"
            "}, permit_mynetworks, reject_unauth_destination",
            "smtpd_forbid_bare_newline = yes",
            "smtpd_forbid_unauth_pipelining = yes",
            *(_relaying(hop, lmtp) if hop else ()),
            *(_over_tls(self.folder) if tls else ()),
            *settings,
            interface=interface,
        )
        process = self.start(postfix, "-c", root, "start-fg")
        # The script is not the master's parent, so that ending it would leave the master.
        self.addCleanup(self.run_program, postfix, "-c", root, "abort", check=False)
        self.wait_for_port(port, process)
        return inbox

    def start_dns(self, *records: str) -> int:
        """A dnsmasq that answers from ``records`` alone (its options); returns its port."""
        dnsmasq = self.program("dnsmasq", "dnsmasq-base")
        (port,) = free_ports(1)
        process = self.start(
            *(
                dnsmasq,
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ),
            *(f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces"),
            *("--pid-file=", "--user=root", "--local=/example/", "--log-facility=-"),
            *(f"--{record}" for record in records),
        )
        self.wait_for_port(port, process)
        return port

    def stop_hard(self, process: subprocess.Popen[bytes]) -> None:
        """End a program at once, as a crash does."""
        self.end(process, signal.SIGKILL)


def refuses(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _uid() -> int:
    return os.geteuid()


def _is_root() -> bool:
    return _uid() == 0


def _relaying(hop: int, lmtp: bool) -> tuple[str, ...]:
    way = (
        f"default_transport = lmtp:inet:127.0.0.1:{hop}"
        if lmtp
        else f"relayhost = [127.0.0.1]:{hop}"
    )
    return "mynetworks = 127.0.0.0/8", way


def _over_tls(folder: Path) -> tuple[str, ...]:
    return (
        "smtpd_tls_security_level = may",
        f"smtpd_tls_chain_files = {folder}/key.pem, {folder}/chain.pem",
        "smtp_tls_security_level = verify",
        "smtp_tls_verify_cert_match = hostname",
        f"smtp_tls_CAfile = {folder}/ca.pem",
    )


def sunk(dump: Path) -> list[bytes]:
    """The messages that a sink has written."""
    return [path.read_bytes() for path in sorted(dump.iterdir()) if path.stat().st_size]
