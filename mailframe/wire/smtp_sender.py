"""The client's side of SMTP (RFC 5321) and LMTP (RFC 2033), without I/O.

A `Sender` lives as long as its connection. Whoever owns the connection

- passes what arrives to `receive`, and a loss or a deadline to `connection_lost` and `timed_out`;
- after each call writes `take_output` and acts on the events of `take_events`;
- calls `begin` for a transaction once `Ready` or `Settled` was seen; after `ContentWanted` gives
  `content` as long as it `wants_content`, then calls `end_of_content`;
- looks at `stage` to know how long to wait (RFC 5321 §4.5.3.2).

What is said in which order is told by `mailframe.wire.sender_opening` up to the first transaction,
and by `mailframe.wire.sender_transfer` for each transaction; which parameters go with it by
`mailframe.wire.sender_parameters`.

Each reply is matched with the command it answers; a reply to nothing ends the session, so nothing
that a server says early is ever taken for the answer to something said later.

A session that ends early says for each recipient whether it was settled. Those that were not may be
tried at another host, unless the end of the content went out: then the server may have the message,
and all are settled with a 4yz.
"""

from __future__ import annotations

from mailframe.outcome import Protocol, TlsPolicy
from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire.reply_parser import ReplyError
from mailframe.wire.sender_dialogue import Dialogue
from mailframe.wire.sender_events import Ended, Event, Settled, Stage, Transaction
from mailframe.wire.sender_opening import Introduction, Opening
from mailframe.wire.sender_parameters import Limits, limits, refusal
from mailframe.wire.sender_transfer import Transfer


