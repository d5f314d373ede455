"""The POP3 server's side of the dialogue, without I/O: RFC 1939 with CAPA, STLS, AUTH and TOP.

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
from mailframe.wire.pop3_commands import CommandError, State, parse
from mailframe.wire.pop3_events import (
    Authenticate,
    Event,
    Flush,
    Identify,
    Offer,
    Retrieve,
    StartTls,
    Update,
)
from mailframe.wire.sasl import (
    MAX_LINE,
    Claim,
    SaslError,
    ServerMechanism,
    claim_login,
    decode,
    decode_initial,
    encode,
    server_mechanism,
)

COMMAND_LINE = 255  # octets with CRLF, RFC 2449 §4
RESPONSE_LINE = 512  # octets with CRLF, RFC 2449 §4
FLUSH = 65536  # octets of output after which it is sent before another command is read

_CAPABILITIES = (
    b"TOP",
    b"UIDL",
    b"RESP-CODES",
    b"AUTH-RESP-CODE",
    b"PIPELINING",
    b"EXPIRE NEVER",
    b"IMPLEMENTATION mailframe",
)


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
        self._output: list[bytes] = []
        self._size = 0  # octets of the output
        self._state: State = "authorization"
        self._user: bytes | None = None  # what USER said, when it was the last command
        self._mechanism: ServerMechanism | None = None  # an AUTH exchange is under way
        self._claimed_in: ServerMechanism | None = None  # an exchange that may go on
        self._waiting: Event | None = None
        self._sizes: Sequence[int] = ()
        self._octets = 0  # of all messages that are not marked as deleted
        self._uidls: Sequence[bytes] | None = None
        self._deleted: set[int] = set()
        self._uidl_wanted: tuple[int, ...] = ()

    def __len__(self) -> int:
        """How many octets were received and not read yet."""
        return len(self._lines)

    @property
    def authenticated(self) -> bool:
        """The client has logged in."""
        return self._state == "transaction"

    # --- octets in and out -------------------------------------------------------------------

    def receive(self, octets: bytes) -> None:
        """Take octets from the client."""
        if not self.closing:
            self._lines.feed(octets)

    def take_output(self) -> bytes:
        """What is to be sent to the client."""
        output = b"".join(self._output)
        self._output.clear()
        self._size = 0
        return output

    def next_event(self) -> Event | None:
        """Read commands until one needs an answer from outside.

        :returns: the event; or ``None`` when no whole command is left, or one still waits for its
            answer
        """
        while self._waiting is None and not self.closing:
            if self._size >= FLUSH:
                return Flush()
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                self._waiting = self._read(line)
            except LineTooLong:
                self._broken("the line is too long")
            except BareLineEnd:
                self._broken("a line ends in CR LF")
            except (CommandError, SaslError) as error:
                self._broken(str(error))
            else:
                if self._waiting is not None:
                    return self._waiting
        return None

    # --- what the outside says ---------------------------------------------------------------

    def greet(self) -> None:
        """Begin the session. Without a timestamp, as there is no APOP."""
        self._ok(f"{self._hostname} POP3 server ready")

    def hang_up(self, text: str, code: str = "SYS/TEMP") -> None:
        """Close, with a word that answers no command."""
        self._error(text, code)
        self.closing = True

    def accept(self, text: str) -> None:
        """The command that waits has succeeded."""
        if isinstance(self._waiting, Update):
            self.closing = True
        self._waiting = None
        self._ok(text)

    def refuse(self, text: str, code: str = "") -> None:
        """The command that waits has failed.

        :param code: a response code of RFC 2449 §8, such as ``IN-USE``, or ``""``
        """
        if isinstance(self._waiting, Update):
            self.closing = True
        self._waiting = None
        self._error(text, code)

    def tls_begins(self) -> None:
        """STLS is answered: what was said before the TLS handshake is forgotten (RFC 2595 §4)."""
        self.injected = self._lines.take_all()
        self._user = None
        self.accept("begin TLS")

    def challenge(self, octets: bytes) -> None:
        """The login is not proved yet: the AUTH exchange goes on with this (RFC 5034 §4)."""
        self._mechanism = self._claimed_in
        self._lines.limit = MAX_LINE
        self._waiting = None
        self._put(b"+ " + encode(octets) + b"\r\n")

    def logged_in(self, sizes: Sequence[int]) -> None:
        """The login is proved, and the mailbox locked.

        :param sizes: octets of each message as it will be sent, stuffed dots not counted
        """
        self._state = "transaction"
        self._sizes = sizes
        self._octets = sum(sizes)
        self.accept(self._summary())

    def identified(self, uidls: Sequence[bytes]) -> None:
        """The unique ids of all messages, each 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7)."""
        self._uidls = uidls
        self._waiting = None
        self._answer_uidl(self._uidl_wanted)

    def message_follows(self, octets: int) -> None:
        """The message is there and will be given in pieces."""
        whole = isinstance(self._waiting, Retrieve) and self._waiting.lines is None
        self._ok(f"{octets} octets" if whole else "the beginning follows")

    def content(self, octets: bytes) -> None:
        """A piece of the message in its wire form (`mailframe.wire.data.DataEncoder`)."""
        self._put(octets)

    def message_sent(self) -> None:
        """The message is complete, its terminator included."""
        self._waiting = None

    # --- commands ----------------------------------------------------------------------------

    def _read(self, line: bytes) -> Event | None:
        if self._mechanism is not None:
            return self._continue(line)
        user, self._user = self._user, None
        name, arguments = parse(line, self._state)
        if name == "PASS":
            return self._pass(user, *arguments)
        event: Event | None = _ANSWERS[name](self, *arguments)
        return event

    def _capa(self) -> None:
        capabilities = list(_CAPABILITIES)
        if self._state == "authorization":
            if self.offer.login:
                mechanisms = self.offer.mechanisms
                if "PLAIN" in mechanisms:
                    capabilities.append(b"USER")
                if mechanisms:
                    capabilities.append(b"SASL " + " ".join(mechanisms).encode("ascii"))
            if self.offer.stls:
                capabilities.append(b"STLS")
        self._ok("capability list follows")
        self._multi_line(capabilities)

    def _stls(self) -> Event | None:
        if not self.offer.stls:
            raise CommandError("TLS can't be started")
        return StartTls()

    def _login_allowed(self) -> bool:
        """Whether a password may be sent; says why when not."""
        if not self.offer.login:
            if self.offer.stls:
                self._error("passwords are taken over TLS only: use STLS first", "AUTH")
            else:
                self._error("passwords are taken over TLS only", "AUTH")
        return self.offer.login

    def _take_user(self, user: bytes) -> None:
        if self._login_allowed():
            # Always the same, known or not (RFC 1939 §13).
            self._user = user
            self._ok("send PASS")

    def _pass(self, user: bytes | None, password: bytes) -> Event | None:
        if user is None:
            raise CommandError("PASS comes directly after USER")
        return Authenticate(claim_login(b"", user, password))

    def _auth(self, name: bytes, initial: bytes | None = None) -> Event | None:
        if not self._login_allowed():
            return None
        chosen = name.decode("ascii", "replace").upper()
        if chosen not in self.offer.mechanisms:
            raise CommandError("unknown mechanism; CAPA lists those that can be used")
        self._mechanism = server_mechanism(chosen, self.offer.mechanisms)
        self._lines.limit = MAX_LINE
        try:
            return self._step(None if initial is None else decode_initial(initial))
        except SaslError:
            self._end_exchange()
            raise

    def _continue(self, line: bytes) -> Event | None:
        try:
            if line == b"*":
                raise SaslError("the exchange was cancelled")
            return self._step(decode(line))
        except SaslError:
            self._end_exchange()
            raise

    def _step(self, response: bytes | None) -> Event | None:
        assert self._mechanism is not None
        answer = self._mechanism.respond(response)
        if isinstance(answer, Claim):
            self._claimed_in = self._mechanism
            self._end_exchange()
            return Authenticate(answer)
        self._put(b"+ " + encode(answer) + b"\r\n")
        return None

    def _end_exchange(self) -> None:
        self._mechanism = None
        self._lines.limit = COMMAND_LINE

    def _quit(self) -> Event | None:
        if self._state == "transaction":
            return Update(tuple(sorted(self._deleted)))
        self._ok(f"{self._hostname} says goodbye")
        self.closing = True
        return None

    def _stat(self) -> None:
        self._ok(f"{self._count()} {self._octets}")

    def _list(self, number: int | None = None) -> None:
        if number is None:
            self._ok(self._summary())
            self._multi_line(b"%d %d" % (i + 1, self._sizes[i]) for i in self._present())
        elif (index := self._index(number)) is not None:
            self._ok(f"{number} {self._sizes[index]}")

    def _uidl(self, number: int | None = None) -> Event | None:
        wanted = () if number is None else (number,)
        if number is not None and self._index(number) is None:
            return None
        if self._uidls is None:
            self._uidl_wanted = wanted
            return Identify()
        self._answer_uidl(wanted)
        return None

    def _answer_uidl(self, wanted: tuple[int, ...]) -> None:
        assert self._uidls is not None
        if wanted:
            self._ok(f"{wanted[0]} {self._uidls[wanted[0] - 1].decode('ascii')}")
        else:
            self._ok("unique ids follow")
            self._multi_line(b"%d %b" % (i + 1, self._uidls[i]) for i in self._present())

    def _retr(self, number: int) -> Event | None:
        index = self._index(number)
        return None if index is None else Retrieve(index, None)

    def _top(self, number: int, lines: int) -> Event | None:
        index = self._index(number)
        return None if index is None else Retrieve(index, lines)

    def _dele(self, number: int) -> None:
        index = self._index(number)
        if index is not None:
            self._deleted.add(index)
            self._octets -= self._sizes[index]
            self._ok(f"message {number} will be deleted")

    def _noop(self) -> None:
        self._ok("nothing done")

    def _rset(self) -> None:
        self._octets += sum(self._sizes[index] for index in self._deleted)
        self._deleted.clear()
        self._ok(self._summary())

    # --- messages ----------------------------------------------------------------------------

    def _index(self, number: int) -> int | None:
        """The index of a message that is there; says why when it isn't."""
        index = number - 1
        if not 0 <= index < len(self._sizes):
            self._error("no such message", "")
        elif index in self._deleted:
            self._error(f"message {number} is marked as deleted", "")
        else:
            return index
        return None

    def _present(self) -> Iterator[int]:
        return (i for i in range(len(self._sizes)) if i not in self._deleted)

    def _count(self) -> int:
        return len(self._sizes) - len(self._deleted)

    def _summary(self) -> str:
        return f"{self._count()} messages ({self._octets} octets)"

    # --- responses ---------------------------------------------------------------------------

    def _put(self, octets: bytes) -> None:
        self._output.append(octets)
        self._size += len(octets)

    def _ok(self, text: str) -> None:
        self._put(f"+OK {text}\r\n".encode("ascii"))

    def _error(self, text: str, code: str) -> None:
        shown = f"-ERR [{code}] {text}" if code else f"-ERR {text}"
        self._put(shown.encode("ascii", "replace")[: RESPONSE_LINE - 2] + b"\r\n")

    def _multi_line(self, lines: Sequence[bytes] | Iterator[bytes]) -> None:
        # None of these begins with a dot, so that none needs stuffing.
        self._put(b"".join(line + b"\r\n" for line in lines) + b".\r\n")

    def _broken(self, text: str) -> None:
        """The client broke the rules of the protocol."""
        if self._mechanism is not None:
            self._end_exchange()
        self._errors_left -= 1
        if self._errors_left > 0:
            self._error(text, "")
        else:
            self.hang_up(f"{text}; too many errors, closing the connection", "SYS/PERM")


_ANSWERS: dict[str, Callable[..., Any]] = {
    "USER": Pop3Session._take_user,
    "AUTH": Pop3Session._auth,
    "STLS": Pop3Session._stls,
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
