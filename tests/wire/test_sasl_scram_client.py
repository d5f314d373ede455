"""SCRAM as a client: `mailframe.wire.sasl_scram_client`."""

from __future__ import annotations

import scramp
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.scram import ScramKeys
from mailframe.wire.sasl_exchange import Derivation, SaslError
from mailframe.wire.sasl_scram_client import ScramClient
from mailframe.wire.sasl_scram_server import ScramLookup, ScramProof, ScramServer
from tests.wire.test_sasl_scram_server import (
    BINDING,
    CLIENT_FINAL,
    CLIENT_FIRST,
    KEYS,
    SALT,
    SERVER_FINAL,
    SERVER_FIRST,
)


def client() -> ScramClient:
    """The client of RFC 7677 §3."""
    return ScramClient(b"user", b"pencil", nonce=lambda: b"rOprNGfwEbeRWgbNEkqO")


def proof_for(exchange: ScramClient, challenge: bytes) -> bytes:
    """What the client answers to a server's first message."""
    work = exchange.respond(challenge)
    assert isinstance(work, Derivation)
    return exchange.derived(work.compute())


class VectorTests(SynchronousTestCase):
    """Servers of others let us in."""

    def test_rfc_7677(self) -> None:
        """The example of RFC 7677 §3, octet for octet; also when the server speaks first."""
        for ask in (ScramClient.initial, lambda exchange: exchange.respond(b"")):
            exchange = client()
            self.assertEqual(ask(exchange), CLIENT_FIRST)
            self.assertEqual(proof_for(exchange, SERVER_FIRST), CLIENT_FINAL)
            self.assertEqual(exchange.respond(SERVER_FINAL), b"")
            exchange.succeeded()

    def test_against_scramp(self) -> None:
        """Another implementation takes our login, with and without channel binding."""
        for mechanism, binding in (("SCRAM-SHA-256", None), ("SCRAM-SHA-256-PLUS", BINDING)):
            keys = (SALT, KEYS.stored_key, KEYS.server_key, 4096)
            server = scramp.ScramMechanism(mechanism).make_server(
                lambda name, keys=keys: keys if name == "a=b,c" else None, channel_binding=binding
            )
            exchange = ScramClient(b"a=b,c", b"pencil", binding=binding, plus=binding is not None)
            self.assertEqual(exchange.name, mechanism)
            server.set_client_first((exchange.initial() or b"").decode())
            final = proof_for(exchange, server.get_server_first().encode())
            server.set_client_final(final.decode())
            self.assertEqual(exchange.respond(server.get_server_final().encode()), b"")
            exchange.succeeded()

    @settings(deadline=None, max_examples=10)
    @given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
    def test_against_our_server(self, password: str, other: str) -> None:
        """Whatever the password, ours and only ours is taken."""
        try:
            octets, others = password.encode(), other.encode()
        except UnicodeEncodeError:
            return
        keys = ScramKeys.derive(octets, iterations=4096)
        for tried in (octets, others):
            exchange = ScramClient(b"user", tried)
            server = ScramServer(plus=False, plus_offered=False)
            lookup = server.respond(exchange.initial())
            assert isinstance(lookup, ScramLookup)
            proof = server.respond(proof_for(exchange, lookup.challenge(keys, b"")))
            assert isinstance(proof, ScramProof)
            same = ScramKeys.derive(tried, salt=keys.salt, iterations=4096) == keys
            self.assertEqual(proof.fits(keys), same)


class RefusalTests(SynchronousTestCase):
    """A server that does not know the login gets neither the password nor our mail."""

    def test_wrong_signature(self) -> None:
        """Somebody who only plays the server can't sign."""
        exchange = client()
        exchange.initial()
        proof_for(exchange, SERVER_FIRST)
        with self.assertRaisesRegex(SaslError, "signature is wrong"):
            exchange.respond(b"v=7" + SERVER_FINAL[3:])
        with self.assertRaises(SaslError):
            exchange.succeeded()

    def test_no_signature(self) -> None:
        """A bare 235 is no proof."""
        exchange = client()
        exchange.initial()
        with self.assertRaisesRegex(SaslError, "without proof"):
            exchange.succeeded()
        proof_for(exchange, SERVER_FIRST)
        with self.assertRaisesRegex(SaslError, "without proof"):
            exchange.succeeded()

    def test_nonce(self) -> None:
        """An old exchange can't be played to us again."""
        nonce = b"rOprNGfwEbeRWgbNEkqO"
        for other in (nonce, b"x" + nonce, b"rOprNGfwEbeRWgbNEkq", b"other"):
            exchange = client()
            exchange.initial()
            with self.assertRaisesRegex(SaslError, "nonce"):
                exchange.respond(b"r=%b,s=YQ==,i=4096" % other)

    def test_asked_too_often(self) -> None:
        """A server that asks on and on gets nothing more."""
        exchange = client()
        exchange.initial()
        work = exchange.respond(SERVER_FIRST)
        assert isinstance(work, Derivation)
        with self.assertRaisesRegex(SaslError, "asks for more"):
            exchange.respond(SERVER_FINAL)
        exchange.derived(work.compute())
        exchange.respond(SERVER_FINAL)
        with self.assertRaisesRegex(SaslError, "asks for more"):
            exchange.respond(SERVER_FINAL)
