"""Covers mailframe.delivery.sent_on."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.sent_on import HEAD, mark, marking, marks, marks_of
from mailframe.interfaces import IContent
from mailframe.queue.content import BytesContent


class MarkTests(SynchronousTestCase):
    """How mail that comes back is known."""

    def test_read_again(self) -> None:
        """A loop would not be found for an address that has capitals or needs quoting."""
        for text in ("Anna@rosse.example", '"a b"@rosse.example', "anna@[192.0.2.1]"):
            address = Address.parse(text)
            found = marks(mark(address) + b"Subject: x\r\n\r\n")
            self.assertEqual(found, {str(address).lower()})

    def test_beyond_ascii(self) -> None:
        """A server without SMTPUTF8 could not be given mail that it can take."""
        self.assertEqual(mark(Address("j\u00f6rg", "rosse.example")), b"")
        found = marks("Delivered-To: J\u00d6rg@x.example\r\n".encode() + b"Delivered-To: \xff\r\n")
        self.assertEqual(found, {"j\u00f6rg@x.example", "\ufffd"})

    def test_header_alone(self) -> None:
        """Who quotes a header in a message would have it refused."""
        header = b"X-Delivered-To: a@x\r\nDelivered-To:\r\n b@x\r\nSubject: Delivered-To: c@x\r\n"
        self.assertEqual(marks(header + b"\r\nDelivered-To: d@x\r\n"), {""})

    def test_in_pieces(self) -> None:
        """What was sent on would lack its beginning or its end, or a loop not be found."""
        octets = b"Subject: " + b"x" * HEAD + b"\r\n\r\nbody\r\n"
        first = mark(Address("anna", "rosse.example"))

        async def plain() -> IContent:
            return BytesContent(octets)

        open_marked = marking(first, plain)
        for _ in range(2):
            content = self.successResultOf(Deferred.fromCoroutine(open_marked()))
            read = b""
            while piece := self.successResultOf(Deferred.fromCoroutine(content.read())):
                read += piece
            content.close()
            self.assertEqual(read, first + octets)
        found = self.successResultOf(Deferred.fromCoroutine(marks_of(open_marked)))
        self.assertEqual(found, {"anna@rosse.example"})
        octets = b""
        found = self.successResultOf(Deferred.fromCoroutine(marks_of(plain)))
        self.assertEqual(found, frozenset())
