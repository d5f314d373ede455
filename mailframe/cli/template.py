"""The commented configuration that ``mailframe init`` and the demonstration write."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence

from mailframe.address import AddressError, normal_domain

_TEMPLATE = """\
# mailframe's configuration. Paths are relative to this file; times are "15m", "4h", "5d", sizes
# "25MB". `mailframe check -c {file}` examines it, `twistd -n mailframe -c {file}` serves it.

hostname      = "{hostname}"    # banner, EHLO, Received, Message-ID
state_dir     = "state"         # everything the server writes, unless told otherwise
local_domains = [{domains}]     # mail for these is delivered here
# processes   = 4               # workers that share the load; about as many as there are CPUs

# --- servers: each listens on one Twisted endpoint string, or on a list of them ---------------
# The ports below need no privilege and are bound to this machine alone. To serve the world, take
# the standard ports in the comments and fill in [tls] further down.

[[server]]                              # takes mail from other servers for the local domains
name     = "mx"
protocol = "smtp"
listen   = "tcp:2525:interface=127.0.0.1"
# listen = "tcp6:25"                  # IPv4 as well

[[server]]                              # takes mail from people with an account, to anywhere
name     = "submission"
protocol = "submission"
listen   = "tcp:2587:interface=127.0.0.1"
# listen = "tcp6:587"

[[server]]                              # lets people read their mailbox
name     = "pop"
protocol = "pop3"
listen   = "tcp:2110:interface=127.0.0.1"
# listen = "tcp6:110"

[[server]]                              # a web page about the queue; read-only, no login
name     = "console"
protocol = "console"
listen   = "tcp:8025:interface=127.0.0.1"

# [tls]                                 # with it, every server offers STARTTLS
# certificate = "tls/fullchain.pem"
# private_key = "tls/key.pem"

# --- who is who and who may what --------------------------------------------------------------

[accounts]                              # who has a mailbox or a login here
plugin = "file"
path   = "accounts.toml"                # `mailframe account add ADDRESS -c {file}`
# Every domain needs a postmaster: `mailframe account alias postmaster@{domain} ADDRESS -c {file}`

[authorisation]                         # who may have this server carry mail elsewhere
plugin = "providers"

[[authorisation.provider]]
name     = "{provider}"
accounts = [{patterns}]     # its customers by login
# networks = ["192.0.2.0/24", "2001:db8::/32"]  # its customers by address
# customer = "either"                   # recognised by: network | login | either | both
# servers  = ["mx", "submission", "pop"]        # which servers they may use (default: all)
# senders  = ["*@{domain}"]             # reverse-paths they may use (default: any)

# --- where mail goes --------------------------------------------------------------------------

[routing]                               # no rule matches: local domain, else the domain's MX
plugin = "table"

# [[routing.rule]]                      # the first match wins
# recipients = ["*@mindspring.com"]
# senders    = ["*@{domain}"]           # also: servers, logins, providers, size, hours
# via        = "tcp:smarthost.example:587"      # an endpoint, "mx", "mx:domain", "local",
#                                       #   "redirect:address", "hold:reason" or "reject:reason"
# tls        = "verify"                 # none | opportunistic | require | verify | dane
# login      = "user"
# password_file = "smarthost.password"

[queue]
plugin        = "sqlite"
retry_every   = "15m"                   # or: retry = {{ first = "5m", factor = 2, longest = "4h" }}
warn_after    = "4h"                    # then the sender is told that it takes longer
give_up_after = "5d"                    # then the sender is told that it failed
{durable}

[delivery]
plugin = "maildir"
path   = "mail/{{domain}}/{{mailbox}}"
"""


_NOT_DURABLE = "require_durable = false               # start even where a power cut loses mail"


def configuration(
    *, hostname: str, domains: Sequence[str], file: str, provider: str, demonstration: bool = False
) -> str:
    """The text of a ``mailframe.toml``.

    :param hostname: the server's own name, in normal form
    :param domains: the local domains, in normal form; at least one
    :param file: the file's path, as it stands in the comments
    :param provider: the name of the provider whose customers the accounts are
    :param demonstration: it may lose mail
    """
    return _TEMPLATE.format(
        hostname=hostname,
        domains=", ".join(f'"{domain}"' for domain in domains),
        domain=domains[0],
        patterns=", ".join(f'"*@{domain}"' for domain in domains),
        provider=provider,
        file=file,
        durable=("" if demonstration else "# ") + _NOT_DURABLE,
    )


def system_hostname() -> str:
    """This machine's name in normal form, or ``mail.example`` where it has none that would do."""
    for name in (socket.getfqdn(), socket.gethostname()):
        try:
            normal = normal_domain(name)
        except AddressError:
            continue
        if not normal.startswith(("[", "localhost")):
            return normal
    return "mail.example"


def write_file(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all.

    :param mode: its permissions; the umask does not add to or take from them
    """
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".mailframe-")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
