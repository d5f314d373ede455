"""The client's side of SMTP (RFC 5321) and LMTP (RFC 2033), without I/O.

A `Sender` lives as long as its connection. Whoever owns the connection

- passes what arrives to `receive`, and a loss or a deadline to `connection_lost` and `timed_out`;
- after each call writes `take_output` and acts on the events of `take_events`;
- calls `begin` for a transaction once `Ready` or `Settled` was seen, then `content` and
  `end_of_content` after `ContentWanted`;
- looks at `stage` to know how long to wait (RFC 5321 §4.5.3.2).

::

    greeting ─ hello ─┬─ starttls ─ tls ─ hello ─┬─ auth ─┬─ idle ─ mail ─ recipient ─ data ─┐
                      └──────────────────────────┘────────┘   ▲                              │
                                                              └── final ◄─── content ◄───────┘

MAIL, every RCPT and DATA go out as one write when the server offers PIPELINING (RFC 2920). Each
reply is matched with the command it answers; a reply to nothing ends the session, so nothing that a
server says early is ever taken for the answer to something said later. What a server sent in clear
behind its 220 to STARTTLS ends the session too, and nothing learnt before TLS is remembered after
it (RFC 3207 §4.2).

A session that ends early says for each recipient whether it was settled. Those that were not may be
tried at another host, unless the final dot went out: then the server may have the message, and all
are settled with a 4yz.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from mailframe.outcome import Protocol, TlsPolicy
from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire.data import DataEncoder
from mailframe.wire.reply_parser import ReplyError, ReplyParser
from mailframe.wire.sender_events import (
    ContentWanted,
    Ended,
    Event,
    Failed,
    Ready,
    Settled,
    Stage,
    StartTls,
    Transaction,
)

_WAITING_FOR: dict[Stage, str] = {
    "greeting": "the greeting",
    "hello": "the reply to EHLO",
    "starttls": "the reply to STARTTLS",
    "tls": "the TLS handshake",
    "auth": "the reply to AUTH",
    "idle": "the next message",
    "reset": "the reply to RSET",
    "mail": "the reply to MAIL",
    "recipient": "the reply to RCPT",
    "data": "the reply to DATA",
    "content": "the content to be taken",
    "final": "the reply to the end of data",
    "quit": "the reply to QUIT",
}
_MAYBE_DELIVERED = "after end of data; the message may have been delivered"


_OnReply: TypeAlias = Callable[[Reply], None]


class Sender:
    """One client session.

    :param hostname: our name, for EHLO
    :param protocol: ``smtp`` or ``lmtp``
    :param tls: what to do about STARTTLS; the certificate is looked at by who owns the connection
    :param login: what to prove with AUTH, or ``None``
    :param encrypted: the connection has TLS from its start
    :param loopback: nobody between the server and us could listen in, so AUTH needs no TLS

    :ivar extensions: the keywords of the last EHLO reply, upper-case, with their parameters
    :ivar stage: what is waited for
    :ivar replies_read: how many whole replies came so far: while it stays the same, octets from the
        server are no progress and must not put off a deadline
    """

    def __init__(
        self,
        *,
        hostname: str,
        protocol: Protocol = "smtp",
        tls: TlsPolicy = "opportunistic",
        login: sasl.Login | None = None,
        encrypted: bool = False,
        loopback: bool = False,
    ) -> None:
        self.extensions: dict[str, str] = {}
        self.replies_read = 0
        self._hostname = hostname
        self._lmtp = protocol == "lmtp"
        self._tls = tls
        self._login = login
        self._encrypted = encrypted
        self._loopback = loopback
        self._mechanism: sasl.ClientMechanism | None = None

        self._parser = ReplyParser()
        self._expected: deque[tuple[Stage, _OnReply]] = deque()  # commands not answered yet
        self._commands: deque[tuple[Stage, _OnReply, bytes]] = deque()  # not even sent yet
        self._without_reply: Stage = "idle"  # the stage while no reply is expected
        self._output: list[bytes] = []
        self._events: list[Event] = []

        self._transaction: Transaction | None = None
        self._replies: list[Reply | None] = []
        self._accepted: list[int] = []  # indices of the recipients that the server took
        self._asked = 0  # how many RCPTs were answered
        self._mail_accepted = False
        self._mail_answered = False
        self._dot_sent = False
        self._reset_first = False  # the last transaction was broken off before its final dot
        self._encoder = DataEncoder()

        self._expected.append(("greeting", self._greeted))

    # --- what the owner of the connection calls ---------------------------------------------

    @property
    def stage(self) -> Stage:
        """What is waited for, or ``closed``."""
        if self._expected:
            return self._expected[0][0]
        return self._without_reply

    def take_output(self) -> bytes:
        """What is to be written now, maybe nothing."""
        output = self._output
        if not output:
            return b""
        self._output = []
        return output[0] if len(output) == 1 else b"".join(output)

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def receive(self, octets: bytes) -> None:
        """Take octets from the server."""
        if self._without_reply == "closed":
            return
        parser, expected = self._parser, self._expected
        parser.feed(octets)
        try:
            while self.stage != "closed":
                reply = parser.next_reply()
                if reply is None:
                    return
                self.replies_read += 1
                if reply.code == 421:  # RFC 5321 §3.8: the server closes, whatever was asked
                    self._fail(reply)
                elif expected:
                    expected.popleft()[1](reply)
                else:
                    self._unasked(reply)
        except ReplyError as error:
            self._protocol_error(str(error))

    def tls_started(self) -> None:
        """The TLS handshake is done. Everything known of the server is forgotten."""
        assert self._without_reply == "tls"
        self._without_reply = "idle"
        self._encrypted = True
        self._parser = ReplyParser()
        self._hello()

    def begin(self, transaction: Transaction) -> None:
        """Begin to hand over a message.

        The transaction is settled at once, without a word to the server, with 552 when the content
        is larger than the server takes (RFC 1870 §6.1), and with 554 5.6.3 when it was declared
        ``8BITMIME`` and the server does not offer that (RFC 6152 §3).
        """
        assert self.stage == "idle"
        count = len(transaction.recipients)
        self._transaction = transaction
        self._replies = [None] * count
        self._accepted = []
        self._asked = 0
        self._mail_accepted = self._mail_answered = self._dot_sent = False
        extensions = self.extensions
        limit = extensions.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < transaction.size:
            self._refuse_all(
                Reply(552, "5.3.4", f"the server takes no more than {int(limit)} octets")
            )
            return self._settle()
        if transaction.body == "8BITMIME" and "8BITMIME" not in extensions:
            text = "the content has octets beyond ASCII, which the server does not take"
            self._refuse_all(Reply(554, "5.6.3", text))
            return self._settle()
        if len(self._parser):
            return self._protocol_error("it sent a reply to nothing")
        mail = f"MAIL FROM:<{transaction.sender or ''}>"
        if "SIZE" in extensions:
            mail += f" SIZE={transaction.size}"
        if transaction.body == "8BITMIME":
            mail += " BODY=8BITMIME"
        commands = self._commands
        if self._reset_first:
            commands.append(("reset", self._reset, b"RSET\r\n"))
            self._reset_first = False
        commands.append(("mail", self._mail_replied, _line(mail)))
        for recipient in transaction.recipients:
            commands.append(("recipient", self._recipient_replied, _line(f"RCPT TO:<{recipient}>")))
        commands.append(("data", self._data_replied, b"DATA\r\n"))
        if "PIPELINING" in extensions:
            self._expected.extend((stage, on_reply) for stage, on_reply, _ in commands)
            self._output.extend([line for _, _, line in commands])
            commands.clear()
        else:
            self._advance()

    def content(self, octets: bytes) -> None:
        """Send a piece of the content, which the wire form is made of here."""
        assert self.stage in ("content", "closed")
        self._output.append(self._encoder.encode(octets))

    def end_of_content(self) -> None:
        """Send the final dot."""
        if self.stage == "closed":
            return
        assert self.stage == "content"
        self._without_reply = "idle"
        self._dot_sent = True
        self._output.append(self._encoder.finish())
        for _ in range(len(self._accepted) if self._lmtp else 1):
            self._expected.append(("final", self._final_replied))
        self._asked = 0  # from here on: how many of the accepted were answered (LMTP)

    def quit(self) -> None:
        """End the session between transactions."""
        assert self.stage == "idle"
        self._send("quit", self._quit_replied, b"QUIT\r\n")

    def connection_lost(self) -> None:
        """The connection was closed or broke."""
        if self.stage == "quit":
            self._quit_replied(None)
        elif self._dot_sent and self._transaction:
            self._fail(Reply(451, "4.4.2", f"lost connection {_MAYBE_DELIVERED}"))
        elif self.stage != "closed":
            text = f"lost connection while waiting for {_WAITING_FOR[self.stage]}"
            self._fail(Reply(451, "4.4.2", text))

    def timed_out(self) -> None:
        """The server took too long for the present stage."""
        if self.stage == "quit":
            self._quit_replied(None)
        elif self._dot_sent and self._transaction:
            self._fail(Reply(451, "4.4.2", f"timed out {_MAYBE_DELIVERED}"))
        elif self.stage != "closed":
            text = f"timed out while waiting for {_WAITING_FOR[self.stage]}"
            self._fail(Reply(451, "4.4.2", text))

    def fail(self, reply: Reply) -> None:
        """End the session for a reason of ours; no recipient is to be tried elsewhere for it."""
        if self.stage != "closed":
            self._refuse_all(reply)
            self._fail(reply)

    # --- the session ------------------------------------------------------------------------

    def _send(self, stage: Stage, on_reply: _OnReply, line: bytes) -> None:
        self._expected.append((stage, on_reply))
        self._output.append(line)

    def _greeted(self, reply: Reply) -> None:
        if reply.code == 220:
            self._hello()
        elif reply.is_positive:
            self._protocol_error(f"its greeting has the code {reply.code}", "greeting")
        else:
            self._fail(reply, "greeting")

    def _hello(self) -> None:
        self.extensions = {}
        verb = "LHLO" if self._lmtp else "EHLO"
        self._send("hello", self._hello_replied, _line(f"{verb} {self._hostname}"))

    def _hello_replied(self, reply: Reply) -> None:
        if reply.code == 250:
            self._learn(reply)
            self._secure()
        elif reply.is_positive:
            self._protocol_error(f"it answered {reply.code} to EHLO", "hello")
        elif reply.is_permanent and not self._lmtp:  # RFC 5321 §3.2: an old server
            self._send("hello", self._helo_replied, _line(f"HELO {self._hostname}"))
        else:
            self._fail(reply, "hello")

    def _helo_replied(self, reply: Reply) -> None:
        if reply.code == 250:
            self._secure()
        elif reply.is_positive:
            self._protocol_error(f"it answered {reply.code} to HELO", "hello")
        else:
            self._fail(reply, "hello")

    def _learn(self, reply: Reply) -> None:
        for line in reply.text[1:]:
            keyword, _, parameters = line.partition(" ")
            if keyword.upper().startswith("AUTH="):  # as servers older than RFC 2554 say it
                parameters = f"{keyword[5:]} {parameters}"
                keyword = "AUTH"
                parameters = f"{self.extensions.get('AUTH', '')} {parameters}"
            self.extensions[keyword.upper()] = parameters.strip()

    def _secure(self) -> None:
        if self._encrypted or self._tls == "none":
            self._authenticate()
        elif "STARTTLS" in self.extensions:
            self._send("starttls", self._starttls_replied, b"STARTTLS\r\n")
        elif self._tls == "opportunistic":
            self._authenticate()
        else:
            text = "the server does not offer STARTTLS, which the route requires"
            self._fail(Reply(454, "4.7.10", text), "starttls")

    def _starttls_replied(self, reply: Reply) -> None:
        if reply.code == 220:
            if len(self._parser):
                self._protocol_error(
                    "it sent octets in clear after its reply to STARTTLS", "starttls"
                )
                return
            self._without_reply = "tls"
            self._events.append(StartTls())
        elif reply.is_positive:
            self._protocol_error(f"it answered {reply.code} to STARTTLS", "starttls")
        elif self._tls == "opportunistic":
            self._authenticate()
        else:
            text = f"the server refused STARTTLS, which the route requires: {reply}"
            self._fail(Reply(454, "4.7.10", text), "starttls")

    def _authenticate(self) -> None:
        login = self._login
        if login is None:
            self._events.append(Ready())
            return
        if not self._encrypted and not self._loopback:
            text = "the connection has no TLS, and the login is not sent in clear"
            self._fail(Reply(454, "4.7.11", text), "auth")
            return
        offered = self.extensions.get("AUTH", "").split()
        self._mechanism = sasl.choose(offered, login.user, login.password)
        if self._mechanism is None:
            text = "the server offers no AUTH mechanism that we know, and the route has a login"
            self._fail(Reply(454, "4.7.0", text), "auth")
            return
        command = f"AUTH {self._mechanism.name}".encode("ascii")
        initial = self._mechanism.initial()
        if initial is not None:
            command += b" " + (sasl.encode(initial) or b"=")
        self._send("auth", self._auth_replied, command + b"\r\n")

    def _auth_replied(self, reply: Reply) -> None:
        assert self._mechanism is not None
        if reply.code == 235:
            self._mechanism = None
            self._events.append(Ready())
        elif reply.code == 334:
            try:
                response = self._mechanism.respond(b"")
            except sasl.SaslError as error:
                self._protocol_error(str(error), "auth")
            else:
                self._send("auth", self._auth_replied, sasl.encode(response) + b"\r\n")
        elif reply.is_positive:
            self._protocol_error(f"it answered {reply.code} to AUTH", "auth")
        else:
            # The fault is in our configuration; mail must not bounce for it.
            text = f"the server did not accept the route's login: {reply}"
            self._fail(Reply(454, "4.7.8", text), "auth")

    def _quit_replied(self, _reply: Reply | None) -> None:
        self._close()
        self._events.append(Ended())

    # --- the transaction --------------------------------------------------------------------

    def _advance(self) -> None:
        """After a reply: send the next command, or settle when there is none and nothing waits."""
        if self._expected or self._without_reply == "closed":
            return
        if not self._commands:
            self._settle()
            return
        stage, on_reply, line = self._commands.popleft()
        if stage == "data" and not self._accepted:
            self._settle()
        else:
            self._send(stage, on_reply, line)

    def _reset(self, reply: Reply) -> None:
        if reply.code == 250:
            self._advance()
        else:
            self._protocol_error(f"it answered {reply.code} to RSET", "reset")

    def _mail_replied(self, reply: Reply) -> None:
        self._mail_answered = True
        if reply.code < 300:
            self._mail_accepted = True
        elif reply.code >= 400:
            self._refuse_all(reply)
            self._commands.clear()
        else:
            return self._protocol_error(f"it answered {reply.code} to MAIL", "mail")
        self._advance()

    def _recipient_replied(self, reply: Reply) -> None:
        index = self._asked
        self._asked += 1
        if self._replies[index] is None:  # otherwise MAIL was refused, and RCPT with it
            if reply.code < 300:
                self._accepted.append(index)
            elif reply.code >= 400:
                self._replies[index] = _of_recipient(reply)
            else:
                return self._protocol_error(f"it answered {reply.code} to RCPT", "recipient")
        self._advance()

    def _data_replied(self, reply: Reply) -> None:
        if reply.code == 354:
            if self._accepted:
                self._encoder = DataEncoder()
                self._without_reply = "content"
                self._events.append(ContentWanted())
                return
            # Nobody is to get it, but the server waits: give it an empty message (RFC 2920 §3.1).
            self._dot_sent = True
            self._output.append(b".\r\n")
            if self._lmtp:  # which has no reply to that: RFC 2033 §4.2 gives one per recipient
                self._settle()
                self._protocol_error("it wanted content for no recipient", "data")
            else:
                self._expected.append(("final", self._emptied))
        elif reply.code >= 400:
            for index in self._accepted:
                self._replies[index] = reply
            self._settle()
        else:
            self._protocol_error(f"it answered {reply.code} to DATA", "data")

    def _emptied(self, _reply: Reply) -> None:
        self._settle()

    def _final_replied(self, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            self._protocol_error(f"it answered {reply.code} to the end of data", "final")
            return
        if self._lmtp:
            self._replies[self._accepted[self._asked]] = reply
            self._asked += 1
        else:
            for index in self._accepted:
                self._replies[index] = reply
        if not self._expected:
            self._settle()

    def _settle(self) -> None:
        self._transaction = None
        self._reset_first = self._mail_accepted and not self._dot_sent
        self._commands.clear()
        self._events.append(Settled(tuple(reply for reply in self._replies if reply is not None)))

    def _refuse_all(self, reply: Reply) -> None:
        self._replies = [said or reply for said in self._replies]

    # --- the end ----------------------------------------------------------------------------

    def _unasked(self, reply: Reply) -> None:
        """A reply to no command: only while content is sent can it mean anything."""
        if self.stage == "content" and not reply.is_positive:
            # The server will not take the rest. There is no way to stop but to close.
            for index in self._accepted:
                self._replies[index] = reply
            self._fail(reply)
        else:
            self._protocol_error("it sent a reply to nothing")

    def _protocol_error(self, how: str, stage: Stage | None = None) -> None:
        text = f"the server broke the protocol: {how}"
        if self._dot_sent and self._transaction:
            text += f" {_MAYBE_DELIVERED}"
        self._fail(Reply(451, "4.5.0", text), stage)

    def _fail(self, reply: Reply, stage: Stage | None = None) -> None:
        stage = stage or self.stage
        in_transaction = self._transaction is not None
        if in_transaction and self._dot_sent:
            self._refuse_all(reply)
        self._events.append(
            Failed(
                reply=reply,
                stage=stage,
                replies=tuple(self._replies) if in_transaction else (),
                untouched=in_transaction and not self._mail_answered,
            )
        )
        self._close()

    def _close(self) -> None:
        self._transaction = None
        self._without_reply = "closed"
        self._expected.clear()
        self._commands.clear()


def _line(command: str) -> bytes:
    """A command as it goes over the wire, which it can only do as one line."""
    line = command.encode("ascii")
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise ValueError(f"a command of more than one line: {command!r}")
    return line + b"\r\n"


def _of_recipient(reply: Reply) -> Reply:
    """What a reply to RCPT means.

    Old servers say 552 for "too many recipients", which is to be treated as 452 (RFC 5321
    §4.5.3.1.10). A 552 with a status code of its own, such as 5.2.2 (mailbox full), means that.
    """
    if reply.code == 552 and reply.status in (None, "5.5.3"):
        return Reply(452, "4.5.3", reply.text)
    return reply
