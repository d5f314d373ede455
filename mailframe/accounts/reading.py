"""The text of an accounts file, read strictly and written back.

The file is TOML, to be edited by hand as well as by ``mailframe account``::

    [[account]]
    address = "angelo@demo.example"
    password = "$argon2id$v=19$m=65536,t=3,p=4$..."
    scram = "SCRAM-SHA-256$65536:...$...:..."

    [[alias]]
    address = "info@demo.example"
    to = ["angelo@demo.example", "jsmith@mindspring.com"]

    [[alias]]
    address = "@demo.example"
    to = ["angelo@demo.example"]

The alias of a domain alone catches what is for nobody else there.

``scram`` holds the keys of the same password for SCRAM (`mailframe.scram`): an account without it
can't use that. One without ``password`` has a mailbox, but its login is verified elsewhere or not
at all.

Everything wrong with a file is told at once, each mistake with its entry and key. The comment lines
at the top of the file are kept when it is written; comments further down are not.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mailframe.accounts.circles import on_circles
from mailframe.accounts.passwords import is_hash
from mailframe.address import Address, AddressError, normal_domain
from mailframe.config_errors import Mistake, SettingsError, nearest, shown
from mailframe.scram import ScramKeys

DELIMITERS = "+-=_#/"  # what may begin a subaddress
_TABLES = {"account": ("address", "password", "scram"), "alias": ("address", "to")}
_REQUIRED = {"account": ("address",), "alias": ("address", "to")}
_TOP = """\
# Accounts and aliases. `mailframe account` changes this file and keeps these first comment lines.
"""
_AN_ADDRESS = 'a mail address such as "angelo@rosse.example"'
_KEYS = "keys for SCRAM-SHA-256, as `mailframe account passwd` writes them"
_A_HASH = "an Argon2 hash, as `mailframe account passwd` writes it"
_ADDRESSES = "a list of mail addresses, at least one"


class AccountsError(SettingsError):
    """The accounts can't be used, or not be changed like that; ``str(error)`` says why."""


def key_of(address: Address) -> tuple[str, str]:
    """By what accounts are looked up: the local part's case makes no difference here.

    RFC 5321 §2.4 leaves that to the domain's own hosts, and advises against mailboxes that differ
    in case alone.
    """
    return address.local_part.lower(), address.domain


@attrs.frozen(kw_only=True)
class Kept:
    """What is kept to verify the login of an account.

    :ivar password: the hash of its password; ``None`` when there is none here
    :ivar scram: the keys of the same password; ``None`` when it can't use SCRAM
    """

    password: str | None = attrs.field(default=None, repr=False)
    scram: ScramKeys | None = None


@attrs.frozen(kw_only=True)
class Contents:
    """What an accounts file says.

    :ivar accounts: what is kept of each account
    :ivar aliases: the addresses that each alias stands for
    :ivar catch_all: the addresses that get what is for nobody else, by domain
    :ivar top: the comment lines at the top of the file
    """

    accounts: Mapping[Address, Kept]
    aliases: Mapping[Address, tuple[Address, ...]]
    catch_all: Mapping[str, tuple[Address, ...]] = attrs.Factory(dict)
    top: str = _TOP


