"""The login for a smarthost."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sender_events import (
    Ready,
)
from tests.wire.sending import GREETING, LOGIN, Dialogue, ehlo


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
        self.assertEqual(dialogue.hear(ehlo("AUTH PLAIN")), b"")
        self.assertEqual((dialogue.last.reply.code, dialogue.last.reply.status), (454, "4.7.11"))

    def test_not_offered(self) -> None:
        """Mail would go out without the login that the route asks for."""
        for extensions in ((), ("AUTH CRAM-MD5",)):
            dialogue = Dialogue(login=LOGIN, encrypted=True)
            dialogue.hear(GREETING)
            self.assertEqual(dialogue.hear(ehlo(*extensions)), b"")
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
