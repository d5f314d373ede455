"""``[accounts] plugin = "file"``: accounts and aliases in a TOML file.

Logins are verified with what the file keeps, and by the checkers that ``checkers`` names
(`mailframe.accounts.strcred_checkers`). SCRAM is offered while every login could use it: most
clients take the strongest mechanism they are offered, and try no other one when it fails.

The file is looked at before an answer, at most once a second, and read again, in a thread, when it
has changed. Who asks meanwhile waits for the answer from the changed file: a password that was
replaced is good for a second at the most. A changed file that can't be used leaves the accounts as
they were; the log says what is wrong with it, once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.accounts.checker import Argon2Checker, Login
from mailframe.accounts.login_elsewhere import LoginElsewhere, Surroundings
from mailframe.accounts.login_secret import load_secret
from mailframe.accounts.lookup import Lookup
from mailframe.accounts.passwords import Passwords
from mailframe.accounts.reading import DELIMITERS, AccountsError
from mailframe.accounts.scram_checker import ScramChecker, ScramLogin
from mailframe.accounts.store import AccountStore, Signature, signature
from mailframe.accounts.strcred_checkers import CheckerError, make_checkers
from mailframe.address import Address, AddressError, normal_domain
from mailframe.config_errors import Mistake
from mailframe.credentials import IScramCredentials
from mailframe.interfaces import Account, Alias, IAccounts, Site
from mailframe.units import FilePath

T = TypeVar("T")
log = Logger()

LOOK_EVERY = 1.0  # seconds between two looks whether the file has changed
_UNREAD: Signature = (-1, -1, -1, -1)  # no file's


def _delimiters(_instance: object, attribute: Any, value: str) -> None:
    if not set(value) <= set(DELIMITERS):
        raise ValueError(
            f"'{attribute.name}' found {value!a}; allowed: characters of \"{DELIMITERS}\", or none"
        )


@attrs.frozen(kw_only=True)
class FileSettings:
    """The ``[accounts]`` table.

    :ivar path: the accounts file, which ``mailframe account`` writes
    :ivar checkers: who else verifies logins, as `twisted.cred.strcred` names them:
        ``"file:/etc/mail.passwd"``, ``"unix"``; a relative path is beside the accounts file
    :ivar domain: of the logins that a checker knows without one; default: the local domain, when
        there is only one
    :ivar subaddress: the characters of which each begins a subaddress, which makes no difference to
        whose mail it is; ``""``: none does
    :ivar postmaster: who gets the mail for postmaster and abuse of each local domain, where nobody
        has these addresses
    """

    path: FilePath
    checkers: tuple[str, ...] = ()
    domain: str | None = None
    subaddress: str = attrs.field(default="+", validator=_delimiters)
    postmaster: Address | None = None


def build(settings: FileSettings, site: Site) -> FileAccounts:
    """Make the part.

    :raises AccountsError: there is no such file, or it can't be used
    :raises CheckerError: a checker can't be used
    """
    domain = None if settings.domain is None else _normal(settings.domain)
    if domain is None and len(site.local_domains) == 1:
        (domain,) = site.local_domains
    if domain is None and settings.checkers:
        raise CheckerError("domain: is missing; say to which domain the logins of checkers belong")
    return FileAccounts(
        path=settings.path,
        clock=site.reactor,
        in_thread=site.in_thread,
        checkers=settings.checkers,
        domain=domain or "",
        secret=lambda: load_secret(site.state_dir),
        lookup=Lookup(subaddress=settings.subaddress, postmaster=settings.postmaster),
    )


def _normal(domain: str) -> str:
    try:
        return normal_domain(domain)
    except AddressError as error:
        raise CheckerError(f"domain: {domain!r} is no domain name: {error}") from None


@implementer(IAccounts)
class FileAccounts:
    """The accounts of one file.

    :param path: the file
    :param clock: tells when it is time to look at the file again
    :param in_thread: ``in_thread(function, *args)`` returns a Deferred of the function's result
    :param passwords: verifies passwords
    :param checkers: who else verifies logins; see `FileSettings`
    :param domain: of their logins
    :param secret: gives the secret from which the salts of their logins are made
    :param lookup: how the addresses of mail are looked up
    :raises AccountsError: there is no such file, or it can't be used
    :raises CheckerError: a checker can't be used
    """

    def __init__(
        self,
        *,
        path: str,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        passwords: Passwords | None = None,
        checkers: Sequence[str] = (),
        domain: str = "",
        secret: Callable[[], bytes] = lambda: os.urandom(32),
        lookup: Lookup | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._passwords = passwords or Passwords()
        self._lookup = lookup or Lookup()
        self._use(AccountStore.load(path))
        if self._store.read_as is None:
            problem = "does not exist; `mailframe account add ADDRESS` makes it"
            raise AccountsError(path, [Mistake(problem=problem)])
        self._seen: Signature = self._store.read_as
        self._looked = clock.seconds()
        self._waiting: list[Deferred[None]] | None = None  # a list while the file is being read
        self._kept_for = ""  # what is wrong with the file, as it was said
        around = Surroundings(
            domain=domain,
            find=self._find_login,
            in_thread=in_thread,
            secret=functools.cache(secret),
            scram=lambda: self._scram,
        )
        self._elsewhere: Sequence[LoginElsewhere] = make_checkers(
            checkers, os.path.dirname(path), around
        )
        kinds = [kind for each in self._elsewhere for kind in each.credentialInterfaces]
        # Each has at most one checker of a kind.
        self._all_scram = kinds.count(IScramCredentials) >= kinds.count(IUsernamePassword)

    def find(self, address: Address) -> Deferred[Account | Alias | None]:
        """Who is behind an address: an account, an alias, or nobody."""
        return self._ask(lambda: self._lookup.find(self._store, address))

    def _find_login(self, address: Address) -> Deferred[Account | Alias | None]:
        """Nobody logs in as what only mail is taken for."""
        return self._ask(lambda: self._store.find(address))

    def checkers(self) -> Sequence[ICredentialsChecker]:
        """For user name and password, and for SCRAM; and those that verify logins elsewhere."""
        return (
            Argon2Checker(find=self._login, passwords=self._passwords, in_thread=self._in_thread),
            ScramChecker(
                find=self._scram_login,
                iterations=lambda: self._iterations if self._scram else None,
            ),
            *self._elsewhere,
        )

    @property
    def _scram(self) -> bool:
        """Whether everybody who can log in can do so with SCRAM."""
        return self._all_scram and not self._lacking

    def _scram_login(self, address: Address) -> Deferred[ScramLogin | None]:
        return self._ask(lambda: self._scram_login_now(address))

    def _scram_login_now(self, address: Address) -> ScramLogin | None:
        keys = self._store.scram_keys(address)
        found = self._store.find(address)
        if keys is None or not isinstance(found, Account):
            return None
        return ScramLogin(address=found.address, keys=keys)

    def _login(self, address: Address | None) -> Deferred[Login]:
        return self._ask(lambda: self._login_now(address))

    def _login_now(self, address: Address | None) -> Login:
        kept = None if address is None else self._store.password_hash(address)
        found = None if address is None else self._store.find(address)
        if kept is None or not isinstance(found, Account):
            return Login(address=None, hash=self._decoy)
        return Login(address=found.address, hash=kept)

    def _use(self, store: AccountStore) -> None:
        self._store = store
        self._decoy = self._passwords.decoy(store.accounts.values())
        self._lacking = store.without_scram
        self._iterations = store.scram_iterations

    # --- following the file -------------------------------------------------------------------

    def _ask(self, question: Callable[[], T]) -> Deferred[T]:
        """Answer from the file as it is now."""
        self._look()
        if self._waiting is None:
            return succeed(question())
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting.addCallback(lambda _: question())

    def _look(self) -> None:
        now = self._clock.seconds()
        if self._waiting is not None or 0 <= now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        found = signature(self._path)
        if found != self._seen:
            self._seen = found
            self._waiting = []
            reading: Deferred[AccountStore] = self._in_thread(AccountStore.load, self._path)
            reading.addCallbacks(self._changed, self._broken)
            reading.addBoth(self._answer)

    def _changed(self, store: AccountStore) -> None:
        if store.read_as is None:
            self._keep("it does not exist any more")
            return
        self._seen = store.read_as
        self._kept_for = ""
        self._use(store)
        log.info("read {path!r} again: it has changed", path=self._path)

    def _broken(self, failure: Failure) -> None:
        if isinstance(failure.value, AccountsError):
            is_unread = isinstance(failure.value.__cause__, OSError)
            if is_unread:
                # What was in the way may be gone without a change: permissions, descriptors.
                self._seen = _UNREAD
            if not (is_unread and self._kept_for == str(failure.value)):
                self._keep(str(failure.value))
        else:
            log.failure("{path!r} could not be read again", failure, path=self._path)

    def _keep(self, reason: str) -> None:
        self._kept_for = reason
        log.error(
            "accounts stay as they were before {path!r} changed: {reason}",
            path=self._path,
            reason=reason,
        )

    def _answer(self, _: object) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(None)
