"""Whether the certificate that a server shows in the TLS handshake is good for its name (RFC 9525).

Only names and addresses of the certificate that are such count. What can't be one, as an address
that is written as a name, is for nobody, and does not make the others worthless (RFC 9525 §6.2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)


def check_names(
    connection: SSL.Connection, names: Sequence[str], *, common_name: bool = False
) -> None:
    """See that the certificate shown in a handshake is good for one of some names.

    :param names: names or IP addresses, at least one
    :param common_name: where it is for no name otherwise its subject's common name is one (RFC 7672
        §3.2.3)
    :raises service_identity.VerificationError: it is for another name
    :raises service_identity.CertificateError: it is for no name
    :raises ValueError: it can't be read
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        raise CertificateError("the server showed no certificate")
    patterns = _patterns(certificate, common_name)
    for name in names[:-1]:
        with suppress(VerificationError):
            return _check(patterns, name)
    _check(patterns, names[-1])


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check(patterns: Sequence[CertificatePattern], name: str) -> None:
    wanted = IPAddress_ID(name) if is_address(name) else DNS_ID(name)
    verify_service_identity(patterns, obligatory_ids=[wanted], optional_ids=[])


def _patterns(certificate: x509.Certificate, common_name: bool) -> list[CertificatePattern]:
    names: list[str] = []
    patterns: list[CertificatePattern] = []
    with suppress(x509.ExtensionNotFound):
        shown = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = shown.get_values_for_type(x509.DNSName)
        patterns += [
            IPAddressPattern(pattern=address)
            for address in shown.get_values_for_type(x509.IPAddress)
            if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ]
    if common_name and not names:
        subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(attribute.value) for attribute in subject]
    for name in names:
        # what is not ASCII can't be encoded
        with suppress(CertificateError, UnicodeEncodeError):
            patterns.append(DNSPattern.from_bytes(name.encode("ascii")))
    return patterns
