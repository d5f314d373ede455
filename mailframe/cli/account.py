"""``mailframe account``: the accounts and aliases in the file that ``[accounts]`` names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from mailframe.accounts.passwords import UnusablePassword
from mailframe.accounts.store import AccountsError, AccountStore
from mailframe.address import Address
from mailframe.cli.addresses import AliasAddress, MailAddress
from mailframe.cli.options import Misuse, Refusal, config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.cli.parts import read_settings
from mailframe.documents import Document
from mailframe.interfaces import Account
from mailframe.settings import Settings

password_option = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input, up to the first line end.",
)


@click.group()
def account() -> None:
    """Add, list and change accounts and aliases. The login is the address."""


@account.command()
@config_option
@password_option
@click.option(
    "--no-password",
    is_flag=True,
    help="Only a mailbox: the login is verified by one of [accounts] checkers, or not at all.",
)
@click.argument("address", type=MailAddress())
def add(config: str, password_stdin: bool, no_password: bool, address: Address) -> None:
    """Add an account with a mailbox and a login."""
    if no_password and password_stdin:
        raise Misuse("account add takes --password-stdin or --no-password, not both")
    settings, store = _open(config)
    found = store.find(address)
    if isinstance(found, Account):
        raise Refusal(f"{found.address} has an account; `account passwd` changes its password")
    if found is not None:
        raise Refusal(f"{found.address} is an alias; `account alias --remove` removes it")
    _warn_of_other_domain(settings, address, address.domain)
    password = None if no_password else _password(password_stdin, address)
    _change(store, lambda: store.add(address, password))
    click.echo(f"added {address}")


@account.command("list")
@config_option
@json_option
def list_accounts(config: str, as_json: bool) -> None:
    """List accounts and aliases."""
    _, store = _open(config)
    document: Document = {
        "accounts": [
            {
                "address": str(address),
                "password": hashed is not None,
                "scram": store.scram_keys(address) is not None,
            }
            for address, hashed in store.accounts.items()
        ],
        "aliases": [
            {"address": str(address), "targets": [str(target) for target in targets]}
            for address, targets in _aliases(store)
        ],
    }
    if as_json:
        print_json(document)
        return
    rows = [(each["address"], "account", _login(each)) for each in document["accounts"]]
    rows += [
        (str(address), "alias", " ".join(map(str, targets))) for address, targets in _aliases(store)
    ]
    print_table(("address", "kind", "login, or stands for"), rows)


def _login(account: Document) -> str:
    """How an account's login is verified, in a few words."""
    if not account["password"]:
        return "no password here"
    return "password, SCRAM" if account["scram"] else "password"


@account.command()
@config_option
@password_option
@click.argument("address", type=MailAddress())
def passwd(config: str, password_stdin: bool, address: Address) -> None:
    """Change an account's password."""
    _, store = _open(config)
    if not isinstance(store.find(address), Account):
        raise Refusal(f"{address} has no account")
    password = _password(password_stdin, address)
    _change(store, lambda: store.set_password(address, password))
    click.echo(f"changed the password of {address}")


@account.command()
@config_option
@click.argument("address", type=MailAddress())
def remove(config: str, address: Address) -> None:
    """Remove an account. Its mailbox stays where it is."""
    _, store = _open(config)
    _change(store, lambda: store.remove(address))
    click.echo(f"removed {address}; its mailbox is left as it is")


@account.command()
@config_option
@click.option("--remove", "is_removal", is_flag=True, help="Remove the alias.")
@click.argument("address", type=AliasAddress())
@click.argument("targets", metavar="[TARGET...]", nargs=-1, type=MailAddress())
def alias(
    config: str, is_removal: bool, address: Address | str, targets: Sequence[Address]
) -> None:
    """Have ADDRESS stand for each TARGET, in place of those it stood for before.

    ADDRESS may be @DOMAIN, which catches what is for nobody else in a domain.
    """
    if is_removal == bool(targets):
        raise Misuse("account alias takes an address and its targets, or --remove and an address")
    settings, store = _open(config)
    domain = address[1:] if isinstance(address, str) else address.domain

    def remove() -> None:
        if isinstance(address, str):
            store.remove_catch_all(domain)
        else:
            store.remove_alias(address)

    def add() -> None:
        if isinstance(address, str):
            store.catch(domain, targets)
        else:
            store.alias(address, targets)

    if is_removal:
        _change(store, remove)
        click.echo(f"removed the alias {address}")
        return
    _warn_of_other_domain(settings, address, domain)
    _change(store, add)
    click.echo(f"{address} stands for {', '.join(map(str, targets))}")


def _aliases(store: AccountStore) -> list[tuple[str, tuple[Address, ...]]]:
    """All aliases, those of domains last."""
    aliases = [(str(address), targets) for address, targets in store.aliases.items()]
    return aliases + [(f"@{domain}", targets) for domain, targets in store.catch_all.items()]


def _open(config: str) -> tuple[Settings, AccountStore]:
    settings = read_settings(config)
    chosen = settings.chosen["accounts"]
    if chosen.part.name != "file":
        raise Misuse(
            f"[accounts] plugin = {chosen.part.name!r} keeps the accounts; "
            'this command changes those of plugin = "file" only'
        )
    try:
        return settings, AccountStore.load(chosen.settings.path)
    except AccountsError as error:
        raise Misuse(str(error)) from None


def _change(store: AccountStore, change: Callable[[], None]) -> None:
    """Change the store and save it."""
    try:
        change()
        store.save()
    except UnusablePassword as error:
        raise Misuse(str(error)) from None
    except AccountsError as error:
        raise Refusal(str(error)) from None


def _warn_of_other_domain(settings: Settings, address: Address | str, domain: str) -> None:
    if domain not in settings.local_domains:
        click.echo(
            f"note: {domain} is not one of local_domains, so mail for {address} "
            "is not delivered here",
            err=True,
        )


def is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _password(from_stdin: bool, address: Address) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif is_terminal():
        password = click.prompt(
            f"password for {address}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        raise Misuse("there is no terminal to ask for the password; use --password-stdin")
    return str(password)
