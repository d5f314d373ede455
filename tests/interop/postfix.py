"""A configuration for a Postfix of our own: its folders, its port, no service of the system's."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

_SERVICES = (
    # name, kind, private, unprivileged, wake-up, limit, program
    ("pickup", "unix", "n", "-", "60", "1", "pickup"),
    ("cleanup", "unix", "n", "-", "-", "0", "cleanup"),
    ("qmgr", "unix", "n", "-", "300", "1", "qmgr"),
    ("rewrite", "unix", "-", "-", "-", "-", "trivial-rewrite"),
    ("bounce", "unix", "-", "-", "-", "0", "bounce"),
    ("defer", "unix", "-", "-", "-", "0", "bounce"),
    ("trace", "unix", "-", "-", "-", "0", "bounce"),
    ("error", "unix", "-", "-", "-", "-", "error"),
    ("retry", "unix", "-", "-", "-", "-", "error"),
    ("smtp", "unix", "-", "-", "-", "-", "smtp"),
    ("lmtp", "unix", "-", "-", "-", "-", "lmtp"),
    ("virtual", "unix", "-", "n", "-", "-", "virtual"),
    ("anvil", "unix", "-", "-", "-", "1", "anvil"),
    ("proxymap", "unix", "-", "-", "-", "-", "proxymap"),
    ("tlsmgr", "unix", "-", "-", "1000?", "1", "tlsmgr"),
    ("postlog", "unix-dgram", "n", "-", "-", "1", "postlogd"),
)


def write_postfix(
    root: Path, port: int, domain: str, *settings: str, interface: str = "127.0.0.1"
) -> Path:
    """Write a configuration under which Postfix takes mail for a domain into one Maildir.

    :param root: an absolute path that other users may enter; to be made
    :param settings: more lines for main.cf, which come before ours
    :param interface: where to listen, an IPv4 address; "" is everywhere, over IPv6 too
    :returns: the Maildir. Start it with ``postfix -c ROOT start-fg``, as root
    """
    mail, spool, data = root / "mail", root / "spool", root / "data"
    for folder in (root, mail, spool, data):
        folder.mkdir(mode=0o755)
    owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
    os.chown(data, owner.pw_uid, owner.pw_gid)
    os.chown(mail, nobody.pw_uid, nobody.pw_gid)
    lines = (
        "compatibility_level = 3.6",
        f"queue_directory = {spool}",
        f"data_directory = {data}",
        "mail_owner = postfix",
        f"myhostname = next.{domain}",
        "mydestination =",
        f"inet_interfaces = {'loopback-only' if interface == '127.0.0.1' else 'all'}",
        f"inet_protocols = {'ipv4' if interface else 'all'}",
        "mynetworks =",
        "alias_maps =",
        f"maillog_file = {root}/postfix.log",
        f"maillog_file_prefixes = {root}",
        f"virtual_mailbox_domains = {domain}",
        f"virtual_mailbox_base = {mail}",
        "virtual_mailbox_maps = static:inbox/",
        f"virtual_uid_maps = static:{nobody.pw_uid}",
        f"virtual_gid_maps = static:{nobody.pw_gid}",
        *settings,
    )
    # Postfix warns of a setting that another one overrides.
    last = {line.partition("=")[0].strip(): line for line in lines}
    (root / "main.cf").write_text("\n".join(last.values()) + "\n")
    services = ((f"{interface}:{port}", "inet", "n", "-", "-", "-", "smtpd"), *_SERVICES)
    (root / "master.cf").write_text(
        "".join(
            f"{name} {kind} {private} {unprivileged} n {wake} {limit} {program}\n"
            for name, kind, private, unprivileged, wake, limit, program in services
        )
    )
    return mail / "inbox"
