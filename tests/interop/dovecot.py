"""A Dovecot of our own that takes mail over LMTP."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from tests.interop.programs import InteropCase

_CONFIGURATION = """
base_dir = {root}/run
state_dir = {root}/state
mail_location = maildir:{root}/mail/%n
protocols = lmtp
listen = 127.0.0.1
log_path = /dev/stderr
ssl = no
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = dovecot
postmaster_address = postmaster@{domain}
lmtp_save_to_detail_mailbox = no
service lmtp {{
  unix_listener {root}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {port}
  }}
}}
passdb {{
  driver = static
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
"""


class DovecotCase(InteropCase):
    """Mix-in that starts Dovecot."""

    def start_dovecot(self, port: int, domain: str, *names: str) -> Path:
        """Start Dovecot with LMTP on a loopback port and on the socket ``lmtp`` in its folder.

        :param names: who has a Maildir: ``mail/NAME`` in its folder
        :returns: its folder
        """
        self.need_root()
        dovecot = self.program("dovecot", "dovecot-core")
        if not Path("/usr/lib/dovecot/lmtp").exists():
            self.missing("Dovecot has no LMTP (Debian: apt-get install dovecot-lmtpd)")
        root = self.folder / "dovecot"
        owner = pwd.getpwnam("nobody")
        (root / "mail").mkdir(parents=True)
        os.chown(root / "mail", owner.pw_uid, owner.pw_gid)
        numbers = f"{owner.pw_uid}:{owner.pw_gid}"
        (root / "users").write_text(
            "".join(f"{name}@{domain}::{numbers}::{root}/home\n" for name in names)
        )
        configuration = root / "dovecot.conf"
        configuration.write_text(_CONFIGURATION.format(root=root, port=port, domain=domain))
        process = self.start(dovecot, "-F", "-c", configuration)
        self.wait_for_port(port, process)
        return root
