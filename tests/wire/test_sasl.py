"""SASL exchanges: `mailframe.wire.sasl`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl import (
    SERVER_MECHANISMS,
    Login,
    LoginClient,
    LoginServer,
    PlainClient,
    PlainServer,
    SaslError,
    choose,
    decode,
    decode_initial,
    encode,
)

TEXT = st.binary(min_size=1, max_size=40).filter(lambda o: min(o) > 31 and 127 not in o)


class ServerTests(SynchronousTestCase):
    """A client's claim is read as it was meant, or refused."""

    def test_plain(self) -> None:
        """PLAIN with and without an initial response, with and without another identity."""
        login = Login(authzid=b"", user=b"u", password=b"p")
        self.assertEqual(PlainServer().respond(b"\0u\0p"), login)
        server = PlainServer()
        self.assertEqual(server.respond(None), b"")
        self.assertEqual(server.respond(b"z\0u\0p"), Login(authzid=b"z", user=b"u", password=b"p"))

    def test_login(self) -> None:
        """LOGIN with its prompts, and with the user as initial response."""
        server = LoginServer()
        self.assertEqual(server.respond(None), b"Username:")
        self.assertEqual(server.respond(b"u"), b"Password:")
        self.assertEqual(server.respond(b"p"), Login(authzid=b"", user=b"u", password=b"p"))
        server = LoginServer()
        self.assertEqual(server.respond(b"u"), b"Password:")

    def test_bad_responses(self) -> None:
        """What is malformed costs no work on passwords."""
        for response in (
            b"",
            b"u\0p",
            b"a\0b\0c\0d",
            b"\0\0p",
            b"\0u\0",
            b"\0u\n\0p",
            b"z\x7f\0u\0p",
            b"\0u\0" + b"p" * 1025,
        ):
            with self.assertRaises(SaslError):
                PlainServer().respond(response)
        self.assertIsInstance(PlainServer().respond(b"\0u\0" + b"p" * 1024), Login)

    def test_password_is_not_shown(self) -> None:
        """A password never gets into a log by way of ``repr``."""
        self.assertNotIn("secret", repr(Login(authzid=b"", user=b"u", password=b"secret")))

    def test_base64(self) -> None:
        """Only strict base64 is read; ``=`` is the empty initial response."""
        self.assertEqual(decode(encode(b"\0a")), b"\0a")
        self.assertEqual(decode(b""), b"")
        self.assertEqual(decode_initial(b"="), b"")
        self.assertEqual(decode_initial(b"YQ=="), b"a")
        for line in (b"=", b"a", b"YQ", b"Y Q==", b"YQ==\x00", b"\xff\xff\xff\xff"):
            with self.assertRaises(SaslError):
                decode(line)


class ClientTests(SynchronousTestCase):
    """Our own login at a smarthost is what its server expects."""

    @settings(deadline=None, max_examples=50)
    @given(TEXT, TEXT)
    def test_against_server(self, user: bytes, password: bytes) -> None:
        """Each client mechanism convinces its server, whoever speaks first."""
        for client in (PlainClient(user, password), LoginClient(user, password)):
            server = SERVER_MECHANISMS[client.name]()
            answer = server.respond(client.initial())
            while not isinstance(answer, Login):
                answer = server.respond(client.respond(answer))
            self.assertEqual(answer, Login(authzid=b"", user=user, password=password))

    def test_no_initial_response(self) -> None:
        """A server that wants PLAIN without an initial response gets it after the challenge."""
        self.assertEqual(PlainClient(b"u", b"p").respond(b""), b"\0u\0p")

    def test_asked_too_often(self) -> None:
        """A server that asks on and on gets no second copy of the password."""
        plain = PlainClient(b"u", b"p")
        plain.initial()
        with self.assertRaises(SaslError):
            plain.respond(b"")
        login = LoginClient(b"u", b"p")
        login.respond(b"Username:")
        login.respond(b"Password:")
        with self.assertRaises(SaslError):
            login.respond(b"More:")

    def test_choose(self) -> None:
        """The best mechanism that both know is taken, in any case of letters."""
        self.assertIsInstance(choose(["GSSAPI", "login", "plain"], b"u", b"p"), PlainClient)
        self.assertIsInstance(choose(["LOGIN"], b"u", b"p"), LoginClient)
        self.assertIsNone(choose(["CRAM-MD5"], b"u", b"p"))
