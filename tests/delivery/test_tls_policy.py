"""TLS toward the next server, under each policy."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.tls_demand import TlsDemand
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.outcome import TlsPolicy


@lru_cache(maxsize=1)
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


@lru_cache(maxsize=8)
def server_options(
    *names: str,
    trusted: bool = True,
    old: bool = False,
    expired: bool = False,
    common_name: str | None = None,
) -> CertificateOptions:
    """A server's side of TLS, with a certificate for these names."""
    issuer = authority() if trusted else trustme.CA()
    leaf = issuer.issue_cert(
        *names,
        common_name=common_name,
        not_before=datetime(2001, 1, 1) if expired else None,
        not_after=datetime(2002, 1, 1) if expired else None,
    )
    key = leaf.private_key_pem.bytes()
    certificate = PrivateCertificate.fromCertificateAndKeyPair(
        Certificate.loadPEM(leaf.cert_chain_pems[0].bytes()), KeyPair.load(key, 1)
    )
    if old:
        options = CertificateOptions(
            privateKey=certificate.privateKey.original,
            certificate=certificate.original,
            insecurelyLowerMinimumTo=TLSVersion.TLSv1_0,
            lowerMaximumSecurityTo=TLSVersion.TLSv1_1,
        )
        options.getContext().set_cipher_list(b"ALL:@SECLEVEL=0")  # or OpenSSL would refuse itself
        return options
    return certificate.options()


def trust_root() -> Any:
    """Trust in that authority alone."""
    return trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())])


def asked(policy: TlsPolicy) -> TlsDemand:
    """What a route with such a policy asks."""
    return TlsDemand(policy=policy, reason="for the test")


class PoliciesTests(SynchronousTestCase):
    """What begins TLS; `tests.delivery.test_sessions` shakes hands with it."""

    def test_none(self) -> None:
        """TLS could not be switched off for one route."""
        self.assertIsNone(TlsPolicies().creator(asked("none"), "mx.example"))

    def test_server_name(self) -> None:
        """Servers with several certificates would show the wrong one."""
        policies = TlsPolicies()
        for host, expected in (
            ("mx.example", b"mx.example"),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
            ("", None),
        ):
            creator = policies.creator(asked("require"), host)
            assert creator is not None
            connection = creator.clientConnectionForTLS(None)  # type: ignore[arg-type]  # unused
            self.assertEqual(connection.get_servername(), expected)

    def test_shared_context(self) -> None:
        """Every connection would pay for reading certificates anew."""
        policies = TlsPolicies(trust_root())
        first, second = (policies.creator(asked("opportunistic"), "mx.example") for _ in range(2))
        self.assertIs(first._context, second._context)
        first, second = (policies.creator(asked("verify"), host) for host in ("a.x", "b.x"))
        self.assertIs(first._context, second._context)

    def test_platform(self) -> None:
        """Without a configured root nobody would be trusted, or everybody."""
        creator = TlsPolicies().creator(asked("verify"), "mx.example")
        factory = TLSMemoryBIOFactory(creator, True, Factory.forProtocol(Protocol))
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.assertEqual(
            protocol.getHandle().get_context().get_verify_mode() & SSL.VERIFY_PEER, SSL.VERIFY_PEER
        )
