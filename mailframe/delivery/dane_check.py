"""Whether what a server showed in the TLS handshake fits its TLSA records (RFC 7671 §5).

It is looked at when the handshake is done, before anything else is said over the connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from mailframe.delivery.tls_fault import BadHandshake, TlsFault, chain_fault
from mailframe.delivery.tlsa import CERTIFICATE, DANE_EE, DANE_TA, FULL, Tlsa

_MOST_CERTIFICATES = 20  # of a chain that are looked at
_SERVER = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def check_dane(connection: SSL.Connection, tlsa: Sequence[Tlsa]) -> bool:
    """See that a server is the one that its TLSA records tell of.

    :param tlsa: the usable ones, at least one
    :returns: whether the name in the certificate matters as well, for an authority vouches for it
        (RFC 7672 §3.1.2)
    :raises BadHandshake: it is not
    """
    own = connection.get_peer_certificate(as_cryptography=True)
    if own is None:
        raise BadHandshake(TlsFault("validation-failure", "the server showed no certificate"))
    # Neither the name nor the time matter: DNS says that it is this one, now (RFC 7671 §5.1).
    if any(record.fits(own) for record in tlsa if record.usage == DANE_EE):
        return False
    shown = connection.get_peer_cert_chain(as_cryptography=True) or []
    why = _by_authority(own, shown[:_MOST_CERTIFICATES], tlsa)
    if why is not None:
        raise BadHandshake(why)
    return True


def _by_authority(
    own: x509.Certificate, shown: Sequence[x509.Certificate], tlsa: Sequence[Tlsa]
) -> TlsFault | None:
    """What keeps the server's certificate from being one that a published authority vouches for."""
    records = [record for record in tlsa if record.usage == DANE_TA]
    others = [certificate for certificate in shown if certificate != own]
    # An authority whose whole certificate is published need not be shown (RFC 7671 §5.2.1).
    published = [
        x509.load_der_x509_certificate(record.data)
        for record in records
        if (record.selector, record.matching) == (CERTIFICATE, FULL)
    ]
    anchors = [each for each in others if any(record.fits(each) for record in records)]
    anchors += [each for each in published if each not in anchors and each != own]
    why = TlsFault("validation-failure", "the certificate fits no TLSA record of the server")
    for anchor in anchors:
        fault = _signed(own, anchor, others)
        if fault is None:
            return None if _is_for_servers(own) else _not_for_servers()
        why = fault
    return why


def _signed(
    own: x509.Certificate, anchor: x509.Certificate, others: Sequence[x509.Certificate]
) -> TlsFault | None:
    """Whether a chain leads from the server's certificate to an authority, and is good now."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(anchor))
    # The authority may itself be signed by another one, which is nobody's concern here.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    chain = [crypto.X509.from_cryptography(each) for each in others]
    context = crypto.X509StoreContext(store, crypto.X509.from_cryptography(own), chain)
    try:
        context.verify_certificate()
    except crypto.X509StoreContextError as error:
        return chain_fault(error.errors[0])
    return None


def _is_for_servers(own: x509.Certificate) -> bool:
    """Whether its authority lets the certificate be shown by servers (RFC 5280 §4.2.1.12)."""
    try:
        usages = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        # its extensions can't be read
        return False
    return not _SERVER.isdisjoint(usages)


def _not_for_servers() -> TlsFault:
    return TlsFault("certificate-not-trusted", "the certificate is not one for servers")
