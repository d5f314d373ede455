"""``[accounts] plugin = "file"``: accounts and aliases in a TOML file.

The file is looked at before an answer, at most once a second, and read again, in a thread, when it
has changed. Who asks meanwhile waits for the answer from the changed file: a password that was
replaced is good for a second at the most. A changed file that can't be used leaves the accounts as
they were; the log says what is wrong with it, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.accounts.checker import Argon2Checker, Login
from mailframe.accounts.passwords import Passwords
from mailframe.accounts.reading import AccountsError
from mailframe.accounts.store import AccountStore, Signature, signature
from mailframe.address import Address
from mailframe.config_errors import Mistake
from mailframe.interfaces import Account, Alias, IAccounts, Site
from mailframe.units import FilePath

T = TypeVar("T")
log = Logger()

LOOK_EVERY = 1.0  # seconds between two looks whether the file has changed


@attrs.frozen(kw_only=True)
class FileSettings:
    """The ``[accounts]`` table.

    :ivar path: the accounts file, which ``mailframe account`` writes
    """

    path: FilePath


def build(settings: FileSettings, site: Site) -> FileAccounts:
    """Make the part.

    :raises AccountsError: there is no such file, or it can't be used
    """
    return FileAccounts(path=settings.path, clock=site.reactor, in_thread=site.in_thread)


@implementer(IAccounts)
class FileAccounts:
    """The accounts of one file.

    :param path: the file
    :param clock: tells when it is time to look at the file again
    :param in_thread: ``in_thread(function, *args)`` returns a Deferred of the function's result
    :param passwords: verifies passwords
    :raises AccountsError: there is no such file, or it can't be used
    """

    def __init__(
        self,
        *,
        path: str,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        passwords: Passwords | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._passwords = passwords or Passwords()
        self._use(AccountStore.load(path))
        if self._store.read_as is None:
            problem = "does not exist; `mailframe account add ADDRESS` makes it"
            raise AccountsError(path, [Mistake(problem=problem)])
        self._seen: Signature = self._store.read_as
        self._looked = clock.seconds()
        self._waiting: list[Deferred[None]] | None = None  # a list while the file is being read

    def find(self, address: Address) -> Deferred[Account | Alias | None]:
        """Who is behind an address: an account, an alias, or nobody."""
        return self._ask(lambda: self._store.find(address))

    def checkers(self) -> Sequence[ICredentialsChecker]:
        """One checker, for user name and password."""
        return (
            Argon2Checker(find=self._login, passwords=self._passwords, in_thread=self._in_thread),
        )

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
        self._use(store)
        log.info("read {path!r} again: it has changed", path=self._path)

    def _broken(self, failure: Failure) -> None:
        if isinstance(failure.value, AccountsError):
            self._keep(str(failure.value))
        else:
            log.failure("{path!r} could not be read again", failure, path=self._path)

    def _keep(self, reason: str) -> None:
        log.error(
            "accounts stay as they were before {path!r} changed: {reason}",
            path=self._path,
            reason=reason,
        )

    def _answer(self, _: object) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(None)
