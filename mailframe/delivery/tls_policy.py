"""What a demand for TLS asks of the handshake.

- ``none``: TLS is not used.
- ``opportunistic``: any certificate will do, for the alternative is no encryption (RFC 7435).
- ``require``: the same, but nothing is sent in clear.
- ``verify``: the certificate must be good for the host's name (RFC 9525) and its root be trusted.
- ``dane``: the certificate must fit the host's TLSA records (RFC 7672); no root need be trusted.

Where a policy is only tried out, the certificate is looked at as for ``verify``, but what is wrong
with it is only remembered.

TLS 1.2 is the least that is spoken (RFC 8996).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust
from zope.interface import implementer

from mailframe.delivery.dane_check import check_dane
from mailframe.delivery.tls_demand import TlsDemand
from mailframe.delivery.tls_fault import TlsFault, chain_fault
from mailframe.delivery.tls_names import check_names, is_address


class TlsPolicies:
    """Makes what a transport's ``startTLS`` takes.

    :param trust_root: whom ``verify`` trusts: a `twisted.internet.ssl.IOpenSSLTrustRoot`, or
        ``None`` for the platform's certificate authorities
    """

    def __init__(self, trust_root: Any = None) -> None:
        self._trust_root = trust_root
        # One context each for all hosts, so that sessions are cheap.
        self._unverified: SSL.Context | None = None
        self._verified: SSL.Context | None = None

    def creator(self, demand: TlsDemand, host: str) -> TlsCreator | None:
        """What begins TLS over one connection to a host, or ``None`` where TLS is not used.

        :param host: its name, or an IP address
        """
        if demand.policy == "none":
            return None
        if demand.policy == "verify" or demand.is_tried_out:
            if self._verified is None:
                root = self._trust_root
                if root is None:
                    root = platformTrust()  # type: ignore[no-untyped-call]  # Twisted's
                options = CertificateOptions(trustRoot=root, raiseMinimumTo=TLSVersion.TLSv1_2)
                self._verified = options.getContext()
            return TlsCreator(self._verified, host, "note" if demand.is_tried_out else "insist")
        if self._unverified is None:
            options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
            self._unverified = options.getContext()
        # RFC 7672 §8.1: it is the TLSA base domain for which the server chooses a certificate
        return TlsCreator(self._unverified, demand.names[0] if demand.policy == "dane" else host)

    def check(self, demand: TlsDemand) -> Callable[[SSL.Connection], None] | None:
        """What looks at a handshake that is done and raises what is wrong with it, if needed."""
        if demand.policy == "dane":
            return functools.partial(_check_dane, demand=demand)
        if not demand.names:
            return None
        return functools.partial(check_names, names=demand.names)


@implementer(IOpenSSLClientConnectionCreator)
class TlsCreator:
    """Begins TLS over one connection, and remembers what is wrong with the server's chain.

    :param context: trusts somebody, where the chain is looked at
    :param host: the server's name, or an IP address
    :param chain: what a chain does that is not good: ``""`` nothing, for it is not looked at;
        ``note`` it is remembered; ``insist`` the handshake fails
    :ivar fault: what was wrong first, or ``None``
    """

    def __init__(self, context: SSL.Context, host: str, chain: str = "") -> None:
        self._context = context
        self._host = host
        self._chain = chain
        self.fault: TlsFault | None = None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Called by Twisted: the connection in its state before the handshake."""
        connection = SSL.Connection(self._context, None)
        if not is_address(self._host):  # RFC 6066 §3: only names are sent as the server's name
            connection.set_tlsext_host_name(self._host.encode("ascii", "ignore"))
        if self._chain:
            flags = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            connection.set_verify(flags, self._seen)
        connection.set_connect_state()
        return connection

    def _seen(
        self, _connection: SSL.Connection, _certificate: Any, error: int, _depth: int, good: int
    ) -> bool:
        """Called by OpenSSL for each certificate of the chain."""
        if not good and self.fault is None:
            self.fault = chain_fault(error)
        return bool(good) or self._chain == "note"


def _check_dane(connection: SSL.Connection, demand: TlsDemand) -> None:
    if check_dane(connection, demand.tlsa):
        check_names(connection, demand.names, common_name=True)
