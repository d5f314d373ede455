"""The login for a smarthost."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.scram import ScramKeys
from mailframe.wire.sasl import Derivation, Login, ScramLookup, ScramProof, server_mechanism
from mailframe.wire.sender_events import Failed, Ready
from mailframe.wire.smtp_sender import Sender
from tests.wire.sending import GREETING, LOGIN, Dialogue, ehlo

PENCIL = Login(authzid=b"", user=b"user", password=b"pencil")
KEYS = ScramKeys.derive(b"pencil", iterations=4096)
BINDING = ("tls-exporter", b"this connection")


class AuthTests(SynchronousTestCase):
    """The login for a smarthost."""

    def test_plain(self) -> None:
        """Smarthosts that want a login could not be used."""
        dialogue = Dialogue(login=LOGIN, encrypted=True)
        dialogue.hear(GREETING)
        said = dialogue.hear(ehlo("AUTH LOGIN PLAIN"))
        self.assertEqual(said, b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret") + b"\r\n")
        self.assertEqual(dialogue.sender.stage, "auth")
        dialogue.hear(b"235 2.7.0 welcome\r\n")
        self.assertEqual(dialogue.last, Ready())

    def test_login(self) -> None:
        """Smarthosts that offer only LOGIN, or in the old form, could not be used."""
        dialogue = Dialogue(login=LOGIN, loopback=True)
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(ehlo("AUTH=LOGIN X")), b"AUTH LOGIN\r\n")
        self.assertEqual(
            dialogue.hear(b"334 VXNlcm5hbWU6\r\n"), base64.b64encode(b"user") + b"\r\n"
        )
        self.assertEqual(
            dialogue.hear(b"334 UGFzc3dvcmQ6\r\n"), base64.b64encode(b"secret") + b"\r\n"
        )
        dialogue.hear(b"235 ok\r\n")
        self.assertEqual(dialogue.last, Ready())

    def test_never_in_clear(self) -> None:
        """The password could be read by everyone on the way."""
        dialogue = Dialogue(login=LOGIN)
        dialogue.hear(GREETING)
        self.assertEqual(dialogue.hear(ehlo("AUTH PLAIN")), b"QUIT\r\n")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.11"))

    def test_not_offered(self) -> None:
        """Mail would go out without the login that the route asks for."""
        for extensions in ((), ("AUTH CRAM-MD5",)):
            dialogue = Dialogue(login=LOGIN, encrypted=True)
            dialogue.hear(GREETING)
            self.assertEqual(dialogue.hear(ehlo(*extensions)), b"QUIT\r\n")
            self.assertEqual(dialogue.last.reply.status, "4.7.0")

    def test_refused(self) -> None:
        """Mail would bounce because of a wrong password in our configuration."""
        dialogue = Dialogue(login=LOGIN, encrypted=True)
        dialogue.hear(GREETING)
        dialogue.hear(ehlo("AUTH PLAIN"))
        dialogue.hear(b"535 5.7.8 wrong\r\n")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.8"))
        self.assertIn("535 5.7.8 wrong", str(dialogue.last.reply))

    def test_endless_challenges(self) -> None:
        """A server could keep asking for ever."""
        for replies in ([b"334 \r\n"] * 3, [b"250 ok\r\n"]):
            dialogue = Dialogue(login=LOGIN, encrypted=True)
            dialogue.hear(GREETING)
            dialogue.hear(ehlo("AUTH LOGIN"))
            for reply in replies:
                dialogue.hear(reply)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")


class Smarthost:
    """A server for SCRAM, and a client that has come as far as AUTH."""

    def __init__(self, *offered: str, binding: tuple[str, bytes] | None = None) -> None:
        self.events: list[Any] = []
        self.sender = Sender(hostname="mx.rosse.example", login=PENCIL, encrypted=True)
        self.sender.bind(binding)
        self.bound = binding
        self.hear(b"220 ready\r\n")
        self.said = self.hear(b"250-smarthost\r\n250 AUTH " + " ".join(offered).encode() + b"\r\n")
        self.offered = offered

    def hear(self, octets: bytes) -> bytes:
        """What the client says to that."""
        self.sender.receive(octets)
        return self.take()

    def take(self) -> bytes:
        """What it says now."""
        self.events += self.sender.take_events()
        return self.sender.take_output()

    @property
    def last(self) -> Any:
        """The last event."""
        return self.events[-1]

    def challenge(self, octets: bytes) -> bytes:
        """What it says to a challenge."""
        return self.hear(b"334 " + base64.b64encode(octets) + b"\r\n")

    def work(self) -> bytes:
        """Do the work that it asks for, and have it go on."""
        assert isinstance(self.last, Derivation)
        assert self.sender.stage == "auth"
        self.sender.derived(self.last.compute())
        return self.take()

    def prove(self) -> ScramProof:
        """The client's proof."""
        command, name, initial = self.said.split()
        assert command == b"AUTH"
        server = server_mechanism(name.decode(), self.offered)
        lookup = server.respond(base64.b64decode(initial))
        assert isinstance(lookup, ScramLookup)
        binding = self.bound[1] if self.bound and lookup.binding else b""
        assert self.challenge(lookup.challenge(KEYS, binding)) == b""
        proof = server.respond(base64.b64decode(self.work()))
        assert isinstance(proof, ScramProof)
        return proof


