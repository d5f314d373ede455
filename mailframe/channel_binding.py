"""Channel bindings: what ties a login to the TLS connection under it (RFC 5056).

Both ends compute the same octets, and somebody in between, who has a TLS connection with each of
them, has others. Known are ``tls-exporter`` (RFC 9266) and ``tls-server-end-point`` (RFC 5929 §4).

Connections are bound under TLS 1.3 only, where all agree on ``tls-exporter``. Under TLS 1.2 there
is no such agreement: many clients know nothing but ``tls-unique`` there, which is safe only with an
extension whose use pyOpenSSL does not tell, as is ``tls-exporter`` (RFC 9266 §4.2). Such a client
would choose SCRAM-SHA-256-PLUS if it were offered, and fail.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mailframe.scram import TLS_EXPORTER

_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §2


def can_bind(transport: Any) -> bool:
    """Whether there is TLS under this transport, its handshake done, that a login can be bound to.

    :param transport: any `twisted.internet.interfaces.ITransport`
    """
    return _connection(transport) is not None


def server_binding(transport: Any, kind: str) -> bytes | None:
    """The binding of a connection that we serve.

    :param kind: one of `mailframe.scram.BINDINGS`
    :returns: ``None`` when there is none of this kind
    """
    connection = _connection(transport)
    if connection is None:
        return None
    if kind == TLS_EXPORTER:
        return _exported(connection)
    certificate = connection.get_certificate()
    return end_point_hash(certificate.to_cryptography().public_bytes(Encoding.DER))


def client_binding(transport: Any) -> tuple[str, bytes] | None:
    """The binding of a connection that we opened.

    :returns: its kind and its octets; ``None`` when there is none
    """
    connection = _connection(transport)
    return None if connection is None else (TLS_EXPORTER, _exported(connection))


def _connection(transport: Any) -> Any | None:
    """The `OpenSSL.SSL.Connection` under a transport, when it can be bound to."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if callable(get_handle) else None
    version = getattr(handle, "get_protocol_version_name", None)
    return handle if callable(version) and version() == "TLSv1.3" else None


def _exported(connection: Any) -> bytes:
    octets: bytes = connection.export_keying_material(_LABEL, 32, b"")
    return octets


def end_point_hash(certificate: bytes) -> bytes | None:
    """The hash of a server's certificate that ``tls-server-end-point`` is (RFC 5929 §4.1).

    :param certificate: in DER
    :returns: ``None`` when its signature has no hash function of its own, as with Ed25519, for
        which the RFC defines nothing
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate).digest()
