"""Plays the dialogues in ``sender/`` against the client's side of SMTP and LMTP.

What the server says between two turns of the client comes whole, octet by octet, and cut at random;
what the client says must be the same each time, octet for octet.

Settings of these files: ``sender`` has the options of `Sender`, with ``login=yes`` for a login;
``to`` are the recipients of a message from angelo@rosse.example (one line for each message),
``body`` what was declared of it, and ``content`` what it holds. ``told`` lines are what the owner
of the session is told, in order:

- ``settled`` and the code for each recipient;
- ``failed``, the stage, the code, and for each recipient a code, or ``-`` when it may be tried
  elsewhere at once;
- ``ended`` after QUIT.

``S: <lost>`` and ``S: <late>`` are the loss of the connection and a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.wire.sasl import Login
from mailframe.wire.sender_events import (
    ContentWanted,
    Ended,
    Failed,
    Ready,
    Settled,
    StartTls,
    Transaction,
)
from mailframe.wire.smtp_sender import Sender
from tests.dialogues.script import Script, cuts, rounds, scripts, unescaped

ANGELO = Address("angelo", "rosse.example")
INCIDENTS = {b"<lost>\r\n": Sender.connection_lost, b"<late>\r\n": Sender.timed_out}


class Owner:
    """Has a sender hand over messages, and keeps what it was told."""

    def __init__(self, script: Script) -> None:
        words: dict[str, Any] = script.words("sender")
        login = words.pop("login", None) and Login(authzid=b"", user=b"user", password=b"secret")
        flags = {
            name: words.pop(name) == "yes" for name in ("encrypted", "loopback") & words.keys()
        }
        self.sender = Sender(hostname="mx.rosse.example", login=login or None, **words, **flags)
        self.messages = script.settings.get("to", "").splitlines()
        self.body: Any = script.settings.get("body", "7BIT")
        self.content = unescaped(script.settings.get("content", ""))
        self.told: list[str] = []
        self.tls_wanted = False

    def hear(self, octets: bytes) -> None:
        """Something came from the server."""
        self.sender.receive(octets)
        self.act()

    def act(self) -> None:
        """Deal with what happened."""
        while events := self.sender.take_events():
            for event in events:
                if isinstance(event, StartTls):
                    self.tls_wanted = True
                elif isinstance(event, ContentWanted):
                    for place in range(0, len(self.content), 5):
                        self.sender.content(self.content[place : place + 5])
                    self.sender.end_of_content()
                elif isinstance(event, Settled):
                    codes = [str(reply.code) for reply in event.replies]
                    self.told.append(" ".join(["settled", *codes]))
                elif isinstance(event, Failed):
                    codes = [str(reply.code) if reply else "-" for reply in event.replies]
                    self.told.append(
                        " ".join(["failed", event.stage, str(event.reply.code), *codes])
                    )
                elif isinstance(event, Ended):
                    self.told.append("ended")
                if isinstance(event, Ready | Settled):
                    self.next()

    def next(self) -> None:
        """Begin the next message, or quit."""
        if self.sender.stage == "closed":
            return  # an event that says so is on its way
        if not self.messages:
            self.sender.quit()
            return
        recipients = tuple(Address.parse(word) for word in self.messages.pop(0).split())
        self.sender.begin(
            Transaction(
                sender=ANGELO, recipients=recipients, size=len(self.content), body=self.body
            )
        )

    def start_tls(self) -> None:
        """The handshake is done."""
        assert self.tls_wanted, "TLS was not asked for"
        self.sender.tls_started()
        self.act()


class SenderTests(SynchronousTestCase):
    """The relay client."""

    def play(self, script: Script) -> None:
        """Play a dialogue in all ways of cutting."""
        for round in rounds(script):
            owner = Owner(script)
            said = b""
            for turn in script.turns:
                if turn.who == "C":
                    said += owner.sender.take_output()
                    self.assertEqual(said[: len(turn.octets)], turn.octets)
                    said = said[len(turn.octets) :]
                elif turn.who == "TLS":
                    owner.start_tls()
                elif turn.octets in INCIDENTS:
                    INCIDENTS[turn.octets](owner.sender)
                    owner.act()
                else:
                    for piece in list(cuts(turn.octets))[round]:
                        owner.hear(piece)
            self.assertEqual(said + owner.sender.take_output(), b"")
            self.assertEqual(owner.told, script.settings["told"].splitlines())


def _test(script: Script) -> Callable[[Any], None]:
    def test(case: Any) -> None:
        case.play(script)

    test.__doc__ = f"The dialogue {script.name}."
    return test


ALL = tuple(scripts("sender"))
assert ALL, "no dialogues"
for _script in ALL:
    setattr(SenderTests, f"test_{_script.name}", _test(_script))
