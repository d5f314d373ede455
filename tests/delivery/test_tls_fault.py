"""What is wrong with TLS, for people and for reports."""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.tls_fault import BadHandshake, TlsFault, chain_fault, fault_of


class FaultTests(SynchronousTestCase):
    """From errors to faults."""

    def test_reasons(self) -> None:
        """Nobody could tell why TLS fails; or a reason of any length would get into a bounce."""
        bad = TlsFault("tlsa-invalid", "the certificate fits no TLSA record")
        for error, kind, words in (
            (SSL.Error([("", "", "wrong version")]), "validation-failure", "wrong version"),
            (
                SSL.Error([("", "", "certificate verify failed")]),
                "certificate-not-trusted",
                "certificate verify failed",
            ),
            (SSL.Error([("a", "b", "x" * 500)]), "validation-failure", "x" * 200),
            (SSL.Error([]), "validation-failure", "no reason given"),
            (SSL.Error(), "validation-failure", "Error"),
            (
                VerificationError([]),
                "certificate-host-mismatch",
                "the certificate is not for the server's name",
            ),
            (
                CertificateError("none"),
                "certificate-host-mismatch",
                "the certificate is for no name",
            ),
            (ValueError("x"), "validation-failure", "ValueError"),
            (BadHandshake(bad), "tlsa-invalid", "the certificate fits no TLSA record"),
        ):
            fault = fault_of(error)
            self.assertEqual((fault.kind, fault.text), (kind, words))
            self.assertEqual(str(fault.reply), f"454 4.7.5 the TLS handshake failed: {words}")

    def test_chains(self) -> None:
        """Who runs a server whose certificate ran out would look for a wrong authority."""
        for number, kind, words in (
            (10, "certificate-expired", "has expired"),
            (9, "certificate-expired", "is not valid yet"),
            (18, "certificate-not-trusted", "signed by itself"),
            (20, "certificate-not-trusted", "issuer is not known here"),
            (79, "certificate-not-trusted", "OpenSSL says 79"),
        ):
            fault = chain_fault(number)
            self.assertEqual(fault.kind, kind)
            self.assertIn(words, fault.text)
