"""The POP3 server's side of the dialogue, without I/O.

RFC 1939 with CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), UTF8 and LANG (RFC 6856).

Octets go in through `Pop3Session.receive`; `Pop3Session.next_event` reads commands. What concerns
only the dialogue (STAT, LIST, DELE, RSET, CAPA, …) is answered here; for the rest it gives an
event, and nothing more is read until that is answered. So every command gets exactly one response,
in order, however a client pipelines (RFC 2449 §6.6).

Which messages are to be deleted is known here alone, and leaves as `Update` only when the client
says QUIT: a session that ends in any other way deletes nothing (RFC 1939 §6).

    authorization --logged_in--> transaction --QUIT--> closing
          \\--QUIT--> closing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mailframe.wire.lines import BareLineEnd, LineBuffer, LineTooLong
from mailframe.wire.pop3_capabilities import LANGUAGES, capabilities, language
from mailframe.wire.pop3_commands import CommandError, State, parse
from mailframe.wire.pop3_events import (
    Event,
    Flush,
    Identify,
    Offer,
    Retrieve,
    StartTls,
    Update,
)
from mailframe.wire.pop3_login import COMMAND_LINE, LoginDialogue
from mailframe.wire.pop3_maildrop import Maildrop, NoSuchMessage
from mailframe.wire.pop3_message import Transfer, shown_form
from mailframe.wire.pop3_responses import Responses
from mailframe.wire.sasl import SaslError

FLUSH = 65536  # octets of output after which it is sent before another command is read
TURN = 500  # commands after which others have their turn


class Pop3Session:
    """One client's session.

    :ivar offer: what the client may use now; may be replaced between events
    :ivar closing: the connection is to be closed when the output has been sent
    :ivar injected: octets that came in the clear behind STLS; the connection must be dropped when
        there are any
    """

    def __init__(self, *, hostname: str, offer: Offer, errors: int = 20) -> None:
        """
        :param hostname: our own name, for the greeting
        :param errors: commands against the protocol, after which the connection is closed
        """
        self.offer = offer
        self.closing = False
        self.injected = b""
        self._hostname = hostname
        self._errors_left = errors
        self._lines = LineBuffer(COMMAND_LINE)
        self._responses = Responses()
        self._login = LoginDialogue(self._lines, self._responses)
        self._state: State = "authorization"
        self._utf8 = False  # the client takes UTF-8
        self._maildrop = Maildrop(())
        self._waiting: Event | None = None
        self._uidl_wanted: int | None = None
        self._listing: Iterator[bytes] | None = None  # a long response that is being made
        self._transfer: Transfer | None = None  # a large message that is being sent
        self._done = 0  # commands in this turn

    def __len__(self) -> int:
        """How many octets were received and not read yet."""
        return len(self._lines)

    @property
    def authenticated(self) -> bool:
        """The client has logged in."""
        return self._state == "transaction"

    @property
    def between_responses(self) -> bool:
        """No response is begun and not complete."""
        return self._listing is None and self._transfer is None

    # --- octets in and out -------------------------------------------------------------------

    def receive(self, octets: bytes) -> None:
        """Take octets from the client."""
        if not self.closing:
            self._lines.feed(octets)

    def take_output(self) -> bytes:
        """What is to be sent to the client."""
        return self._responses.take()

    def next_event(self) -> Event | None:
        """Read commands until one needs an answer from outside.

        :returns: the event; or ``None`` when no whole command is left, or one still waits for its
            answer
        """
        while self._waiting is None and not self.closing:
            if self._responses.size >= FLUSH or self._done >= TURN:
                self._done = 0
                return Flush()
            if self._listing is not None:
                self._list_more(self._listing)
                continue
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                self._done += 1
                self._waiting = self._read(line)
            except LineTooLong:
                self._broken("the line is too long")
            except BareLineEnd:
                self._broken("a line ends in CR LF")
            except NoSuchMessage as error:
                self._responses.error(str(error))
            except (CommandError, SaslError) as error:
                self._broken(str(error))
            else:
                if self._waiting is not None:
                    return self._waiting
        return None

    # --- what the outside says ---------------------------------------------------------------

    def greet(self) -> None:
        """Begin the session. Without a timestamp, as there is no APOP."""
        self._responses.ok(f"{self._hostname} POP3 server ready")

    def hang_up(self, text: str, code: str = "SYS/TEMP") -> None:
        """Close, with a word that answers no command."""
        self._responses.error(text, code)
        self.closing = True

    def accept(self, text: str) -> None:
        """The command that waits has succeeded."""
        if isinstance(self._waiting, Update):
            self.closing = True
        self._waiting = None
        self._responses.ok(text)

    def refuse(self, text: str, code: str = "") -> None:
        """The command that waits has failed.

        :param code: a response code of RFC 2449 §8, such as ``IN-USE``, or ``""``
        """
        if isinstance(self._waiting, Update):
            self.closing = True
        self._waiting = None
        self._responses.error(text, code)

    def tls_begins(self) -> None:
        """STLS is answered: what was said before the TLS handshake is forgotten (RFC 2595 §4)."""
        self.injected = self._lines.take_all()
        self._login.end()
        self._utf8 = False
        self.accept("begin TLS")

    def challenge(self, octets: bytes) -> None:
        """The login is not proved yet: the AUTH exchange goes on with this (RFC 5034 §4)."""
        self._waiting = None
        self._login.challenge(octets)

    def logged_in(self, sizes: Sequence[int]) -> None:
        """The login is proved, and the mailbox locked.

        :param sizes: octets of each message as it will be sent, stuffed dots not counted
        """
        self._state = "transaction"
        self._maildrop = Maildrop(sizes)
        self.accept(self._maildrop.summary())

    def identified(self, uidls: Sequence[bytes]) -> None:
        """The unique ids of all messages, each 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7)."""
        self._maildrop.uidls = uidls
        self._waiting = None
        self._answer_uidl(self._uidl_wanted)

    def message(self, wire: bytes) -> None:
        """The message as a whole, in its wire form (`mailframe.wire.pop3_message.wire_form`)."""
        retrieve, self._waiting = self._waiting, None
        assert isinstance(retrieve, Retrieve)
        shown = shown_form(wire, retrieve.lines, self._utf8)
        if retrieve.lines is None:
            size = self._maildrop.size(retrieve.index) + len(shown) - len(wire)
            self._responses.put(b"+OK %d octets\r\n%b" % (size, shown))
        else:
            self._responses.put(b"+OK the beginning follows\r\n" + shown)

    def message_follows(self) -> None:
        """The message is there and will be given in pieces."""
        retrieve = self._waiting
        assert isinstance(retrieve, Retrieve)
        self._transfer = Transfer(retrieve.lines, self._utf8)
        if retrieve.lines is None:
            self._responses.ok(f"{self._maildrop.size(retrieve.index)} octets")
        else:
            self._responses.ok("the beginning follows")

    def content(self, octets: bytes) -> bool:
        """A piece of the message as it is stored.

        :returns: whether more of it is needed
        """
        assert self._transfer is not None
        self._responses.put(self._transfer.take(octets))
        return not self._transfer.done

    def message_sent(self) -> None:
        """The message is complete."""
        assert self._transfer is not None
        self._responses.put(self._transfer.finish())
        self._transfer = self._waiting = None

    # --- commands ----------------------------------------------------------------------------

    def _read(self, line: bytes) -> Event | None:
        if line.startswith(b"RETR ") and self._state == "transaction" and line[5:].isdigit():
            return self._retr(int(line[5:]))  # what is asked most, and takes nothing else
        if self._login.in_exchange:
            return self._login.respond(line)
        user = self._login.take_user()
        name, arguments = parse(line, self._state)
        if name == "PASS":
            return self._login.password(user, *arguments)
        event: Event | None = _ANSWERS[name](self, *arguments)
        return event

    def _capa(self) -> None:
        self._responses.ok("capability list follows")
        self._lines_follow(line + b"\r\n" for line in capabilities(self.offer))

    def _stls(self) -> Event | None:
        if not self.offer.stls:
            raise CommandError("TLS can't be started")
        return StartTls()

    def _accept_utf8(self) -> None:
        self._utf8 = True
        self._responses.ok("UTF-8 enabled")

    def _lang(self, wanted: bytes | None = None) -> None:
        if wanted is None:
            self._responses.ok("languages follow")
            self._lines_follow(f"{tag} {name}\r\n".encode() for tag, name in LANGUAGES.items())
        elif (tag := language(wanted.decode("ascii"))) is not None:
            self._responses.ok(f"{tag} the language is English")
        else:
            self._responses.error("there is no such language; LANG lists those there are")

    def _take_user(self, user: bytes) -> None:
        self._login.user(user, self.offer)

    def _auth(self, name: bytes, initial: bytes | None = None) -> Event | None:
        return self._login.begin(name, initial, self.offer)

    def _quit(self) -> Event | None:
        if self._state == "transaction":
            return Update(self._maildrop.deleted())
        self._responses.ok(f"{self._hostname} says goodbye")
        self.closing = True
        return None

    def _stat(self) -> None:
        self._responses.ok(f"{self._maildrop.count} {self._maildrop.octets}")

    def _list(self, number: int | None = None) -> None:
        if number is None:
            self._responses.ok(self._maildrop.summary())
            self._listing = self._maildrop.size_lines()
        else:
            index = self._maildrop.index(number)
            self._responses.ok(f"{number} {self._maildrop.size(index)}")

    def _uidl(self, number: int | None = None) -> Event | None:
        wanted = None if number is None else self._maildrop.index(number)
        if self._maildrop.uidls is None:
            self._uidl_wanted = wanted
            return Identify()
        self._answer_uidl(wanted)
        return None

    def _answer_uidl(self, wanted: int | None) -> None:
        uidls = self._maildrop.uidls
        assert uidls is not None
        if wanted is None:
            self._responses.ok("unique ids follow")
            self._listing = self._maildrop.uidl_lines()
        else:
            self._responses.put(b"+OK %d %b\r\n" % (wanted + 1, uidls[wanted]))

    def _retr(self, number: int) -> Event:
        return Retrieve(self._maildrop.index(number), None)

    def _top(self, number: int, lines: int) -> Event:
        return Retrieve(self._maildrop.index(number), lines)

    def _dele(self, number: int) -> None:
        self._maildrop.delete(self._maildrop.index(number))
        self._responses.ok(f"message {number} will be deleted")

    def _noop(self) -> None:
        self._responses.ok("nothing done")

    def _rset(self) -> None:
        self._maildrop.reset()
        self._responses.ok(self._maildrop.summary())

    # --- responses ---------------------------------------------------------------------------

    def _lines_follow(self, lines: Iterator[bytes]) -> None:
        # None of these begins with a dot, so that none needs stuffing.
        self._responses.put(b"".join(lines) + b".\r\n")

    def _list_more(self, listing: Iterator[bytes]) -> None:
        """A piece of a listing, which may be long."""
        piece = next(listing, None)
        if piece is None:
            self._listing = None
            piece = b".\r\n"
        self._responses.put(piece)

    def _broken(self, text: str) -> None:
        """The client broke the rules of the protocol."""
        self._login.end()
        self._errors_left -= 1
        if self._errors_left > 0:
            self._responses.error(text)
        else:
            self.hang_up(f"{text}; too many errors, closing the connection", "SYS/PERM")


_ANSWERS: dict[str, Callable[..., Any]] = {
    "USER": Pop3Session._take_user,
    "AUTH": Pop3Session._auth,
    "STLS": Pop3Session._stls,
    "UTF8": Pop3Session._accept_utf8,
    "LANG": Pop3Session._lang,
    "CAPA": Pop3Session._capa,
    "QUIT": Pop3Session._quit,
    "STAT": Pop3Session._stat,
    "LIST": Pop3Session._list,
    "UIDL": Pop3Session._uidl,
    "RETR": Pop3Session._retr,
    "TOP": Pop3Session._top,
    "DELE": Pop3Session._dele,
    "NOOP": Pop3Session._noop,
    "RSET": Pop3Session._rset,
}
