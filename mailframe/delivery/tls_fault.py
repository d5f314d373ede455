"""What was wrong with TLS, in the words of TLS reports (RFC 8460 §4.3) and for people."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError

from mailframe.reply import Reply

Kind: TypeAlias = Literal[
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
]

# What OpenSSL calls the faults of a chain: X509_V_ERR_… in its x509_vfy.h.
_EXPIRED = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
}
_NOT_TRUSTED = {
    2: "the certificate's issuer is not known here",
    18: "the certificate is signed by itself, not by an authority that is trusted here",
    19: "the certificate's authority is not trusted here",
    20: "the certificate's issuer is not known here",
    21: "the certificate's issuer is not known here",
    23: "the certificate was revoked",
}


@attrs.frozen
class TlsFault:
    """One thing that is wrong.

    :ivar kind: the result type that a TLS report counts it under
    :ivar text: one clause for a person, without a final dot
    """

    kind: Kind
    text: str

    @property
    def reply(self) -> Reply:
        """How an attempt that it ended is told of."""
        return Reply(454, "4.7.5", f"the TLS handshake failed: {self.text}")


class BadHandshake(Exception):
    """What a server showed in a handshake is not what is asked of it: ``fault`` says why."""

    def __init__(self, fault: TlsFault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def chain_fault(number: int) -> TlsFault:
    """What OpenSSL found wrong with a certificate or those that signed it.

    :param number: its error number
    """
    if number in _EXPIRED:
        return TlsFault("certificate-expired", _EXPIRED[number])
    text = _NOT_TRUSTED.get(number, f"the certificate can't be trusted (OpenSSL says {number})")
    return TlsFault("certificate-not-trusted", text)


def fault_of(error: BaseException) -> TlsFault:
    """What OpenSSL, service-identity or a check of ours has to say, in a few words."""
    if isinstance(error, BadHandshake):
        return error.fault
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        words = "; ".join(str(problem[-1]) for problem in error.args[0])[:200]
        kind: Kind = "validation-failure"
        if "certificate verify failed" in words:
            kind = "certificate-not-trusted"
        return TlsFault(kind, words or "no reason given")
    if isinstance(error, VerificationError):
        return TlsFault("certificate-host-mismatch", "the certificate is not for the server's name")
    if isinstance(error, CertificateError):  # RFC 9525 §1.2: a common name is none
        return TlsFault("certificate-host-mismatch", "the certificate is for no name")
    return TlsFault("validation-failure", type(error).__name__)
