"""Plays the dialogues in ``smtp/`` against the wire layer alone and against whole sessions.

Every dialogue is played with all that the client says at once (as far as TLS allows), octet by
octet, and cut at random. The replies must be the same each time, and so must what is kept.

Settings of these files: ``server`` has the options of the listening server and its limits, and
``client=`` the client's address; ``kept`` is how many messages are in the queue at the end,
``content`` the content of the last one, and ``connection`` says whether it is ``open``, ``closed``
or ``dropped``. With ``greeting: late`` the greeting is given only when the client has spoken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.wire.lmtp_receiver import LmtpReceiver
from mailframe.wire.smtp_events import (
    Authenticate,
    EndOfData,
    Event,
    Mail,
    Rcpt,
    StartTls,
    Xclient,
)
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_receiver import Receiver
from tests.dialogues.script import Script, cuts, fits, replies, rounds, scripts, unescaped
from tests.server.test_smtp_session import SessionCase
from tests.wire.dialogue import Player

GREETING = Reply(220, None, "mx.here.example ESMTP")
TOO_BIG = Reply(552, "5.3.4", "too big")
LIMITS = ("message_size", "command_line", "data_line", "errors", "junk_commands", "recipients")


def segments(script: Script) -> list[tuple[bytes, list[str]]]:
    """What the client may say without a wait for TLS, and the replies to that."""
    parts: list[tuple[bytes, list[str]]] = [(b"", [])]
    for turn in script.turns:
        if turn.who == "TLS":
            parts.append((b"", []))
            continue
        said, expected = parts[-1]
        if turn.who == "C":
            parts[-1] = (said + turn.octets, expected)
        else:
            expected.extend(turn.lines)
    return parts


def limits(script: Script) -> dict[str, int]:
    """The limits that a dialogue sets."""
    words = script.words("server")
    return {name: int(words[name]) for name in LIMITS if name in words}


class DialogueCase(SynchronousTestCase):
    """Compares."""

    def compare(self, output: bytes, expected: list[str]) -> None:
        """See that these are the replies."""
        found = replies(output)
        self.assertEqual(len(found), len(expected), found)
        for reply, wanted in zip(found, expected, strict=True):
            self.assertTrue(fits(reply, wanted), f"{reply!r} instead of {wanted!r}")


class ReceiverTests(DialogueCase):
    """The wire layer."""

    def play(self, script: Script) -> None:
        """Play a dialogue in all ways of cutting."""
        parts = segments(script)
        for round in rounds(script):
            player = Server(script)
            late = script.settings.get("greeting") == "late"
            if not late:
                player.receiver.greet(GREETING)
            for said, expected in parts:
                player.output = b""
                for piece in list(cuts(said))[round]:
                    if late:
                        player.receiver.receive(piece)
                    else:
                        player.feed(piece)
                if late:
                    player.receiver.greet(GREETING)
                    player.feed(b"")
                self.compare(player.output, expected)
            self.see(script, player)

    def see(self, script: Script, player: Server) -> None:
        """Look at the end."""
        settings = script.settings
        self.assertEqual(player.kept, int(settings["kept"]))
        if "content" in settings:
            self.assertEqual(player.content, unescaped(settings["content"]))
        dropped = bool(player.receiver.injected)
        end = "dropped" if dropped else "closed" if player.receiver.closing else "open"
        self.assertEqual(end, settings["connection"])


class Server(Player):
    """Answers as the sessions' server does, without transports, queue and accounts."""

    def __init__(self, script: Script) -> None:
        words = script.words("server")
        of_receiver = limits(script)
        self.max_recipients = of_receiver.pop("recipients", 1000)
        self.max_size = of_receiver.pop("message_size", 25_000_000)
        offer = Offer(
            size=self.max_size,
            starttls=words.get("tls") == "starttls",
            mechanisms=("PLAIN", "LOGIN"),
            login=words.get("client", "").startswith("127."),
            recipients=self.max_recipients,
            xclient="xclient" in words,
        )
        speaks = LmtpReceiver if words.get("protocol") == "lmtp" else Receiver
        receiver = speaks(default_domain="here.example", offer=offer, **of_receiver)
        super().__init__(receiver)
        self.recipients = 0
        self.kept = 0

    def reply_to(self, event: Event) -> Reply | None:
        """What the sessions' server would say."""
        receiver = self.receiver
        if isinstance(event, StartTls):
            receiver.offer = attrs.evolve(receiver.offer, starttls=False, tls=True, login=True)
        elif isinstance(event, Authenticate) and event.login.password != b"secret":
            return Reply(535, "5.7.8", "wrong")
        elif isinstance(event, Mail):
            self.recipients = 0
            if event.size is not None and event.size > self.max_size:
                return TOO_BIG
        elif isinstance(event, Rcpt):
            if event.recipient.domain != "here.example" and not receiver.authenticated:
                return Reply(550, "5.7.1", "denied")
            if self.recipients >= self.max_recipients:
                return Reply(452, "4.5.3", "too many")
            self.recipients += 1
        elif isinstance(event, EndOfData):
            if event.refusal:
                return event.refusal
            if len(self.content) > self.max_size:
                return TOO_BIG
            self.kept += 1
        elif isinstance(event, Xclient):
            return GREETING
        return super().reply_to(event)


class TlsTransport(StringTransport):
    """A transport over which TLS can begin, in name only."""

    def startTLS(self, context: object) -> None:
        """Nothing is encrypted."""


class SessionTests(DialogueCase, SessionCase):
    """The whole session, from transport to queue."""

    def play(self, script: Script) -> None:
        """Play a dialogue in all ways of cutting."""
        if script.settings.get("greeting") == "late":
            return  # a session gives its greeting before it reads
        words = script.words("server")
        parts = segments(script)
        for round in rounds(script):
            super().setUp()
            server = self.factory(
                tls=words.get("tls", "none"),
                context=object() if "tls" in words else None,
                protocol=words.get("protocol", "smtp"),
                xclient=[words["xclient"]] if "xclient" in words else [],
                **limits(script),
            )
            transport = TlsTransport(
                peerAddress=IPv4Address("TCP", words.get("client", "192.0.2.1"), 999)
            )
            session = server.buildProtocol(None)
            session.makeConnection(transport)
            for said, expected in parts:
                for piece in list(cuts(said))[round]:
                    session.dataReceived(piece)
                self.compare(transport.value(), expected)
                transport.clear()
            self.see(script, transport)
            self.lose(session)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def see(self, script: Script, transport: StringTransport) -> None:
        """Look at the end."""
        settings = script.settings
        kept = [sink for sink in self.storage.sinks if sink.ended == "commit"]
        self.assertEqual(len(kept), int(settings["kept"]))
        if "content" in settings:
            content = unescaped(settings["content"])
            trace, found = kept[-1].content[: -len(content)], kept[-1].content[-len(content) :]
            self.assertEqual(found, content)
            self.assertTrue(trace.startswith(b"Received: from "))
            self.assertEqual(trace.count(b"\r\n") - trace.count(b"\r\n\t"), 1, trace)
        dropped, closing = transport.disconnected, transport.disconnecting
        end = "dropped" if dropped else "closed" if closing else "open"
        self.assertEqual(end, settings["connection"])


def _test(script: Script) -> Callable[[Any], None]:
    def test(case: Any) -> None:
        case.play(script)

    test.__doc__ = f"The dialogue {script.name}."
    return test


ALL = tuple(scripts("smtp"))
assert ALL, "no dialogues"
for _script in ALL:
    setattr(ReceiverTests, f"test_{_script.name}", _test(_script))
    setattr(SessionTests, f"test_{_script.name}", _test(_script))