class ScramTests(SynchronousTestCase):
    """A login at a smarthost that offers SCRAM."""

    def mechanism(self, offered: Sequence[str], binding: Any = None) -> bytes:
        return Smarthost(*offered, binding=binding).said.split()[1]

    def test_chosen(self) -> None:
        """The password would go to a server that could do without it."""
        plus, scram = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"
        self.assertEqual(self.mechanism((plus, scram, "PLAIN"), BINDING), plus.encode())
        self.assertEqual(self.mechanism((plus, scram, "PLAIN")), scram.encode())
        self.assertEqual(self.mechanism(("LOGIN", "PLAIN", scram), BINDING), scram.encode())

    def test_accepted(self) -> None:
        """Mail could not be handed to a server that takes nothing but SCRAM."""
        for offered, binding in (
            (("SCRAM-SHA-256",), None),
            (("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), BINDING),
        ):
            smarthost = Smarthost(*offered, binding=binding)
            proof = smarthost.prove()
            self.assertTrue(proof.fits(KEYS))
            self.assertEqual(smarthost.challenge(proof.signature(KEYS)), b"\r\n")
            smarthost.hear(b"235 welcome\r\n")
            self.assertEqual(smarthost.last, Ready())

    def test_forged_signature(self) -> None:
        """Mail would be handed to somebody who only says to be the smarthost."""
        smarthost = Smarthost("SCRAM-SHA-256")
        smarthost.prove()
        self.assertEqual(smarthost.challenge(b"v=" + base64.b64encode(bytes(32))), b"")
        self.assertIsInstance(smarthost.last, Failed)
        self.assertIn("signature is wrong", str(smarthost.last.reply))

    def test_no_signature(self) -> None:
        """A bare 235 would do for somebody who does not know the login."""
        smarthost = Smarthost("SCRAM-SHA-256")
        smarthost.prove()
        smarthost.hear(b"235 welcome\r\n")
        self.assertIsInstance(smarthost.last, Failed)
        self.assertIn("without proof", str(smarthost.last.reply))

    def test_plain_challenge(self) -> None:
        """A challenge that is not base64 would be a fault of ours."""
        smarthost = Smarthost("SCRAM-SHA-256")
        smarthost.hear(b"334 go ahead!\r\n")
        self.assertIsInstance(smarthost.last, Failed)
        self.assertIn("no first message of SCRAM", str(smarthost.last.reply))

    def test_impatient_server(self) -> None:
        """What a server says while we compute would be taken for an answer."""
        smarthost = Smarthost("SCRAM-SHA-256")
        _, _, initial = smarthost.said.split()
        lookup = server_mechanism("SCRAM-SHA-256", ()).respond(base64.b64decode(initial))
        assert isinstance(lookup, ScramLookup)
        smarthost.challenge(lookup.challenge(KEYS, b""))
        work = smarthost.last
        smarthost.hear(b"235 welcome\r\n")
        self.assertIsInstance(smarthost.last, Failed)
        smarthost.sender.derived(work.compute())
        self.assertEqual(smarthost.take(), b"")

    def test_silent_server(self) -> None:
        """A server that goes away while we compute would be waited for."""
        smarthost = Smarthost("SCRAM-SHA-256")
        _, _, initial = smarthost.said.split()
        lookup = server_mechanism("SCRAM-SHA-256", ()).respond(base64.b64decode(initial))
        assert isinstance(lookup, ScramLookup)
        smarthost.challenge(lookup.challenge(KEYS, b""))
        smarthost.sender.connection_lost()
        smarthost.take()
        self.assertIn("while waiting for the reply to AUTH", str(smarthost.last.reply))
