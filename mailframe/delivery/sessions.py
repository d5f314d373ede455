"""Opens sessions with servers: each from the attempt to connect up to its first message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import (
    ConnectBindError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from mailframe.clocks import Elapsed
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.handshake import Handshake
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_counts import TlsCounts
from mailframe.delivery.tls_demand import TlsDemand, TlsDemands
from mailframe.delivery.tls_fault import TlsFault
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.interfaces import Site
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.wire.sasl import MAX_PASSWORD, Login
from mailframe.wire.sender_events import Failed

log = Logger()


class Sessions:
    """Every connection of the relay agent, from the attempt to connect until it is closed.

    :param settings: the ``[relay]`` table
    :param site: what the server lends
    :param trust_root: whom ``tls = "verify"`` trusts; ``None`` means the platform's authorities
    :param demands: decides what is asked of TLS with each server
    :param counts: counts how sessions fare with TLS, or ``None``
    """

    def __init__(
        self,
        *,
        settings: RelaySettings,
        site: Site,
        trust_root: Any,
        demands: TlsDemands | None = None,
        counts: TlsCounts | None = None,
    ) -> None:
        self._settings = settings
        self._site = site
        self._tls = TlsPolicies(trust_root)
        self._demands = demands or TlsDemands()
        self._counts = counts
        self._connecting: set[Deferred[Any]] = set()
        self._connections: set[RelayConnection] = set()
        self._asked: dict[RelayConnection, tuple[Target, TlsDemand]] = {}
        self._closing = False

    async def open(
        self,
        target: Target,
        hop: NextHop,
        login: Login | None,
        again: Callable[[], object] = lambda: None,
    ) -> RelayConnection | Failed:
        """A connection whose session stands, or why the server did not let us in.

        Where TLS is opportunistic and the handshake fails, the server is tried once more in clear.

        :param again: called before a second connection is opened
        """
        demand = await self._demands.of(hop, target)
        if demand.refusal is not None:
            if demand.fault is not None:  # else it is nobody's whom a report would go to
                self._count(target, hop, demand, demand.fault)
            # No word of the server's, and none that makes a message go back to its sender at once.
            return Failed(reply=demand.refusal, stage="greeting")
        opened = await self._connect(target, hop, login, demand)
        if (
            isinstance(opened, Failed)
            and opened.stage == "tls"
            and demand.policy == "opportunistic"
            and not target.is_tls
            and not self._closing
        ):
            log.info(
                "TLS with {where} failed, trying in clear: {reason}",
                where=str(target),
                reason=str(opened.reply),
            )
            again()
            in_clear = TlsDemand(policy="none", reason="TLS failed, and nobody asks for it")
            opened = await self._connect(target, hop, login, in_clear)
        elif (
            isinstance(opened, Failed)
            and opened.stage in ("starttls", "tls")
            and demand.published is not None
        ):
            reply = opened.reply
            text = f"{' '.join(reply.text)}; asked for is {demand.reason}"
            opened = attrs.evolve(opened, reply=Reply(reply.code, reply.status, text))
        if isinstance(opened, RelayConnection):
            self._asked[opened] = target, demand
            opened.closed.addCallback(lambda _: self._asked.pop(opened, None))
        return opened

    async def may_go_on(self, connection: RelayConnection, hop: NextHop) -> bool:
        """Whether a connection that was opened for an earlier message will do for another one.

        It will not if more is asked of TLS by now: the policy of a domain may come too late for its
        first message, or be another one.
        """
        asked = self._asked.get(connection)
        if asked is None:
            return False
        target, demand = asked
        wanted = await self._demands.of(hop, target)
        return (wanted is demand or wanted == demand) and connection.usable

    @property
    def connections(self) -> int:
        """How many there are, whatever they are doing."""
        return len(self._connections)

    async def login(self, hop: NextHop) -> Login | Reply | None:
        """The login of a hop with its password as it stands in its file now.

        :returns: ``None`` for a hop without login; a 4yz reply when the password can't be read
        """
        if hop.login is None:
            return None
        try:
            password = await self._site.in_thread(_read_password, hop.password_file)
        except CancelledError:
            raise
        except Exception as error:
            log.error(
                "the password for {where!r} can't be read from {path!r}: {error!r}",
                where=hop.where,
                path=hop.password_file,
                error=error,
            )
            return Reply(451, "4.3.5", "the route's password is not configured well here")
        return Login(authzid=b"", user=hop.login.encode("utf-8"), password=password)

    def reopen(self) -> None:
        """Undo what `close` did to later attempts to connect."""
        self._closing = False

    async def close(self) -> None:
        """Give up attempts to connect, say QUIT where nothing is under way, break the rest.

        :returns: when every connection is gone
        """
        self._closing = True
        for connecting in tuple(self._connecting):
            connecting.cancel()
        await DeferredList([connection.quit() for connection in tuple(self._connections)])
        if self._counts is not None:
            await self._counts.add_now()

    async def _connect(
        self, target: Target, hop: NextHop, login: Login | None, demand: TlsDemand
    ) -> RelayConnection | Failed:
        try:
            handshake = Handshake.under(demand, target.host, self._tls)
        except Exception as error:  # the name may be one that no certificate can be good for
            log.error(
                "no certificate can be verified for {host!r}: {error!r}",
                host=target.host,
                error=error,
            )
            reply = Reply(454, "4.7.5", "the server has no name that a certificate could be for")
            return Failed(reply=reply, stage="starttls")
        connection = RelayConnection(
            where=str(target),
            hostname=_our_name(target) or self._site.hostname,
            hop=attrs.evolve(hop, tls=demand.wish),
            login=login,
            handshake=handshake,
            settings=self._settings,
            clock=Elapsed(self._site.reactor),
            local=target.is_local,
            in_thread=self._site.in_thread,
        )
        seconds = self._settings.timeouts.connect
        connecting: Deferred[Any] = target.endpoint.connect(_Factory(connection))
        self._connecting.add(connecting)
        connecting.addTimeout(seconds, self._site.reactor, onTimeoutCancel=_time_out)
        try:
            await connecting
        except CancelledError:
            raise
        except Exception as error:
            if isinstance(error, ConnectingCancelledError) and not self._closing:
                raise CancelledError from error  # the whole delivery was cancelled
            if isinstance(error, ConnectBindError) and target.source is not None:
                return _not_ours(target, target.source.address)
            text = f"could not connect to {target}: {_words(error)}"
            return Failed(reply=Reply(451, "4.4.1", text), stage="greeting")
        finally:
            self._connecting.discard(connecting)
        self._connections.add(connection)
        connection.closed.addCallback(lambda _: self._connections.discard(connection))
        failed = await connection.opened
        if demand.policy != "none" and not target.is_tls:
            self._count_opened(target, hop, demand, connection, failed)
        return connection if failed is None else failed

    def _count_opened(
        self,
        target: Target,
        hop: NextHop,
        demand: TlsDemand,
        connection: RelayConnection,
        failed: Failed | None,
    ) -> None:
        fault = connection.handshake.fault or demand.fault
        is_tls_fault = failed is not None and failed.stage in ("starttls", "tls")
        if failed is not None and (
            self._closing  # which broke it off
            or not (is_tls_fault or connection.is_encrypted)  # it never came to TLS
        ):
            return
        if fault is None and (is_tls_fault or not connection.is_encrypted):
            if failed is not None and failed.stage == "tls":
                fault = TlsFault("validation-failure", " ".join(failed.reply.text))
            else:
                fault = TlsFault("starttls-not-supported", "the server does not begin TLS")
        self._count(target, hop, demand, fault)

    def _count(
        self, target: Target, hop: NextHop, demand: TlsDemand, fault: TlsFault | None
    ) -> None:
        if self._counts is not None and hop.where.startswith("mx:") and hop.protocol == "smtp":
            domain = demand.published.domain if demand.published else hop.where.removeprefix("mx:")
            self._counts.count(domain, demand.published, fault, target.host, target.address)


class _Factory(Factory):
    """Gives an endpoint the one protocol it connects."""

    noisy = False

    def __init__(self, connection: RelayConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> RelayConnection:
        """The connection."""
        return self._connection


def _our_name(target: Target) -> str | None:
    """What to say in EHLO, where it is not our usual name."""
    return None if target.source is None else target.source.hostname


def _not_ours(target: Target, address: str) -> Failed:
    log.error(
        "can't connect from {address}, a [[relay.source]]: this machine does not have that address",
        address=address,
    )
    text = f"could not connect to {target}: the source address {address} is not this machine's"
    return Failed(reply=Reply(451, "4.3.5", text), stage="greeting")


def _time_out(_value: object, _seconds: float) -> None:
    raise ConnectTimeout


def _words(error: Exception) -> str:
    if isinstance(error, ConnectTimeout):
        return "no answer in time"
    if isinstance(error, ConnectingCancelledError):
        return "the server is shutting down"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, NoRouteError):
        return "no route to it"
    if isinstance(error, DNSLookupError):
        return "its name was not found"
    return type(error).__name__


def _read_password(path: str) -> bytes:
    """The first line of a password file."""
    with open(path, "rb") as file:
        password = file.readline(MAX_PASSWORD + 2).rstrip(b"\r\n")
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} octets")
    return password
