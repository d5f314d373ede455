"""Names in certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.tls_names import check_names, is_address
from tests.delivery.chains import party
from tests.delivery.test_dane_check import shaken

MX = "mx.blu.example"


@lru_cache(maxsize=1)
def key() -> ec.EllipticCurvePrivateKey:
    """One for all."""
    return ec.generate_private_key(ec.SECP256R1())


class Shown:
    """A connection over which a certificate was shown; authorities sign hardly any as odd."""

    def __init__(self, names: Sequence[x509.GeneralName] | None, common_names: Sequence[str]):
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names]
        )
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key().public_key())
            .serial_number(1)
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=1))
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._certificate = builder.sign(key(), hashes.SHA256())

    def get_peer_certificate(self, *, as_cryptography: bool) -> x509.Certificate:
        """Called for it."""
        assert as_cryptography
        return self._certificate


class CheckTests(SynchronousTestCase):
    """Which certificates are good for which names."""

    def why_not(
        self,
        *shown: str,
        names: Sequence[str] = (MX,),
        addresses: Sequence[str] = (),
        common_names: Sequence[str] = (),
        common_name: bool = False,
    ) -> type[Exception] | None:
        """What is raised, if anything."""
        found: list[x509.GeneralName] = [x509.DNSName(each) for each in shown]
        found += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        connection: Any = Shown(found or None, common_names)
        try:
            check_names(connection, names, common_name=common_name)
        except (VerificationError, CertificateError) as error:
            return type(error)
        return None

    def test_names(self) -> None:
        """Mail would go to whoever has a certificate for something, or to nobody."""
        for shown in (MX, MX.upper(), "*.blu.example"):
            self.assertIsNone(self.why_not(shown), shown)
            self.assertIsNone(self.why_not("other.example", shown), shown)
        for shown in (
            "blu.example",
            "x.mx.blu.example",
            "*.mx.blu.example",
            "*.example",
            "mx*.blu.example",
            "m*.blu.example",
            "*x.blu.example",
            "*.*.example",
            "mx.*.example",
        ):
            self.assertIsNotNone(self.why_not(shown), shown)

    def test_one_of_several(self) -> None:
        """Of the names that a server may have only the first or the last would be looked for."""
        for shown in ("blu.example", "rosse.example", MX):
            names = (MX, "blu.example", "rosse.example")
            self.assertIsNone(self.why_not(shown, names=names), shown)
        self.assertIs(self.why_not("other.example", names=(MX, "blu.example")), VerificationError)

    def test_odd_ones_among_good_ones(self) -> None:
        """A server with a good certificate got no mail for what else stands in it."""
        for odd in ("192.0.2.1", "*.example", "*", "", "a..b", "*.*.blu.example", "x" * 300):
            self.assertIsNone(self.why_not(odd, MX), odd)
            self.assertIsNotNone(self.why_not(odd), odd)

    def test_addresses(self) -> None:
        """A server known by its address alone could not be verified, or a name would do for it."""
        self.assertIsNone(self.why_not(names=["192.0.2.1"], addresses=["192.0.2.1"]))
        self.assertIsNone(self.why_not(names=["2001:db8::1"], addresses=["2001:db8:0::1"]))
        self.assertIs(self.why_not(names=["192.0.2.1"], addresses=["192.0.2.2"]), VerificationError)
        self.assertIs(self.why_not("192.0.2.1", names=["192.0.2.1"]), CertificateError)

    def test_common_name(self) -> None:
        """A server that a published authority vouches for got no mail (RFC 7672 §3.2.3), or any
        other server would be taken for one by what is no name there.
        """
        self.assertIs(self.why_not(common_names=[MX]), CertificateError)
        for found in ([MX], ["Our Server", MX], ["*.blu.example"]):
            self.assertIsNone(self.why_not(common_names=found, common_name=True), found)
        for found in (["other.example"], ["Our Server"], ["mü.example"], ["192.0.2.1"], []):
            self.assertIsNotNone(self.why_not(common_names=found, common_name=True), found)
        # names that are such go first
        self.assertIs(
            self.why_not("other.example", common_names=[MX], common_name=True), VerificationError
        )
        self.assertIsNone(
            self.why_not(addresses=["192.0.2.1"], common_names=[MX], common_name=True)
        )

    def test_real_handshakes(self) -> None:
        """The certificate would be sought where it is not."""
        check_names(shaken(party(MX).context()), [MX])
        with self.assertRaises(VerificationError):
            check_names(shaken(party("other.example").context()), [MX])
        nobody = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        with self.assertRaises(CertificateError):
            check_names(nobody, [MX])

    def test_is_address(self) -> None:
        """A name would be looked for among addresses."""
        for host, expected in ((MX, False), ("192.0.2.1", True), ("2001:db8::1", True)):
            self.assertEqual(is_address(host), expected)
