"""The DNS resolver that the server asks.

A stub (RFC 1034 §5.3.1): recursive name servers do the work. It asks them to say whether DNSSEC
vouches for the answer, which whoever trusts them may heed (`Sections.authenticated`).
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import DNSQueryTimeoutError, DNSServerError
from twisted.python.failure import Failure

log = Logger()

_RESOLV_CONF = "/etc/resolv.conf"
_TIMEOUTS = (1, 3, 5, 9)  # seconds that each round of questions waits for an answer over UDP
_TCP_TIMEOUT = 8  # seconds that a name server gets to answer over TCP, connecting included
_PORT = 53
_MOST_PORTS = 100  # that are tried until one is free
_OUT_OF_ORDER = (dns.ESERVER, dns.ENOTIMP, dns.EREFUSED)
TLSA = 52  # RFC 6698 §7.1; Twisted has no name for it


class Sections(tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]):
    """What an `IResolver` answers: answers, authority and additional records.

    :ivar authenticated: the name server says that DNSSEC vouches for all of them (RFC 4035 §3.2.3)
    """

    authenticated = False


class StubResolver(Resolver):
    """Asks recursive name servers over UDP, and over TCP when an answer was cut off.

    The base class keeps a TCP connection for all questions, and a question is lost with it; here
    each has its own. The next name server is asked when one can't be reached, and also when it
    answers that it can't or will not say, of which the base class makes a fault.
    """

    _reactor: Any
    servers: list[tuple[str, int]]
    dynServers: Any  # a sequence of the same
    _waiting: dict[tuple[str | bytes, int, int], list[Deferred[Any]]]

    def lookupTLSA(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Ask for TLSA records (RFC 6698), as the other ``lookup…`` methods ask for theirs."""
        return self._lookup(name, dns.IN, TLSA, timeout)

    def _lookup(self, name: str | bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        """What every ``lookup…`` method comes down to.

        The base class lets others who ask the same share the answer, and must be told when a
        question could not be asked: else they would wait for ever.
        """
        try:
            return super()._lookup(name, cls, type, timeout)  # type: ignore[no-any-return, no-untyped-call]  # Twisted's
        except Exception:  # no port is free, or it is no name at all
            self._waiting.pop((name, type, cls), None)
            return fail()

    def _query(self, *args: Any) -> Deferred[dns.Message]:
        """Called to ask one name server."""
        asked: Deferred[dns.Message] = super()._query(*args)  # type: ignore[no-untyped-call]  # Twisted's
        return asked.addCallback(_unless_out_of_order)

    def _reissue(
        self, reason: Failure, addressesLeft: Any, addressesUsed: Any, query: Any, timeout: Any
    ) -> Any:
        """Called when one name server gave no answer, to ask the next."""
        if isinstance(reason.value, _OutOfOrder) and not addressesLeft:
            return reason.value.message  # all have been asked: it is what is said
        return super()._reissue(reason, addressesLeft, addressesUsed, query, timeout)  # type: ignore[no-untyped-call]  # Twisted's

    def maybeParseConfig(self) -> None:
        """Called now and then to look at ``/etc/resolv.conf``."""
        try:
            super().maybeParseConfig()  # type: ignore[no-untyped-call]  # Twisted's
        except OSError as error:
            if not self.dynServers:
                raise  # at the start
            log.warn("the name servers can't be read again now: {error}", error=str(error))
            self._parseCall = self._reactor.callLater(
                self._resolvReadInterval, self.maybeParseConfig
            )

    def parseConfig(self, resolvConf: Iterable[bytes]) -> None:
        """Called with its lines, of which only those count that name a name server."""
        lines = [line.split() for line in resolvConf]
        super().parseConfig(  # type: ignore[no-untyped-call]  # Twisted's
            [
                b" ".join(words)
                for words in lines
                if len(words) > 1 and words[0] == b"nameserver" and _is_address(words[1])
            ]
        )

    def filterAnswers(self, message: dns.Message) -> Any:
        """Called with each answer over UDP."""
        if message.trunc:  # RFC 7766 §5: none of it is to be used
            return Deferred.fromCoroutine(self._over_tcp(message.queries))
        return self._sections(message)

    def _sections(self, message: dns.Message) -> Any:
        answer = super().filterAnswers(message)  # type: ignore[no-untyped-call]  # Twisted's
        if isinstance(answer, Failure):
            return answer
        sections = Sections(answer)
        sections.authenticated = bool(message.authenticData)
        return sections

    async def _over_tcp(self, queries: list[dns.Query]) -> Any:
        why: Exception = DNSServerError("no name server")
        for host, port in (*self.servers, *self.dynServers):
            kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
            endpoint = kind(self._reactor, host, port, timeout=_TCP_TIMEOUT)
            questions = _LongQuestions(self, reactor=self._reactor)  # type: ignore[no-untyped-call]  # Twisted's
            try:
                await connectProtocol(endpoint, questions)  # type: ignore[no-untyped-call]  # Twisted's
                message = await questions.query(queries, _TCP_TIMEOUT)
            except Exception as error:  # whatever it is, the next one may answer
                why = error
                continue
            finally:
                if questions.transport is not None:
                    questions.transport.loseConnection()
            if message.trunc or message.rCode in _OUT_OF_ORDER:
                why = DNSServerError("cut off over TCP as well, or no answer")
                continue
            return self._sections(message)
        raise why

    def connectionMade(self, protocol: Any) -> None:
        """Called by a connection of ours: its question follows by itself."""

    def connectionLost(self, protocol: Any) -> None:
        """Called by a connection of ours, which tells who waits for it by itself."""

    def _connectedProtocol(self, interface: str = "") -> dns.DNSDatagramProtocol:
        """Called for each question over UDP: a port by chance, that answers be hard to forge."""
        for attempt in range(_MOST_PORTS):
            questions = _Questions(self, reactor=self._reactor)  # type: ignore[no-untyped-call]  # Twisted's
            try:
                self._reactor.listenUDP(dns.randomSource(), questions, interface=interface)
            except CannotListenError as error:
                number = getattr(error.socketError, "errno", None)
                if attempt == _MOST_PORTS - 1 or number == errno.EMFILE:
                    raise
            else:
                break
        return questions


class _OutOfOrder(DNSQueryTimeoutError):
    """A name server says that it can't answer, or will not; another one may."""

    def __init__(self, message: dns.Message) -> None:
        super().__init__(message.id)  # type: ignore[no-untyped-call]  # Twisted's
        self.message = message


def _unless_out_of_order(message: dns.Message) -> dns.Message:
    if message.rCode in _OUT_OF_ORDER:
        raise _OutOfOrder(message)
    return message


def _is_address(word: bytes) -> bool:
    try:
        ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        return False
    return True


class _Questions(dns.DNSDatagramProtocol):
    """Questions over UDP, which ask whether the answer is authenticated."""

    def writeMessage(self, message: dns.Message, address: tuple[str, int]) -> None:
        """Called for each question."""
        message.authenticData = 1  # RFC 6840 §5.7
        super().writeMessage(message, address)


class _LongQuestions(dns.DNSProtocol):
    """The same over a TCP connection, with whose end they fail."""

    liveMessages: dict[int, Any]

    def writeMessage(self, message: dns.Message) -> None:
        """Called for each question."""
        message.authenticData = 1
        super().writeMessage(message)  # type: ignore[no-untyped-call]  # Twisted's

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's
        unanswered, self.liveMessages = self.liveMessages, {}
        for question, timeout in unanswered.values():
            timeout.cancel()
            question.errback(ConnectionLost())


def make_resolver(servers: Sequence[str], reactor: Any) -> StubResolver:
    """A stub resolver: it asks recursive name servers, and over TCP when UDP is too small.

    No ``hosts`` file is read: mail goes where DNS says.

    :param servers: ``"192.0.2.1:53"``, ``"192.0.2.1"``, ``"[2001:db8::1]:53"`` or
        ``"2001:db8::1"``; when empty, those of ``/etc/resolv.conf``, which is looked at again every
        minute
    :param reactor: provides IReactorUDP, IReactorTCP and IReactorTime
    :raises ValueError: a server is not an IP address and a port; the message says which
    """
    return StubResolver(  # type: ignore[no-untyped-call]  # Twisted leaves it without annotations
        resolv=None if servers else _RESOLV_CONF,
        servers=[parse_server(server) for server in servers],
        timeout=_TIMEOUTS,
        reactor=reactor,
    )


def parse_server(server: str) -> tuple[str, int]:
    """The IP address and the port of a name server as users write it.

    :raises ValueError: it is not an IP address with or without a port
    """
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):  # no port: IPv4, or bare IPv6
        host, port = server, str(_PORT)
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdecimal() else 0
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ValueError(f"{server!r} is not an IP address and a port such as '192.0.2.1:53'")
    return str(address), number
