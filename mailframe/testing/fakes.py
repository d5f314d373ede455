"""Fakes of every seam, with a field for every point of failure.

A ``…_trouble`` field makes one method fail: an exception is raised; anything else is answered
instead of the right answer. So ``StorageFault("disk")`` is a fault, ``Deferred()`` an answer that
never comes, and ``"nonsense"`` an answer of the wrong type. ``None`` is no trouble.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, fail, succeed
from zope.interface import implementer

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.guard import as_deferred
from mailframe.interfaces import (
    Account,
    Alias,
    Facts,
    IAccounts,
    IDeliveryAgent,
    IRelayAuthorisation,
    IRoutingPolicy,
    Job,
)
from mailframe.outcome import (
    Delivered,
    Deny,
    Local,
    NextHop,
    Outcome,
    Permit,
    Postponed,
    Relay,
    Route,
    Verdict,
)
from mailframe.reply import Reply

T = TypeVar("T")

DENIED = Deny(reason="nobody may", rule="fake", plugin="fake", reply=Reply(550, "5.7.1", "denied"))
PERMITTED = Permit(reason="everybody may", rule="fake", plugin="fake", provider="fake")


def answer(trouble: Any, right: Callable[[], T]) -> Any:
    """The right answer, or the trouble."""
    if trouble is None:
        return execute(right)
    if isinstance(trouble, Exception):
        return fail(trouble)
    return trouble if isinstance(trouble, Awaitable) else succeed(trouble)


@implementer(IRoutingPolicy)
class FakeRouting:
    """Routes from a dictionary; else local domains here and all others to their exchangers.

    :ivar routes: the route of a recipient
    :ivar asked: every question
    """

    def __init__(self, routes: dict[Address, Route] | None = None) -> None:
        self.routes = routes or {}
        self.asked: list[tuple[Address | None, Address, Facts]] = []
        self.route_trouble: Any = None

    def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Awaitable[Route]:
        """Where a recipient's mail goes."""
        self.asked.append((sender, recipient, facts))
        route: Awaitable[Route] = answer(
            self.route_trouble, lambda: self.routes.get(recipient) or self._usual(recipient, facts)
        )
        return route

    @staticmethod
    def _usual(recipient: Address, facts: Facts) -> Route:
        if facts.local:
            return Local(mailbox=recipient, reason="a local domain", plugin="fake")
        hop = NextHop(where=f"mx:{recipient.domain}")
        return Relay(hops=(hop,), reason="the domain's exchangers", plugin="fake")


@implementer(IRelayAuthorisation)
class FakeAuthorisation:
    """Gives one verdict to all.

    :ivar verdict: on carrying mail
    :ivar admission: on reading mail
    :ivar asked: every question; sender and recipient are ``None`` when it was about reading
    """

    def __init__(self, verdict: Verdict = PERMITTED, admission: Verdict = PERMITTED) -> None:
        self.verdict = verdict
        self.admission = admission
        self.asked: list[tuple[Client, Address | None, Address | None]] = []
        self.authorise_trouble: Any = None
        self.admit_trouble: Any = None

    def authorise(
        self, client: Client, sender: Address | None, recipient: Address
    ) -> Awaitable[Verdict]:
        """May the client?"""
        self.asked.append((client, sender, recipient))
        verdict: Awaitable[Verdict] = answer(self.authorise_trouble, lambda: self.verdict)
        return verdict

    def admit(self, client: Client) -> Awaitable[Verdict]:
        """May the client read its mail?"""
        self.asked.append((client, None, None))
        verdict: Awaitable[Verdict] = answer(self.admit_trouble, lambda: self.admission)
        return verdict


@implementer(IAccounts, ICredentialsChecker)
class FakeAccounts:
    """Accounts from a dictionary; the object is its own checker.

    :param passwords: the password of each account
    :param aliases: what each alias stands for
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        passwords: dict[Address, bytes] | None = None,
        aliases: dict[Address, tuple[Address, ...]] | None = None,
    ) -> None:
        self.passwords = passwords or {}
        self.aliases = aliases or {}
        self.find_trouble: Any = None
        self.login_trouble: Any = None

    def find(self, address: Address) -> Awaitable[Account | Alias | None]:
        """Who is behind an address."""
        found: Awaitable[Account | Alias | None] = answer(
            self.find_trouble, lambda: self._find(address)
        )
        return found

    def _find(self, address: Address) -> Account | Alias | None:
        if address in self.passwords:
            return Account(address=address)
        if address in self.aliases:
            return Alias(address=address, addresses=self.aliases[address])
        return None

    def checkers(self) -> Sequence[ICredentialsChecker]:
        """Itself."""
        return (self,)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The account's address, when the password is right."""
        avatar_id: Deferred[bytes | tuple[()]] = answer(
            self.login_trouble, lambda: self._log_in(credentials)
        )
        return avatar_id

    def _log_in(self, credentials: Any) -> bytes:
        for address, password in self.passwords.items():
            user = str(address).encode()
            if user == credentials.username and credentials.checkPassword(password):
                return user
        raise UnauthorizedLogin


@implementer(IDeliveryAgent)
class FakeAgent:
    """Keeps what it is given.

    :ivar outcomes: what becomes of a recipient's mail; delivered when there is nothing said
    :ivar jobs: every job
    :ivar delivered: the messages each recipient got
    """

    def __init__(self, outcomes: dict[Address, Outcome] | None = None) -> None:
        self.outcomes = outcomes or {}
        self.jobs: list[Job] = []
        self.delivered: dict[Address, list[bytes]] = {}
        self.deliver_trouble: Any = None

    def deliver(self, job: Job) -> Awaitable[Sequence[Outcome]]:
        """Read the content and keep it."""
        self.jobs.append(job)
        if self.deliver_trouble is not None:
            outcomes: Awaitable[Sequence[Outcome]] = answer(self.deliver_trouble, tuple)
            return outcomes
        return self._deliver(job)

    async def _deliver(self, job: Job) -> Sequence[Outcome]:
        try:
            octets = await self._read(job)
        except Exception as error:
            reply = Reply(451, "4.3.0", f"the content can't be read: {type(error).__name__}")
            return [Postponed(where="fake", reply=reply) for _ in job.recipients]
        usual = Delivered(where="fake", reply=Reply(250, "2.0.0", "kept"))
        outcomes = [self.outcomes.get(recipient, usual) for recipient in job.recipients]
        for recipient, outcome in zip(job.recipients, outcomes, strict=True):
            if isinstance(outcome, Delivered):
                self.delivered.setdefault(recipient, []).append(octets)
        return outcomes

    @staticmethod
    async def _read(job: Job) -> bytes:
        content = await as_deferred(job.open())
        octets = b""
        try:
            while piece := await as_deferred(content.read()):
                octets += piece
        finally:
            content.close()
        return octets
