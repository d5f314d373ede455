"""The checkers that a text names, as `twisted.cred.strcred` and its plugins understand it.

``checkers = ["file:/etc/mail.passwd", "unix"]`` in ``[accounts]`` makes them further sources of
logins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from twisted.cred import strcred
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, maybeDeferred

from mailframe.accounts.login_elsewhere import LoginElsewhere, Surroundings
from mailframe.accounts.scram_elsewhere import ScramElsewhere, ScramFromPasswords
from mailframe.config_errors import nearest
from mailframe.credentials import IBearerToken, IScramCredentials

_BLOCKING = ("unix",)  # crypt() may take long on purpose
USABLE = (IUsernamePassword, IScramCredentials, IBearerToken, IUsernameHashedPassword)


class CheckerError(ValueError):
    """A checker can't be used. ``str(error)`` says why, without its argument."""


def kinds() -> list[Any]:
    """The installed `ICheckerFactory` objects whose checkers can be used, by name."""
    find: Any = strcred.findCheckerFactories  # which has no types
    usable = {
        factory.authType: factory
        for factory in find()
        if any(interface in factory.credentialInterfaces for interface in USABLE)
    }
    return [usable[name] for name in sorted(usable)]


def make_checkers(
    descriptions: Iterable[str], folder: str, around: Surroundings
) -> list[LoginElsewhere]:
    """The checkers, one for each kind of credentials, that the descriptions name.

    :param descriptions: texts of `twisted.cred.strcred`, such as ``file:mail.passwd``
    :param folder: what a relative path is relative to
    :raises CheckerError: there is no such checker, or it can't be used
    """
    made = []
    for description in descriptions:
        kind, _, argument = description.partition(":")
        checker = _make(kind, argument, folder)
        if kind in _BLOCKING:
            checker = _InThread(checker, around.in_thread)
        own = _for_each_kind(checker, around)
        if not own:
            raise CheckerError(f"checkers: {kind!r} verifies nothing that a mail client can send")
        made += own
    return made


def _make(kind: str, argument: str, folder: str) -> Any:
    if kind == "file":
        argument = os.path.join(folder, argument)
        if not os.path.isfile(argument):
            raise CheckerError(f"checkers: there is no file {argument}")
    make: Any = strcred.makeChecker  # which has no types
    try:
        checker = make(f"{kind}:{argument}")
    except strcred.InvalidAuthType:
        known = [factory.authType for factory in kinds()]
        meant = nearest(kind, known)
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise CheckerError(
            f"checkers: {kind!r} is not installed; there are {', '.join(known)}{hint}"
        ) from None
    except Exception as error:
        # The argument may be a password: it is not repeated.
        raise CheckerError(
            f"checkers: {kind!r} can't be made of what stands behind it: {type(error).__name__}"
        ) from error
    if isinstance(checker, FilePasswordDB):
        checker.cache = True  # read again only when it has changed
    elif isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # Its factory fills it with texts, but clients send octets.
        checker.users = {_octets(user): _octets(held) for user, held in checker.users.items()}
    return checker


def _for_each_kind(checker: Any, around: Surroundings) -> list[LoginElsewhere]:
    offered = set(checker.credentialInterfaces)
    made = [
        LoginElsewhere(checker, interface, around)
        for interface in (IUsernamePassword, IBearerToken)
        if interface in offered
    ]
    if IScramCredentials in offered:
        made.append(ScramElsewhere(checker, around))
    elif IUsernameHashedPassword in offered:
        made.append(ScramFromPasswords(checker, around))
    return made


def _octets(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class _InThread:
    """A checker that answers at once, but may take long for it."""

    def __init__(self, checker: Any, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.credentialInterfaces = checker.credentialInterfaces
        self._checker = checker
        self._in_thread = in_thread

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """See `twisted.cred.checkers.ICredentialsChecker`."""

        def ask() -> list[Deferred[Any]]:
            # In a list, as a Deferred can't be the result of another.
            return [maybeDeferred(self._checker.requestAvatarId, credentials)]

        return self._in_thread(ask).addCallback(lambda answers: answers[0])
