"""Which mechanisms there are: `mailframe.wire.sasl`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl import PLUS, SCRAM, ClientMechanism, Login, choose, server_mechanism
from mailframe.wire.sasl_bearer import OAuthBearerServer, XOAuth2Server
from mailframe.wire.sasl_plain import LoginClient, LoginServer, PlainClient, PlainServer
from mailframe.wire.sasl_scram_client import ScramClient
from mailframe.wire.sasl_scram_server import ScramServer

BINDING = ("tls-exporter", b"bound")


class ChooseTests(SynchronousTestCase):
    """A smarthost learns no more of our password than it has to."""

    def chosen(
        self, *offered: str, binding: tuple[str, bytes] | None = None
    ) -> ClientMechanism | None:
        return choose(offered, b"u", b"p", binding)

    def test_strongest(self) -> None:
        """The best mechanism that both know is taken, in any case of letters."""
        self.assertIsInstance(self.chosen("GSSAPI", "login", "plain"), PlainClient)
        self.assertIsInstance(self.chosen("LOGIN"), LoginClient)
        self.assertIsNone(self.chosen("CRAM-MD5"))
        self.assertIsNone(self.chosen())
        client = self.chosen("PLAIN", "scram-sha-256")
        assert isinstance(client, ScramClient)
        self.assertEqual(client.name, SCRAM)

    def test_channel_binding(self) -> None:
        """A binding is used where both can; where only we can, the server is told so (``y``)."""
        for binding, offered, name, begins in (
            (BINDING, (PLUS, SCRAM), PLUS, b"p=tls-exporter,,n=u,r="),
            (BINDING, (SCRAM, "PLAIN"), SCRAM, b"y,,n=u,r="),
            (None, (PLUS, SCRAM), SCRAM, b"n,,n=u,r="),
        ):
            client = self.chosen(*offered, binding=binding)
            assert isinstance(client, ScramClient)
            self.assertEqual(client.name, name)
            self.assertEqual((client.initial() or b"")[: len(begins)], begins)


class ServerTests(SynchronousTestCase):
    """Each name that a server offers begins the exchange that a client expects under it."""

    def test_names(self) -> None:
        """The exchanges are those of their RFCs."""
        offered = (PLUS, SCRAM, "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")
        kinds = (ScramServer, ScramServer, PlainServer, LoginServer)
        for name, kind in zip(offered, (*kinds, OAuthBearerServer, XOAuth2Server), strict=True):
            self.assertIs(type(server_mechanism(name, offered)), kind)
        answer = server_mechanism("PLAIN", offered).respond(b"\0u\0p")
        self.assertEqual(answer, Login(authzid=b"", user=b"u", password=b"p"))
