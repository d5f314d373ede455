"""The accounts file as it is looked up and changed.

A change is written beside the file, synced and renamed into place, so that a reader finds the old
file or the new one whole, also after a power cut. A lock on the file (``flock``) keeps two commands
from changing it at once, and a file that somebody edited since it was read is not overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from mailframe.accounts.passwords import Passwords
from mailframe.accounts.reading import (
    AccountsError,
    Contents,
    Kept,
    key_of,
    loops,
    read_contents,
    write_contents,
)
from mailframe.address import Address, AddressError
from mailframe.config_errors import Mistake, nearest
from mailframe.interfaces import Account, Alias
from mailframe.scram import ScramKeys

__all__ = ["AccountStore", "AccountsError", "Signature", "signature"]

# Device, inode, time of change in nanoseconds and size; None when there is no file.
Signature: TypeAlias = tuple[int, int, int, int] | None


class AccountStore:
    """Accounts and aliases. Nothing is written before `save`.

    :ivar path: the file
    :ivar read_as: what the file was like when it was read; ``None`` when there was none
    """

    def __init__(
        self,
        path: str,
        contents: Contents,
        read_as: Signature = None,
        passwords: Passwords | None = None,
    ) -> None:
        self.path = path
        self.read_as = read_as
        self._passwords = passwords or Passwords()
        self._top = contents.top
        self._accounts = {key_of(address): address for address in contents.accounts}
        self._kept = {key_of(address): kept for address, kept in contents.accounts.items()}
        self._aliases = {
            key_of(address): Alias(address=address, addresses=targets)
            for address, targets in contents.aliases.items()
        }
        self._catch_all = dict(contents.catch_all)
        self._locked = False

    @classmethod
    def load(cls, path: str, passwords: Passwords | None = None) -> AccountStore:
        """Read the file. A missing one gives an empty store, with ``read_as`` being ``None``.

        :param passwords: makes the hashes; default: with the parameters argon2-cffi recommends
        :raises AccountsError: the file can't be read or used
        """
        try:
            with open(path, "rb") as file:
                read_as = _signature_of(os.fstat(file.fileno()))
                octets = file.read()
        except FileNotFoundError:
            return cls(path, Contents(accounts={}, aliases={}), None, passwords)
        except OSError as error:
            raise AccountsError(path, [_unreadable(error)]) from error
        return cls(path, read_contents(path, octets), read_as, passwords)

    @classmethod
    @contextlib.contextmanager
    def changing(cls, path: str, passwords: Passwords | None = None) -> Iterator[AccountStore]:
        """Read the file and, at the end of the ``with`` block, save it; nobody else changes it
        meanwhile. Nothing is saved when the block raises.

        :raises AccountsError: the file can't be read, used or written
        """
        with _lock(path):
            store = cls.load(path, passwords)
            store._locked = True
            try:
                yield store
                store.save()
            finally:
                store._locked = False

    # --- looking up ---------------------------------------------------------------------------

    @property
    def accounts(self) -> dict[Address, str | None]:
        """The password hash of each account that has one, in the order of the file."""
        return {address: self._kept[key].password for key, address in self._accounts.items()}

    @property
    def without_scram(self) -> list[Address]:
        """The accounts that have a password, but no keys for SCRAM."""
        return [
            address
            for key, address in self._accounts.items()
            if self._kept[key].password is not None and self._kept[key].scram is None
        ]

    @property
    def scram_iterations(self) -> int | None:
        """The iterations of most keys for SCRAM; ``None`` when there are none."""
        counts = Counter(kept.scram.iterations for kept in self._kept.values() if kept.scram)
        return counts.most_common(1)[0][0] if counts else None

    @property
    def aliases(self) -> dict[Address, tuple[Address, ...]]:
        """What each alias stands for, in the order of the file."""
        return {alias.address: alias.addresses for alias in self._aliases.values()}

    @property
    def catch_all(self) -> Mapping[str, tuple[Address, ...]]:
        """Who gets what is for nobody else, by domain."""
        return self._catch_all

    def find(self, address: Address) -> Account | Alias | None:
        """Who is behind an address, in any case of its local part."""
        key = key_of(address)
        own = self._accounts.get(key)
        return self._aliases.get(key) if own is None else Account(address=own)

    def password_hash(self, address: Address) -> str | None:
        """The kept hash of an account's password; ``None`` when there is none."""
        kept = self._kept.get(key_of(address))
        return kept.password if kept else None

    def scram_keys(self, address: Address) -> ScramKeys | None:
        """The kept keys of an account's password for SCRAM; ``None`` when there are none."""
        kept = self._kept.get(key_of(address))
        return kept.scram if kept else None

    # --- changing -----------------------------------------------------------------------------

    def add(self, address: Address | str, password: str | None) -> None:
        """Add an account.

        :param password: ``None`` for one whose login is not verified here
        :raises AccountsError: the address is none, or taken
        :raises UnusablePassword: the password is empty, too long or holds a control character
        """
        own = self._address(address)
        self._free(own)
        self._kept[key_of(own)] = Kept() if password is None else self._keep(password)
        self._accounts[key_of(own)] = own

    def remove(self, address: Address | str) -> None:
        """Remove an account. Its mailbox is left alone.

        :raises AccountsError: there is none
        """
        key = self._account(address)
        del self._accounts[key], self._kept[key]

    def set_password(self, address: Address | str, password: str) -> None:
        """Give an account another password.

        :raises AccountsError: there is no such account
        :raises UnusablePassword: the password is empty, too long or holds a control character
        """
        self._kept[self._account(address)] = self._keep(password)

    def alias(self, address: Address | str, targets: Iterable[Address | str]) -> None:
        """Set what an alias stands for, whether or not it exists already.

        :raises AccountsError: the address is an account's, a target is no address, there is none,
            or the alias would lead back to itself
        """
        own = self._address(address)
        if key_of(own) in self._accounts:
            raise self._error(f"{own} is an account; an alias needs an address of its own")
        addresses = tuple(dict.fromkeys(map(self._address, targets)))
        if not addresses:
            raise self._error(f"alias {own} needs at least one address to stand for")
        self._check_loops(str(own), {**self.aliases, own: addresses}, self._catch_all)
        self._aliases[key_of(own)] = Alias(address=own, addresses=addresses)

    def catch(self, domain: str, targets: Iterable[Address | str]) -> None:
        """Set who gets what is for nobody else in a domain.

        :param domain: in normal form
        :raises AccountsError: a target is no address, there is none, or it would lead back
        """
        addresses = tuple(dict.fromkeys(map(self._address, targets)))
        if not addresses:
            raise self._error(f"alias @{domain} needs at least one address to stand for")
        catch_all = {**self._catch_all, domain: addresses}
        self._check_loops(f"@{domain}", self.aliases, catch_all)
        self._catch_all = catch_all

    def remove_catch_all(self, domain: str) -> None:
        """Have nobody get what is for nobody else in a domain.

        :raises AccountsError: nobody does
        """
        if self._catch_all.pop(domain, None) is None:
            known = [f"@{each}" for each in self._catch_all]
            raise self._error(f"there is no alias @{domain}", nearest(f"@{domain}", known))

    def _check_loops(
        self,
        name: str,
        aliases: Mapping[Address, Iterable[Address]],
        catch_all: Mapping[str, Iterable[Address]],
    ) -> None:
        if loops(aliases, catch_all, self._accounts.values()):
            raise self._error(f"alias {name} would lead back to itself")

    def remove_alias(self, address: Address | str) -> None:
        """Remove an alias.

        :raises AccountsError: there is none
        """
        own = self._address(address)
        if self._aliases.pop(key_of(own), None) is None:
            raise self._error(f"there is no alias {own}", _meant(own, self.aliases))

    def save(self) -> None:
        """Write the file, mode 0600 unless it exists with another that shuts out strangers.

        :raises AccountsError: it can't be written, or was changed by somebody else since `load`
        """
        accounts = {address: self._kept[key] for key, address in self._accounts.items()}
        contents = Contents(
            accounts=accounts, aliases=self.aliases, catch_all=self._catch_all, top=self._top
        )
        with contextlib.nullcontext() if self._locked else _lock(self.path):
            now = signature(self.path)
            if now != self.read_as and not (self.read_as is None and _is_empty(now)):
                raise self._error("was changed by somebody else meanwhile; try again")
            try:
                _replace(os.path.realpath(self.path), write_contents(contents))
            except OSError as error:
                problem = f"can't be written: {error.strerror}"
                raise AccountsError(self.path, [Mistake(problem=problem)]) from error
            self.read_as = signature(self.path)

    def _keep(self, password: str) -> Kept:
        passwords = self._passwords
        return Kept(password=passwords.hash(password), scram=passwords.scram_keys(password))

    def _address(self, value: Address | str) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except AddressError as error:
            raise self._error(f"{value!r} is not a mail address: {error}") from None

    def _account(self, value: Address | str) -> tuple[str, str]:
        own = self._address(value)
        if key_of(own) not in self._accounts:
            raise self._error(f"there is no account {own}", _meant(own, self.accounts))
        return key_of(own)

    def _free(self, address: Address) -> None:
        if key_of(address) in self._accounts:
            raise self._error(f"there is an account {address} already")
        if key_of(address) in self._aliases:
            raise self._error(f"there is an alias {address} already")

    def _error(self, problem: str, meant: str | None = None) -> AccountsError:
        return AccountsError(self.path, [Mistake(problem=problem, meant=meant)])


