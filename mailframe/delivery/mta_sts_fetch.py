"""Fetches a policy of MTA-STS over HTTPS (RFC 8461 §3.3).

The name is looked up by the server's own resolver, and addresses that are no place for a public
server are not connected to: a domain that mail goes to can't have us ask servers inside. The
certificate must be good for the name and be signed by an authority that is trusted; redirects are
not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.clocks import Elapsed
from mailframe.delivery.exchanges import LookupFault
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts_policy import BadPolicy, StsPolicy, read_policy
from mailframe.delivery.tls_demand import TlsDemand
from mailframe.delivery.tls_fault import TlsFault, fault_of
from mailframe.delivery.tls_names import check_names
from mailframe.delivery.tls_policy import TlsCreator, TlsPolicies

MAX_SIZE = 65_536  # octets of a policy
MAX_RECEIVED = MAX_SIZE + 16_384  # octets of a connection: the policy, HTTP headers and TLS
SECONDS = 30.0  # that fetching one may take, whatever the server does
CONNECT = 10.0  # seconds for the connection to one address
MAX_ADDRESSES = 4  # that are tried
_CANCELLED = (CancelledError, ConnectingCancelledError)  # the latter is not one of the former


class PolicyFetch:
    """Fetches policies.

    :param reactor: makes connections and measures time
    :param lookup: asks DNS
    :param policies: knows the authorities that are trusted
    :param prohibited: says of an IP address that it must not be connected to
    :param port: of the HTTPS servers
    """

    def __init__(
        self,
        *,
        reactor: Any,
        lookup: Lookup,
        policies: TlsPolicies,
        prohibited: Callable[[str], bool],
        port: int = 443,
    ) -> None:
        self._reactor = reactor
        self._lookup = lookup
        self._policies = policies
        self._prohibited = prohibited
        self._port = port

    async def fetch(self, domain: str) -> StsPolicy | TlsFault:
        """The policy that a domain publishes now, or why there is none. It takes bounded time.

        :param domain: in normal form
        """
        limit = _Limit()
        fetching: Deferred[bytes | TlsFault] = Deferred.fromCoroutine(self._octets(domain, limit))
        reaching = Elapsed(self._reactor).callLater(SECONDS, limit.reach, fetching)
        try:
            octets = await fetching
        except CancelledError:
            if not limit.is_reached:
                raise
            return _fetch_error("its server did not answer in time")
        finally:
            if reaching.active():
                reaching.cancel()
        if isinstance(octets, TlsFault):
            return octets
        try:
            return read_policy(octets)
        except BadPolicy as error:
            return TlsFault("sts-policy-invalid", str(error))

    async def _octets(self, domain: str, limit: _Limit) -> bytes | TlsFault:
        host = f"mta-sts.{domain}"
        found = await self._lookup.addresses(host)
        if isinstance(found, LookupFault):
            return _fetch_error(found.reason)
        if not isinstance(found, tuple) or not found:
            return _fetch_error(f"{host} has no address")
        addresses = [address for address in found if not self._prohibited(address)]
        if not addresses:
            return _fetch_error(f"{host} has only private, loopback or reserved addresses")
        fault = None
        for address in addresses[:MAX_ADDRESSES]:
            if limit.is_reached:
                raise CancelledError  # what was cancelled did not say so
            octets = await self._from(host, address)
            if not isinstance(octets, TlsFault):
                return octets
            fault = octets
        assert fault
        return fault

    async def _from(self, host: str, address: str) -> bytes | TlsFault:
        demand = TlsDemand(policy="verify", names=(host,), reason="RFC 8461 §3.3")
        creator = self._policies.creator(demand, host)
        assert creator
        endpoint = _TlsEndpoint(self._reactor, address, self._port, creator)
        # Few domains have a policy, and most commands that use this module fetch none.
        from twisted.web.client import Agent

        agent: Any = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]  # Twisted's
            self._reactor, _Endpoints(endpoint)
        )
        where = f"https://{host}/.well-known/mta-sts.txt".encode()
        try:
            response = await agent.request(b"GET", where)
            assert endpoint.connection
            check_names(endpoint.connection, (host,))
            octets = await _body(response)
        except Exception as error:
            if any(isinstance(each, _CANCELLED) for each in _causes(error)):
                raise CancelledError from error  # our time is up
            if endpoint.received > MAX_RECEIVED:
                error = _Unusable(f"the server sends more than {MAX_RECEIVED} octets")
            return _fault(host, error, creator)
        finally:
            endpoint.close()
        return octets


class _Limit:
    """Of the time that fetching a policy may take.

    :ivar is_reached: nothing more is to be begun
    """

    def __init__(self) -> None:
        self.is_reached = False

    def reach(self, fetching: Deferred[bytes | TlsFault]) -> None:
        """Called when the time is up."""
        self.is_reached = True
        fetching.cancel()


@implementer(IStreamClientEndpoint, IOpenSSLClientConnectionCreator)
class _TlsEndpoint:
    """Connects to an address and begins TLS.

    :ivar connection: OpenSSL's, once TLS was begun
    :ivar received: octets, encrypted, that the server has sent
    """

    def __init__(self, reactor: Any, address: str, port: int, creator: TlsCreator) -> None:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        self._endpoint = kind(reactor, address, port, timeout=CONNECT)
        self._creator = creator
        self._clock = Elapsed(reactor)
        self._protocol: Any = None
        self.connection: SSL.Connection | None = None
        self.received = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """See `IStreamClientEndpoint`."""
        wrapped: Any = TLSMemoryBIOFactory(self, True, protocolFactory, self._clock)
        wrapped.protocol = self._counted
        connecting: Deferred[Any] = self._endpoint.connect(wrapped)
        return connecting.addCallback(self._connected)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Called by Twisted: the connection in its state before the handshake."""
        self.connection = self._creator.clientConnectionForTLS(tlsProtocol)
        return self.connection

    def close(self) -> None:
        """Break the connection, if there is one."""
        if self._protocol is not None:
            self._protocol.abortConnection()

    def _counted(self, *arguments: Any) -> _Counted:
        counted = _Counted(*arguments)
        counted.endpoint = self
        return counted

    def _connected(self, protocol: Any) -> Any:
        self._protocol = protocol
        return protocol.wrappedProtocol


