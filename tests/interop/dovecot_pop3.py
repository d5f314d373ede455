"""A Dovecot that serves one Maildir over POP3, to whoever logs in."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def write_dovecot(root: Path, port: int, maildir: Path) -> Path:
    """Configure it, with all it writes below ``root``.

    Dovecot serves no mailbox to root, so that the Maildir becomes somebody else's.

    :returns: the configuration
    """
    owner = give_to(maildir, "nobody")
    path = root / "dovecot.conf"
    path.write_text(
        f"base_dir = {root}/dovecot\nstate_dir = {root}/dovecot-state\n"
        f"mail_location = maildir:{maildir}\n"
        "protocols = pop3\nlog_path = /dev/stderr\nssl = no\ndisable_plaintext_auth = no\n"
        "first_valid_uid = 1\nfirst_valid_gid = 1\ndefault_internal_user = dovecot\n"
        "listen = 127.0.0.1\n"
        f"service pop3-login {{\n  inet_listener pop3 {{\n    port = {port}\n  }}\n"
        "  inet_listener pop3s {\n    port = 0\n  }\n}\n"
        "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
        "userdb {\n  driver = static\n"
        f"  args = uid={owner.pw_uid} gid={owner.pw_gid} home={root}/dovecot-home\n}}\n"
    )
    path.chmod(0o644)
    return path


def give_to(folder: Path, name: str) -> pwd.struct_passwd:
    """Make a folder and all in it a user's."""
    owner = pwd.getpwnam(name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    return owner
