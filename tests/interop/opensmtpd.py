"""An OpenSMTPD of our own: it takes mail for one domain, and hands the rest to one next hop."""

from __future__ import annotations

from pathlib import Path

from tests.interop.roots import RootsCase

_USER = 996  # the number of OpenSMTPD's user in its root
_PATH = "/usr/sbin/smtpd"
_MAILDIR = "/usr/libexec/opensmtpd/mail.maildir"
_CONFIGURATION = """
{certificates}
table users {{ jsmith@{domain} = nobody, kim@{domain} = nobody }}
listen on {interface} port {port} hostname opensmtpd.example {listen}
action here maildir "/mail/inbox" virtual <users>
action elsewhere relay helo opensmtpd.example {hop}
match from any for domain {domain} action here
match from any for any action elsewhere
"""


class OpenSmtpdCase(RootsCase):
    """Mix-in that starts OpenSMTPD."""

    spool = "opensmtpd/var/spool/smtpd/queue"

    def start_opensmtpd(
        self,
        port: int,
        domain: str,
        *,
        hop: int | None = 1,
        tls: bool = False,
        lmtp: bool = False,
        interface: str = "127.0.0.1",
    ) -> Path:
        """An OpenSMTPD that takes mail for jsmith and kim at a domain; returns their Maildir.

        :param hop: the loopback port that gets mail for other domains; ``None``: their exchangers
        :param tls: offer TLS with the certificate of the test's folder, and send over TLS alone, to
            a server whose certificate is good
        :param lmtp: send over LMTP
        :param interface: where to listen, an address
        """
        programs = {path: self.unpacked(path, "opensmtpd") for path in (_PATH, _MAILDIR)} | {
            "/bin/sh": Path("/bin/sh")
        }
        root = self.make_root("opensmtpd", programs, {"opensmtpd": _USER, "opensmtpq": 995})
        for folder in ("var/lib/opensmtpd/empty", "var/spool"):
            (root / folder).mkdir(parents=True)
            (root / folder).chmod(0o711)
        if tls:
            for name in ("chain.pem", "key.pem"):
                self.give_copy(name, root / name, 0)
            self.give_copy("ca.pem", root / "etc/ssl/certs/ca-certificates.crt", _USER)
        protocol = "lmtp" if lmtp else "smtp+tls" if tls else "smtp+notls"
        (root / "etc/smtpd.conf").write_text(
            _CONFIGURATION.format(
                port=port,
                interface=interface,
                hop=f'host "{protocol}://127.0.0.1:{hop}"' if hop else "",
                domain=domain,
                certificates='pki own cert "/chain.pem"\npki own key "/key.pem"' if tls else "",
                listen="tls pki own" if tls else "",
            )
        )
        process = self.start_in(root, _PATH, "-d")
        self.wait_for_port(port, process)
        return root / "mail/inbox"
