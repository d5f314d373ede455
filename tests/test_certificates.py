"""The TLS context."""

from __future__ import annotations

import contextlib
import os

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mailframe.certificates import CertificateError, load_context


class CertificateTests(SynchronousTestCase):
    """`load_context`."""

    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        self.certificate = os.path.join(folder, "c.pem")
        self.key = os.path.join(folder, "k.pem")
        root = trustme.CA()
        issued = root.create_child_ca().issue_cert("mx.example")
        self.chain = [pem.bytes() for pem in issued.cert_chain_pems]
        self.write(self.certificate, b"".join(self.chain))
        self.key_octets = issued.private_key_pem.bytes()
        self.write(self.key, self.key_octets)

    def write(self, path: str, octets: bytes) -> None:
        """Write a file."""
        with open(path, "wb") as file:
            file.write(octets)

    def refused(self, *words: str) -> None:
        """The files can't be used, and the message says these words."""
        with self.assertRaises(CertificateError) as caught:
            load_context(self.certificate, self.key)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_forward_secrecy(self) -> None:
        """Whoever records our traffic and steals an RSA key later reads none of it."""
        issued = trustme.CA().issue_cert("mx.example", key_type=trustme.KeyType.RSA)
        self.write(self.certificate, issued.cert_chain_pems[0].bytes())
        self.write(self.key, issued.private_key_pem.bytes())
        context = load_context(self.certificate, self.key).getContext()
        ciphers = SSL.Connection(context, None).get_cipher_list()
        self.assertIn("ECDHE-RSA-AES256-GCM-SHA384", ciphers)
        self.assertIn("TLS_AES_256_GCM_SHA384", ciphers)
        for cipher in ciphers:
            self.assertRegex(cipher, "^(ECDHE-(RSA|ECDSA)|DHE-RSA|TLS)[-_](AES|CHACHA)")

    def versions(self, client: SSL.Context) -> str:
        """The TLS version and the chain's length that a client gets."""
        client_side = SSL.Connection(client, None)
        server_side = SSL.Connection(load_context(self.certificate, self.key).getContext(), None)
        client_side.set_connect_state()
        server_side.set_accept_state()
        for _ in range(4):
            for here, there in ((client_side, server_side), (server_side, client_side)):
                with contextlib.suppress(SSL.WantReadError):
                    here.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    there.bio_write(here.bio_read(65536))
        chain = client_side.get_peer_cert_chain() or ()
        return f"{client_side.get_protocol_version_name()} {len(chain)}"

    def test_chain(self) -> None:
        """Without the chain other servers could not verify ours."""
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.assertEqual(self.versions(client), f"TLSv1.3 {len(self.chain)}")

    def test_old_versions(self) -> None:
        """TLS before 1.2 must not be spoken (RFC 8996)."""
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_cipher_list(b"ALL:@SECLEVEL=0")
        client.set_max_proto_version(SSL.TLS1_1_VERSION)
        self.assertRaises(SSL.Error, self.versions, client)

    def test_options(self) -> None:
        """Renegotiation lets a client burn our time, compression gives secrets away."""
        options = load_context(self.certificate, self.key).getContext().set_options(0)
        self.assertTrue(options & SSL.OP_NO_RENEGOTIATION)
        self.assertTrue(options & SSL.OP_NO_COMPRESSION)

    def test_missing(self) -> None:
        """Who mistyped a path must see which."""
        os.remove(self.key)
        self.refused("[tls] private_key", self.key, "No such file")
        os.remove(self.certificate)
        self.refused("[tls] certificate", self.certificate, "No such file")

    def test_nonsense(self) -> None:
        """A file with something else in it."""
        self.write(self.key, b"no key\n")
        self.refused(self.key, "no private key")
        self.write(self.certificate, b"no certificate\n")
        self.refused(self.certificate, "no PEM certificate")
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.write(self.certificate, broken)
        self.refused("[tls] certificate", self.certificate, "damaged")

    def test_exchanged(self) -> None:
        """The most common slip: both paths name the same file."""
        self.write(self.key, b"".join(self.chain))
        self.refused(self.key, "no private key")

    def test_other_key(self) -> None:
        """A key that belongs to another certificate would fail with every client."""
        other = trustme.CA().issue_cert("mx.example").private_key_pem.bytes()
        self.write(self.key, other)
        self.refused(self.key, "is not the key of", self.certificate)

    def test_passphrase(self) -> None:
        """A server must not stop at start to ask a terminal for a passphrase."""
        key = load_pem_private_key(self.key_octets, None)
        locked = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        self.write(self.key, locked)
        self.refused(self.key, "without a passphrase")
