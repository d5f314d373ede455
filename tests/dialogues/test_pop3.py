"""Plays the dialogues in ``pop3/`` against whole sessions, from the transport to the mailbox.

Every dialogue is played with all that the client says at once (as far as TLS allows), octet by
octet, and cut at random. The responses must be the same each time, and so must what is deleted.

Settings of these files: ``server`` has the kind of TLS, limits, and ``client=`` the client's
address; ``message`` is what the mailbox holds instead of three small messages; ``deleted`` are the
numbers of the messages that are gone at the end, or ``none``; and ``connection`` says whether it is
``open``, ``closed`` or ``dropped``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.realm import make_portal
from mailframe.server.limits import Limits
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation
from mailframe.testing.threads import in_thread
from mailframe.units import Seconds
from tests.dialogues.script import Script, cuts, rounds, scripts, unescaped
from tests.server.pop3_fakes import MARY, MESSAGES, FakeMailbox, FakeMailboxes


class TlsTransport(StringTransport):
    """A transport over which TLS can begin, in name only."""

    def startTLS(self, context: object) -> None:
        """Nothing is encrypted."""


class Pop3DialogueTests(SynchronousTestCase):
    """Every dialogue is a test."""

    def play(self, script: Script) -> None:
        """Play a dialogue in all ways of cutting."""
        for round in rounds(script):
            self.play_once(script, round)

    def play_once(self, script: Script, round: int) -> None:
        """Play it in one way of cutting."""
        words = script.words("server")
        message = script.settings.get("message")
        mailbox = FakeMailbox([unescaped(message)] if message is not None else list(MESSAGES))
        mailbox.listMessages = lambda i=None: [_size(m) for m in mailbox.messages]
        clock = Clock()
        server = Pop3ServerFactory(
            name="pop",
            hostname="pop.example",
            portal=make_portal(FakeAccounts({MARY: b"sesame"}), FakeMailboxes(mailbox)),
            authorisation=FakeAuthorisation(),
            authorisation_name="fake",
            tls_context=object() if "tls" in words else None,  # type: ignore[arg-type]
            # Nothing looks into it, as nothing is encrypted.
            tls=words.get("tls", "none"),  # type: ignore[arg-type]  # it is one of those allowed
            limits=Limits(
                errors=int(words.get("errors", 20)),
                login_delay=Seconds(float(words.get("login_delay", 0))),
            ),
            clock=clock,
            in_thread=in_thread,
        )
        transport = TlsTransport(
            peerAddress=IPv4Address("TCP", words.get("client", "127.0.0.1"), 999)
        )
        connection = server.buildProtocol(None)
        connection.makeConnection(transport)
        expected: list[str] = []
        said = b""
        for turn in script.turns:
            if turn.who == "C":
                said += turn.octets
            elif turn.who == "S":
                expected += turn.lines
            else:
                self.exchange(connection, clock, said, round)
                said = b""
        self.exchange(connection, clock, said, round)
        found = transport.value().decode("latin-1").split("\r\n")
        self.assertEqual(found.pop(), "")
        self.assertEqual(len(found), len(expected), found)
        for line, wanted in zip(found, expected, strict=True):
            if wanted.endswith("..."):
                self.assertTrue(line.startswith(wanted[:-3]), f"{line!r} instead of {wanted!r}")
            else:
                self.assertEqual(line.encode("latin-1"), unescaped(wanted))
        self.see(script, transport, mailbox)
        connection.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(mailbox.closed, int(mailbox.opened))
        self.assertEqual(clock.getDelayedCalls(), [])

    def exchange(self, connection: Any, clock: Clock, said: bytes, round: int) -> None:
        """Let the client say something."""
        for piece in list(cuts(said))[round] if said else ():
            connection.dataReceived(piece)
            clock.advance(0)

    def see(self, script: Script, transport: StringTransport, mailbox: FakeMailbox) -> None:
        """Look at the end."""
        numbers = script.settings["deleted"].replace("none", "").split()
        gone = {int(number) - 1 for number in numbers}
        self.assertEqual(mailbox.marked, gone)
        self.assertEqual(mailbox.synced, int(bool(gone)))
        dropped, closing = transport.disconnected, transport.disconnecting
        end = "dropped" if dropped else "closed" if closing else "open"
        self.assertEqual(end, script.settings["connection"])


def _size(message: bytes) -> int:
    lines = message.split(b"\n")
    return sum(len(line) + 2 for line in (lines if lines[-1] else lines[:-1]))


def _test(script: Script) -> Callable[[Any], None]:
    def test(case: Any) -> None:
        case.play(script)

    test.__doc__ = f"The dialogue {script.name}."
    return test


ALL = tuple(scripts("pop3"))
assert ALL, "no dialogues"
for _script in ALL:
    setattr(Pop3DialogueTests, f"test_{_script.name}", _test(_script))
