"""SCRAM as a server: `mailframe.wire.sasl_scram_server`."""

from __future__ import annotations

import base64
from collections.abc import Callable

import scramp
from twisted.trial.unittest import SynchronousTestCase

from mailframe.scram import ScramKeys
from mailframe.wire.sasl_exchange import Acknowledged, Refuted, SaslError
from mailframe.wire.sasl_scram_server import ScramLookup, ScramProof, ScramServer

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = ScramKeys.derive(b"pencil", salt=SALT, iterations=4096)
# RFC 7677 §3
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
BINDING = ("tls-server-end-point", b"hash of a certificate")


def server(plus: bool = False, plus_offered: bool = False) -> ScramServer:
    """The server of the RFC's example."""
    return ScramServer(
        plus=plus, plus_offered=plus_offered, nonce=lambda: b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )


def looked_up(exchange: ScramServer, first: bytes, binding: bytes = b"") -> bytes:
    """What the server says to a first message, with the keys of the example."""
    lookup = exchange.respond(first)
    assert isinstance(lookup, ScramLookup)
    return lookup.challenge(KEYS, binding)


class VectorTests(SynchronousTestCase):
    """Clients of others can log in."""

    def test_rfc_7677(self) -> None:
        """The example of RFC 7677 §3, octet for octet."""
        exchange = server()
        self.assertEqual(exchange.respond(None), b"")
        lookup = exchange.respond(CLIENT_FIRST)
        assert isinstance(lookup, ScramLookup)
        self.assertEqual((lookup.user, lookup.authzid, lookup.binding), (b"user", b"", ""))
        self.assertEqual(lookup.challenge(KEYS, b""), SERVER_FIRST)
        proof = exchange.respond(CLIENT_FINAL)
        assert isinstance(proof, ScramProof)
        self.assertEqual(proof.user, b"user")
        self.assertTrue(proof.fits(KEYS))
        self.assertEqual(proof.signature(KEYS), SERVER_FINAL)
        self.assertEqual(exchange.respond(b""), Acknowledged())

    def test_against_scramp(self) -> None:
        """Another implementation logs in, with and without channel binding."""
        for mechanism, binding in (("SCRAM-SHA-256", None), ("SCRAM-SHA-256-PLUS", BINDING)):
            client = scramp.ScramClient([mechanism], "a=b,c", "pencil", channel_binding=binding)
            exchange = ScramServer(plus=binding is not None, plus_offered=True)
            lookup = exchange.respond(client.get_client_first().encode())
            assert isinstance(lookup, ScramLookup)
            self.assertEqual(lookup.user, b"a=b,c")
            self.assertEqual(lookup.binding, binding[0] if binding else "")
            challenge = lookup.challenge(KEYS, binding[1] if binding else b"")
            client.set_server_first(challenge.decode())
            proof = exchange.respond(client.get_client_final().encode())
            assert isinstance(proof, ScramProof)
            self.assertTrue(proof.fits(KEYS))
            client.set_server_final(proof.signature(KEYS).decode())


class RefusalTests(SynchronousTestCase):
    """Nobody gets in with what was overheard, guessed or changed on the way."""

    def refused(self, reason: str, call: Callable[[], object]) -> None:
        with self.assertRaisesRegex(SaslError, reason):
            call()

    def refuted(self, reason: str, claim: object) -> None:
        assert isinstance(claim, Refuted)
        self.assertEqual((claim.user, claim.authzid), (b"user", b""))
        self.assertIn(reason, claim.reason)

    def test_tampered_proof(self) -> None:
        """A proof with one bit changed fits nothing, nor does one of another length."""
        exchange = server()
        looked_up(exchange, CLIENT_FIRST)
        proof = exchange.respond(CLIENT_FINAL)
        assert isinstance(proof, ScramProof)
        message = proof.message
        for i in range(0, 256, 31):
            changed = bytearray(proof.proof)
            changed[i // 8] ^= 1 << (i % 8)
            self.assertFalse(KEYS.fits(bytes(changed), message))
        for other in (b"", proof.proof[:-1], proof.proof + b"\0", bytes(32)):
            self.assertFalse(KEYS.fits(other, message))
        self.assertFalse(KEYS.fits(proof.proof, message + b" "))

    def test_other_password(self) -> None:
        """The proof of another password fits no more than none."""
        exchange = server()
        looked_up(exchange, CLIENT_FIRST)
        proof = exchange.respond(CLIENT_FINAL)
        assert isinstance(proof, ScramProof)
        self.assertFalse(proof.fits(ScramKeys.derive(b"pencils", salt=SALT, iterations=4096)))

    def test_replayed(self) -> None:
        """An overheard exchange is of no use: each has a nonce of its own."""
        exchange = ScramServer(plus=False, plus_offered=False)
        self.assertNotEqual(looked_up(exchange, CLIENT_FIRST), SERVER_FIRST)
        self.refuted("the nonce is not that of this exchange", exchange.respond(CLIENT_FINAL))
        exchange = server()
        looked_up(exchange, CLIENT_FIRST)
        shortened = CLIENT_FINAL.replace(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b"")
        self.refuted("the nonce", exchange.respond(shortened))

    def test_downgrade(self) -> None:
        """Somebody in between who takes PLUS out of the offer is found out (RFC 5802 §6)."""
        first = b"y" + CLIENT_FIRST[1:]
        self.refuted("was offered, but did not reach", server(plus_offered=True).respond(first))
        # Where PLUS was not offered the client says the truth.
        self.assertIsInstance(server().respond(first), ScramLookup)

    def test_header(self) -> None:
        """What the client says of channel binding must go with the mechanism it chose."""
        for plus, flag, reason in (
            (True, b"n", "without a channel binding"),
            (True, b"y", "without a channel binding"),
            (False, b"p=tls-exporter", "without SCRAM-SHA-256-PLUS"),
            (True, b"p=tls-unique", "the known channel bindings are tls-exporter and tls-server"),
        ):
            first = flag + CLIENT_FIRST[1:]
            exchange = server(plus=plus, plus_offered=True)
            self.refused(reason, lambda exchange=exchange, first=first: exchange.respond(first))

    def test_other_channel(self) -> None:
        """Whoever passes the exchange on from another connection gets nowhere."""
        client = scramp.ScramClient(
            ["SCRAM-SHA-256-PLUS"], "user", "pencil", channel_binding=BINDING
        )
        exchange = ScramServer(plus=True, plus_offered=True)
        challenge = looked_up(exchange, client.get_client_first().encode(), b"another hash")
        client.set_server_first(challenge.decode())
        final = client.get_client_final().encode()
        self.refuted("the channel binding is not that", exchange.respond(final))
        # Nor is the header to be changed on the way.
        exchange = server()
        looked_up(exchange, CLIENT_FIRST)
        changed = CLIENT_FINAL.replace(b"c=biws", b"c=" + base64.b64encode(b"y,,"))
        self.refuted("the channel binding is not that", exchange.respond(changed))

    def test_end(self) -> None:
        """After the proof nothing is to be said."""
        exchange = server()
        looked_up(exchange, CLIENT_FIRST)
        exchange.respond(CLIENT_FINAL)
        self.refused("an empty response is due", lambda: exchange.respond(CLIENT_FINAL))
