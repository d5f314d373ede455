"""What peers say, in our logs: no line of it is forged, and no terminal obeys it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from mailframe.address import Address
from mailframe.interfaces import StorageFault
from mailframe.outcome import Deny
from mailframe.reply import Reply
from mailframe.units import Octets
from tests.server.test_smtp_session import SessionCase

HOSTILE = [
    "\x1b[2J\x1b[1;1Hroot@mx# ",
    "\r\n2026-01-01T00:00:00 accepted message",
    "\n[mailframe] all is well",
    "\u2028next line",
    "\u2029next paragraph",
    "\u202egpj.exe",
    "\x85next line",
    "\x00",
    "\x9b31m",
    "\x7f",
]
WORDS = [
    *("EHLO ", "HELO x", "MAIL FROM:<", "RCPT TO:<", "@x.example>", "b@here.example>", "a", "DATA"),
    *(
        "\r\n",
        "\r\n.\r\n",
        '"',
        "AUTH PLAIN ",
        "AGEAYg==",
        "STARTTLS",
        "Received: ",
        "QUIT",
        " SIZE=",
    ),
    *("@here.example>", "nobody@here.example>", "u@far.example>", "VRFY ", "<", "RSET", "NOOP "),
    *HOSTILE,
]


class LogTests(SessionCase):
    """Log lines say what we say."""

    def check(self, events: Sequence[Any]) -> None:
        """Look at what was logged."""
        for event in events:
            if "log_failure" in event:
                self.fail(formatEvent(event))
            text = formatEvent(event)
            self.assertTrue(text.isprintable(), repr(text))

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(WORDS), max_size=30))
    def test_clients(self, words: list[str]) -> None:
        """A client writes into the administrator's log or terminal."""
        self.setUp()
        with capturedLogs() as events:
            session, transport = self.connect(self.factory(errors=1000), address="127.0.0.1")
            for word in words:
                session.dataReceived(word.encode())
            self.lose(session)
        self.check(events)
        for reply in transport.value().split(b"\r\n"):
            self.assertTrue(reply.decode("utf-8").isprintable(), reply)

    def test_quoted_local_parts(self) -> None:
        """A quoted local part, which may hold nearly all of ASCII, forges a field of the log."""
        session, transport = self.connect()
        with capturedLogs() as events:
            session.dataReceived(
                b'HELO x\r\nMAIL FROM:<"a> by root; accepted message"@x.example>\r\n'
                b'RCPT TO:<"u@far.example>\\" (rule \'x\')"@far.example>\r\n'
            )
        self.check(events)
        self.assertEqual(self.codes(transport)[-1], b"550")
        self.assertIn('"a> by root; accepted message"@x.example', formatEvent(events[-1]))

    def test_plugins(self) -> None:
        """A plugin repeats what it was told by others, in its reason or its reply."""
        for text in HOSTILE:
            self.authorisation.answer = Deny(
                reason="no", rule=text, plugin="fake", reply=Reply(550, "5.7.1", text)
            )
            session, transport = self.connect()
            with capturedLogs() as events:
                session.dataReceived(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@far.example>\r\n")
            self.check(events)
            self.assertEqual(len(self.codes(transport)), 4)

    def test_faults(self) -> None:
        """An exception's text holds what a peer said."""
        for text in HOSTILE:
            self.storage.commit_error = StorageFault(text)
            session, transport = self.connect(self.factory(message_size=Octets(1000)))
            with capturedLogs() as events:
                session.dataReceived(
                    b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n.\r\n"
                )
            self.check(events)
            self.assertEqual(self.codes(transport)[-1], b"451")
            self.assertNotIn(text.encode(), transport.value())

    def test_addresses(self) -> None:
        """An address that was made elsewhere, by a plugin or from a file, breaks a line."""
        for text in HOSTILE:
            for local, domain in ((text, "x.example"), ("a", f"x{text}.example")):
                self.assertRaises(ValueError, Address, local, domain)