class _Counted(BufferingTLSTransport):
    """Breaks off when the server sends too much, whether headers, content or records of TLS."""

    endpoint: _TlsEndpoint

    def dataReceived(self, data: bytes) -> None:
        """Some octets of the server's."""
        self.endpoint.received += len(data)
        if self.endpoint.received > MAX_RECEIVED:
            self.abortConnection()  # type: ignore[no-untyped-call]  # Twisted's
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's


class _Endpoints:
    """Where an `Agent` connects to."""

    def __init__(self, endpoint: _TlsEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> _TlsEndpoint:
        """The endpoint, whatever the address says."""
        return self._endpoint


class _Body(Protocol):
    """Takes an answer's content, as long as it is small."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """A piece of it."""
        self._size += len(data)
        if self._size <= MAX_SIZE:
            self._pieces.append(data)
        elif not self.done.called:
            self.done.errback(_Unusable(f"it is larger than {MAX_SIZE} octets"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no more."""
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.done.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(_Unusable("the answer broke off"))


class _Unusable(Exception):
    """What the server answers is no policy."""


async def _body(response: Any) -> bytes:
    if response.code != 200:  # RFC 8461 §3.3: redirects are not followed
        raise _Unusable(f"the server answers {response.code}")
    kinds = response.headers.getRawHeaders(b"content-type", [b""])
    if kinds[0].partition(b";")[0].strip().lower() != b"text/plain":
        raise _Unusable(f"the server answers with {kinds[0][:80]!a} and not with text/plain")
    body = _Body()
    response.deliverBody(body)
    return await body.done


def _fault(host: str, error: Exception, creator: TlsCreator) -> TlsFault:
    """Why fetching failed."""
    if isinstance(error, _Unusable):
        return _fetch_error(str(error))
    causes = _causes(error)
    for each in causes:
        if isinstance(each, SSL.Error | VerificationError | CertificateError):
            found = creator.fault or fault_of(each)
            return TlsFault("sts-webpki-invalid", f"TLS with {host} failed: {found.text}")
    words = type(causes[-1]).__name__
    return _fetch_error(f"{host} could not be asked: {words}")


def _causes(error: Exception) -> list[BaseException]:
    """An error, and those that an `Agent` says it comes from."""
    return [error, *(reason.value for reason in getattr(error, "reasons", ()))]


def _fetch_error(text: str) -> TlsFault:
    return TlsFault("sts-policy-fetch-error", text)
