"""A POP3 session as a model: what RFC 1939 says that a client must be told, slowly and plainly."""

from __future__ import annotations

import attrs

LOGIN = (b"USER mary@here.example", b"PASS sesame")


@attrs.frozen
class Stored:
    """A message in the mailbox.

    :ivar base: its name without flags
    :ivar content: with LF line ends
    """

    base: str
    content: bytes

    @property
    def lines(self) -> list[bytes]:
        """Its lines, without their ends."""
        lines = self.content.split(b"\n")
        return lines[:-1] if lines[-1] == b"" else lines

    @property
    def size(self) -> int:
        """Octets with CRLF."""
        return sum(len(line) + 2 for line in self.lines)

    @property
    def uidl(self) -> bytes:
        """Its unique id."""
        return self.base.partition(",")[0].encode()

    def sent(self, lines: int | None = None) -> bytes:
        """As it goes over the wire, or the beginning of it."""
        whole = self.lines
        if lines is not None and b"" in whole:
            whole = whole[: whole.index(b"") + 1 + lines]
        return (
            b"".join((b"." if x.startswith(b".") else b"") + x + b"\r\n" for x in whole) + b".\r\n"
        )


@attrs.define
class Model:
    """One session.

    :ivar messages: those that were there at the login; ``None`` before it
    :ivar deleted: the marked ones, by their places
    :ivar left: the client said QUIT
    """

    messages: list[Stored] | None = None
    deleted: set[int] = attrs.field(factory=set)
    left: bool = False
    user: bool = False

    def answer(self, line: bytes, there: list[Stored]) -> bytes:
        """The response to a command; ``there`` is what the mailbox holds now."""
        if self.left:
            return b""
        word, *rest = line.split(b" ")
        user, self.user = self.user, False
        if word == b"CAPA":
            return CAPABILITIES
        if word == b"QUIT":
            self.left = True
            return b"+OK pop.example says goodbye\r\n"
        if self.messages is None:
            if word == b"USER":
                self.user = True
                return b"+OK send PASS\r\n"
            if word == b"PASS" and user:
                self.messages = list(there)
                return b"+OK %b\r\n" % self.summary()
            if word == b"PASS":
                return b"-ERR PASS comes directly after USER\r\n"
            return b"-ERR log in first\r\n"
        if word in (b"USER", b"PASS"):
            return b"-ERR only allowed before the login\r\n"
        return self.transaction(word, [int(x) for x in rest])

    def transaction(self, word: bytes, numbers: list[int]) -> bytes:
        """The response to a command after the login."""
        if word == b"NOOP":
            return b"+OK nothing done\r\n"
        if word == b"RSET":
            self.deleted.clear()
            return b"+OK %b\r\n" % self.summary()
        if word == b"STAT":
            return b"+OK %d %d\r\n" % (len(self.present()), self.octets())
        if not numbers:
            lines = [
                b"%d %b\r\n" % (place + 1, b"%d" % m.size if word == b"LIST" else m.uidl)
                for place, m in self.present()
            ]
            first = self.summary() if word == b"LIST" else b"unique ids follow"
            return b"+OK %b\r\n%b.\r\n" % (first, b"".join(lines))
        place = numbers[0] - 1
        assert self.messages is not None
        if not 0 <= place < len(self.messages):
            return b"-ERR no such message\r\n"
        if place in self.deleted:
            return b"-ERR message %d is marked as deleted\r\n" % numbers[0]
        message = self.messages[place]
        if word == b"LIST":
            return b"+OK %d %d\r\n" % (numbers[0], message.size)
        if word == b"UIDL":
            return b"+OK %d %b\r\n" % (numbers[0], message.uidl)
        if word == b"RETR":
            return b"+OK %d octets\r\n%b" % (message.size, message.sent())
        if word == b"TOP":
            return b"+OK the beginning follows\r\n" + message.sent(numbers[1])
        assert word == b"DELE"
        self.deleted.add(place)
        return b"+OK message %d will be deleted\r\n" % numbers[0]

    def present(self) -> list[tuple[int, Stored]]:
        """The messages that are not marked."""
        return [(p, m) for p, m in enumerate(self.messages or ()) if p not in self.deleted]

    def octets(self) -> int:
        """Of these."""
        return sum(message.size for _, message in self.present())

    def summary(self) -> bytes:
        """How much there is."""
        return b"%d messages (%d octets)" % (len(self.present()), self.octets())

    def removed(self) -> list[Stored]:
        """What goes when the session has ended."""
        return [self.messages[p] for p in self.deleted] if self.left and self.messages else []


CAPABILITIES = (
    b"+OK capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
    b"EXPIRE NEVER\r\nLANG\r\nIMPLEMENTATION mailframe\r\nUTF8 USER\r\nUSER\r\n"
    b"SASL PLAIN LOGIN\r\n.\r\n"
)
