"""The receiving side of SMTP (RFC 5321) without I/O: octets and replies in, events and octets out.

One `Receiver` serves one connection::

    receiver.greet(Reply(220, None, "mx.rosse.example ESMTP"))
    receiver.receive(octets)
    while (event := receiver.next_event()) is not None:
        ...                          # decide
        receiver.reply(reply)        # exactly once for every event but Content
    transport.write(receiver.take_output())
    if receiver.closing: ...         # close, once the output is sent

One rule carries most of what is promised about order and safety: **after an event nothing more is
parsed until its reply is given.** So replies stand in the order of their commands however the
client pipelines (RFC 2920), a QUIT behind a message can't close before the message is answered,
and octets that were sent behind STARTTLS are still there, unparsed, when TLS is to begin: they make
the connection be dropped (RFC 3207 §5; the command injection of CVE-2011-0411).

Syntax and sequence errors are answered here and reported nowhere. Too many of them, or of commands
that do nothing for a message, end the connection with 421.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire import smtp_replies as replies
from mailframe.wire.data import DataDecoder
from mailframe.wire.lines import BareLineEnd, LineTooLong
from mailframe.wire.smtp_command import Command, State
from mailframe.wire.smtp_commands import COMMANDS
from mailframe.wire.smtp_content import Contents
from mailframe.wire.smtp_events import (
    Authenticate,
    Data,
    EndOfChunk,
    EndOfData,
    Event,
    Hello,
    Mail,
    Rcpt,
    Reset,
    StartTls,
    Xclient,
)
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_replies import Refusal, syntax

_STATE_AFTER: dict[type, State] = {
    Hello: "ready",
    Mail: "mail",
    Rcpt: "rcpt",
    Reset: "ready",
    EndOfChunk: "chunks",
}

_JOINERS = str.maketrans("", "", "\u200c\u200d")  # not printable by themselves


class Receiver(Contents):
    """One connection's dialogue; see also `mailframe.wire.smtp_content`.

    :ivar commands: those that are understood
    :ivar authenticated: a login was accepted
    :ivar injected: the octets that came behind STARTTLS; when there are any, drop the connection
    """

    def __init__(
        self,
        *,
        default_domain: str,
        offer: Offer,
        command_line: int = 512,
        data_line: int = 1000,
        errors: int = 20,
        junk_commands: int = 100,
        commands: Mapping[str, Command] = COMMANDS,
    ) -> None:
        """
        :param default_domain: whose postmaster ``<Postmaster>`` is
        :param command_line: octets of a command line with its CRLF, RFC 5321 §4.5.3.1.4
        :param data_line: octets of a line of content with its CRLF, or 0 for no limit
        :param errors: how many errors a client may make without handing over a message
        :param junk_commands: how many commands that do nothing for a message it may send before
            each counts as an error
        :param commands: those that are understood, by their verbs
        """
        super().__init__(
            line_limit=command_line + sasl.MAX_LINE,
            errors=errors,
            offer=offer,
            data_line=data_line,
        )
        self.default_domain = default_domain
        self.commands = commands
        self.authenticated = False
        self.injected = b""
        self._command_line = command_line
        self._max_junk = junk_commands
        self._junk = 0
        self._exchange: sasl.ServerMechanism | None = None  # AUTH is under way
        self._claimed_in: sasl.ServerMechanism | None = None  # an exchange that may go on

    def __len__(self) -> int:
        """How many octets arrived and were not parsed yet."""
        return len(self._lines) + len(self._content)

    @property
    def in_transaction(self) -> bool:
        """Whether a sender was accepted and the message is not settled yet."""
        return self.state in ("mail", "rcpt", "chunks")

    @property
    def in_data(self) -> bool:
        """Whether what arrives now is content."""
        return self._decoder is not None

    def receive(self, octets: bytes) -> None:
        """Take what arrived."""
        if self.closing:
            return
        if self._decoder is not None:
            self._content += octets
        else:
            self._lines.feed(octets)

    # --- events out, replies in ---------------------------------------------------------------

    def next_event(self) -> Event | None:
        """The next event, or ``None`` when more octets or a reply are needed first."""
        if self._waiting is not None or self.closing:
            return None
        if self._decoder is not None:
            return self._next_of_data(self._decoder)
        while not self.closing:
            if self._skip:
                self._skip -= self._lines.drop(self._skip)
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                answer = self._respond(line) if self._exchange else self._command(line)
            except Refusal as refusal:
                answer = refusal.reply
            except LineTooLong:
                in_exchange = self._exchange is not None
                answer = self._unreadable(
                    replies.EXCHANGE_LINE_TOO_LONG if in_exchange else replies.LINE_TOO_LONG
                )
            except BareLineEnd:
                answer = self._unreadable(replies.BARE_LINE_END)
            if not isinstance(answer, Reply):
                if answer is None:
                    return self.next_event()
                self._waiting = answer
                return answer
            self._answer(answer)
        return None

    def reply(self, reply: Reply) -> None:
        """Answer the event that `next_event` gave last."""
        event, self._waiting = self._waiting, None
        kind = type(event)
        if kind is EndOfData:
            self.state = "ready"
            if reply.code < 400:
                self._errors = self._junk = 0
            self._answer_message(reply)
            return
        if reply.code < 400:
            state = _STATE_AFTER.get(kind)
            if state is not None:
                self.state = state
            elif isinstance(event, Data):
                if event.chunked:
                    self._begin_chunks()
                    return
                self._decoder = DataDecoder(self._data_line)
                self._content = self._lines.take_all()
            elif kind is Xclient:
                self._begin_anew()
            elif kind is Authenticate:
                if reply.code == 334:
                    self._exchange = self._claimed_in
                else:
                    self.authenticated = True
            else:
                assert kind is StartTls, kind
                self._begin_tls()
                if self.injected:
                    return
        elif kind is EndOfChunk:
            self._chunks = None
        elif isinstance(event, Data) and event.chunked:
            self._skip = self._size
            if self._refuse_chunk(reply) is None:
                return
        self._answer(reply)

    # --- commands -----------------------------------------------------------------------------

    def _command(self, line: bytes) -> Event | Reply | None:
        verb, _, rest = line.partition(b" ")
        name = verb.decode("ascii", "replace")
        command = self.commands.get(name) or self.commands.get(name.upper())
        if command is None:
            if len(line) + 2 > self._command_line:
                return replies.LINE_TOO_LONG
            printable = verb.isascii() and name.isprintable()
            return replies.UNKNOWN_COMMAND if printable else replies.UNPRINTABLE_COMMAND
        if len(line) + 2 > self._command_line + command.room:
            self.closing = command.fatal
            return replies.LINE_TOO_LONG
        if command.junk:
            self._junk += 1
            if self._junk > self._max_junk:
                self._errors += 1
        refused = command.refused.get(self.state)
        if refused is not None:
            return refused
        argument = rest.decode("latin-1")
        if not (argument.isascii() and argument.isprintable()):
            argument = self._beyond_ascii(command, rest)
        return command.read(self, argument.rstrip(" "))

    def _beyond_ascii(self, command: Command, octets: bytes) -> str:
        """An argument in UTF-8 (RFC 6531 §3.7.1), where one may be."""
        self.closing = command.fatal
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            raise Refusal(replies.UNPRINTABLE_ARGUMENT) from None
        if not (command.utf8 and text.translate(_JOINERS).isprintable()):
            raise Refusal(replies.UNPRINTABLE_ARGUMENT)
        return text

    def _unreadable(self, reply: Reply) -> Reply:
        """A line that can't be read ends an AUTH exchange too."""
        self._exchange = None
        command = self.commands.get(self._lines.unreadable.decode("ascii", "replace").upper())
        self.closing = command is not None and command.fatal
        return reply

    def reset(self) -> None:
        """End the transaction, as RSET, EHLO and HELO do."""
        self._chunks = None
        if self.state != "start":
            self.state = "ready"

    def _begin_tls(self) -> None:
        """Forget all that the client said in the clear (RFC 3207 §4.2)."""
        self._begin_anew()
        self.injected = self._lines.take_all()
        self.closing = bool(self.injected)

    def _begin_anew(self) -> None:
        self.state = "start"
        self.authenticated = False

    # --- AUTH ---------------------------------------------------------------------------------

    def begin_exchange(
        self, mechanism: sasl.ServerMechanism, response: bytes | None
    ) -> Event | Reply:
        """Begin an AUTH exchange (RFC 4954 §4).

        :param response: the initial response, decoded, or ``None``
        :raises Refusal: the response is against the mechanism's rules
        """
        try:
            answer = mechanism.respond(response)
        except sasl.SaslError as error:
            raise Refusal(syntax("5.5.2", str(error))) from None
        if isinstance(answer, sasl.Claim):
            self._claimed_in = mechanism
            return Authenticate(login=answer)
        self._exchange = mechanism
        return Reply(334, None, sasl.encode(answer).decode("ascii"))

    def _respond(self, line: bytes) -> Event | Reply:
        mechanism, self._exchange = self._exchange, None
        assert mechanism is not None
        if line == b"*":
            return replies.AUTH_CANCELLED
        if len(line) + 2 > sasl.MAX_LINE:
            return replies.EXCHANGE_LINE_TOO_LONG
        try:
            response = sasl.decode(line)
        except sasl.SaslError as error:
            return syntax("5.5.2", str(error))
        return self.begin_exchange(mechanism, response)
