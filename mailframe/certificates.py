"""The server's TLS context, from PEM files (RFC 8996, RFC 9325)."""

from __future__ import annotations

import re

from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CertificateError(Exception):
    """The certificate or its key can't be used. ``str(error)`` says which file and why."""


def load_context(certificate: str, private_key: str) -> CertificateOptions:
    """Make the TLS context of our servers: TLS 1.2 or later, no compression, no renegotiation.

    :param certificate: the path of a PEM file: our certificate, then those of its chain
    :param private_key: the path of a PEM file, without a passphrase
    :raises CertificateError: a file can't be read or used, or the key is another certificate's
    """
    blocks = _CERTIFICATE.findall(_octets(certificate))
    if not blocks:
        raise CertificateError(f"{certificate}: holds no PEM certificate")
    try:
        chain = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
    except (crypto.Error, ValueError) as error:
        raise CertificateError(f"{certificate}: holds a certificate that is damaged") from error
    try:
        # An empty passphrase, lest OpenSSL ask for one on the terminal.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, _octets(private_key), b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise CertificateError(
            f"{private_key}: holds no private key in PEM that can be read without a passphrase"
        ) from error
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    try:
        context = options.getContext()
    except SSL.Error as error:
        raise CertificateError(
            f"{private_key}: is not the key of the certificate in {certificate}"
        ) from error
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return options


def _octets(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"{path}: can't be read: {error.strerror or error}") from error
