"""TLSA records, which say in DNS what a server shows in the TLS handshake (RFC 6698, RFC 7671).

Mail servers use two of the four kinds (RFC 7672 §3.1): DANE-EE(3) names the server's own
certificate or key, and nothing else of the certificate matters; DANE-TA(2) names an authority
that has to have signed it, and then its time and its name count as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

DANE_TA, DANE_EE = 2, 3  # RFC 7218 §2.1
CERTIFICATE, KEY = 0, 1  # RFC 7218 §2.2: Cert, SPKI
FULL, SHA_256, SHA_512 = 0, 1, 2  # RFC 7218 §2.3
_LENGTHS = {SHA_256: 32, SHA_512: 64}  # octets
MOST = 50  # records of one name that are looked at

Usage: TypeAlias = Literal[2, 3]


@attrs.frozen
class Tlsa:
    """One TLSA record.

    :ivar usage: `DANE_TA` or `DANE_EE`, or one that mail servers don't use
    :ivar selector: of what it tells, `CERTIFICATE` or `KEY`
    :ivar matching: `FULL`, `SHA_256` or `SHA_512`
    :ivar data: the certificate association data
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def read(cls, octets: bytes) -> Tlsa | None:
        """A record as it stands in DNS (RFC 6698 §2.1); ``None`` when it is too short for one."""
        if len(octets) < 4:
            return None
        return cls(octets[0], octets[1], octets[2], octets[3:])

    def __str__(self) -> str:
        """``3 1 1 `` and the data in hexadecimal digits (RFC 6698 §2.2)."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def is_usable(self) -> bool:
        """Whether a mail server can be known by it (RFC 7672 §3.1)."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (CERTIFICATE, KEY):
            return False
        if self.matching != FULL:
            return len(self.data) == _LENGTHS.get(self.matching)
        try:
            if self.selector == CERTIFICATE:
                x509.load_der_x509_certificate(self.data)
            else:
                load_der_public_key(self.data)
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            return False
        return True

    def fits(self, certificate: x509.Certificate) -> bool:
        """Whether it is the one of a certificate."""
        try:
            if self.selector == CERTIFICATE:
                octets = certificate.public_bytes(Encoding.DER)
            else:
                octets = certificate.public_key().public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                )
        except (ValueError, UnsupportedAlgorithm):
            return False  # a key of a kind that nobody here knows
        if self.matching == SHA_256:
            octets = hashlib.sha256(octets).digest()
        elif self.matching == SHA_512:
            octets = hashlib.sha512(octets).digest()
        return octets == self.data


def read_all(records: Iterable[bytes]) -> tuple[Tlsa, ...]:
    """The records of one name, those that are none left out, whatever their order in the answer.

    Name servers change it from one answer to the next, and the records have not changed then: a
    connection that was verified by them is still good, and reports tell of one policy.
    """
    return tuple([each for octets in sorted(records) if (each := Tlsa.read(octets)) is not None])


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that count.

    Where digests of several kinds are published for the same purpose only the strongest counts, so
    that nobody is held to the weaker one for ever (RFC 7671 §9).
    """
    found = [record for record in records[:MOST] if record.is_usable]
    strong = {(r.usage, r.selector) for r in found if r.matching == SHA_512}
    return tuple([r for r in found if r.matching != SHA_256 or (r.usage, r.selector) not in strong])
