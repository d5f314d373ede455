"""An Exim of our own: it takes mail for one domain, and hands everything else to one next hop."""

from __future__ import annotations

import os
from pathlib import Path

from tests.interop.roots import RootsCase

_USER = 998  # the number of Exim's user in its root
_PATH = "/usr/sbin/exim4"
SMTP = 25
_CONFIGURATION = """
primary_hostname = exim.example
exim_user = Debian-exim
exim_group = Debian-exim
trusted_users = root
spool_directory = /var/spool/exim
log_file_path = /var/log/exim/%slog
pid_file_path = /run/exim.pid
local_interfaces = {interface}
daemon_smtp_ports = {port}
disable_ipv6
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = {advertise}
tls_certificate = /chain.pem
tls_privatekey = /key.pem
domainlist here = {domain}
acl_smtp_rcpt = rcpt
acl_smtp_data = data

begin acl
rcpt:
  deny  domains = +here
        local_parts = gone
        message = 5.1.6 moved away
  accept
data:
  accept

begin routers
here:
  driver = accept
  domains = +here
  transport = mailbox
elsewhere:
  {elsewhere}
  transport = smtp

begin transports
mailbox:
  driver = appendfile
  maildir_format
  directory = /mail/inbox
  user = nobody
  group = nobody
  return_path_add
smtp:
  driver = smtp
  port = {hop}
  allow_localhost
  hosts_require_tls = {require}
  tls_verify_certificates = /ca.pem
  tls_verify_hosts = {require}
  hosts_try_dane =

begin retry
* * F,1h,1s
"""
_TO_HOP = "driver = manualroute\n  route_list = * 127.0.0.1\n  self = send"


class EximCase(RootsCase):
    """Mix-in that starts Exim."""

    spool = "exim/var/spool/exim/input"

    def start_exim(
        self,
        port: int,
        domain: str,
        *,
        hop: int | None = 1,
        tls: bool = False,
        interface: str = "127.0.0.1",
    ) -> Path:
        """An Exim that takes mail for a domain into one Maildir, whose path is returned.

        :param hop: the loopback port that gets mail for other domains; ``None``: their exchangers
        :param tls: offer TLS with the certificate of the test's folder, and send over TLS alone, to
            a server whose certificate is good
        :param interface: where to listen, an address
        """
        program = self.unpacked(_PATH, "exim4-daemon-light")
        root = self.make_root("exim", {_PATH: program}, {"Debian-exim": _USER})
        for folder in ("etc/exim4", "var/spool/exim", "var/log/exim"):
            (root / folder).mkdir(parents=True)
        for folder in ("var/spool/exim", "var/log/exim"):
            os.chown(root / folder, _USER, _USER)
        for name in ("chain.pem", "key.pem", "ca.pem") if tls else ():
            self.give_copy(name, root / name, _USER)
        (root / "etc/exim4/exim4.conf").write_text(
            _CONFIGURATION.format(
                port=port,
                interface=interface,
                hop=hop or SMTP,
                elsewhere=_TO_HOP if hop else "driver = dnslookup",
                domain=domain,
                advertise="*" if tls else "",
                require="*" if tls else "",
            )
        )
        process = self.start_in(root, _PATH, "-bdf", "-q1m")
        self.wait_for_port(port, process)
        return root / "mail/inbox"
