"""Parts with a field for every failure point, for the tests of the SMTP server."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailframe.address import Address
from mailframe.envelope import Client, Envelope
from mailframe.interfaces import NOTHING_KNOWN, IMailUser, Known
from mailframe.outcome import Deny, Local, NextHop, Permit, Redirect, Relay, Route, Unroutable
from mailframe.reply import Reply
from mailframe.server.admission import Admission
from mailframe.server.limits import Limits

HERE = "here.example"
DENIED = Reply(550, "5.7.1", "relaying denied")
NOBODY = Reply(550, "5.1.1", "no such mailbox")


@attrs.define
class FakeSink:
    """Keeps what is written; every method can be made to fail or to wait."""

    id: str
    envelope: Envelope
    storage: FakeStorage
    parts: list[bytes] = attrs.field(factory=list)
    ended: str = ""

    def write(self, octets: bytes) -> Awaitable[None] | None:
        """Take octets, or wait, or fail."""
        assert not self.ended, "written after the end"
        if self.storage.write_error is not None:
            raise self.storage.write_error
        self.parts.append(octets)
        return self.storage.room

    def commit(self) -> Awaitable[None]:
        """Keep the message, or wait, or fail."""
        assert not self.ended, "ended twice"
        self.ended = "commit"
        if self.storage.commit_error is not None:
            raise self.storage.commit_error
        return self.storage.committing or succeed(None)

    def abort(self) -> None:
        """Forget the message, or fail."""
        assert not self.ended, "ended twice"
        self.ended = "abort"
        if self.storage.abort_error is not None:
            raise self.storage.abort_error

    @property
    def content(self) -> bytes:
        """What was written."""
        return b"".join(self.parts)


@attrs.define
class FakeStorage:
    """Begins messages."""

    receive_error: Exception | None = None
    write_error: Exception | None = None
    commit_error: Exception | None = None
    abort_error: Exception | None = None
    room: Deferred[None] | None = None
    committing: Deferred[None] | None = None
    removing: Any = None
    removed: list[str] = attrs.field(factory=list)
    sinks: list[FakeSink] = attrs.field(factory=list)

    def receive(self, envelope: Envelope) -> FakeSink:
        """Begin one."""
        if self.receive_error is not None:
            raise self.receive_error
        sink = FakeSink(f"q{len(self.sinks) + 1}", envelope, self)
        self.sinks.append(sink)
        return sink

    def remove(self, id: str, now: float) -> Awaitable[None]:
        """Take one out of the queue, or wait, or fail."""
        self.removed.append(id)
        if isinstance(self.removing, Exception):
            raise self.removing
        return self.removing or succeed(None)


@attrs.define
class FakeRouter:
    """Local domain: mailboxes but ``nobody``, alias ``team``; other domains are relayed to."""

    routes: dict[str, Route] = attrs.field(factory=dict)
    waiting: Deferred[None] | None = None
    asked: list[tuple[Address | None, Address, Client | None, float]] = attrs.field(factory=list)
    known: list[Known] = attrs.field(factory=list)
    asks_provider: bool = False
    for_provider: Route | None = None  # the route once a provider is known

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        """Answer at once, or when the test wants it."""
        self.asked.append((sender, recipient, client, now))
        self.known.append(known)
        if self.waiting is not None:
            await self.waiting
        if known.provider is not None and self.for_provider is not None:
            return self.for_provider
        if str(recipient) in self.routes:
            return self.routes[str(recipient)]
        if recipient.domain != HERE:
            return Relay(hops=(NextHop(where=f"mx:{recipient.domain}"),), reason="not ours")
        if recipient.local_part == "nobody":
            return Unroutable(reply=NOBODY, reason="no account", rule="accounts", plugin="file")
        if recipient.local_part == "team":
            return Redirect(addresses=(Address("a", "x.example"),), reason="alias", rule="alias")
        return Local(mailbox=recipient, reason="local domain")


@attrs.define
class FakeAuthorisation:
    """Permits who has a login; any other answer can be set."""

    answer: Any = None
    asked: list[tuple[Client, Address | None, Address]] = attrs.field(factory=list)

    def authorise(self, client: Client, sender: Address | None, recipient: Address) -> Any:
        """Judge by the login, or as the test wants it."""
        self.asked.append((client, sender, recipient))
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Deferred):
            return self.answer
        return succeed(self.answer or self.judge(client))

    def judge(self, client: Client) -> Permit | Deny:
        """By the login."""
        if client.login:
            return Permit(reason="has a login", rule="login", plugin="fake", provider="rosse")
        return Deny(reason="a stranger", rule="none", plugin="fake", reply=DENIED)

    async def admit(self, client: Client) -> Permit | Deny:
        """Not asked here."""
        return self.judge(client)


@implementer(IMailUser)
@attrs.define
class FakeUser:
    """Somebody with a login."""

    address: Address


@implementer(IRealm)
@attrs.define
class FakeRealm:
    """Gives mail users, and remembers who logged out."""

    logouts: list[str] = attrs.field(factory=list)

    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: object) -> object:
        """The avatar of an account."""
        address = avatarId.decode()
        return IMailUser, FakeUser(Address.parse(address)), lambda: self.logouts.append(address)


def fake_portal(realm: FakeRealm | None = None) -> Portal:
    """A portal that knows ``angelo@here.example`` with the password ``secret``."""
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(b"angelo@here.example", b"secret")
    return Portal(realm or FakeRealm(), [checker])


def fake_admission(
    clock: IReactorTime,
    *,
    storage: FakeStorage | None = None,
    router: FakeRouter | None = None,
    authorisation: FakeAuthorisation | None = None,
    limits: Limits | None = None,
    local_domains: frozenset[str] = frozenset(),
) -> Admission:
    """Admission between fakes."""
    parts: dict[str, Any] = {
        "storage": storage or FakeStorage(),
        "router": router or FakeRouter(),
        "authorisation": authorisation or FakeAuthorisation(),
    }
    return Admission(
        hostname="mx.here.example",
        storage_name="fakestore",
        authorisation_name="fakeauth",
        limits=limits or Limits(),
        clock=clock,
        local_domains=local_domains,
        **parts,
    )