class Sender:
    """One client session.

    :param hostname: our name, for EHLO
    :param protocol: ``smtp`` or ``lmtp``
    :param tls: what to do about STARTTLS; the certificate is looked at by who owns the connection
    :param login: what to prove with AUTH, or ``None``
    :param encrypted: the connection has TLS from its start
    :param loopback: nobody between the server and us could listen in, so AUTH needs no TLS
    :param chunking: whether content goes out with BDAT where the server offers CHUNKING

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
        chunking: bool = True,
    ) -> None:
        self.replies_read = 0
        self._lmtp = protocol == "lmtp"
        self._chunking = chunking
        self._dialogue = Dialogue()
        self._opening = Opening(
            self._dialogue,
            Introduction(
                hostname=hostname, protocol=protocol, tls=tls, login=login, loopback=loopback
            ),
            encrypted=encrypted,
        )
        self._transfer: Transfer | None = None
        self._reset_first = False  # the last transaction was broken off before its end
        self._transactions = 0

    # --- what the owner of the connection calls ---------------------------------------------

    @property
    def stage(self) -> Stage:
        """What is waited for, or ``closed``."""
        return self._dialogue.stage

    @property
    def extensions(self) -> dict[str, str]:
        """The keywords of the last EHLO reply, upper-case, with their parameters."""
        return self._opening.extensions

    @property
    def encrypted(self) -> bool:
        """Whether TLS is active."""
        return self._opening.encrypted

    @property
    def limits(self) -> Limits:
        """What the server said of its limits (RFC 9422)."""
        return limits(self._opening.extensions) if "LIMITS" in self.extensions else _NO_LIMITS

    @property
    def used_up(self) -> bool:
        """Whether the server takes no more transactions in this session (RFC 9422 §4.1)."""
        if "LIMITS" not in self._opening.extensions:
            return False
        most = self.limits.transactions
        return most is not None and self._transactions >= most

    @property
    def parting(self) -> bool:
        """Whether the session failed with a QUIT of ours, to which the server may still answer."""
        return self._dialogue.parting

    def take_output(self) -> bytes:
        """What is to be written now, maybe nothing."""
        output = self._dialogue.output
        if not output:
            return b""
        self._dialogue.output = []
        return output[0] if len(output) == 1 else b"".join(output)

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._dialogue.events = self._dialogue.events, []
        return events

    def receive(self, octets: bytes) -> None:
        """Take octets from the server."""
        dialogue = self._dialogue
        if dialogue.closed:
            return
        expected = dialogue.expected
        dialogue.parser.feed(octets)
        try:
            while not dialogue.closed:
                reply = dialogue.parser.next_reply()
                if reply is None:
                    return
                self.replies_read += 1
                if reply.code == 421:  # RFC 5321 §3.8: the server closes, whatever was asked
                    dialogue.said(reply)
                elif expected:
                    said = len(dialogue.output)
                    expected.popleft()[1](reply)
                    if len(dialogue.output) > said and len(dialogue.parser):
                        self._too_early()
                elif dialogue.under_way is not None and self._transfer is not None:
                    self._transfer.unasked(reply)
                else:
                    dialogue.protocol_error("it sent a reply to nothing")
        except ReplyError as error:
            dialogue.protocol_error(str(error))

    def tls_started(self) -> None:
        """The TLS handshake is done. Everything known of the server is forgotten."""
        self._opening.tls_started()

    def bind(self, binding: tuple[str, bytes] | None) -> None:
        """Take the channel binding of the connection's TLS, which AUTH may be tied to.

        To be called when the handshake is done, before `tls_started`.

        :param binding: its kind and its octets; see `mailframe.channel_binding`
        """
        self._opening.binding = binding

    def derived(self, key: bytes) -> None:
        """Take the result of a `mailframe.wire.sasl.Derivation`, which came as an event."""
        self._opening.derived(key)

    def begin(self, transaction: Transaction) -> None:
        """Begin to hand over a message.

        The transaction is settled at once, without a word to the server, when this one can't be
        given it: `mailframe.wire.sender_parameters.refusal`.
        """
        dialogue, extensions = self._dialogue, self.extensions
        assert dialogue.stage == "idle"
        self._transactions += 1
        why = refusal(transaction, extensions, encrypted=self.encrypted)
        if why is not None:
            dialogue.events.append(Settled((why,) * len(transaction.recipients)))
            return
        chunking = (
            (self._chunking or transaction.body == "BINARYMIME")
            and "CHUNKING" in extensions
            and "PIPELINING" in extensions
        )
        transfer = self._transfer = dialogue.under_way = Transfer(
            dialogue,
            transaction,
            lmtp=self._lmtp,
            chunking=chunking,
            reused=self._transactions > 1,
            settled=self._settled,
        )
        if len(dialogue.parser):
            dialogue.protocol_error("it sent a reply to nothing")
            return
        transfer.begin(extensions, reset_first=self._reset_first)

    @property
    def wants_content(self) -> bool:
        """Whether more of the content may be given."""
        return self._dialogue.resting == "content"

    def content(self, octets: bytes) -> None:
        """Send a piece of the content, which the wire form is made of here."""
        if self.wants_content and self._transfer is not None:
            self._transfer.content(octets)

    def end_of_content(self) -> None:
        """Send the final dot, or the last chunk."""
        if self.wants_content and self._transfer is not None:
            self._transfer.end_of_content()

    def quit(self) -> None:
        """End the session between transactions."""
        assert self.stage == "idle"
        self._dialogue.send("quit", self._quit_replied, b"QUIT\r\n")

    def connection_lost(self) -> None:
        """The connection was closed or broke."""
        self._broke("lost connection", lost=True)

    def timed_out(self) -> None:
        """The server took too long for the present stage."""
        self._broke("timed out", lost=False)

    def fail(self, reply: Reply, stage: Stage | None = None) -> None:
        """End the session for a reason of ours; no recipient is to be tried elsewhere for it.

        :param stage: where it ended, if that is not the present one
        """
        if self.stage != "closed":
            self._dialogue.give_up(reply, stage)

    # --- inside -----------------------------------------------------------------------------

    def _broke(self, how: str, *, lost: bool) -> None:
        stage = self.stage
        if stage == "quit":
            self._quit_replied(None)
        elif stage != "closed":
            self._dialogue.broke(how, lost=lost)

    def _too_early(self) -> None:
        """What waits to be read was said before the command that would be answered by it."""
        reply = self._dialogue.parser.next_reply()
        if reply is not None and reply.code == 421:
            self._dialogue.said(reply)
        elif reply is not None and self._transfer is not None:
            self._transfer.unasked(reply)
        else:
            self._dialogue.protocol_error("it sent a reply to nothing")

    def _settled(self, reset_next: bool) -> None:
        self._transfer = None
        self._reset_first = reset_next

    def _quit_replied(self, _reply: Reply | None) -> None:
        self._dialogue.close()
        self._dialogue.events.append(Ended())


_NO_LIMITS = Limits()