def signature(path: str) -> Signature:
    """What tells one version of the file from the next; ``None`` when there is no file."""
    try:
        return _signature_of(os.stat(path))
    except OSError:
        return None


def _signature_of(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _is_empty(found: Signature) -> bool:
    return found is None or found[3] == 0


def _unreadable(error: OSError) -> Mistake:
    return Mistake(problem=f"can't be read: {error.strerror}")


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Hold the exclusive lock on the file; an empty one, which is valid, is made when missing."""
    try:
        descriptor = _open_locked(path)
    except OSError as error:
        raise AccountsError(path, [_unreadable(error)]) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(path: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held the lock before may have renamed another file into place.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _replace(path: str, octets: bytes) -> None:
    """Put a file in place of the one at ``path``, durably; owner and private mode bits are kept."""
    folder = os.path.dirname(path)
    old = os.stat(path)
    descriptor, beside = tempfile.mkstemp(dir=folder, prefix=".accounts-", suffix=".tmp")
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            if os.geteuid() == 0:
                # The command run by root must not lock out the user the server runs as.
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o660 | 0o600)
            os.fsync(descriptor)
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    holder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(holder)
    finally:
        os.close(holder)


def _meant(own: Address, known: Iterable[Address]) -> str | None:
    """The address that was probably meant; that domains are alike says nothing of whose it is."""
    addresses = list(known)
    domain = nearest(own.domain, {each.domain for each in addresses})
    mailboxes = {each.local_part: each for each in addresses if each.domain == domain}
    mailbox = nearest(own.local_part, mailboxes)
    return None if mailbox is None else str(mailboxes[mailbox])
