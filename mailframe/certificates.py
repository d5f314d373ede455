"""The server's TLS context, from PEM files (RFC 8996, RFC 9325)."""

from __future__ import annotations

import re

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion

_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Forward secrecy in all of them: no RSA key transport (RFC 9325 §4.1). CBC is the last resort: who
# knows nothing better would send in clear instead. TLS 1.3 has a list of its own.
_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString(  # type: ignore[no-untyped-call]  # no annotations
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:!aNULL:!PSK:!DSS:!AESCCM"
)


class CertificateError(Exception):
    """The certificate or its key can't be used. ``str(error)`` says which file and why."""


@attrs.frozen(kw_only=True)
class KeyPair:
    """A certificate and its key, as their files hold them.

    :ivar certificate: our certificate, then those of its chain, in PEM
    :ivar private_key: in PEM, without a passphrase
    :ivar certificate_path: where they came from, for messages
    :ivar private_key_path: likewise
    """

    certificate: bytes
    private_key: bytes = attrs.field(repr=False)
    certificate_path: str
    private_key_path: str


def read_key_pair(certificate: str, private_key: str) -> KeyPair:
    """Read the files.

    :param certificate: the path of a PEM file: our certificate, then those of its chain
    :param private_key: the path of a PEM file, without a passphrase
    :raises CertificateError: one can't be read
    """
    return KeyPair(
        certificate=_octets("certificate", certificate),
        private_key=_octets("private_key", private_key),
        certificate_path=certificate,
        private_key_path=private_key,
    )


def load_context(certificate: str, private_key: str) -> CertificateOptions:
    """Make the TLS context of our servers from two files; see `read_key_pair`, `make_context`."""
    return make_context(read_key_pair(certificate, private_key))


def make_context(pair: KeyPair) -> CertificateOptions:
    """Make the TLS context of our servers: TLS 1.2 or later, forward secrecy, no compression and
    no renegotiation.

    :raises CertificateError: it can't be used, or the key is another certificate's
    """
    certificate, private_key = pair.certificate_path, pair.private_key_path
    blocks = _CERTIFICATE.findall(pair.certificate)
    if not blocks:
        raise CertificateError(f"[tls] certificate: {certificate} holds no PEM certificate")
    try:
        chain = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
    except (crypto.Error, ValueError) as error:
        raise CertificateError(
            f"[tls] certificate: {certificate} holds a certificate that is damaged"
        ) from error
    try:
        # An empty passphrase, lest OpenSSL ask for one on the terminal.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, pair.private_key, b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise CertificateError(
            f"[tls] private_key: {private_key} holds no private key in PEM that can be read "
            "without a passphrase"
        ) from error
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableCiphers=_CIPHERS,
    )
    try:
        context = options.getContext()
    except SSL.Error as error:
        raise CertificateError(
            f"[tls] private_key: {private_key} is not the key of the certificate in {certificate}"
        ) from error
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return options


def _octets(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        reason = error.strerror or error
        raise CertificateError(f"[tls] {key}: {path} can't be read: {reason}") from error
