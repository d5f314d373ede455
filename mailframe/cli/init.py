"""``mailframe init``: a configuration to start from, with what it refers to."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import click

from mailframe.accounts.store import AccountsError, AccountStore
from mailframe.cli.addresses import DomainArgument
from mailframe.cli.options import Misuse, Refusal
from mailframe.cli.template import configuration, system_hostname, write_file

FOLDERS = ("state", "mail", "tls")  # private to the user the server runs as


@click.command()
@click.option(
    "--hostname",
    type=DomainArgument(),
    metavar="NAME",
    help="The server's own name; default: the system's.",
)
@click.option(
    "--domain",
    "domains",
    type=DomainArgument(),
    metavar="NAME",
    multiple=True,
    help="A domain whose mail is delivered here; may be repeated. Default: the hostname.",
)
@click.argument("directory", metavar="DIR")
def init(hostname: str | None, domains: Sequence[str], directory: str) -> None:
    """Write a commented configuration, an empty accounts file and directories into DIR.

    Nothing that exists is overwritten.
    """
    name = hostname or system_hostname()
    local = list(domains) or [name]
    file = os.path.join(directory, "mailframe.toml")
    accounts = os.path.join(directory, "accounts.toml")
    try:
        os.makedirs(directory, exist_ok=True)
        for path in (file, accounts):
            if os.path.lexists(path):
                raise Refusal(f"{path} exists already; nothing was written")
        for folder in FOLDERS:
            os.makedirs(os.path.join(directory, folder), mode=0o700, exist_ok=True)
        AccountStore.load(accounts).save()
        provider = local[0].partition(".")[0]
        text = configuration(hostname=name, domains=local, file=file, provider=provider)
        write_file(file, text)
    except AccountsError as error:
        raise Misuse(f"init: {error}") from None
    except OSError as error:
        raise Misuse(f"init: {error.filename}: {error.strerror}") from None
    quoted = shlex.quote(file)
    click.echo(f"wrote {file} for {name}, delivering mail for {', '.join(local)}")
    click.echo(f"next:  mailframe account add you@{local[0]} -c {quoted}")
    # RFC 5321 §4.5.1 wants one in every domain; nobody can be it before there is an account
    for domain in local:
        aliased = f"postmaster@{domain} you@{local[0]}"
        click.echo(f"       mailframe account alias {aliased} -c {quoted}")
    click.echo(f"       mailframe check -c {quoted}")
    click.echo(f"       twistd -n mailframe -c {quoted}")
