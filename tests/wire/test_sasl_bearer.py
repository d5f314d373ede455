"""OAUTHBEARER and XOAUTH2: `mailframe.wire.sasl_bearer`."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl_bearer import (
    OAuthBearerClient,
    OAuthBearerServer,
    TokenClaim,
    XOAuth2Client,
    XOAuth2Server,
)
from mailframe.wire.sasl_exchange import Acknowledged, SaslError

# RFC 7628 §4.1
EXAMPLE = (
    b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
    b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
)
# https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
GOOGLE = (
    b"user=someuser@example.com\x01"
    b"auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
)
PIECES = st.lists(
    st.sampled_from(
        [b"n,", b"a=", b"u@x", b",", b"\x01", b"auth=", b"Bearer ", b"t", b"user=", b"=", b"\xff"]
    ),
    max_size=12,
).map(b"".join)


class ServerTests(SynchronousTestCase):
    """A token reaches the checker as it is, under the name that came with it."""

    def test_oauthbearer(self) -> None:
        """The example of RFC 7628 §4.1."""
        server = OAuthBearerServer()
        self.assertEqual(server.respond(None), b"")
        claim = server.respond(EXAMPLE)
        assert isinstance(claim, TokenClaim)
        self.assertEqual(claim.user, b"user@example.com")
        self.assertEqual(claim.authzid, b"user@example.com")
        self.assertEqual(claim.token, b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
        self.assertNotIn("vF9", repr(claim))
        self.assertEqual(json.loads(claim.refusal), {"status": "invalid_token"})
        self.assertEqual(server.respond(b"\x01"), Acknowledged())

    def test_without_name(self) -> None:
        """A client may leave it to the token whose it is."""
        claim = OAuthBearerServer().respond(b"n,,\x01auth=bearer  t.o-k~e_n+/= \x01\x01")
        assert isinstance(claim, TokenClaim)
        self.assertEqual((claim.user, claim.token), (b"", b"t.o-k~e_n+/="))

    def test_xoauth2(self) -> None:
        """The example in Google's description."""
        server = XOAuth2Server()
        claim = server.respond(GOOGLE)
        assert isinstance(claim, TokenClaim)
        self.assertEqual(claim.user, b"someuser@example.com")
        self.assertEqual(claim.token, b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
        self.assertEqual(json.loads(claim.refusal)["status"], "401")
        self.assertEqual(server.respond(b""), Acknowledged())

    def test_bad_responses(self) -> None:
        """What is malformed is asked of no checker."""
        auth = b"\x01auth=Bearer t\x01\x01"
        for server, responses in (
            (
                OAuthBearerServer,
                (
                    *(b"", b"n,,", b"n,," + auth[1:], auth, b"p=tls-exporter,," + auth, GOOGLE),
                    *(b"n,," + auth[:-1], b"n,," + auth + b"x", b"n,,\x01auth=Basic dTpw\x01\x01"),
                    *(b"n,,\x01host=x\x01\x01", b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01"),
                    *(b"n,,\x01auth=Bearer\x01\x01", b"n,,\x01auth=Bearer a b\x01\x01"),
                    *(b"n,,\x01\x01\x01", b"n,,\x01ho st=x" + auth, b"n,a=\xff," + auth),
                    b"n,,\x01auth=Bearer " + b"t" * 8193 + b"\x01\x01",
                ),
            ),
            (XOAuth2Server, (b"", auth, b"user=" + auth, b"user=a\n" + auth, b"user=a", EXAMPLE)),
        ):
            for response in responses:
                with self.assertRaises(SaslError, msg=repr(response)) as caught:
                    server().respond(response)
                self.assertTrue(str(caught.exception).isascii())

    @settings(deadline=None, max_examples=150)
    @given(st.one_of(PIECES, st.binary(max_size=60)))
    def test_any_octets(self, octets: bytes) -> None:
        """Nothing that a client sends becomes a fault of ours."""
        for server in (OAuthBearerServer(), XOAuth2Server()):
            try:
                self.assertIsInstance(server.respond(octets), TokenClaim)
            except SaslError as error:
                self.assertTrue(str(error).isascii())


class ClientTests(SynchronousTestCase):
    """A token is carried to a server that asks for one."""

    @settings(deadline=None, max_examples=50)
    @given(st.from_regex(r"[!-~]{1,30}", fullmatch=True).map(str.encode))
    def test_against_server(self, user: bytes) -> None:
        """Each client convinces its server, whoever speaks first."""
        for client, server in (
            (OAuthBearerClient(user, b"token"), OAuthBearerServer()),
            (XOAuth2Client(user, b"token"), XOAuth2Server()),
        ):
            claim = server.respond(client.respond(b""))
            assert isinstance(claim, TokenClaim)
            self.assertEqual((claim.user, claim.token), (user, b"token"))
            self.assertEqual(server.respond(client.respond(claim.refusal)), Acknowledged())
            self.assertEqual(client.refusal, claim.refusal)
            with self.assertRaises(SaslError):
                client.respond(b"")

    def test_initial(self) -> None:
        """The token goes out with the command, and a refusal without a reason is one as well."""
        client = XOAuth2Client(b"u", b"t")
        self.assertEqual(client.initial(), b"user=u\x01auth=Bearer t\x01\x01")
        self.assertEqual(client.respond(b""), b"")
        self.assertTrue(client.refusal)
