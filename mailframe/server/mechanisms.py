"""Which SASL mechanisms a server offers: those whose credentials some checker of its portal takes.

See `mailframe.credentials`, where a plugin's author finds what to declare.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import Portal

from mailframe.credentials import IBearerToken, IScramChecker, IScramCredentials
from mailframe.wire.sasl import PLUS, SCRAM, SERVER_MECHANISMS


class Mechanisms:
    """The mechanisms for the logins of one portal, the strongest first.

    :ivar scram: the checker that keeps the keys for SCRAM; ``None`` when there is none
    """

    def __init__(self, portal: Portal | None, only: Iterable[str] | None = None) -> None:
        """
        :param portal: ``None`` where nobody can log in
        :param only: the names of those that may be offered, in any case; ``None``: all
        """
        checkers: Any = {} if portal is None else portal.checkers
        others: list[str] = []
        if IUsernamePassword in checkers:
            others += ["PLAIN", "LOGIN"]
        if IBearerToken in checkers:
            others += ["OAUTHBEARER", "XOAUTH2"]
        self.scram: IScramChecker | None = checkers.get(IScramCredentials)
        allowed = frozenset(SERVER_MECHANISMS if only is None else (each.upper() for each in only))

        def of(*names: str) -> tuple[str, ...]:
            return tuple(name for name in names if name in allowed)

        self._others = of(*others)
        self._with_scram = of(SCRAM, *others)
        self._with_plus = of(PLUS, SCRAM, *others)

    def offered(self, can_bind: bool) -> tuple[str, ...]:
        """What a client may use now.

        :param can_bind: whether there is TLS that a login can be bound to
        """
        if self.scram is None or self.scram.scram_iterations is None:
            return self._others
        return self._with_plus if can_bind else self._with_scram
