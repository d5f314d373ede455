"""What a route's TLS policy asks of the handshake.

- ``none``: TLS is not used.
- ``opportunistic``: any certificate will do, for the alternative is no encryption (RFC 7435).
- ``require``: the same, but nothing is sent in clear.
- ``verify``: the certificate must be good for the host's name (RFC 9525) and its root be trusted.

TLS 1.2 is the least that is spoken (RFC 8996).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS
from zope.interface import implementer

from mailframe.delivery.tls_demand import TlsDemand
from mailframe.reply import Reply

_MOST_NAMES = 256  # hosts whose verifying contexts are kept


class TlsPolicies:
    """Makes what a transport's ``startTLS`` takes.

    :param trust_root: whom ``verify`` trusts: a `twisted.internet.ssl.IOpenSSLTrustRoot`, or
        ``None`` for the platform's certificate authorities
    """

    def __init__(self, trust_root: Any = None) -> None:
        self._trust_root = trust_root
        self._unverified: SSL.Context | None = None
        self._verified: dict[str, IOpenSSLClientConnectionCreator] = {}

    def creator(self, demand: TlsDemand, host: str) -> IOpenSSLClientConnectionCreator | None:
        """What begins TLS with a host, or ``None`` where TLS is not used.

        :param host: its name, or an IP address
        """
        if demand.policy == "none":
            return None
        if demand.policy == "verify":
            return self._verifying(host)
        if self._unverified is None:  # one context for all, so that sessions are cheap
            options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
            self._unverified = options.getContext()
        return _Unverified(self._unverified, host)

    def check(self, demand: TlsDemand) -> Callable[[SSL.Connection], None] | None:
        """What looks at a handshake that is done and raises what is wrong with it, if needed."""
        if not demand.names:
            return None
        return functools.partial(check_names, names=demand.names)

    def _verifying(self, host: str) -> IOpenSSLClientConnectionCreator:
        creator = self._verified.get(host)
        if creator is None:
            if len(self._verified) >= _MOST_NAMES:
                self._verified.clear()
            creator = self._verified[host] = optionsForClientTLS(host, trustRoot=self._trust_root)
        return creator


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS with whoever answers."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Called by Twisted: the connection in its state before the handshake."""
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._host):  # RFC 6066 §3: only names are sent as the server's name
            connection.set_tlsext_host_name(self._host.encode("ascii", "ignore"))
        connection.set_connect_state()
        return connection


def check_names(connection: SSL.Connection, names: Sequence[str]) -> None:
    """See that the certificate shown in a handshake is good for one of some names (RFC 9525).

    Twisted looks as well, but lets a certificate pass that is for no name at all.

    :param names: names or IP addresses, at least one
    :raises service_identity.VerificationError: it is for another name
    :raises service_identity.CertificateError: it is for no name, or can't be read
    """
    for name in names[:-1]:
        with suppress(VerificationError):
            return _check_name(connection, name)
    _check_name(connection, names[-1])


def _check_name(connection: SSL.Connection, host: str) -> None:
    verify = verify_ip_address if _is_address(host) else verify_hostname
    verify(connection, host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def handshake_failed(error: BaseException) -> Reply:
    """How a handshake that failed is told of."""
    return Reply(454, "4.7.5", f"the TLS handshake failed: {handshake_error(error)}")


def handshake_error(error: BaseException) -> str:
    """What OpenSSL or service-identity has to say, in a few words."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(str(problem[-1]) for problem in error.args[0])[:200] or "no reason given"
    if isinstance(error, VerificationError):
        return "the certificate is not for the server's name"
    if isinstance(error, CertificateError):  # RFC 9525 §1.2: a common name is none
        return "the certificate is for no name"
    return type(error).__name__
