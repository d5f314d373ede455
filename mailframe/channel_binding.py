"""Channel bindings: what ties a login to the TLS connection under it (RFC 5056).

Both ends compute the same octets, and somebody in between, who has a TLS connection with each of
them, has others. Known are ``tls-exporter`` (RFC 9266), for TLS 1.3, and ``tls-server-end-point``
(RFC 5929 §4). Left out is ``tls-unique``: it is not defined for TLS 1.3, and safe in TLS 1.2 only
with an extension whose use pyOpenSSL does not tell. For that reason ``tls-exporter`` is not given
for TLS 1.2 either (RFC 9266 §4.2).
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mailframe.scram import TLS_EXPORTER, TLS_SERVER_END_POINT

_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §2


def can_bind(transport: Any) -> bool:
    """Whether there is TLS under this transport that a login can be bound to."""
    return _connection(transport) is not None


def server_binding(transport: Any, kind: str) -> bytes | None:
    """The binding of a connection that we serve, whose handshake is done.

    :param kind: one of `mailframe.scram.BINDINGS`
    :returns: ``None`` when there is none of this kind
    """
    connection = _connection(transport)
    if connection is None:
        return None
    if kind == TLS_EXPORTER:
        return _exported(connection)
    return _end_point(connection.get_certificate())


def client_binding(transport: Any) -> tuple[str, bytes] | None:
    """The best binding of a connection that we opened, whose handshake is done.

    :returns: its kind and its octets; ``None`` when there is none
    """
    connection = _connection(transport)
    if connection is None:
        return None
    exported = _exported(connection)
    if exported is not None:
        return TLS_EXPORTER, exported
    hashed = _end_point(connection.get_peer_certificate())
    return None if hashed is None else (TLS_SERVER_END_POINT, hashed)


def _connection(transport: Any) -> Any | None:
    """The `OpenSSL.SSL.Connection` under a Twisted transport."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if callable(get_handle) else None
    return handle if hasattr(handle, "export_keying_material") else None


def _exported(connection: Any) -> bytes | None:
    if connection.get_protocol_version_name() != "TLSv1.3":
        return None
    octets: bytes = connection.export_keying_material(_LABEL, 32, b"")
    return octets


def _end_point(certificate: Any) -> bytes | None:
    if certificate is None:
        return None
    octets: bytes = certificate.to_cryptography().public_bytes(Encoding.DER)
    return end_point_hash(octets)


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