def read_contents(path: str, octets: bytes) -> Contents:
    """Read the text of an accounts file.

    :param path: the file's name, for the message
    :raises AccountsError: it can't be used; all the mistakes are told
    """
    try:
        text = octets.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise AccountsError(path, [Mistake(problem=f"is not UTF-8: {error.reason}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise AccountsError(path, [Mistake(problem=f"is not TOML: {error}")]) from None
    reading = _Reading()
    reading.read(document)
    if not reading.mistakes:
        reading.mistakes.extend(loops(reading.aliases, reading.catch_all, reading.accounts))
    if reading.mistakes:
        raise AccountsError(path, reading.mistakes)
    return Contents(
        accounts=reading.accounts,
        aliases=reading.aliases,
        catch_all=reading.catch_all,
        top=_first_comments(text),
    )


def write_contents(contents: Contents) -> bytes:
    """The text of an accounts file."""
    pieces = [contents.top]
    for address, kept in contents.accounts.items():
        pieces.append(f"\n[[account]]\naddress = {_text(str(address))}\n")
        if kept.password is not None:
            pieces.append(f"password = {_text(kept.password)}\n")
        if kept.scram is not None:
            pieces.append(f"scram = {_text(str(kept.scram))}\n")
    aliases = [(str(address), targets) for address, targets in contents.aliases.items()]
    aliases += [(f"@{domain}", targets) for domain, targets in contents.catch_all.items()]
    for name, targets in aliases:
        to = ", ".join(_text(str(target)) for target in targets)
        pieces.append(f"\n[[alias]]\naddress = {_text(name)}\nto = [{to}]\n")
    return "".join(pieces).encode()


def loops(
    aliases: Mapping[Address, Iterable[Address]],
    catch_all: Mapping[str, Iterable[Address]],
    accounts: Iterable[Address],
) -> list[Mistake]:
    """The aliases that lead back to themselves.

    :param catch_all: by domain, see `Contents`
    :param accounts: where mail ends up
    """
    known = {key_of(each) for each in (*accounts, *aliases)}

    def leads(address: Address) -> tuple[str, str]:
        key = key_of(address)
        if key in known or address.domain not in catch_all:
            return key
        for place, character in enumerate(key[0]):
            if character in DELIMITERS and (key[0][:place], key[1]) in known:
                return key[0][:place], key[1]
        return "", address.domain

    targets = {key_of(alias): [leads(to) for to in tos] for alias, tos in aliases.items()}
    for domain, tos in catch_all.items():
        targets["", domain] = [leads(to) for to in tos]
    found = on_circles(targets)
    mistakes = [
        Mistake(table="[[alias]]", key="to", problem=f"{shown(f'@{domain}')} leads back to itself")
        for domain in catch_all
        if ("", domain) in found
    ]
    for number, alias in enumerate(aliases, start=1):
        if key_of(alias) in found:
            problem = f"{shown(str(alias))} leads back to itself"
            mistakes.append(Mistake(table=_entry("alias", number), key="to", problem=problem))
    return mistakes


class _Reading:
    """Collects the entries and the mistakes of one file."""

    def __init__(self) -> None:
        self.accounts: dict[Address, Kept] = {}
        self.aliases: dict[Address, tuple[Address, ...]] = {}
        self.catch_all: dict[str, tuple[Address, ...]] = {}
        self.mistakes: list[Mistake] = []
        self._taken: dict[tuple[str, str], str] = {}

    def read(self, document: Mapping[str, Any]) -> None:
        for name, tables in document.items():
            if name not in _TABLES:
                self._unknown("", name, _TABLES)
            elif not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
                self._wrong("", name, tables, f"tables in double brackets: [[{name}]]")
            else:
                for number, table in enumerate(tables, start=1):
                    self._read_entry(name, _entry(name, number), table)

    def _read_entry(self, name: str, place: str, table: Mapping[str, Any]) -> None:
        keys = _TABLES[name]
        for key in table:
            if key not in keys:
                self._unknown(place, key, keys)
        missing = [key for key in _REQUIRED[name] if key not in table]
        for key in missing:
            self.mistakes.append(Mistake(table=place, key=key, problem="is missing"))
        if missing:
            return
        text = table["address"]
        if name == "alias" and isinstance(text, str) and text.startswith("@"):
            self._read_catch_all(place, table, text)
            return
        address = self._address(place, "address", table["address"])
        if address is not None:
            self._take(place, address)
        if name == "account":
            kept = self._kept(place, table)
            if address is not None:
                self.accounts[address] = kept
        else:
            targets = self._targets(place, table["to"])
            if targets and address is not None:
                self.aliases[address] = targets

    def _read_catch_all(self, place: str, table: Mapping[str, Any], text: str) -> None:
        targets = self._targets(place, table["to"])
        try:
            domain = normal_domain(text[1:])
        except AddressError as error:
            self._wrong(place, "address", text, f'a domain such as "@rosse.example" ({error})')
            return
        if domain in self.catch_all:
            problem = f"there are two for {shown(f'@{domain}')}"
            self.mistakes.append(Mistake(table=place, key="address", problem=problem))
        if targets:
            self.catch_all[domain] = targets

    def _kept(self, place: str, table: Mapping[str, Any]) -> Kept:
        """What stands there may be a password in clear: it is not repeated."""
        password, scram = table.get("password"), table.get("scram")
        if password is not None and (not isinstance(password, str) or not is_hash(password)):
            self.mistakes.append(
                Mistake(table=place, key="password", problem="is no hash", allowed=_A_HASH)
            )
            password = None
        keys = None
        if scram is not None:
            try:
                keys = ScramKeys.parse(scram if isinstance(scram, str) else "")
            except ValueError as error:
                self.mistakes.append(
                    Mistake(table=place, key="scram", problem=f"is {error}", allowed=_KEYS)
                )
        return Kept(password=password, scram=keys)

    def _take(self, place: str, address: Address) -> None:
        other = self._taken.setdefault(key_of(address), place)
        if other != place:
            problem = f"{shown(str(address))} is taken by {other} already"
            self.mistakes.append(Mistake(table=place, key="address", problem=problem))

    def _targets(self, place: str, value: object) -> tuple[Address, ...]:
        if not isinstance(value, list) or not value:
            self._wrong(place, "to", value, _ADDRESSES)
            return ()
        read = [self._address(place, "to", each) for each in value]
        return tuple(dict.fromkeys(each for each in read if each is not None))

    def _address(self, place: str, key: str, value: object) -> Address | None:
        if not isinstance(value, str):
            self._wrong(place, key, value, _AN_ADDRESS)
            return None
        try:
            return Address.parse(value)
        except AddressError as error:
            self._wrong(place, key, value, f"{_AN_ADDRESS} ({error})")
            return None

    def _wrong(self, place: str, key: str, value: object, allowed: str) -> None:
        problem = f"found {shown(value)}"
        self.mistakes.append(Mistake(table=place, key=key, problem=problem, allowed=allowed))

    def _unknown(self, place: str, key: str, known: Iterable[str]) -> None:
        names = tuple(known)
        self.mistakes.append(
            Mistake(
                table=place,
                key=key,
                problem="unknown key",
                allowed=", ".join(names),
                meant=nearest(key, names),
            )
        )


def _entry(name: str, number: int) -> str:
    return f"[[{name}]] #{number}"


def _first_comments(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line + "\n")
    return "".join(lines) or _TOP


def _text(value: str) -> str:
    # Addresses and hashes are printable, where JSON and TOML quote alike (TOML 1.0, String).
    return json.dumps(value, ensure_ascii=False)
