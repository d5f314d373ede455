"""Channel bindings: `mailframe.channel_binding`, with real TLS over memory."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from mailframe.channel_binding import can_bind, client_binding, end_point_hash, server_binding
from mailframe.scram import TLS_EXPORTER, TLS_SERVER_END_POINT


def certificate(key: Any, algorithm: Any) -> x509.Certificate:
    """One that a key signs for itself."""
    name = x509.Name([])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2036))
    ).sign(key, algorithm)


def connected(version: int = SSL.TLS1_3_VERSION) -> tuple[Any, Any, bytes]:
    """Both ends of a connection whose handshake is done, and the server's certificate in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = certificate(key, hashes.SHA384())
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(version)
    context.use_privatekey(crypto.PKey.from_cryptography_key(key))
    context.use_certificate(crypto.X509.from_cryptography(own))
    server, client = (SSL.Connection(context, None) for _ in range(2))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for end, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    return over(server), over(client), own.public_bytes(Encoding.DER)


def over(connection: Any) -> Any:
    """A transport over a connection."""
    return SimpleNamespace(getHandle=lambda: connection)


class BindingTests(SynchronousTestCase):
    """A login is good for the connection over which it was made, and for no other."""

    def test_exporter(self) -> None:
        """Both ends agree, and two connections never do (RFC 9266)."""
        server, client, _ = connected()
        self.assertTrue(can_bind(server))
        kind, octets = client_binding(client) or ("", b"")
        self.assertEqual((kind, len(octets)), (TLS_EXPORTER, 32))
        self.assertEqual(server_binding(server, kind), octets)
        other, _, _ = connected()
        self.assertNotEqual(server_binding(other, kind), octets)

    def test_end_point(self) -> None:
        """The hash is that with which the certificate was signed (RFC 5929 §4.1)."""
        server, _, own = connected()
        self.assertEqual(server_binding(server, TLS_SERVER_END_POINT), hashlib.sha384(own).digest())

    def test_older_tls(self) -> None:
        """Clients that know only tls-unique are not led to fail under TLS 1.2."""
        server, client, _ = connected(SSL.TLS1_2_VERSION)
        self.assertFalse(can_bind(server))
        self.assertIsNone(client_binding(client))
        for kind in (TLS_EXPORTER, TLS_SERVER_END_POINT):
            self.assertIsNone(server_binding(server, kind))

    def test_no_tls(self) -> None:
        """A socket without TLS, or one whose TLS is somebody else's, has nothing to bind to."""
        for transport in (None, object(), over(object())):
            self.assertFalse(can_bind(transport))
            self.assertIsNone(client_binding(transport))
            self.assertIsNone(server_binding(transport, TLS_EXPORTER))

    def test_hashes(self) -> None:
        """MD5 and SHA-1 count as SHA-256; a signature without a hash function defines nothing."""
        key = ec.generate_private_key(ec.SECP256R1())
        der = certificate(key, hashes.SHA256()).public_bytes(Encoding.DER)
        self.assertEqual(end_point_hash(der), hashlib.sha256(der).digest())
        unhashed = certificate(ed25519.Ed25519PrivateKey.generate(), None)
        self.assertIsNone(end_point_hash(unhashed.public_bytes(Encoding.DER)))

        class Odd:
            @property
            def signature_hash_algorithm(self) -> Any:
                raise UnsupportedAlgorithm("unknown")

        old = SimpleNamespace(signature_hash_algorithm=hashes.SHA1())
        for parsed, expected in ((old, hashlib.sha256(b"der").digest()), (Odd(), None)):
            with mock.patch.object(x509, "load_der_x509_certificate", return_value=parsed):
                self.assertEqual(end_point_hash(b"der"), expected)
