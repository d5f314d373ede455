"""Certificates made for a test, good ones and bad ones."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions

from mailframe.delivery.tlsa import Tlsa

_DAY = timedelta(days=1)


@attrs.frozen
class Party:
    """A certificate with its key.

    :ivar above: what signed it, up to its authority
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[Party, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        """Its key."""
        return self.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def tlsa(self, usage: int = 3, selector: int = 1, matching: int = 1) -> Tlsa:
        """Its TLSA record."""
        data = self.spki if selector else self.der
        if matching:
            data = (hashlib.sha256, hashlib.sha512)[matching - 1](data).digest()
        return Tlsa(usage, selector, matching, data)

    def record(self, *kind: int) -> bytes:
        """The same as it stands in DNS."""
        tlsa = self.tlsa(*kind)
        return bytes([tlsa.usage, tlsa.selector, tlsa.matching]) + tlsa.data

    def options(self) -> CertificateOptions:
        """A server's side of TLS for Twisted, with all that signed it."""
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(self.key),
            certificate=crypto.X509.from_cryptography(self.certificate),
            extraCertChain=[crypto.X509.from_cryptography(each.certificate) for each in self.above],
        )

    def context(self, *, shown: tuple[Party, ...] | None = None) -> SSL.Context:
        """A server's side of TLS.

        :param shown: what it shows besides its own certificate; by default what signed it
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(crypto.X509.from_cryptography(self.certificate))
        context.use_privatekey(crypto.PKey.from_cryptography_key(self.key))
        for party in self.above if shown is None else shown:
            context.add_extra_chain_cert(crypto.X509.from_cryptography(party.certificate))
        return context


def party(
    *names: str,
    by: Party | None = None,
    authority: bool = False,
    common_name: str = "somebody",
    days: tuple[int, int] = (-1, 1),
    usage: Any = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Party:
    """A certificate.

    :param names: of the server
    :param by: who signs it; by default itself
    :param authority: whether it may sign others
    :param days: from when it is good until when, counted from now
    :param usage: the only use it is for
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(by.key if by else key, SHA256())
    return Party(certificate, key, (by, *by.above) if by else ())


CLIENTS_ONLY = ExtendedKeyUsageOID.CLIENT_AUTH
