"""Smuggling through this server into the next: from a queue's content to another server's."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.wire.sender_events import ContentWanted, Ready, Settled, Transaction
from mailframe.wire.smtp_events import Data, EndOfData
from mailframe.wire.smtp_sender import Sender
from tests.wire.dialogue import Player, player
from tests.wire.reference import whole_lines

ENDS = [b"\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r"]
ENDS += [b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n.\r\n", b"\n\n.\n\n", b"\r\n.\n\r\n"]
SMUGGLED = b"MAIL FROM:<admin@rosse.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\nx\r\n.\r\n"


def hand_over(content: list[bytes], *, chunks: bool) -> Player:
    """Our client hands a message to our server, piece by piece, by DATA or by BDAT."""
    server = player()
    client = Sender(hostname="mx.rosse.example", tls="none")
    client.receive(b"220 here.example\r\n")
    begun = False
    for _ in range(20):
        for event in client.take_events():
            if isinstance(event, Ready | Settled):
                if begun:
                    return server
                begun = True
                to = (Address("b", "here.example"),)
                client.begin(Transaction(sender=None, recipients=to, size=1))
            if isinstance(event, ContentWanted):
                for piece in content:
                    client.content(piece)
                    server.feed(client.take_output())
                client.end_of_content()
        server.feed(client.take_output())
        said, server.output = server.output, b""
        if not chunks:
            said = said.replace(b"250-CHUNKING\r\n", b"")
        client.receive(said)
    raise AssertionError("client and server wait for each other")


class OutboundTests(SynchronousTestCase):
    """One message goes in, and one comes out."""

    def check(self, content: list[bytes]) -> None:
        """Hand it over, and look at what came."""
        expected = whole_lines(b"".join(content))
        for chunks in (False, True):
            server = hand_over(content, chunks=chunks)
            chunked = any(isinstance(e, Data) and e.chunked for e in server.events)
            self.assertEqual(chunked, chunks)
            ends = sum(isinstance(event, EndOfData) for event in server.events)
            refused = any(getattr(event, "refusal", None) for event in server.events)
            self.assertLessEqual(ends, 1, content)
            if not refused:
                self.assertEqual(ends, 1, content)
                # A chunk need not end in a line end.
                found = server.content
                whole = found + b"\r\n" if chunks and not found.endswith(b"\r\n") else found
                self.assertEqual(whole if found else b"", expected, content)

    def test_published_sequences(self) -> None:
        """A sender here forges a message that seems to come from us, at a lenient next hop."""
        for end in ENDS:
            content = b"Subject: x\r\n\r\nhello" + end + SMUGGLED
            for cut in range(len(content)):
                self.check([content[:cut], content[cut:]])

    def test_short_pieces(self) -> None:
        """The same where the queue is read in small pieces."""
        pieces = [b"\r", b"\n", b".", b"\r\n", b"a"]
        for content in itertools.product(pieces, repeat=5):
            self.check(list(content))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\0", b"a", b"\r\n.\r\n", SMUGGLED])))
    def test_any_pieces(self, content: list[bytes]) -> None:
        """The same for any content."""
        self.check(content)
