"""PLAIN and LOGIN: `mailframe.wire.sasl_plain`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl_exchange import Login, SaslError
from mailframe.wire.sasl_plain import LoginClient, LoginServer, PlainClient, PlainServer

NAMES = st.from_regex(r"[!-~][ -~]{0,30}", fullmatch=True).map(str.encode)
PASSWORDS = st.binary(min_size=1, max_size=40).filter(lambda octets: 0 not in octets)


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

    def test_normal_form(self) -> None:
        """A login is the same whichever way the client's keyboard composes its letters."""
        claim = PlainServer().respond(b"\0" + "Ange\u0301lo".encode() + b"\0p")
        assert isinstance(claim, Login)
        self.assertEqual(claim.user, "Ang\xe9lo".encode())

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
            b"\0\xff\0p",
            b"\0u\0" + b"p" * 1025,
        ):
            with self.assertRaises(SaslError):
                PlainServer().respond(response)
        self.assertIsInstance(PlainServer().respond(b"\0u\0" + b"p" * 1024), Login)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=40))
    def test_any_octets(self, octets: bytes) -> None:
        """Nothing that a client sends becomes a fault of ours."""
        for server in (PlainServer(), LoginServer()):
            try:
                answer = server.respond(octets)
                if isinstance(answer, bytes):
                    answer = server.respond(octets)
            except SaslError as error:
                self.assertTrue(str(error).isascii())
            else:
                self.assertIsInstance(answer, Login)


class ClientTests(SynchronousTestCase):
    """Our own login at a smarthost is what its server expects."""

    @settings(deadline=None, max_examples=50)
    @given(NAMES, PASSWORDS)
    def test_against_server(self, user: bytes, password: bytes) -> None:
        """Each client mechanism convinces its server, whoever speaks first."""
        for client, server in (
            (PlainClient(user, password), PlainServer()),
            (LoginClient(user, password), LoginServer()),
        ):
            answer = server.respond(client.initial())
            while not isinstance(answer, Login):
                answer = server.respond(client.respond(answer))
            self.assertEqual(answer, Login(authzid=b"", user=user, password=password))
            client.succeeded()

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
        with self.assertRaises(AssertionError):
            login.derived(b"")
